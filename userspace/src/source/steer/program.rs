//! Loads the XDP program, attaches it to one interface and talks with it through its maps.
//!
//! ```text
//! Program::load -> lists, configure, set_socket ... -> attach ---- frames ---> sockets
//!                  (each at any time later, too)                               '-> counters
//! ```
//!
//! Nothing is pinned: the program is attached for as long as this process holds the link's file descriptor, however it ends.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader};
use plaintap_xdp_common::{Config, Reason, Verdict, Walk, counter, flags, maps};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::occupant::Occupant;
use super::octets;

/// The XDP program of one interface.
///
/// Its filters list nothing at first, and are not asked.
pub struct Program {
    ebpf: Ebpf,
    name: &'static str,
    /// Holds the program on the interface.
    link: Option<FdLink>,
    config: Config,
    /// That the sockets are filed for.
    workers: u32,
    sockets: XskMap<MapData>,
    config_map: Array<MapData, [u32; 4]>,
    counters: VerdictCounters,
    ports: Bits,
    vlans: Bits,
    networks: LpmTrie<MapData, [u8; 16], u8>,
    locals: HashMap<MapData, [u8; 16], u8>,
}

/// What a program has counted, for any thread; it may be read when the program is gone.
#[derive(Clone)]
pub struct VerdictCounters(Arc<PerCpuArray<MapData, u64>>);

/// Frames by what was done with them, and why.
pub type Counts = Vec<(Verdict, Reason, u64)>;

/// How an interface runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before anything else touches the frame.
    Driver,
    /// In the kernel's generic path, for drivers without XDP: slower, and frames are copied.
    Generic,
}

