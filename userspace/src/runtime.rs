//! A live run: interfaces, XDP programs, rings and worker threads, from start to stop.
//!
//! ```text
//! start: rings of every (interface, queue) -> program of every interface, told its sockets -> workers -> attach
//! stop:  detach -> workers empty their rings and end their flows -> reports
//! ```

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use plaintap_keystore::{Store, TooManyReaders};

use crate::config::Config;
use crate::pipeline::Pipeline;
use crate::sink::TransactionSink;
use crate::source::InterfaceId;
use crate::source::af_xdp::{self, MAX_MTU, Ring, RingConfig, RingError};
use crate::source::steer::{self, Counts, Mode, Program, SteerError, flags};
use crate::worker::{Worker, WorkerReport};

/// What is captured, and by how many.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// The interfaces that the mirror comes in on.
    pub interfaces: Vec<String>,
    /// Worker threads; 1 at least.
    pub workers: u32,
    /// Whether worker `n` stays on processor `n`.
    pub pin: bool,
    /// Sizes of the rings, for each queue.
    pub rings: RingConfig,
    /// Only TCP segments with one of these ports; all, if empty.
    pub ports: Vec<u16>,
    /// Only frames in one of these VLANs; all, if empty.
    pub vlans: Vec<u16>,
    /// Only frames from or to these networks (address, length of the prefix); all, if empty.
    pub networks: Vec<(IpAddr, u8)>,
    /// Drop what is not steered, but for the host's own frames: the interfaces are there for the mirror only.
    pub drop_others: bool,
    /// All segments between two addresses go to one worker, fragments included.
    pub hash_addresses: bool,
    /// Limits of the pipelines.
    pub pipeline: Config,
}

/// A run that goes on.
#[derive(Debug)]
pub struct Runtime<S> {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<WorkerReport<S>>>,
    interfaces: Vec<Interface>,
}

