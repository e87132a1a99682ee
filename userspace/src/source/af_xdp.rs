//! AF_XDP: frames that the XDP program steers, out of memory that kernel and userspace share.
//!
//! ```text
//!                       one UMEM per (interface, queue)
//!   fill ring <--- owner worker <--- returns (lock-free) <---.
//!      |                                                     |
//!      v  kernel: copies or DMAs a frame, XDP picks a socket |
//!   RX ring of worker 0 ---> FrameLease ---> push -----------+
//!   RX ring of worker 1 ---> FrameLease ---> push -----------'
//! ```
//!
//! A socket only gets frames of the queue that it is bound to, so each worker has one [`Ring`] on each queue. The sockets of a queue
//! share its UMEM and so its fill ring, which has one producer: the ring that owns it; the others give their frames back over a queue.
//! Of the kernel's rings (`Documentation/networking/af_xdp.rst`) the transmit side is never used.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::{fmt, io};

use crossbeam_queue::ArrayQueue;
use plaintap_xdp_common::{STAMP, stamped};
use serde::{Deserialize, Serialize};
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

/// Sizes of the rings of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingConfig {
    /// Frames of a queue's UMEM, 4 KiB each. Default 8,192, 32 MiB: what 10 Gbit/s of large frames bring in 10 ms.
    pub frames: u32,
    /// Descriptors of the fill ring, a power of two. Default 4,096: half of the frames, so that the other half can be in RX rings.
    pub fill: u32,
    /// Descriptors of each worker's RX ring, a power of two. Default 2,048.
    pub rx: u32,
}

/// One worker's socket on one receive queue.
///
/// Invariant: every frame of the UMEM is in exactly one place: in the kernel's hands (fill ring, RX rings, driver), in
/// `batch`, in a [`FrameLease`], in `returned`, in the queue of returns, or in `spare`.
pub struct Ring {
    rx: RxQueue,
    /// Never used; its ring lives as long as the socket.
    _tx: TxQueue,
    umem: Umem,
    /// Octets of the UMEM.
    umem_len: usize,
    /// `batch[next..count]` have been taken from the RX ring and not been lent yet.
    batch: [FrameDesc; BATCH],
    next: usize,
    count: usize,
    /// When `batch[next]` came.
    head: Option<u64>,
    returned: Vec<FrameDesc>,
    returns: Arc<ArrayQueue<FrameDesc>>,
    owner: Option<Owner>,
    stats: RingStats,
}

/// The fill ring of a queue, and frames that did not fit into it yet.
struct Owner {
    fill: FillQueue,
    /// Never used; its ring lives as long as the socket.
    _completion: CompQueue,
    spare: Vec<FrameDesc>,
}

crate::counters! {
    /// What a [`Ring`] received.
    pub struct RingStats {
        /// Frames lent out.
        frames,
        /// Their octets.
        octets,
        /// Descriptors that tell of no whole frame within the UMEM: not looked at. None, unless the kernel has a bug.
        descriptors_refused,
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
        /// Times that the fill ring was empty. Of the queue, not of the socket: the ring that owns the fill ring tells it.
        rx_fill_ring_empty_descs,
    }
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The sizes are not possible.
    #[error("ring sizes must be powers of two, and the fill ring not larger than the frames")]
    Size,
    /// The memory could not be had.
    #[error("cannot share {octets} octets with the kernel (ulimit -l, or fewer frames)")]
    Memory {
        /// Octets of the UMEM.
        octets: u64,
        /// What the kernel said.
        #[source]
        source: xsk_rs::umem::UmemCreateError,
    },
    /// The socket could not be bound.
    #[error("cannot bind an AF_XDP socket to queue {queue} of '{interface}' (another program has it, or no root)")]
    Socket {
        /// The interface.
        interface: Box<str>,
        /// Its receive queue.
        queue: u32,
        /// What the kernel said.
        #[source]
        source: xsk_rs::socket::SocketCreateError,
    },
}

/// A frame that the kernel has handed over. It goes back when this is dropped; it cannot be copied.
#[derive(Debug)]
pub struct FrameLease<'a> {
    umem: &'a Umem,
    desc: FrameDesc,
    returned: &'a mut Vec<FrameDesc>,
}