/// Why the program could not be loaded, told or attached.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The kernel took no object like this.
    #[error(
        "cannot load the XDP program (needs Linux 5.10 or later, and root or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)"
    )]
    Load(#[source] Box<EbpfError>),
    /// The kernel's verifier did not take the program.
    #[error(
        "the kernel refuses the XDP program (needs Linux 5.10 or later, and root or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)"
    )]
    Refused(#[source] Box<ProgramError>),
    /// A map is not there, or not as it should be.
    #[error("the XDP program has no map '{0}' of the right kind: object and binary are of different versions")]
    Map(&'static str, #[source] Option<Box<MapError>>),
    /// A map did not take an entry.
    #[error("cannot write the XDP program's list '{0}' (at most 1,024 addresses)")]
    List(&'static str, #[source] Box<MapError>),
    /// A list of networks is too long.
    #[error("{0} networks to capture, and the XDP program takes {max} at most", max = maps::MAX_NETWORKS)]
    Networks(usize),
    /// Another program is attached.
    #[error("{0}")]
    Occupied(Box<Occupant>),
    /// The interface does not take the program.
    #[error(
        "cannot attach the XDP program to '{interface}' (a larger MTU than one buffer holds? try MTU 3,498 or less)"
    )]
    Attach {
        /// This interface.
        interface: Box<str>,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// The kernel has no links for XDP programs.
    #[error("the kernel cannot bind the XDP program to this process (needs Linux 5.10 or later)")]
    Detach(#[source] LinkError),
}

impl SteerError {
    /// That another program is attached; `None` if there is none, or nobody can tell.
    pub fn occupied(interface: &str, forced: bool) -> Option<Self> {
        let occupant = Occupant::find(interface, forced);
        occupant.program.is_some().then(|| Self::Occupied(Box::new(occupant)))
    }
}

impl Program {
    /// Loads the program for an interface with `queues` receive queues. With `several_buffers` it takes frames that come in several
    /// buffers (Linux 5.18 or later, and the driver's doing). [`configure`](Self::configure) may tell of `workers`, or of none yet.
    pub fn load(queues: u32, workers: u32, several_buffers: bool) -> Result<Self, SteerError> {
        // Before Linux 5.11 maps count as locked memory, of which there is little by default. Where it may not, loading says so.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(maps::SOCKETS, queues.saturating_mul(workers).max(1))
            // Room for two lists, the old one and the new one.
            .map_max_entries(maps::NETWORKS, 2 * maps::MAX_NETWORKS)
            .load(OBJECT)
            .map_err(|error| SteerError::Load(Box::new(error)))?;
        let name = if several_buffers { maps::PROGRAM_FRAGS } else { maps::PROGRAM };
        let program = xdp(&mut ebpf, name)?;
        program.load().map_err(|error| SteerError::Refused(Box::new(error)))?;
        Ok(Self {
            name,
            link: None,
            config: Config::default(),
            workers,
            sockets: take(&mut ebpf, maps::SOCKETS)?,
            config_map: take(&mut ebpf, maps::CONFIG)?,
            counters: VerdictCounters(Arc::new(take(&mut ebpf, maps::COUNTERS)?)),
            ports: Bits::new(maps::PORTS, maps::PORT_WORDS, take(&mut ebpf, maps::PORTS)?),
            vlans: Bits::new(maps::VLANS, maps::VLAN_WORDS, take(&mut ebpf, maps::VLANS)?),
            networks: take(&mut ebpf, maps::NETWORKS)?,
            locals: take(&mut ebpf, maps::LOCALS)?,
            ebpf,
        })
    }

    /// Tells the program its workers, for as many of whom it was loaded, and the key of its hash. Whether a filter is asked is not for
    /// `config` to say: it is when its list is not empty.
    pub fn configure(&mut self, config: Config) -> Result<(), SteerError> {
        const LISTS: u32 = flags::FILTER_PORTS | flags::FILTER_NETWORKS | flags::FILTER_VLANS;
        self.config = Config { flags: config.flags & !LISTS | self.config.flags & LISTS, ..config };
        self.write_config()
    }

    /// Steers only TCP segments with one of these ports; all, if there are none.
    pub fn set_ports(&mut self, ports: &[u16]) -> Result<(), SteerError> {
        self.filter(flags::FILTER_PORTS, ports.is_empty(), |program| program.ports.set(ports))
    }

    /// Steers only frames in one of these VLANs; all, if there are none.
    pub fn set_vlans(&mut self, vlans: &[u16]) -> Result<(), SteerError> {
        self.filter(flags::FILTER_VLANS, vlans.is_empty(), |program| program.vlans.set(vlans))
    }

    /// Steers only frames from or to one of these networks (address and length of the prefix); all, if there are none.
    ///
    /// Errors: there are more than `maps::MAX_NETWORKS`, and nothing has changed; or the map took no more (no memory), and some of
    /// them may have been added.
    pub fn set_networks(&mut self, networks: &[(IpAddr, u8)]) -> Result<(), SteerError> {
        if networks.len() > maps::MAX_NETWORKS as usize {
            return Err(SteerError::Networks(networks.len()));
        }
        self.filter(flags::FILTER_NETWORKS, networks.is_empty(), |program| {
            let failed = |error| SteerError::List(maps::NETWORKS, Box::new(error));
            let wanted: Vec<Key<[u8; 16]>> = networks.iter().map(|&(addr, len)| network_key(addr, len)).collect();
            let there: Vec<Key<[u8; 16]>> = program.networks.keys().collect::<Result<_, _>>().map_err(failed)?;
            let same = |a: &Key<[u8; 16]>, b: &Key<[u8; 16]>| (a.prefix_len(), a.data()) == (b.prefix_len(), b.data());
            let lacks = |list: &[Key<[u8; 16]>], key: &Key<[u8; 16]>| !list.iter().any(|other| same(key, other));
            // Added before others are removed: a frame of either list finds its network all the while. Not those that are there:
            // with some kernels a full trie has no room for them.
            let mut new = wanted.iter().filter(|key| lacks(&there, key));
            new.try_for_each(|key| program.networks.insert(key, 1, 0)).map_err(failed)?;
            let mut old = there.iter().filter(|key| lacks(&wanted, key));
            old.try_for_each(|key| program.networks.remove(key)).map_err(failed)
        })
    }

    /// Leaves frames from and to these addresses to the kernel's stack, if they are not tunnelled.
    pub fn set_local_addresses(&mut self, addrs: &[IpAddr]) -> Result<(), SteerError> {
        let failed = |error| SteerError::List(maps::LOCALS, Box::new(error));
        let there: Vec<[u8; 16]> = self.locals.keys().collect::<Result<_, _>>().map_err(failed)?;
        for addr in there.iter().filter(|there| !addrs.iter().any(|addr| octets(*addr) == **there)) {
            self.locals.remove(addr).map_err(failed)?;
        }
        addrs.iter().try_for_each(|addr| self.locals.insert(octets(*addr), 1, 0)).map_err(failed)
    }

    /// Gives `worker` the frames of `queue` that are its share, through an AF_XDP socket bound to that queue.
    pub fn set_socket(&mut self, queue: u32, worker: u32, socket: &impl AsRawFd) -> Result<(), SteerError> {
        let slot = queue * self.workers + worker;
        let failed = |error| SteerError::List(maps::SOCKETS, Box::new(error));
        self.sockets.set(slot, socket.as_raw_fd(), 0).map_err(failed)
    }

    /// Attaches the program, in the driver if it can. With `force`, another that is there is taken off first.
    ///
    /// Errors: there is another program, which is left alone; or it is held by a link, so that only its process can take it off.
    pub fn attach(&mut self, interface: &str, force: bool) -> Result<Mode, SteerError> {
        let occupied = || SteerError::Occupied(Box::new(Occupant::find(interface, force)));
        if let Some(mode) = self.try_attach(interface)? {
            return Ok(mode);
        }
        if !force {
            return Err(occupied());
        }
        Occupant::take_off(interface);
        self.try_attach(interface)?.ok_or_else(occupied)
    }

    /// Attaches the program; `None` where there is another.
    fn try_attach(&mut self, interface: &str) -> Result<Option<Mode>, SteerError> {
        let failed = |source| SteerError::Attach { interface: interface.into(), source: Box::new(source) };
        let program = xdp(&mut self.ebpf, self.name)?;
        let (attached, mode) = match program.attach(interface, XdpMode::Driver) {
            Err(error) if is(&error, EOPNOTSUPP) => (program.attach(interface, XdpMode::Skb), Mode::Generic),
            attached => (attached, Mode::Driver),
        };
        let id = match attached {
            // EEXIST: a program of the other mode.
            Err(error) if is(&error, EBUSY) || is(&error, EEXIST) => return Ok(None),
            attached => attached.map_err(failed)?,
        };
        // Without a link the program would stay when this process is killed; what is no link is detached again here.
        let link = program.take_link(id).map_err(failed)?;
        self.link = Some(link.try_into().map_err(SteerError::Detach)?);
        Ok(Some(mode))
    }

    /// Takes the program off the interface: no frame is steered from here on.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Frames so far by verdict and reason.
    pub fn counters(&self) -> &VerdictCounters {
        &self.counters
    }

    /// Runs the program on a frame that no interface has seen (`BPF_PROG_TEST_RUN`): what it returned, an XDP action, and its
    /// [`Walk`] on every processor, of which one has been overwritten.
    pub fn try_frame(&mut self, frame: &[u8]) -> Result<(u32, Vec<[u8; size_of::<Walk>()]>), SteerError> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        let failed = |error| SteerError::Refused(Box::new(error));
        let action = xdp(&mut self.ebpf, self.name)?.test_run(options).map_err(failed)?.return_value;
        let map = self.ebpf.map(maps::WALK).ok_or(SteerError::Map(maps::WALK, None))?;
        let failed = |error| SteerError::Map(maps::WALK, Some(Box::new(error)));
        let walks: PerCpuArray<&MapData, [u8; size_of::<Walk>()]> = map.try_into().map_err(failed)?;
        Ok((action, walks.get(&0, 0).map_err(failed)?.to_vec()))
    }

    /// How many instructions the kernel's verifier followed; its limit is a million. `None` before Linux 5.16, which does not tell.
    pub fn verified_instructions(&mut self) -> Result<Option<u32>, SteerError> {
        let info = xdp(&mut self.ebpf, self.name)?.info().map_err(|error| SteerError::Refused(Box::new(error)))?;
        Ok(info.verified_instruction_count())
    }

    /// Changes a list. It is not asked while it changes, but for when it was asked before and still is: then frames see the old or the
    /// new entries.
    fn filter(
        &mut self,
        flag: u32,
        empty: bool,
        change: impl FnOnce(&mut Self) -> Result<(), SteerError>,
    ) -> Result<(), SteerError> {
        if empty {
            self.config.flags &= !flag;
            self.write_config()?;
            return change(self);
        }
        change(self)?;
        self.config.flags |= flag;
        self.write_config()
    }

    fn write_config(&mut self) -> Result<(), SteerError> {
        let failed = |error| SteerError::List(maps::CONFIG, Box::new(error));
        self.config_map.set(0, self.config.to_words(), 0).map_err(failed)
    }
}

impl VerdictCounters {
    /// Frames so far by verdict and reason, of all processors; those that there were none of are left out.
    pub fn read(&self) -> Result<Counts, SteerError> {
        let mut counts = Vec::new();
        for verdict in [Verdict::Steer, Verdict::Pass, Verdict::Drop] {
            for &reason in Reason::ALL {
                let failed = |error| SteerError::Map(maps::COUNTERS, Some(Box::new(error)));
                let count = self.0.get(&counter(verdict, reason), 0).map_err(failed)?.iter().sum();
                if count != 0 {
                    counts.push((verdict, reason, count));
                }
            }
        }
        Ok(counts)
    }
}

impl fmt::Debug for VerdictCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(maps::COUNTERS)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, config, ports, vlans, .. } = self;
        write!(f, "{name} with {config:?}, {ports:?}, {vlans:?}")
    }
}

