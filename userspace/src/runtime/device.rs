//! What becomes of an interface while its sockets are open: it may go, go down, lose its carrier, or get other queues.
//!
//! Of `/sys/class/net/IF` (`Documentation/ABI/testing/sysfs-class-net`), compared with what it was when the run began.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::interface::receive_queues;

/// Why frames do not come by an interface, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The device that the sockets are bound to is no more, though another may have its name.
    Gone,
    /// It is not up.
    Down,
    /// It is up, and nothing is at the other end.
    NoCarrier,
    /// Each queue has sockets from the start; later ones have none.
    Queues {
        /// Receive queues when the run began.
        start: u32,
        /// Receive queues now.
        now: u32,
    },
}

/// An interface as it was when the run began.
#[derive(Clone, Debug)]
pub(super) struct Device {
    directory: PathBuf,
    index: Option<u32>,
    queues: u32,
}

/// What can be seen of it.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Whether there is one of that name, unless that cannot be told.
    there: Option<bool>,
    index: Option<u32>,
    up: Option<bool>,
    carrier: Option<bool>,
    queues: Option<u32>,
}

impl Device {
    pub(super) fn new(name: &str, queues: u32) -> Self {
        let directory = Path::new("/sys/class/net").join(name);
        Self { index: Seen::look(&directory).index, directory, queues }
    }

    /// What has changed for the worse; what cannot be told has not.
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        self.compare(Seen::look(&self.directory))
    }

    fn compare(&self, seen: Seen) -> Vec<Trouble> {
        let another = seen.index.is_some() && self.index.is_some() && seen.index != self.index;
        if seen.there == Some(false) || another {
            return vec![Trouble::Gone];
        }
        let mut troubles = Vec::new();
        if seen.up == Some(false) {
            troubles.push(Trouble::Down);
        } else if seen.carrier == Some(false) {
            troubles.push(Trouble::NoCarrier);
        }
        if let Some(now) = seen.queues.filter(|now| *now != self.queues) {
            troubles.push(Trouble::Queues { start: self.queues, now });
        }
        troubles
    }
}

impl Seen {
    fn look(directory: &Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(directory.join(name));
        let index = read("ifindex");
        let there = match &index {
            Ok(_) => Some(true),
            // ENODEV: it goes at this moment. All else, as too many open files, says nothing of the interface.
            Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV) => {
                Some(false)
            }
            Err(_) => None,
        };
        let flags = read("flags").ok().and_then(|flags| u32::from_str_radix(flags.trim().strip_prefix("0x")?, 16).ok());
        Self {
            there,
            index: index.ok().and_then(|index| index.trim().parse().ok()),
            up: flags.map(|flags| flags & libc::IFF_UP as u32 != 0),
            // It says at once what `operstate` says up to a second later. One that is down does not tell.
            carrier: read("carrier").ok().map(|carrier| carrier.trim() != "0"),
            queues: receive_queues(directory).ok(),
        }
    }
}

impl fmt::Display for Trouble {
    /// What follows the interface's name: `is down: ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("is gone: removed, renamed, moved to another namespace, or made anew"),
            Self::Down => f.write_str("is down, no frame comes (ip link set dev IF up)"),
            Self::NoCarrier => f.write_str("has no carrier, no frame comes (cable, optics, the port that mirrors)"),
            Self::Queues { start, now } => write!(
                f,
                "has {now} receive queues, and had {start} when this began: what comes by new ones is lost (restart)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Seen = Seen { there: Some(true), index: Some(7), up: Some(true), carrier: Some(true), queues: Some(4) };

    #[test]
    fn what_is_amiss_is_told_and_what_cannot_be_seen_is_not() {
        let device = Device { directory: PathBuf::new(), index: Some(7), queues: 4 };
        let queues = Trouble::Queues { start: 4, now: 8 };
        for (seen, wanted) in [
            (WELL, &[][..]),
            (Seen::default(), &[]),
            (Seen { there: Some(false), ..Seen::default() }, &[Trouble::Gone]),
            (Seen { index: Some(8), up: Some(false), ..WELL }, &[Trouble::Gone]),
            (Seen { up: Some(false), carrier: None, ..WELL }, &[Trouble::Down]),
            (Seen { carrier: Some(false), ..WELL }, &[Trouble::NoCarrier]),
            (Seen { up: Some(false), queues: Some(8), ..WELL }, &[Trouble::Down, queues]),
        ] {
            assert_eq!(device.compare(seen), wanted, "{seen:?}");
        }
    }

    #[test]
    fn one_that_is_not_there_is_gone_and_one_that_is_there_is_not() {
        // Every Linux has a loopback.
        let loopback = Device::new("lo", receive_queues(Path::new("/sys/class/net/lo")).unwrap());
        assert!(loopback.index.is_some());
        assert!(!loopback.troubles().contains(&Trouble::Gone), "{:?}", loopback.troubles());
        assert_eq!(Device::new("no-such-if", 1).troubles(), [Trouble::Gone]);
    }
}