impl Ring {
    /// Opens the sockets of `workers` on one queue, in the order of the workers. That of `owner` feeds the fill ring.
    pub fn open(
        interface: &str,
        queue: u32,
        workers: u32,
        owner: u32,
        config: RingConfig,
    ) -> Result<Vec<Self>, RingError> {
        let size = |size| QueueSize::new(size).map_err(|_| RingError::Size);
        let frame_size = FrameSize::new(FRAME).map_err(|_| RingError::Size)?;
        let count = std::num::NonZeroU32::new(config.frames).ok_or(RingError::Size)?;
        if config.fill > config.frames {
            return Err(RingError::Size);
        }
        let umem_config = (UmemConfig::builder().frame_size(frame_size).fill_queue_size(size(config.fill)?).build())
            .map_err(|_| RingError::Size)?;
        let octets = u64::from(config.frames) * u64::from(FRAME);
        let (umem, frames) = Umem::new(umem_config, count, true)
            .or_else(|_| Umem::new(umem_config, count, false))
            .map_err(|source| RingError::Memory { octets, source })?;
        let socket_config = SocketConfig::builder()
            .rx_queue_size(size(config.rx)?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let failed = |source| RingError::Socket { interface: interface.into(), queue, source };
        let name: Interface = std::ffi::CString::new(interface).map(Interface::new).map_err(|_| RingError::Size)?;
        let returns = Arc::new(ArrayQueue::new(frames.len()));
        let mut rings = Vec::new();
        let mut shared = None;
        for _ in 0..workers {
            // SAFETY: several sockets of one UMEM are bound to this queue; as is required then, INHIBIT_PROG_LOAD is set.
            let (tx, rx, queues) = unsafe { Socket::new(socket_config, &umem, &name, queue) }.map_err(failed)?;
            shared = queues.or(shared);
            rings.push(Self {
                rx,
                _tx: tx,
                umem: umem.clone(),
                umem_len: octets as usize,
                batch: [FrameDesc::default(); BATCH],
                next: 0,
                count: 0,
                head: None,
                returned: Vec::with_capacity(BATCH),
                returns: Arc::clone(&returns),
                owner: None,
                stats: RingStats::default(),
            });
        }
        if let (Some(ring), Some((fill, _completion))) = (rings.get_mut(owner as usize), shared) {
            ring.owner = Some(Owner { fill, _completion, spare: frames });
            ring.refill();
        }
        Ok(rings)
    }

    /// When the next frame came, in nanoseconds of `CLOCK_MONOTONIC`; 0 where the driver leaves no room to note it. `None`: there is
    /// no frame.
    pub fn peek(&mut self) -> Option<u64> {
        while self.head.is_none() {
            if self.next == self.count && !self.consume() {
                return None;
            }
            self.head = self.look_at(self.batch[self.next]);
            if self.head.is_none() {
                self.next += 1;
            }
        }
        self.head
    }

    /// Lends the frame that [`peek`](Self::peek) told of.
    pub fn take(&mut self) -> Option<FrameLease<'_>> {
        self.head.take()?;
        let desc = self.batch[self.next];
        self.next += 1;
        self.stats.frames += 1;
        self.stats.octets += desc.lengths().data() as u64;
        Some(FrameLease { umem: &self.umem, desc, returned: &mut self.returned })
    }

    /// Gives back the frames of the last batch and takes the next from the RX ring. False if that is empty.
    fn consume(&mut self) -> bool {
        if self.owner.is_none() {
            for desc in self.returned.drain(..) {
                // There is room for all frames that there are.
                let _ = self.returns.push(desc);
            }
        }
        // SAFETY: the socket was created from `umem`, which is the only one whose frames `batch` ever describes.
        self.count = unsafe { self.rx.consume(&mut self.batch) };
        self.next = 0;
        self.count > 0
    }

