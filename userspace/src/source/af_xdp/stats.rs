//! What is counted at a ring, by it and by the kernel.

#![deny(unsafe_code)]

crate::counters! {
    /// What a [`Ring`](super::Ring) received.
    pub struct RingStats {
        /// Frames lent out.
        frames,
        /// Their octets.
        octets,
        /// Of the frames, those that came in several buffers and were copied into one piece.
        frames_joined,
        /// Frames with a descriptor that tells of nothing within the UMEM: not looked at. None, unless the kernel has a bug.
        descriptors_refused,
        /// Frames larger than an IP packet can be: not looked at.
        frames_too_long,
        /// Frames of several buffers of which the last ones never came: the driver had no room for them.
        frames_torn,
    }
}

impl RingStats {
    /// Frames that have come and cannot be lent.
    pub fn refused(&self) -> u64 {
        self.descriptors_refused + self.frames_too_long + self.frames_torn
    }

    /// What steered frames come to, of which these and `kernel`'s were counted: received, or lost at a ring.
    pub fn ends(&self, kernel: &KernelStats) -> u64 {
        self.frames + self.refused() + kernel.rx_dropped + kernel.rx_ring_full
    }
}

crate::counters! {
    /// The kernel's `struct xdp_statistics` of a socket, as far as it tells of receiving (`if_xdp.h`).
    pub struct KernelStats {
        /// Frames dropped: no frame in the fill ring, or too large for one. (Frames for a full RX ring are not among them.)
        rx_dropped,
        /// Descriptors in the fill ring that were no frames.
        rx_invalid_descs,
        /// Frames dropped as the RX ring was full: this worker was too slow.
        rx_ring_full,
        /// Times that the fill ring was empty. Of the queue, not of the socket: the first of its rings tells it.
        rx_fill_ring_empty_descs,
    }
}