/// A map that is a set of small numbers, and what stands in it.
struct Bits {
    name: &'static str,
    map: Array<MapData, u32>,
    words: Vec<u32>,
}

impl Bits {
    fn new(name: &'static str, words: u32, map: Array<MapData, u32>) -> Self {
        Self { name, map, words: vec![0; words as usize] }
    }

    fn set(&mut self, numbers: &[u16]) -> Result<(), SteerError> {
        let mut words = vec![0; self.words.len()];
        for number in numbers {
            // VLAN identifiers of more than 12 bits there are none.
            if let Some(word) = words.get_mut(usize::from(number / 32)) {
                *word |= 1 << (number % 32);
            }
        }
        for (at, (new, old)) in words.iter().zip(&mut self.words).enumerate() {
            if new != old {
                self.map.set(at as u32, new, 0).map_err(|error| SteerError::List(self.name, Box::new(error)))?;
                *old = *new;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: u32 = self.words.iter().map(|word| word.count_ones()).sum();
        write!(f, "{} of {}", count, self.name)
    }
}

fn network_key(addr: IpAddr, len: u8) -> Key<[u8; 16]> {
    let before = if addr.is_ipv4() { 96 } else { 0 };
    let len = (before + u32::from(len)).min(128);
    // What is beyond the prefix would make two keys of one.
    let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
    Key::new(len, (u128::from_be_bytes(octets(addr)) & mask).to_be_bytes())
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, SteerError> {
    let program = ebpf.program_mut(name).ok_or(SteerError::Map(name, None))?;
    program.try_into().map_err(|error| SteerError::Refused(Box::new(error)))
}

fn take<M: TryFrom<aya::maps::Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, SteerError> {
    let map = ebpf.take_map(name).ok_or(SteerError::Map(name, None))?;
    map.try_into().map_err(|error| SteerError::Map(name, Some(Box::new(error))))
}

fn is(error: &ProgramError, errno: i32) -> bool {
    matches!(error, ProgramError::SyscallError(error) if error.io_error.raw_os_error() == Some(errno))
}

/// Built by `make ebpf` from `xdp-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../xdp-ebpf/plaintap.bpf.o");

/// Of `errno.h`, on every architecture that XDP is for.
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const EOPNOTSUPP: i32 = 95;
