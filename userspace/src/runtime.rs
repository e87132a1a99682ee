//! A live run: interfaces, XDP programs, rings and worker threads, from start to stop.
//!
//! ```text
//! Setup::open:  rings of every (interface, queue) -> program of every interface, told its sockets, attached: steers nothing yet
//!               (all that needs privileges; no thread has been started, so that they can be dropped in one place)
//! start:        workers -> the programs steer
//! stop:         detach -> workers empty their rings and end their flows -> reports
//! ```

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use plaintap_keystore::{Store, TooManyReaders};

use crate::config::Config;
use crate::pipeline::Pipeline;
use crate::sink::TransactionSink;
use crate::source::InterfaceId;
use crate::source::af_xdp::{self, MAX_MTU, Ring, RingConfig, RingError};
use crate::source::steer::{Counts, SteerError};
use crate::worker::{Slot, Worker, WorkerReport};

mod device;
mod interface;
mod nic;
mod watch;

pub use device::Trouble;
pub use interface::Interface;
pub use nic::NicStats;
pub use watch::{InterfaceSnapshot, Snapshot, Watch, WorkerSnapshot};

/// What is captured, and by how many.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeConfig {
    /// The interfaces that the mirror comes in on.
    pub interfaces: Vec<String>,
    /// Worker threads; 1 at least.
    pub workers: u32,
    /// Whether each worker stays on a processor of its own, of those that the process may run on.
    pub pin: bool,
    /// Sizes of the rings, for each queue.
    pub rings: RingConfig,
    /// Take off XDP programs that others have attached.
    pub force: bool,
    /// Which frames are captured.
    pub filters: Filters,
    /// All segments between two addresses go to one worker, fragments included.
    pub hash_addresses: bool,
    /// Limits of the pipelines.
    pub pipeline: Config,
}

/// Which frames are captured; may be changed during a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Only TCP segments with one of these ports; all, if empty.
    pub ports: Vec<u16>,
    /// Only frames in one of these VLANs; all, if empty.
    pub vlans: Vec<u16>,
    /// Only frames from or to these networks (address, length of the prefix); all, if empty.
    pub networks: Vec<(IpAddr, u8)>,
    /// Drop what is not captured, but for the host's own frames: the interfaces are there for the mirror only.
    pub drop_others: bool,
}

/// Interfaces that are ready, and rings that nobody reads yet.
#[derive(Debug)]
pub struct Setup {
    config: RuntimeConfig,
    interfaces: Vec<Interface>,
    /// By worker.
    rings: Vec<Vec<(InterfaceId, Ring)>>,
}

/// A run that goes on.
#[derive(Debug)]
pub struct Runtime<S> {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<WorkerReport<S>>>,
    interfaces: Vec<Interface>,
    /// Those in effect.
    filters: Filters,
    watch: Watch,
}

/// What a run came to.
#[derive(Debug)]
pub struct RuntimeReport<S> {
    /// Of the workers that have not panicked.
    pub workers: Vec<WorkerReport<S>>,
    /// Workers that have.
    pub panicked: usize,
    /// By interface: its name, and what XDP did with its frames.
    pub verdicts: Vec<(String, Counts)>,
    /// What the NICs counted since the run began, all together.
    pub nic: NicStats,
}