    /// When the frame came; `None` if it is none.
    fn look_at(&mut self, desc: FrameDesc) -> Option<u64> {
        let (start, len) = (desc.addr(), desc.lengths().data());
        let place = start % FRAME as usize;
        // The kernel is trusted with memory, not with arithmetic.
        if start >= self.umem_len || len > FRAME as usize - place || desc.has_more_frames() {
            self.stats.descriptors_refused += 1;
            if start < self.umem_len {
                self.returned.push(desc);
            }
            return None;
        }
        if place < STAMP {
            return Some(0);
        }
        let mut of_frame = desc;
        // SAFETY: the frame lies within one frame of this UMEM, as was checked, and is not lent yet: nobody else has it. So do the
        // octets before it, which reach no farther than the frame's first; they are plain octets of a mapping (whose pointer came from
        // a foreign function, its provenance thereby exposed) that lives as long as `umem`.
        let octets = unsafe {
            let data = self.umem.data_mut(&mut of_frame).contents_mut().as_ptr().expose_provenance();
            std::ptr::with_exposed_provenance::<[u8; STAMP]>(data - STAMP).read()
        };
        Some(stamped(&octets).unwrap_or(0))
    }

    /// Feeds the fill ring with what has come back, if this ring owns it, and wakes the driver if that sleeps. True if there was
    /// anything.
    pub fn refill(&mut self) -> bool {
        let Some(Owner { fill, spare, .. }) = &mut self.owner else { return false };
        spare.append(&mut self.returned);
        while let Some(desc) = self.returns.pop() {
            spare.push(desc);
        }
        let count = spare.len().min(fill.nb_free(spare.len() as u32) as usize);
        let rest = spare.len() - count;
        // SAFETY: the frames are of this ring's UMEM, and by the invariant in nobody else's hands: they were never lent, or their
        // leases have ended.
        let produced = unsafe { fill.produce(&spare[rest..]) };
        spare.truncate(spare.len() - produced);
        if fill.needs_wakeup() {
            // A poll that does not wait: the system call is what wakes the driver. It cannot fail in a way that matters here.
            let _ = fill.wakeup(self.rx.fd_mut(), 0);
        }
        produced > 0
    }

    /// What was received so far.
    pub fn stats(&self) -> RingStats {
        self.stats
    }

    /// What the kernel counted.
    pub fn kernel_stats(&self) -> io::Result<KernelStats> {
        let stats = self.rx.fd().xdp_statistics()?;
        Ok(KernelStats {
            rx_dropped: stats.rx_dropped(),
            rx_invalid_descs: stats.rx_invalid_descs(),
            rx_ring_full: stats.rx_ring_full(),
            rx_fill_ring_empty_descs: if self.owner.is_some() { stats.rx_fill_ring_empty_descs() } else { 0 },
        })
    }

    /// Whether frames are written by the NIC itself (zero copy), not copied by the kernel.
    pub fn zero_copy(&self) -> io::Result<bool> {
        let (mut options, mut len) = (0_u32, size_of::<u32>() as libc::socklen_t);
        // SAFETY: `struct xdp_options` is one `u32` of flags; `options` is one, writable, and `len` its size.
        let failed = unsafe {
            let value = (&raw mut options).cast();
            libc::getsockopt(self.as_raw_fd(), libc::SOL_XDP, libc::XDP_OPTIONS, value, &raw mut len)
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(options & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }
}

impl FrameLease<'_> {
    /// The octets of the frame.
    pub fn with<R>(&mut self, look: impl FnOnce(&mut [u8]) -> R) -> R {
        // SAFETY: `look_at` has checked that the frame lies within one frame of this UMEM. By the invariant of `Ring` nobody else has it
        // until it is given back, which happens when this lease, borrowed here, is dropped.
        let mut data = unsafe { self.umem.data_mut(&mut self.desc) };
        look(data.contents_mut())
    }
}

impl Drop for FrameLease<'_> {
    fn drop(&mut self) {
        self.returned.push(self.desc);
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as `rx`, and so at least as long as this borrow of it.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("fd", &self.rx.fd()).field("owner", &self.owner.is_some()).finish_non_exhaustive()
    }
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { frames: 8_192, fill: 4_096, rx: 2_048 }
    }
}

/// The largest frame that fits into one of the UMEM (XDP wants 256 octets before it and 320 behind it), less the Ethernet header and
/// two VLAN tags: the largest MTU.
pub const MAX_MTU: u32 = FRAME - 256 - 320 - 14 - 8;

/// Size of a UMEM's frames: a page, the most that XDP without multiple buffers takes.
const FRAME: u32 = 4_096;

/// Frames taken from a ring at a time: few enough to stay in the cache.
const BATCH: usize = 64;
