//! AF_XDP: frames that the XDP program steers, out of memory that kernel and userspace share.
//!
//! ```text
//!                       one UMEM per (interface, queue)
//!   fill ring <------- refill, by one worker at a time <--.
//!      |                                                  |
//!      v  kernel: copies or DMAs a frame, XDP picks a socket
//!   RX ring of worker 0 ---> FrameLease ---> push --------+
//!   RX ring of worker 1 ---> FrameLease ---> push --------'
//! ```
//!
//! A socket only gets frames of the queue that it is bound to, so each worker has one [`Ring`] on each queue. The sockets of a queue
//! share its UMEM and so its fill ring, which takes one producer at a time: a worker that has frames to give back takes the lock, or
//! comes again later if another has it. So no worker waits, and none depends on another that is slow or has stopped.
//! A frame that is larger than a buffer comes in several, if the interface was opened so, and is copied into one piece.
//! Of the kernel's rings (`Documentation/networking/af_xdp.rst`) the transmit side is never used.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, io, thread};

use plaintap_xdp_common::{STAMP, stamped};
use rustix::net::{RecvFlags, recv};
use serde::{Deserialize, Serialize};
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

use self::chain::{Chain, Step};
pub use self::error::RingError;
pub use self::stats::{KernelStats, RingStats};

mod chain;
mod error;
mod stats;

/// Sizes of the rings of one queue, and how they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingConfig {
    /// Frames of a queue's UMEM, 4 KiB each. Default 8,192, 32 MiB: what 10 Gbit/s of large frames bring in 10 ms. So that slow
    /// workers cannot take it all from the others, there should be `rx` for each of them, and `fill` (see [`shortage`](Self::shortage)).
    pub frames: u32,
    /// Descriptors of the fill ring, a power of two. Default 4,096: half of the frames, so that the other half can be in RX rings.
    pub fill: u32,
    /// Descriptors of each worker's RX ring, a power of two. By default 2,048, or with more than two workers so many fewer that there
    /// are frames for all of their rings: locked memory does not grow with the workers unless somebody asks for it by `frames`.
    pub rx: Option<u32>,
    /// Workers run the driver themselves (`SO_PREFER_BUSY_POLL`, Linux 5.11) instead of waiting for its interrupts. Default no.
    pub busy_poll: bool,
}

/// One worker's socket on one receive queue.
///
/// Invariant: every frame of the UMEM is in exactly one place: in the kernel's hands (fill ring, RX rings, driver), in
/// `batch[next..count]`, in a [`FrameLease`], in `returned`, or in `spare`. A frame in `chain` is a copy: its buffers are in `returned`
/// by then.
pub struct Ring {
    rx: RxQueue,
    /// Never used; its ring lives as long as the socket.
    _tx: TxQueue,
    umem: Umem,
    /// Octets of the UMEM.
    umem_len: usize,
    huge_pages: bool,
    /// `batch[next..count]` have been taken from the RX ring and not been lent or copied yet.
    batch: [FrameDesc; BATCH],
    next: usize,
    count: usize,
    /// The frame that is next, if it has been looked at: `batch[next]`, or that in `chain`.
    head: Option<Head>,
    chain: Chain,
    returned: Vec<FrameDesc>,
    fill: Arc<Mutex<Fill>>,
    /// Whether this ring tells what the kernel counts of the queue as a whole.
    tells_of_queue: bool,
    stats: RingStats,
}

/// A frame that can be taken.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Nanoseconds of `CLOCK_MONOTONIC`, or 0.
    came: u64,
    joined: bool,
}

/// The fill ring of a queue, and frames that did not fit into it yet.
struct Fill {
    queue: FillQueue,
    /// Never used; its ring lives as long as the socket.
    _completion: CompQueue,
    spare: Vec<FrameDesc>,
}

/// A frame that the kernel has handed over. It goes back when this is dropped; it cannot be copied.
#[derive(Debug)]
pub struct FrameLease<'a>(Lent<'a>);

#[derive(Debug)]
enum Lent<'a> {
    /// In the UMEM.
    Buffer { umem: &'a Umem, desc: FrameDesc, returned: &'a mut Vec<FrameDesc> },
    /// A copy of several buffers, which have gone back.
    Joined(&'a mut [u8]),
}

