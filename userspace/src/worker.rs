//! A worker: one thread, its share of every queue, its own pipeline.
//!
//! ```text
//! RX rings --oldest frame first--> Pipeline --> sink
//!     ^                               |
//!     '--- fill ring <----------------'  then tick, and when there was nothing: flush, sleep until a frame or a millisecond has come
//!                                        (50 us, whatever comes, while frames follow one another closely)
//! ```
//!
//! The two directions of a flow may come by different queues or interfaces, and rings say nothing of each other. The XDP program
//! therefore notes when each frame came; the frames of all rings are taken in that order, each when it is so old that none older
//! can still be on its way (the kernel shows a ring's frames at the end of a batch). Without the note, each ring is emptied in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, nanosleep, sched_setaffinity};
use rustix::time::ClockId;

use crate::pipeline::Pipeline;
use crate::sink::TransactionSink;
use crate::source::af_xdp::{KernelStats, Ring, RingStats};
use crate::source::{Frame, InterfaceId, LinkType};
use crate::stats::Stats;

mod clock;
mod published;

pub(crate) use clock::nanos;
use clock::{Clock, Now};
use published::Ended;
pub use published::{Published, Slot};

/// What a worker is made of.
#[derive(Debug)]
pub struct Worker<S> {
    /// Its flows.
    pub pipeline: Pipeline,
    /// Where its records go.
    pub sink: S,
    /// Writes out what `sink` has gathered. Called when there is nothing else to do, but every 5 ms at most, and ten times a second.
    pub flush: fn(&mut S),
    /// Its ring of every queue, with the interface of the queue.
    pub rings: Vec<(InterfaceId, Ring)>,
    /// Whether it runs the drivers itself, and never sleeps.
    pub busy_poll: bool,
    /// The processor to run on.
    pub processor: Option<usize>,
    /// Where it shows what it has counted, while it works: when it has come to the end of what there was, and ten times a second.
    pub published: Arc<Slot>,
    /// Set when no more frames come: the worker ends once its rings are empty.
    pub stop: Arc<AtomicBool>,
}

/// What a worker did.
#[derive(Clone, Debug)]
pub struct WorkerReport<S> {
    /// What became of the frames.
    pub stats: Stats,
    /// By ring: interface, frames received, and what the kernel counted.
    pub rings: Vec<(InterfaceId, RingStats, KernelStats)>,
    /// The sink, flushed.
    pub sink: S,
}

impl<S: TransactionSink> Worker<S> {
    /// Works until it is told to stop, then ends all flows.
    pub fn run(mut self) -> WorkerReport<S> {
        if let Some(processor) = self.processor {
            let mut processors = CpuSet::new();
            processors.set(processor);
            // Where it may not, it runs on any: slower, not wrong.
            let _ = sched_setaffinity(None, &processors);
        }
        let slot = Arc::clone(&self.published);
        let _ended = Ended(&slot);
        let mut clock = Clock::start();
        let mut now = clock.now();
        let (mut flushed_at, mut busy_at) = (now.ts, now.ts);
        let (mut published_at, mut is_news) = (0, true);
        let mut looks = 0;
        loop {
            // Acquire: pairs with Release in Runtime::stop. What was steered before the flag was set is in the rings by now, or will be
            // when the driver has finished the batch that it was at.
            let stopping = self.stop.load(Ordering::Acquire);
            now = clock.now();
            let pass = self.receive(now);
            self.pipeline.tick(now.ts, &mut self.sink);
            match pass {
                Pass::Frames => busy_at = now.ts,
                Pass::Young if self.busy_poll => thread::yield_now(),
                Pass::Young => nap(),
                Pass::Nothing if stopping && looks == LAST_LOOKS => break,
                Pass::Nothing => {}
            }
            let idle = pass == Pass::Nothing;
            looks = if stopping && idle { looks + 1 } else { 0 };
            let gathered_for = now.ts.saturating_since(flushed_at);
            if gathered_for >= if idle { FLUSH_IDLE } else { FLUSH_AFTER } {
                (self.flush)(&mut self.sink);
                flushed_at = now.ts;
            }
            is_news |= !idle;
            let late = now.monotonic - published_at >= PUBLISH_AFTER;
            if let Some(shift) = late.then(|| clock.look()).flatten() {
                self.sink.set_clock_shift(shift);
            }
            if (late || idle && is_news) && self.publish(now.monotonic, late) {
                is_news = false;
                published_at = if late { now.monotonic } else { published_at };
            }
            if idle && self.busy_poll && !stopping {
                thread::yield_now();
            } else if idle && now.ts.saturating_since(busy_at) < MORE_SOON && !stopping {
                nap();
            } else if idle {
                self.wait(stopping || now.ts.saturating_since(busy_at) < BUSY_FOR);
            }
        }
        self.rings.iter_mut().for_each(|(_, ring)| ring.finish());
        let rings = self.rings.iter().map(|(id, ring)| (*id, ring.stats(), ring.kernel_stats().unwrap_or_default()));
        let rings = rings.collect();
        self.pipeline.finish(&mut self.sink);
        slot.write(|published| self.show(now.monotonic, true, published));
        (self.flush)(&mut self.sink);
        WorkerReport { stats: self.pipeline.stats(), rings, sink: self.sink }
    }

