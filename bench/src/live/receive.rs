//! What receives: the three that are compared.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use plaintap::http::Transaction;
use plaintap::runtime::{Filters, Runtime, RuntimeConfig, Setup};
use plaintap::sink::{JsonLines, TransactionSink};
use plaintap::source::af_xdp::{KernelStats, Ring, RingConfig, RingStats};
use plaintap::source::steer::{Config, Counts, Program};
use plaintap::tls::Session;
use plaintap_keystore::keylog::load_keylog;
use plaintap_keystore::{KeySource, Store, StoreConfig};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::replay::Replay;
use super::{RECEIVES, Trial};
use crate::engine::Totals;

/// Receives what is sent between `start` and `stop`.
pub(super) trait Receiver {
    fn start(&mut self) -> anyhow::Result<()>;

    /// What came of `passes` of the traffic; the sender's part is left out.
    fn stop(&mut self, passes: u64) -> anyhow::Result<Trial>;
}

/// Takes frames out of one ring and gives them back: the least that can be done with AF_XDP.
pub(super) struct Bare(Option<(Program, Arc<AtomicBool>, JoinHandle<Ring>)>);

impl Bare {
    pub(super) fn new() -> Self {
        Self(None)
    }
}

impl Receiver for Bare {
    fn start(&mut self) -> anyhow::Result<()> {
        let mut program = Program::load(1, 1, false)?;
        program.configure(Config { flags: 0, workers: 1, hash_key: [1, 2] })?;
        let rings = patiently(|| Ok(Ring::open(RECEIVES, 0, 1, false, RingConfig::default())?))?;
        let ring = rings.into_iter().next().context("no ring")?;
        program.set_socket(0, 0, &ring)?;
        program.attach(RECEIVES, false)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new().name("bare".into()).spawn(move || take_all(ring, &told))?;
        self.0 = Some((program, stop, thread));
        Ok(())
    }

    fn stop(&mut self, _: u64) -> anyhow::Result<Trial> {
        let (mut program, stop, thread) = self.0.take().context("not started")?;
        program.detach();
        // Release: pairs with Acquire in take_all.
        stop.store(true, Ordering::Release);
        let ring = thread.join().map_err(|_| anyhow!("the receive loop has panicked"))?;
        Ok(trial(&program.counters().read()?, ring.stats(), ring.kernel_stats()?))
    }
}

fn take_all(mut ring: Ring, stop: &AtomicBool) -> Ring {
    stay_on(0);
    loop {
        // Acquire: pairs with Release in Bare::stop.
        let stopping = stop.load(Ordering::Acquire);
        let mut any = false;
        for _ in 0..64 {
            if ring.peek().is_none() {
                break;
            }
            if let Some(mut lease) = ring.take() {
                lease.with(|data| black_box(data.first().copied()));
                any = true;
            }
        }
        ring.refill();
        if !any && stopping {
            return ring;
        }
    }
}

/// `plaintap run` but for its arguments: a worker with its pipeline, and JSON that goes nowhere.
pub(super) struct Whole {
    store: Store,
    transactions: u64,
    runtime: Option<Runtime<Sink>>,
}

impl Whole {
    pub(super) fn new(replay: &Replay) -> Self {
        let store = Store::new(StoreConfig::default());
        load_keylog(&store, replay.keylog.as_bytes(), KeySource::File, Duration::ZERO);
        Self { store, transactions: replay.transactions, runtime: None }
    }
}

impl Receiver for Whole {
    fn start(&mut self) -> anyhow::Result<()> {
        let mut pipeline = plaintap::config::Config::default();
        pipeline.tls.wait_after_close = true;
        let interfaces = vec![RECEIVES.into()];
        let config = RuntimeConfig { interfaces, workers: 1, pipeline, ..RuntimeConfig::default() };
        let sink = || Sink { totals: Totals::default(), lines: JsonLines::new(std::io::sink()) };
        let flush = |sink: &mut Sink| drop(sink.lines.flush());
        self.runtime = Some(patiently(|| Ok(Setup::open(config.clone())?))?.start(&self.store, sink, flush)?);
        Ok(())
    }

