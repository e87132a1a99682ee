//! One interface of a live run: its queues, the XDP program on it, what that is told.

use std::io;
use std::net::IpAddr;
use std::path::Path;

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
    program: Program,
    steering: steer::Config,
}

impl Interface {
    /// Opens the sockets of all workers on all queues, and attaches the program, which steers nothing yet. `first_owner` is the
    /// worker that feeds the first queue; the next ones follow in turn. By worker: its rings.
    pub(super) fn open(
        name: &str,
        config: &RuntimeConfig,
        hash_key: [u32; 2],
        first_owner: u32,
    ) -> Result<(Self, Vec<Vec<Ring>>), RuntimeError> {
        let workers = config.workers;
        let queues = queues_of(name)?;
        let mut program = Program::load(queues, workers, false)?;
        // Sockets are filed by number of workers; that it is none until the workers run is only for the program to know.
        let steering = steer::Config { flags: 0, workers, hash_key };
        program.configure(steering)?;
        let mut rings: Vec<Vec<Ring>> = (0..workers).map(|_| Vec::new()).collect();
        let mut zero_copy = true;
        for queue in 0..queues {
            let of_queue = Ring::open(name, queue, workers, (first_owner + queue) % workers, config.rings)?;
            for ((worker, ring), rings) in (0..).zip(of_queue).zip(&mut rings) {
                program.set_socket(queue, worker, &ring)?;
                zero_copy &= ring.zero_copy().unwrap_or(false);
                rings.push(ring);
            }
        }
        let nic = Nic::new(name);
        let mut interface = Self { name: name.into(), queues, mode: Mode::Generic, zero_copy, nic, program, steering };
        interface.steering.flags = if config.hash_addresses { flags::HASH_ADDRESSES } else { 0 };
        interface.set_filters(&config.filters)?;
        interface.program.configure(steer::Config { workers: 0, ..interface.steering })?;
        interface.mode = interface.program.attach(name)?;
        // Some drivers begin anew here. The frames that come in between are few.
        interface.nic = Nic::new(name);
        Ok((interface, rings))
    }

    /// From here on frames go to the workers.
    pub(super) fn steer(&mut self) -> Result<(), SteerError> {
        self.program.configure(self.steering)
    }

    /// Steers only what `filters` let through; frames that come meanwhile see the old or the new ones.
    pub(super) fn set_filters(&mut self, filters: &Filters) -> Result<(), RuntimeError> {
        self.program.set_ports(&filters.ports)?;
        self.program.set_vlans(&filters.vlans)?;
        self.program.set_networks(&filters.networks)?;
        self.program.set_local_addresses(&local_addresses()?)?;
        let drop_others = if filters.drop_others { flags::DROP_OTHERS } else { 0 };
        self.steering.flags = self.steering.flags & !flags::DROP_OTHERS | drop_others;
        Ok(())
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

    /// What the NIC has counted since the run began.
    pub fn nic(&self) -> NicStats {
        self.nic.stats()
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