impl Ring {
    /// Opens the sockets of `workers` on one queue, in the order of the workers. With `several_buffers` frames may be larger than
    /// one (Linux 6.6 or later; [`RingError::lacks_buffers`] tells that it is not); the program has to be able to take them, too.
    pub fn open(
        interface: &str,
        queue: u32,
        workers: u32,
        several_buffers: bool,
        config: RingConfig,
    ) -> Result<Vec<Self>, RingError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::try_open(interface, queue, workers, several_buffers, config) {
                // The kernel lets a queue go a moment after its last socket is closed (`xp_put_pool` leaves it to a work queue): who
                // has just been killed is no reason not to start anew.
                Err(error) if error.is_busy() && tries < MAX_TRIES => thread::park_timeout(BETWEEN_TRIES),
                opened => return opened,
            }
        }
    }

    fn try_open(
        interface: &str,
        queue: u32,
        workers: u32,
        several_buffers: bool,
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
        // The kernel rounds huge mappings up and does not unmap them when they are not whole.
        let huge = (octets % HUGE_PAGE == 0).then(|| Umem::new(umem_config, count, true).ok()).flatten();
        let huge_pages = huge.is_some();
        let (umem, frames) = huge
            .map_or_else(|| Umem::new(umem_config, count, false), Ok)
            .map_err(|source| RingError::Memory { octets, source })?;
        let sg = if several_buffers { BindFlags::XDP_USE_SG } else { BindFlags::empty() };
        let socket_config = SocketConfig::builder()
            .rx_queue_size(size(config.rx_for(workers))?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP | sg)
            .build();
        let failed = |source| RingError::Socket { interface: interface.into(), queue, source };
        let name: Interface = std::ffi::CString::new(interface).map(Interface::new).map_err(|_| RingError::Size)?;
        let mut fill = None;
        let mut sockets = Vec::new();
        for _ in 0..workers {
            // SAFETY: several sockets of one UMEM are bound to this queue; as is required then, INHIBIT_PROG_LOAD is set.
            let (tx, rx, queues) = unsafe { Socket::new(socket_config, &umem, &name, queue) }.map_err(failed)?;
            // Only the first brings them.
            fill = fill.or(queues);
            sockets.push((tx, rx));
        }
        let Some((queue_of_all, _completion)) = fill else { return Ok(Vec::new()) };
        let fill = Arc::new(Mutex::new(Fill { queue: queue_of_all, _completion, spare: frames }));
        let ring = |(number, (tx, rx))| Self {
            rx,
            _tx: tx,
            umem: umem.clone(),
            umem_len: octets as usize,
            huge_pages,
            batch: [FrameDesc::default(); BATCH],
            next: 0,
            count: 0,
            head: None,
            chain: Chain::new(if several_buffers { MAX_FRAME } else { 0 }),
            returned: Vec::with_capacity(2 * BATCH),
            fill: Arc::clone(&fill),
            tells_of_queue: number == 0,
            stats: RingStats::default(),
        };
        let mut rings: Vec<Self> = (0..).zip(sockets).map(ring).collect();
        for ring in &mut rings {
            if config.busy_poll {
                (ring.prefer_busy_poll()).map_err(|source| RingError::BusyPoll {
                    interface: interface.into(),
                    queue,
                    source,
                })?;
            }
            // Drivers want it full before the first frame comes.
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
        }
        self.head()
    }

    /// What [`peek`](Self::peek) told of and has not been taken: does not look at the RX ring.
    pub fn head(&self) -> Option<u64> {
        self.head.map(|head| head.came)
    }

    /// Lends the frame that [`peek`](Self::peek) told of.
    pub fn take(&mut self) -> Option<FrameLease<'_>> {
        let head = self.head.take()?;
        self.stats.frames += 1;
        if head.joined {
            let octets = self.chain.octets();
            self.stats.frames_joined += 1;
            self.stats.octets += octets.len() as u64;
            return Some(FrameLease(Lent::Joined(octets)));
        }
        let desc = self.batch[self.next];
        self.next += 1;
        self.stats.octets += desc.lengths().data() as u64;
        Some(FrameLease(Lent::Buffer { umem: &self.umem, desc, returned: &mut self.returned }))
    }

    /// Takes the next batch from the RX ring. False if that is empty.
    fn consume(&mut self) -> bool {
        // SAFETY: the socket was created from `umem`, which is the only one whose frames `batch` ever describes.
        self.count = unsafe { self.rx.consume(&mut self.batch) };
        self.next = 0;
        self.count > 0
    }

    /// What `desc`, which is `batch[next]`, comes to: a frame that is next, or nothing yet. A lone buffer stays there until it is taken.
    fn look_at(&mut self, desc: FrameDesc) -> Option<Head> {
        let (start, len, more) = (desc.addr(), desc.lengths().data(), desc.has_more_frames());
        // The kernel is trusted with memory, not with arithmetic.
        if start >= self.umem_len || len > FRAME as usize - start % FRAME as usize {
            self.next += 1;
            self.stats.descriptors_refused += u64::from(self.chain.pass_over(more));
            if start < self.umem_len {
                self.returned.push(desc);
            }
            return None;
        }
        let stamp = self.stamp_before(desc);
        if self.chain.is_torn_by(stamp) {
            self.stats.frames_torn += u64::from(self.chain.give_up());
        }
        if self.chain.is_between() && !more {
            return Some(Head { came: stamp.unwrap_or(0), joined: false });
        }
        self.next += 1;
        // SAFETY: the buffer lies within one frame of this UMEM, as was checked; by the invariant nobody else has that until it is
        // pushed to `returned`, below, when this borrow has ended.
        let step = self.chain.add(unsafe { self.umem.data(&desc) }.contents(), more, stamp);
        self.returned.push(desc);
        match step {
            Step::Whole => Some(Head { came: self.chain.came(), joined: true }),
            Step::More => None,
            Step::TooLong => {
                self.stats.frames_too_long += 1;
                None
            }
        }
    }

    /// The time that stands before a buffer, if one does. The buffer has been checked to lie within the UMEM.
    fn stamp_before(&self, mut desc: FrameDesc) -> Option<u64> {
        if desc.addr() % (FRAME as usize) < STAMP {
            return None;
        }
        // SAFETY: the buffer lies within one frame of this UMEM, as the caller has checked, and is not lent yet: nobody else has it. So do
        // the octets before it, which reach no farther than the frame's first; they are plain octets of a mapping (whose pointer came
        // from a foreign function, its provenance thereby exposed) that lives as long as `umem`.
        let octets = unsafe {
            let data = self.umem.data_mut(&mut desc).contents_mut().as_ptr().expose_provenance();
            std::ptr::with_exposed_provenance::<[u8; STAMP]>(data - STAMP).read()
        };
        stamped(&octets)
    }

    /// Gives what has come back to the fill ring, and wakes the driver if that sleeps. False if another worker is at it: to be tried
    /// again soon.
    pub fn refill(&mut self) -> bool {
        let Ok(mut fill) = self.fill.try_lock() else { return false };
        let Fill { queue, spare, .. } = &mut *fill;
        spare.append(&mut self.returned);
        let count = spare.len().min(queue.nb_free(spare.len() as u32) as usize);
        let rest = spare.len() - count;
        // SAFETY: the frames are of this ring's UMEM, and by the invariant in nobody else's hands: they were never lent, or their
        // leases have ended.
        let produced = unsafe { queue.produce(&spare[rest..]) };
        spare.truncate(spare.len() - produced);
        // Asked each time: a driver may have gone to sleep after the last look. Sleeping in poll(2) wakes it, too.
        if queue.needs_wakeup() {
            // A poll that does not wait: the system call is what wakes the driver. It cannot fail in a way that matters here.
            let _ = queue.wakeup(self.rx.fd_mut(), 0);
        }
        true
    }

    /// Runs the driver, where busy polling is on: what has come is in the RX ring afterwards.
    pub fn drive(&self) {
        // It never has data for a system call. What fails, an interface that is down, fails elsewhere too.
        let _ = recv(self, &mut [0_u8; 0][..], RecvFlags::DONTWAIT);
    }

    /// No more frames come: one that is not whole is given up.
    pub fn finish(&mut self) {
        self.stats.frames_torn += u64::from(self.chain.give_up());
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
            rx_fill_ring_empty_descs: if self.tells_of_queue { stats.rx_fill_ring_empty_descs() } else { 0 },
        })
    }

    /// Whether the UMEM lies in huge pages.
    pub fn huge_pages(&self) -> bool {
        self.huge_pages
    }

    /// Lets the driver run in this socket's system calls rather than by interrupts (`Documentation/networking/napi.rst`).
    fn prefer_busy_poll(&self) -> io::Result<()> {
        for (option, value) in [
            (libc::SO_PREFER_BUSY_POLL, 1),
            (libc::SO_BUSY_POLL, BUSY_POLL_MICROS),
            (libc::SO_BUSY_POLL_BUDGET, BUSY_POLL_FRAMES),
        ] {
            let value: libc::c_int = value;
            // SAFETY: all three options take one `int`; `value` is one, and its size is told.
            let failed = unsafe {
                let len = size_of::<libc::c_int>() as libc::socklen_t;
                libc::setsockopt(self.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), len)
            };
            if failed != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
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
        match &mut self.0 {
            Lent::Buffer { umem, desc, .. } => {
                // SAFETY: `look_at` has checked that the frame lies within one frame of this UMEM. By the invariant of `Ring` nobody else
                // has it until it is given back, which happens when this lease, borrowed here, is dropped.
                let mut data = unsafe { umem.data_mut(desc) };
                look(data.contents_mut())
            }
            Lent::Joined(octets) => look(octets),
        }
    }
}