/// An interface with a program on it.
#[derive(Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Receive queues.
    pub queues: u32,
    /// How it runs the program.
    pub mode: Mode,
    /// Whether all of its queues are read without a copy.
    pub zero_copy: bool,
    program: Program,
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
        "the MTU of '{interface}' is {mtu}; frames of more than {MAX_MTU} do not fit: ip link set dev {interface} mtu {MAX_MTU}"
    )]
    Mtu {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
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

impl<S: TransactionSink + Send + 'static> Runtime<S> {
    /// Starts capturing; nothing is left behind when it cannot. `sink` makes the sink of each worker, `flush` writes out what such a
    /// sink has gathered.
    pub fn start(
        config: &RuntimeConfig,
        store: &Store,
        mut sink: impl FnMut() -> S,
        flush: fn(&mut S),
    ) -> Result<Self, RuntimeError> {
        let workers = config.workers.max(1);
        let mut rings: Vec<Vec<(InterfaceId, Ring)>> = (0..workers).map(|_| Vec::new()).collect();
        let mut interfaces = Vec::new();
        let (locals, hash_key) = (local_addresses()?, random_key());
        let mut owner = 0;
        for (id, name) in (0..).map(InterfaceId).zip(&config.interfaces) {
            if config.interfaces.iter().filter(|other| *other == name).count() > 1 {
                return Err(RuntimeError::Twice(name.clone()));
            }
            let queues = queues_of(name)?;
            let mut program = Program::load(queues, workers, false)?;
            program.set_ports(&config.ports)?;
            program.set_vlans(&config.vlans)?;
            program.set_networks(&config.networks)?;
            program.set_local_addresses(&locals)?;
            let flag = |set, flag| if set { flag } else { 0 };
            let flags =
                flag(config.drop_others, flags::DROP_OTHERS) | flag(config.hash_addresses, flags::HASH_ADDRESSES);
            program.configure(steer::Config { flags, workers, hash_key })?;
            let mut zero_copy = true;
            for queue in 0..queues {
                let of_queue = Ring::open(name, queue, workers, owner, config.rings)?;
                owner = (owner + 1) % workers;
                for ((worker, ring), rings) in (0..).zip(of_queue).zip(&mut rings) {
                    program.set_socket(queue, worker, &ring)?;
                    zero_copy &= ring.zero_copy().unwrap_or(false);
                    rings.push((id, ring));
                }
            }
            interfaces.push(Interface { name: name.clone(), queues, mode: Mode::Generic, zero_copy, program });
        }
        let mut runtime = Self { stop: Arc::default(), workers: Vec::new(), interfaces };
        for (number, rings) in rings.into_iter().enumerate() {
            let mut pipeline = Pipeline::new(config.pipeline.clone(), store).map_err(RuntimeError::Readers)?;
            for (id, name) in (0..).map(InterfaceId).zip(&config.interfaces) {
                pipeline.name_interface(id, name);
            }
            let processor = config.pin.then_some(number);
            let worker = Worker { pipeline, sink: sink(), flush, rings, processor, stop: Arc::clone(&runtime.stop) };
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            runtime.workers.push(thread.spawn(move || worker.run()).map_err(RuntimeError::Thread)?);
        }
        for interface in &mut runtime.interfaces {
            interface.mode = interface.program.attach(&interface.name)?;
        }
        Ok(runtime)
    }

    /// The interfaces.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Whether a worker has ended without being told to: it has panicked.
    pub fn has_failed(&self) -> bool {
        self.workers.iter().any(JoinHandle::is_finished)
    }

    /// Stops capturing, lets the workers finish what has come, and says what all came to.
    pub fn stop(mut self) -> Result<RuntimeReport<S>, SteerError> {
        self.interfaces.iter_mut().for_each(|interface| interface.program.detach());
        // Release: pairs with Acquire in Worker::run.
        self.stop.store(true, Ordering::Release);
        let ended: Vec<_> = std::mem::take(&mut self.workers).into_iter().map(JoinHandle::join).collect();
        let panicked = ended.iter().filter(|report| report.is_err()).count();
        let verdicts = std::mem::take(&mut self.interfaces).into_iter().map(|interface| {
            let verdicts = interface.program.counters()?;
            Ok((interface.name, verdicts))
        });
        Ok(RuntimeReport {
            verdicts: verdicts.collect::<Result<_, SteerError>>()?,
            workers: ended.into_iter().flatten().collect(),
            panicked,
        })
    }
}

impl<S> Drop for Runtime<S> {
    /// Where a run could not start, or is given up: the threads end, and the programs with their links.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// Receive queues of an interface, whose frames have to fit.
fn queues_of(name: &str) -> Result<u32, RuntimeError> {
    let missing = |error| RuntimeError::NoInterface(name.into(), error);
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(missing(io::ErrorKind::NotFound.into()));
    }
    let device = Path::new("/sys/class/net").join(name);
    let mtu = std::fs::read_to_string(device.join("mtu")).map_err(missing)?.trim().parse().unwrap_or(0);
    if mtu > MAX_MTU {
        return Err(RuntimeError::Mtu { interface: name.into(), mtu });
    }
    let queues = std::fs::read_dir(device.join("queues")).map_err(missing)?;
    let receive = queues.filter_map(Result::ok).filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-"));
    Ok(receive.count() as u32)
}

/// Every address that this host has now, but for those of its loopback.
fn local_addresses() -> Result<Vec<IpAddr>, RuntimeError> {
    let addresses = nix::ifaddrs::getifaddrs().map_err(|error| RuntimeError::Addresses(error.into()))?;
    let addresses = addresses.filter_map(|entry| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    Ok(addresses.filter(|addr| !addr.is_loopback()).collect())
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
            ports: Vec::new(),
            vlans: Vec::new(),
            networks: Vec::new(),
            drop_others: false,
            hash_addresses: false,
            pipeline: Config::default(),
        }
    }
}