    /// Shows what has been counted; with `kernel`, what the kernel has too. False: somebody reads just now.
    fn publish(&self, now: u64, kernel: bool) -> bool {
        self.published.try_write(|published| self.show(now, kernel, published))
    }

    fn show(&self, now: u64, kernel: bool, published: &mut Published) {
        published.at = now;
        if kernel {
            published.cpu = nanos(ClockId::ThreadCPUTime);
        }
        published.stats = self.pipeline.stats();
        published.gauges = self.pipeline.gauges();
        // The first time only.
        published.rings.resize(self.rings.len(), Default::default());
        for (shown, (id, ring)) in published.rings.iter_mut().zip(&self.rings) {
            (shown.0, shown.1) = (*id, ring.stats());
            if let (true, Ok(counted)) = (kernel, ring.kernel_stats()) {
                shown.2 = counted;
            }
        }
    }

    /// Takes some frames, the oldest of all rings first.
    fn receive(&mut self, now: Now) -> Pass {
        let Self { pipeline, sink, rings, busy_poll, .. } = self;
        // With one ring there is nothing to wait for.
        let hold = if rings.len() > 1 { HOLD } else { -AHEAD };
        let mut pass = Pass::Nothing;
        // An empty ring is not looked at again in this pass: what comes to it meanwhile would be too young.
        for (_, ring) in &mut *rings {
            ring.peek();
        }
        for _ in 0..FRAMES_A_PASS {
            let oldest = rings.iter_mut().filter_map(|(id, ring)| Some((ring.head()?, *id, ring)));
            let Some((came, interface, ring)) = oldest.min_by_key(|(came, ..)| *came) else { break };
            // A time that is far ahead is of another clock (a time namespace), and tells nothing.
            let age = now.monotonic as i64 - came as i64;
            if (-AHEAD..hold).contains(&age) {
                if pass == Pass::Nothing {
                    pass = Pass::Young;
                }
                break;
            }
            if let Some(mut lease) = ring.take() {
                pass = Pass::Frames;
                let ts = now.of_frame(came);
                lease.with(|data| {
                    let wire_len = data.len() as u32;
                    pipeline.push(Frame { ts, interface, link: LinkType::ETHERNET, wire_len, data }, sink);
                });
            }
            ring.peek();
        }
        for (_, ring) in rings {
            // Where another worker is at the fill ring, this one does not sleep on frames that the kernel may need.
            if !ring.refill() && pass == Pass::Nothing {
                pass = Pass::Young;
            }
            if *busy_poll && ring.peek().is_none() {
                ring.drive();
            }
        }
        pass
    }

    /// Sleeps until a frame is there, but not for long: keys come without one.
    fn wait(&self, busy: bool) {
        let mut sockets: Vec<PollFd<'_>> =
            self.rings.iter().map(|(_, ring)| PollFd::new(ring, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: if busy { 1_000_000 } else { 10_000_000 } };
        // An interruption is as good as a frame.
        let _ = poll(&mut sockets, Some(&timeout));
    }
}

/// Sleeps for a moment, whatever comes: the driver that brings frames one by one need not wake this thread for each.
fn nap() {
    let _ = nanosleep(&NAP);
}

/// What a look at the rings came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// There is nothing to do.
    Nothing,
    /// There are frames, which may not be taken yet, or be given back.
    Young,
    /// Frames were taken.
    Frames,
}

/// Frames between two looks at the clock and the fill rings.
const FRAMES_A_PASS: usize = 64;
/// How old, in nanoseconds, a frame has to be, so that no older one is still to come on another ring: what a driver takes for a batch
/// of 64, several times over.
const HOLD: i64 = 200_000;
/// How many nanoseconds a frame may be younger than the last look at the clock: more than a pass takes, if the machine is not suspended.
const AHEAD: i64 = 10_000_000_000;
/// How often, a millisecond apart, a worker that is to stop has to find its rings empty: a driver's batch takes some microseconds.
const LAST_LOOKS: u32 = 2;
/// How long a record may wait in the sink of a worker that is never idle.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// The same of one that is idle: lines that come one by one are written some together.
const FLUSH_IDLE: Duration = Duration::from_millis(5);
/// How old, in nanoseconds, what a worker shows may be: a look at the kernel's counters costs a system call a ring.
const PUBLISH_AFTER: u64 = 100_000_000;
/// How long after a frame it is not worth while to wait for the next alone: at 5,000 frames a second and more.
const MORE_SOON: Duration = Duration::from_micros(200);
/// Twice as long, with the timer's slack: at 10 million frames a second half of an RX ring.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000 };
/// How long after a frame the next is expected soon.
const BUSY_FOR: Duration = Duration::from_secs(1);
