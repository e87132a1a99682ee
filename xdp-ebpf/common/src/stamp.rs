//! When a frame came, as the XDP program writes it before the frame's first octet.
//!
//! ```text
//! | nanoseconds (8) | the same, exclusive-or MARK (8) | Ethernet header ...
//! '--- XDP metadata, in the order of the machine ---'
//! ```
//!
//! An AF_XDP socket has no clock of its own. With it the frames of several queues and interfaces can be put in order again.

/// Octets of a stamp.
pub const STAMP: usize = 16;

/// The stamp of a frame that came `nanos` nanoseconds after the system's start (`CLOCK_MONOTONIC`).
#[inline(always)]
pub const fn stamp(nanos: u64) -> [u64; 2] {
    [nanos, nanos ^ MARK]
}

/// The time in a stamp; `None` where there is none, as the driver has no room for metadata.
pub const fn stamped(octets: &[u8; STAMP]) -> Option<u64> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *octets;
    let nanos = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    if u64::from_ne_bytes([i, j, k, l, m, n, o, p]) == nanos ^ MARK { Some(nanos) } else { None }
}

/// Tells a stamp from whatever else may stand before a frame.
const MARK: u64 = 0x706c_6169_6e74_6170;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_told_from_other_octets() {
        let [nanos, marked] = stamp(1_234_567_890_123);
        let mut octets = [0; STAMP];
        assert_eq!(stamped(&octets), None);
        octets[..8].copy_from_slice(&nanos.to_ne_bytes());
        assert_eq!(stamped(&octets), None);
        octets[8..].copy_from_slice(&marked.to_ne_bytes());
        assert_eq!(stamped(&octets), Some(1_234_567_890_123));
    }
}