impl Drop for FrameLease<'_> {
    fn drop(&mut self) {
        if let Lent::Buffer { desc, returned, .. } = &mut self.0 {
            returned.push(*desc);
        }
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
        f.debug_struct("Ring").field("fd", &self.rx.fd()).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl RingConfig {
    /// Descriptors of the RX ring of each of so many workers.
    pub fn rx_for(&self, workers: u32) -> u32 {
        let share = self.frames.saturating_sub(self.fill) / workers.max(1);
        self.rx.unwrap_or_else(|| 1 << share.clamp(MIN_RX, MAX_RX).ilog2())
    }

    /// The frames that there should be, if there are fewer: as it is, workers that are slow may hold all, and the others get none.
    pub fn shortage(&self, workers: u32) -> Option<u64> {
        let wanted = u64::from(self.fill) + u64::from(workers) * u64::from(self.rx_for(workers));
        (workers > 1 && wanted > u64::from(self.frames)).then_some(wanted)
    }
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { frames: 8_192, fill: 4_096, rx: None, busy_poll: false }
    }
}

/// The largest frame that fits into one of the UMEM (XDP wants 256 octets before it and 320 behind it), less the Ethernet header and
/// two VLAN tags: the largest MTU.
pub const MAX_MTU: u32 = FRAME - 256 - 320 - 14 - 8;