    fn stop(&mut self, passes: u64) -> anyhow::Result<Trial> {
        let report = self.runtime.take().context("not started")?.stop();
        let worker = report.workers.first().context("the worker has panicked")?;
        let (_, ring, kernel) = worker.rings.first().context("no ring")?;
        let mut trial = trial(&report.verdicts.first().context("no interface")?.1, *ring, *kernel);
        trial.transactions = Some((passes * self.transactions, worker.sink.totals.whole));
        Ok(trial)
    }
}

/// Counts, and writes JSON.
#[derive(Debug)]
struct Sink {
    totals: Totals,
    lines: JsonLines<std::io::Sink>,
}

impl TransactionSink for Sink {
    fn transaction(&mut self, transaction: &Transaction<'_>) {
        self.totals.transaction(transaction);
        self.lines.transaction(transaction);
    }

    fn session(&mut self, session: &Session<'_>) {
        self.lines.session(session);
    }
}

/// The XDP program, told to steer a port that nobody uses and to drop all else.
pub(super) struct Drops(Option<Runtime<Totals>>);

impl Drops {
    pub(super) fn new() -> Self {
        Self(None)
    }
}

impl Receiver for Drops {
    fn start(&mut self) -> anyhow::Result<()> {
        let filters = Filters { ports: vec![1], drop_others: true, ..Filters::default() };
        let config = RuntimeConfig { interfaces: vec![RECEIVES.into()], filters, ..RuntimeConfig::default() };
        self.0 =
            Some(patiently(|| Ok(Setup::open(config.clone())?))?.start(&Store::default(), Totals::default, |_| ())?);
        Ok(())
    }

    fn stop(&mut self, _: u64) -> anyhow::Result<Trial> {
        let report = self.0.take().context("not started")?.stop();
        let judged = report.verdicts.iter().flat_map(|(_, counts)| counts).map(|count| count.2).sum();
        Ok(Trial { judged, received: judged, ..Trial::default() })
    }
}

fn trial(verdicts: &Counts, ring: RingStats, kernel: KernelStats) -> Trial {
    let KernelStats { rx_dropped, rx_ring_full, .. } = kernel;
    Trial {
        judged: verdicts.iter().map(|count| count.2).sum(),
        received: ring.frames,
        lost: vec![
            ("rx_dropped (no frame in the fill ring)", rx_dropped),
            ("rx_ring_full", rx_ring_full),
            ("descriptors_refused", ring.descriptors_refused),
        ],
        ..Trial::default()
    }
}

/// Tries for some seconds: the kernel takes its time to let go of the sockets of the trial before.
fn patiently<T>(mut open: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    for _ in 0..250 {
        if let Ok(opened) = open() {
            return Ok(opened);
        }
        thread::park_timeout(QUIET);
    }
    open()
}

/// Processor time that the worker has used; none, where there is no such thread.
pub(super) fn worker_time() -> Duration {
    let of = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        // Nanoseconds on a processor, nanoseconds of waiting for one, time slices (proc_pid_schedstat(5)).
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        (name.trim() == "worker-0").then(|| stat.split(' ').next()?.parse::<u64>().ok()).flatten()
    };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    Duration::from_nanos(tasks.filter_map(of).sum())
}

/// Waits until no more frames come in.
pub(super) fn settle() -> anyhow::Result<()> {
    let had = || -> anyhow::Result<u64> {
        Ok(std::fs::read_to_string(format!("/sys/class/net/{RECEIVES}/statistics/rx_packets"))?.trim().parse()?)
    };
    let mut last = had()?;
    loop {
        thread::park_timeout(QUIET);
        let now = had()?;
        if now == last {
            return Ok(());
        }
        last = now;
    }
}

/// This thread runs on no other processor.
pub(super) fn stay_on(processor: usize) {
    let mut processors = CpuSet::new();
    processors.set(processor);
    // Where it may not, it runs on any.
    let _ = sched_setaffinity(None, &processors);
}

/// Frames that the kernel has not handed on after this long do not exist.
const QUIET: Duration = Duration::from_millis(20);
