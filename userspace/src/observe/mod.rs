//! What a run shows of itself while it goes on, over HTTP.
//!
//! ```text
//! workers' copies, XDP and NIC counters, key store, intake, key files, output
//!                       |
//!                    Sources --read--> Reading --+--> Exporter: /metrics (Prometheus text)
//!                       ^                        +--> Health: when anything was last seen; /healthz, /readyz
//!                       '--- once a second, and when somebody asks: Server, on a thread of its own
//! ```
//!
//! Nothing that it shows is secret: counts, ages, names of interfaces and of key files. It only reads, and a worker never waits for it.

use std::fmt;

use plaintap_keystore::ingest::{Alive, FollowStats, FollowerWatch, IntakeStats, IntakeWatch};
use plaintap_keystore::{Store, StoreStats};
use rustix::param::page_size;
use rustix::time::ClockId;

use crate::runtime::{Snapshot, Watch};
use crate::worker::nanos;

mod health;
mod metrics;
mod server;

pub use health::{Health, ReadyLimits};
pub use metrics::Exporter;
pub use server::{Listener, ObserveError, Server};

/// Where the numbers come from.
pub struct Sources {
    /// Frames to transactions.
    pub watch: Watch,
    /// Keys.
    pub store: Store,
    /// Keys that come over the network, where they do.
    pub intake: Option<IntakeWatch>,
    /// Key logs that are followed.
    pub follower: FollowerWatch,
    /// Lines that go out.
    pub output: Box<dyn Fn() -> OutputStats + Send + Sync>,
    /// Threads that must not end, by name; the workers are known.
    pub threads: Vec<(&'static str, Alive)>,
}

crate::counters! {
    /// What became of the lines of the output. Those that wait to be written are in neither.
    pub struct OutputStats {
        /// Transactions written.
        transactions_written,
        /// Transactions dropped, as the output was too slow or had no room for them.
        transactions_dropped,
        /// Sessions written, be it to nowhere.
        sessions_written,
        /// Sessions dropped, as the output was too slow or had no room for them.
        sessions_dropped,
    }
}

/// All that there is to show, at one time.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// When it was read.
    pub now: Moment,
    /// Frames to transactions.
    pub run: Snapshot,
    /// Keys.
    pub store: StoreStats,
    /// Keys that come over the network, where they do.
    pub intake: Option<IntakeStats>,
    /// Key logs that are followed.
    pub files: Vec<FollowStats>,
    /// Lines that go out.
    pub output: OutputStats,
    /// What it takes.
    pub process: Process,
}

/// What the process has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Nanoseconds of processors, of all threads.
    pub cpu: u64,
    /// Octets of memory that it has now, those shared with the kernel for frames among them; 0 where that is not known.
    pub resident: u64,
}

/// A time by both of the system's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds of `CLOCK_MONOTONIC`: for ages.
    pub monotonic: u64,
    /// Nanoseconds since 1970: for those who look at the numbers elsewhere.
    pub real: u64,
}

impl Sources {
    /// Reads all of it.
    pub fn read(&self) -> Reading {
        Reading {
            output: (self.output)(),
            run: self.watch.snapshot(),
            store: self.store.stats(),
            intake: self.intake.as_ref().map(IntakeWatch::stats),
            files: self.follower.stats(),
            process: Process::now(),
            now: Moment::now(),
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("watch", &self.watch).field("intake", &self.intake).finish_non_exhaustive()
    }
}

impl Process {
    fn now() -> Self {
        // The second number is what is resident, in pages (proc_pid_statm(5)).
        let memory = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = memory.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        Self { cpu: nanos(ClockId::ProcessCPUTime), resident: pages * page_size() as u64 }
    }
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self { monotonic: nanos(ClockId::Monotonic), real: nanos(ClockId::Realtime) }
    }

    /// Seconds from `earlier` to this.
    fn seconds_since(self, earlier: Self) -> f64 {
        // To the millisecond: it is an age, not a measurement.
        (self.monotonic.saturating_sub(earlier.monotonic) / 1_000_000) as f64 / 1e3
    }
}