/// Size of a UMEM's frames: a page, the most that XDP without multiple buffers takes.
const FRAME: u32 = 4_096;

/// Bounds of an RX ring that nobody has set the size of: half of what the default memory leaves over, for two workers; and what it
/// leaves for each of 256, as many as there may be.
const MAX_RX: u32 = 2_048;
const MIN_RX: u32 = 16;

/// Frames taken from a ring at a time: few enough to stay in the cache.
const BATCH: usize = 64;

/// The largest frame that is joined: the largest IP packet in an Ethernet header and two VLAN tags. A ring keeps so much memory.
const MAX_FRAME: usize = 65_535 + 14 + 8;

/// How often it is tried to bind to a queue that somebody has, five seconds in all: the work queue waits for a lock that namespaces
/// which are being removed hold for long.
const MAX_TRIES: u32 = 500;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// Huge pages are of this size, or of a multiple that divides the larger UMEMs.
const HUGE_PAGE: u64 = 2 << 20;

/// How long the kernel may spin for a frame in a system call that waits. None here does; it has to be other than 0.
const BUSY_POLL_MICROS: libc::c_int = 20;

/// Frames that the driver may bring in one system call: as many as in one interrupt.
const BUSY_POLL_FRAMES: libc::c_int = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_rings_leave_frames_for_the_others_with_any_number_of_workers() {
        let config = RingConfig::default();
        for workers in 1..=256 {
            let rx = config.rx_for(workers);
            assert!(rx.is_power_of_two() && rx * workers + config.fill <= config.frames, "{workers} workers, {rx}");
            // The next larger would be too large, or is never asked for.
            assert!(rx == 2_048 || 2 * rx * workers + config.fill > config.frames, "{workers} workers, {rx}");
            assert_eq!(config.shortage(workers), None);
        }
        assert_eq!([1, 2, 3, 8].map(|workers| config.rx_for(workers)), [2_048, 2_048, 1_024, 512]);
    }

    #[test]
    fn what_is_set_stays_and_is_told_where_it_is_too_much() {
        let set = RingConfig { rx: Some(2_048), ..RingConfig::default() };
        assert_eq!([2, 8].map(|workers| set.rx_for(workers)), [2_048; 2]);
        assert_eq!([2, 3, 8].map(|workers| set.shortage(workers)), [None, Some(10_240), Some(20_480)]);
        assert_eq!(RingConfig { frames: 4_096, ..set }.shortage(1), None, "there are no others");
        // No room but in the fill ring.
        let small = RingConfig { frames: 64, fill: 64, ..RingConfig::default() };
        assert_eq!((small.rx_for(2), small.shortage(2)), (16, Some(96)));
        assert_eq!(RingConfig { frames: 20_480, ..RingConfig::default() }.rx_for(8), 2_048);
    }
}
