//! One interface of a live run: its queues, the XDP program on it, what that is told.

use std::error::Error;
use std::net::IpAddr;
use std::path::Path;
use std::{fmt, io};

use super::device::{Device, Trouble};
use super::nic::{Nic, NicStats};
use super::{Filters, RuntimeConfig, RuntimeError};
use crate::source::af_xdp::{MAX_MTU, Ring};
use crate::source::steer::{self, Counts, Mode, Program, SteerError, VerdictCounters, flags};

/// An interface with a program on it, which stays there for as long as this lives, and no longer.
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
    pub(super) nic: Nic,
    pub(super) device: Device,
    /// Whether the frames of all of its queues lie in huge pages.
    pub huge_pages: bool,
    /// Whether frames may come in several buffers, as the MTU asks for; those are copied into one piece.
    pub several_buffers: bool,
    program: Program,
    steering: steer::Config,
}

impl Interface {
    /// Opens the sockets of all workers on all queues, then attaches the program, which steers nothing yet. By worker: its rings.
    pub(super) fn open(
        name: &str,
        config: &RuntimeConfig,
        hash_key: [u32; 2],
    ) -> Result<(Self, Vec<Vec<Ring>>), RuntimeError> {
        let workers = config.workers;
        let (queues, mtu) = look_at(name)?;
        let several_buffers = mtu > MAX_MTU;
        let too_large = |error: &dyn Error| RuntimeError::Mtu { interface: name.into(), mtu, reason: reason(error) };
        let program = Program::load(queues, workers, several_buffers).map_err(|error| match error {
            SteerError::Refused(error) if several_buffers => too_large(&error),
            error => error.into(),
        })?;
        // Who is there to stay is not waited for.
        if let Some(occupied) = SteerError::occupied(name, config.force).filter(|_| !config.force) {
            return Err(occupied.into());
        }
        let hash = if config.hash_addresses { flags::HASH_ADDRESSES } else { 0 };
        let steering = steer::Config { flags: hash, workers, hash_key };
        let (nic, device) = (Nic::new(name), Device::new(name, queues));
        let mut interface = Self {
            name: name.into(),
            queues,
            mode: Mode::Generic,
            zero_copy: true,
            nic,
            device,
            huge_pages: true,
            several_buffers,
            program,
            steering,
        };
        interface.set_filters(&config.filters)?;
        interface.set_local_addresses(&local_addresses()?)?;
        interface.program.configure(steer::Config { workers: 0, ..interface.steering })?;
        let mut rings: Vec<Vec<Ring>> = (0..workers).map(|_| Vec::new()).collect();
        for queue in 0..queues {
            let of_queue = Ring::open(name, queue, workers, several_buffers, config.rings);
            let of_queue = of_queue.map_err(|error| match error {
                error if several_buffers && error.lacks_buffers() => too_large(&error),
                error if error.is_busy() => SteerError::occupied(name, config.force).map_or(error.into(), Into::into),
                error => error.into(),
            })?;
            for ((worker, ring), rings) in (0..).zip(of_queue).zip(&mut rings) {
                interface.program.set_socket(queue, worker, &ring)?;
                interface.zero_copy &= ring.zero_copy().unwrap_or(false);
                interface.huge_pages &= ring.huge_pages();
                rings.push(ring);
            }
        }
        // After the sockets: drivers make their queues anew here, and want the fill rings full then.
        interface.mode = interface.program.attach(name, config.force).map_err(|error| match error {
            error @ SteerError::Attach { .. } if several_buffers => too_large(&error),
            error => error.into(),
        })?;
        // The frames that come in between are few.
        interface.nic = Nic::new(name);
        Ok((interface, rings))
    }

    /// From here on frames go to the workers.
    pub(super) fn steer(&mut self) -> Result<(), SteerError> {
        self.program.configure(self.steering)
    }

    /// Steers only what `filters` let through; frames that come meanwhile see the old or the new ones.
    pub(super) fn set_filters(&mut self, filters: &Filters) -> Result<(), SteerError> {
        self.program.set_ports(&filters.ports)?;
        self.program.set_vlans(&filters.vlans)?;
        self.program.set_networks(&filters.networks)?;
        let drop_others = if filters.drop_others { flags::DROP_OTHERS } else { 0 };
        self.steering.flags = self.steering.flags & !flags::DROP_OTHERS | drop_others;
        Ok(())
    }

    /// Leaves frames of the host's own to its stack: those from and to these addresses.
    pub(super) fn set_local_addresses(&mut self, addrs: &[IpAddr]) -> Result<(), SteerError> {
        self.program.set_local_addresses(addrs)
    }

    /// Takes the program off: no frame is steered from here on.
    pub(super) fn detach(&mut self) {
        self.program.detach();
    }

    /// Frames so far by what was done with them, and why.
    pub fn verdicts(&self) -> Result<Counts, SteerError> {
        self.program.counters().read()
    }

    pub(super) fn verdict_counters(&self) -> VerdictCounters {
        self.program.counters().clone()
    }

    /// Why frames do not come, or not all; none, if the interface is as it should be.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.device.troubles()
    }

    /// What the NIC has counted since the run began.
    pub fn nic(&self) -> NicStats {
        self.nic.stats()
    }
}

impl fmt::Display for Interface {
    /// `m0 (2 queues, in the driver, with a copy, ...)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Driver => "in the driver",
            Mode::Generic => "in the kernel's generic path, slowly: the driver has no XDP",
        };
        let copy = if self.zero_copy { "without a copy" } else { "with a copy" };
        let queues = if self.queues == 1 { "queue" } else { "queues" };
        write!(f, "{} ({} {queues}, {mode}, {copy}", self.name, self.queues)?;
        if self.several_buffers {
            write!(f, ", jumbo frames in several buffers")?;
        }
        if self.huge_pages {
            write!(f, ", in huge pages")?;
        }
        write!(f, ")")
    }
}

/// Receive queues of an interface, and its MTU.
pub(super) fn look_at(name: &str) -> Result<(u32, u32), RuntimeError> {
    let missing = |error| RuntimeError::NoInterface(name.into(), error);
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(missing(io::ErrorKind::NotFound.into()));
    }
    let device = Path::new("/sys/class/net").join(name);
    let mtu = std::fs::read_to_string(device.join("mtu")).map_err(missing)?.trim().parse().unwrap_or(0);
    Ok((receive_queues(&device).map_err(missing)?, mtu))
}

/// Receive queues of the interface with that directory.
pub(super) fn receive_queues(device: &Path) -> io::Result<u32> {
    let queues = std::fs::read_dir(device.join("queues"))?;
    let receive = queues.filter_map(Result::ok).filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-"));
    Ok(receive.count() as u32)
}

/// What is at the bottom of an error.
fn reason(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), reason)
}

/// Every address that this host has now, but for those of its loopback.
pub(super) fn local_addresses() -> Result<Vec<IpAddr>, RuntimeError> {
    let addresses = nix::ifaddrs::getifaddrs().map_err(|error| RuntimeError::Addresses(error.into()))?;
    let addresses = addresses.filter_map(|entry| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    Ok(addresses.filter(|addr| !addr.is_loopback()).collect())
}
