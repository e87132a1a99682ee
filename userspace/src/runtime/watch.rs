//! What a run has counted so far, from the NIC to the transactions, for whoever asks while it goes on.
//!
//! ```text
//! NIC (sysfs)  >=  XDP verdicts (BPF map)  >=  rings (sockets)  >=  workers' copies
//!   read last                                                        read first
//! ```
//!
//! The parts are not of one moment. What comes later on a frame's way is read before, so that the sum of what became of frames is
//! never more than there were.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::time::ClockId;

use super::device::{Device, Trouble};
use super::interface::Interface;
use super::nic::{Nic, NicStats};
use crate::source::InterfaceId;
use crate::source::af_xdp::{KernelStats, RingStats};
use crate::source::steer::{Counts, Mode, Verdict, VerdictCounters};
use crate::stats::{Gauges, Stats};
use crate::worker::{Published, Slot, nanos};

/// A look at a run from any thread, for as long as it is held.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    interfaces: Vec<Watched>,
    workers: Vec<Arc<Slot>>,
    /// When the workers were started, in nanoseconds of `CLOCK_MONOTONIC`.
    started: u64,
    steering: AtomicBool,
}

#[derive(Debug)]
struct Watched {
    name: String,
    queues: u32,
    mode: Mode,
    zero_copy: bool,
    verdicts: VerdictCounters,
    nic: Nic,
    device: Device,
}

/// What a run had counted, from the NIC to the transactions.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was taken, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// When the workers were started, by the same clock.
    pub started: u64,
    /// Whether the programs steer frames to the workers: from when the run has started to when it stops.
    pub steering: bool,
    /// The interfaces, in the order of their [`InterfaceId`]s.
    pub interfaces: Vec<InterfaceSnapshot>,
    /// The workers.
    pub workers: Vec<WorkerSnapshot>,
}

/// One interface.
#[derive(Clone, Debug)]
pub struct InterfaceSnapshot {
    /// Its name.
    pub name: String,
    /// Receive queues.
    pub queues: u32,
    /// How it runs the program.
    pub mode: Mode,
    /// Whether all of its queues are read without a copy.
    pub zero_copy: bool,
    /// Frames by what XDP did with them and why; empty where the kernel did not tell.
    pub verdicts: Counts,
    /// What the NIC counted since the run began.
    pub nic: NicStats,
    /// Why frames do not come, or not all.
    pub troubles: Vec<Trouble>,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// What it has published last.
    pub published: Published,
    /// Whether its thread has ended.
    pub ended: bool,
}

impl Watch {
    pub(crate) fn new(interfaces: &[Interface], workers: Vec<Arc<Slot>>) -> Self {
        let interfaces = interfaces.iter().map(|interface| Watched {
            name: interface.name.clone(),
            queues: interface.queues,
            mode: interface.mode,
            zero_copy: interface.zero_copy,
            verdicts: interface.verdict_counters(),
            nic: interface.nic.clone(),
            device: interface.device.clone(),
        });
        let (interfaces, started) = (interfaces.collect(), nanos(ClockId::Monotonic));
        Self(Arc::new(Shared { interfaces, workers, started, steering: AtomicBool::new(false) }))
    }

    pub(crate) fn set_steering(&self, steering: bool) {
        self.0.steering.store(steering, Ordering::Relaxed);
    }

    /// What has been counted so far.
    pub fn snapshot(&self) -> Snapshot {
        let Shared { interfaces, workers, started, steering } = &*self.0;
        let workers = workers.iter().map(|slot| {
            // In this order: whoever has ended has published for the last time.
            let ended = slot.has_ended();
            WorkerSnapshot { published: slot.read(), ended }
        });
        let workers = workers.collect();
        let interfaces = interfaces.iter().map(|interface| InterfaceSnapshot {
            name: interface.name.clone(),
            queues: interface.queues,
            mode: interface.mode,
            zero_copy: interface.zero_copy,
            verdicts: interface.verdicts.read().unwrap_or_default(),
            nic: interface.nic.stats(),
            troubles: interface.device.troubles(),
        });
        let interfaces = interfaces.collect();
        Snapshot {
            at: nanos(ClockId::Monotonic),
            started: *started,
            steering: steering.load(Ordering::Relaxed),
            interfaces,
            workers,
        }
    }
}

impl Snapshot {
    /// What became of the frames, of all workers.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.workers.iter().for_each(|worker| sum.add(&worker.published.stats));
        sum
    }

    /// What has not become anything yet, of all workers.
    pub fn gauges(&self) -> Gauges {
        let mut sum = Gauges::default();
        self.workers.iter().for_each(|worker| sum.add(&worker.published.gauges));
        sum
    }

    /// What came by `interface` at each worker.
    pub fn rings(&self, interface: InterfaceId) -> impl Iterator<Item = (RingStats, KernelStats)> {
        self.workers.iter().map(move |worker| {
            let (mut rings, mut kernel) = (RingStats::default(), KernelStats::default());
            for (_, ring, counted) in worker.published.rings.iter().filter(|(id, ..)| *id == interface) {
                rings.add(ring);
                kernel.add(counted);
            }
            (rings, kernel)
        })
    }

    /// The sums that do not come out, in words: none, ever, unless there is a bug.
    pub fn imbalances(&self) -> Vec<String> {
        let mut broken = self.stats().imbalances_while(&self.gauges());
        let frames: u64 =
            self.workers.iter().flat_map(|worker| &worker.published.rings).map(|ring| ring.1.frames).sum();
        let decoded = self.stats().wire.frames_in;
        if decoded != frames {
            broken.push(format!("wire.frames_in is {decoded}, the rings gave {frames}"));
        }
        for (id, interface) in (0..).map(InterfaceId).zip(&self.interfaces) {
            let (steered, ends) = (interface.frames(Verdict::Steer), self.ring_ends(id));
            // The others are in the rings still.
            if ends > steered && !interface.verdicts.is_empty() {
                broken.push(format!("{}: {ends} frames came out of the rings, steered were {steered}", interface.name));
            }
        }
        broken
    }

    /// Frames that came by `interface` and were received or lost at a ring.
    pub fn ring_ends(&self, interface: InterfaceId) -> u64 {
        self.rings(interface).map(|(ring, kernel)| ring.ends(&kernel)).sum()
    }
}

impl InterfaceSnapshot {
    /// Frames with this verdict.
    pub fn frames(&self, verdict: Verdict) -> u64 {
        self.verdicts.iter().filter(|count| count.0 == verdict).map(|count| count.2).sum()
    }
}