/// Why a run could not start.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There is no such interface.
    #[error("no interface '{0}'")]
    NoInterface(String, #[source] io::Error),
    /// An interface is named twice.
    #[error("interface '{0}' is named twice")]
    Twice(String),
    /// Frames would not fit.
    #[error(
        "the MTU of '{interface}' is {mtu}, and frames of several buffers are not for its driver or this kernel ({reason}): \
         ip link set dev {interface} mtu {MAX_MTU}"
    )]
    Mtu {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// What could not be done.
        reason: String,
    },
    /// A socket.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The program.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// A thread.
    #[error("cannot start a worker thread")]
    Thread(#[source] io::Error),
    /// The host's addresses.
    #[error("cannot list the addresses of this host")]
    Addresses(#[source] io::Error),
    /// The key store.
    #[error("too many workers for the key store")]
    Readers(#[source] TooManyReaders),
}

impl Setup {
    /// Does all that needs privileges. Nothing is left behind when it fails, or when the result is dropped.
    pub fn open(mut config: RuntimeConfig) -> Result<Self, RuntimeError> {
        config.workers = config.workers.max(1);
        let mut rings: Vec<Vec<(InterfaceId, Ring)>> = (0..config.workers).map(|_| Vec::new()).collect();
        let mut interfaces = Vec::new();
        let hash_key = random_key();
        for (id, name) in (0..).map(InterfaceId).zip(&config.interfaces) {
            if config.interfaces.iter().filter(|other| *other == name).count() > 1 {
                return Err(RuntimeError::Twice(name.clone()));
            }
            let (interface, opened) = Interface::open(name, &config, hash_key)?;
            interfaces.push(interface);
            for (rings, opened) in rings.iter_mut().zip(opened) {
                rings.extend(opened.into_iter().map(|ring| (id, ring)));
            }
        }
        Ok(Self { config, interfaces, rings })
    }

    /// Sockets that [`open`](Self::open) opens: one of each worker on each receive queue.
    pub fn sockets(config: &RuntimeConfig) -> Result<u64, RuntimeError> {
        let queues = config.interfaces.iter().map(|name| Ok(u64::from(interface::look_at(name)?.0)));
        Ok(queues.sum::<Result<u64, RuntimeError>>()? * u64::from(config.workers.max(1)))
    }

    /// The interfaces.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Starts the workers, then the steering. `sink` makes the sink of each worker, `flush` writes out what such a sink has gathered.
    pub fn start<S: TransactionSink + Send + 'static>(
        self,
        store: &Store,
        mut sink: impl FnMut() -> S,
        flush: fn(&mut S),
    ) -> Result<Runtime<S>, RuntimeError> {
        let Self { config, interfaces, rings } = self;
        let slots: Vec<Arc<Slot>> = rings.iter().map(|_| Arc::default()).collect();
        let watch = Watch::new(&interfaces, slots.clone());
        let mut runtime =
            Runtime { stop: Arc::default(), workers: Vec::new(), interfaces, filters: config.filters, watch };
        let allowed = allowed_processors();
        for ((number, rings), published) in rings.into_iter().enumerate().zip(slots) {
            let mut pipeline = Pipeline::new(config.pipeline.clone(), store).map_err(RuntimeError::Readers)?;
            for (id, name) in (0..).map(InterfaceId).zip(&config.interfaces) {
                pipeline.name_interface(id, name);
            }
            let processor = config.pin.then(|| allowed.get(number % allowed.len().max(1)).copied()).flatten();
            let stop = Arc::clone(&runtime.stop);
            let busy_poll = config.rings.busy_poll;
            let worker = Worker { pipeline, sink: sink(), flush, rings, busy_poll, processor, published, stop };
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            runtime.workers.push(thread.spawn(move || worker.run()).map_err(RuntimeError::Thread)?);
        }
        runtime.interfaces.iter_mut().try_for_each(Interface::steer)?;
        runtime.watch.set_steering(true);
        Ok(runtime)
    }
}

impl<S> Runtime<S> {
    /// The interfaces.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// What others may look at this run through, while it goes on and after.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// What has been counted so far.
    pub fn snapshot(&self) -> Snapshot {
        self.watch.snapshot()
    }

    /// Captures only what `filters` let through, and learns the host's addresses anew. Flows go on; those that are not captured any
    /// more end by their idle time-out.
    ///
    /// Errors: the old filters are in effect, on all interfaces.
    pub fn set_filters(&mut self, filters: &Filters) -> Result<(), RuntimeError> {
        let locals = interface::local_addresses()?;
        let changed = self.interfaces.iter_mut().try_for_each(|interface| {
            interface.set_filters(filters)?;
            interface.set_local_addresses(&locals)?;
            interface.steer()
        });
        if let Err(error) = changed {
            for interface in &mut self.interfaces {
                // They were taken before; what is wrong now is the kernel's want of memory.
                if let Err(error) = interface.set_filters(&self.filters).and_then(|()| interface.steer()) {
                    tracing::error!(interface = interface.name, %error, "the old filters are not all back: restart");
                }
            }
            return Err(error.into());
        }
        self.filters = filters.clone();
        Ok(())
    }

    /// Whether a worker has ended without being told to: it has panicked.
    pub fn has_failed(&self) -> bool {
        self.workers.iter().any(JoinHandle::is_finished)
    }

    /// Stops capturing, lets the workers finish what has come, and says what all came to.
    pub fn stop(mut self) -> RuntimeReport<S> {
        self.watch.set_steering(false);
        // Before the driver begins anew.
        let mut nic = NicStats::default();
        self.interfaces.iter().for_each(|interface| nic.add(&interface.nic()));
        self.interfaces.iter_mut().for_each(Interface::detach);
        // Release: pairs with Acquire in Worker::run.
        self.stop.store(true, Ordering::Release);
        let ended: Vec<_> = std::mem::take(&mut self.workers).into_iter().map(JoinHandle::join).collect();
        let panicked = ended.iter().filter(|report| report.is_err()).count();
        let verdicts = std::mem::take(&mut self.interfaces).into_iter().map(|interface| {
            let verdicts = interface.verdicts().unwrap_or_else(|error| {
                tracing::error!(%error, "what XDP did with the frames of '{}' cannot be told", interface.name);
                Counts::new()
            });
            (interface.name, verdicts)
        });
        RuntimeReport { verdicts: verdicts.collect(), workers: ended.into_iter().flatten().collect(), panicked, nic }
    }
}

impl<S> Drop for Runtime<S> {
    /// Where a run could not start, or is given up: the threads end, and the programs with their links.
    fn drop(&mut self) {
        // First, or there would be frames for ever.
        self.interfaces.iter_mut().for_each(Interface::detach);
        self.stop.store(true, Ordering::Release);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// The processors that the operator lets this process run on.
fn allowed_processors() -> Vec<usize> {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number)).collect()
}

/// A key for the hash that nobody outside can guess.
fn random_key() -> [u32; 2] {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's hasher is keyed by the system's random numbers.
    let random = std::hash::RandomState::new().build_hasher().finish();
    [random as u32, (random >> 32) as u32]
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            workers: 1,
            pin: true,
            rings: af_xdp::RingConfig::default(),
            force: false,
            filters: Filters::default(),
            hash_addresses: false,
            pipeline: Config::default(),
        }
    }
}
