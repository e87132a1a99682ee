//! What the NIC itself says of an interface: frames received, and those lost before any program could see them.
//!
//! Of `/sys/class/net/IF/statistics` (`Documentation/ABI/testing/sysfs-class-net-statistics`), since the run began.

use std::path::{Path, PathBuf};

crate::counters! {
    /// The receiving side of `struct rtnl_link_stats64` (`if_link.h`), as the driver fills it in. Drivers differ in what they count
    /// where; a frame may be in several.
    pub struct NicStats {
        /// Frames received.
        rx_packets,
        /// Their octets.
        rx_bytes,
        /// Frames with an error of any kind.
        rx_errors,
        /// Frames that the kernel's stack or the driver did not take, those passed on that no protocol wants among them. No loss of
        /// the mirror in itself.
        rx_dropped,
        /// Frames that the NIC had no room for: the host was too slow to give it buffers.
        rx_missed_errors,
        /// Frames that overran the NIC's receive FIFO.
        rx_fifo_errors,
        /// Frames that overran the receiver's ring.
        rx_over_errors,
        /// Frames whose length is wrong.
        rx_length_errors,
        /// Frames whose checksum is wrong: cable or optics.
        rx_crc_errors,
        /// Frames that were not aligned.
        rx_frame_errors,
        /// Frames that came on a device that is not in use.
        rx_nohandler,
    }
}

impl NicStats {
    /// The counters that tell of frames which the mirror sent and no program has seen. What is one of them for one driver is another
    /// for the next; `rx_errors` holds those that are not told apart.
    pub const LOSSES: [&'static str; 4] = ["rx_errors", "rx_missed_errors", "rx_fifo_errors", "rx_over_errors"];
}

/// The statistics of one interface.
#[derive(Clone, Debug)]
pub(super) struct Nic {
    directory: PathBuf,
    /// What they were when the run began.
    start: NicStats,
}

impl Nic {
    /// Counts from here on.
    pub(super) fn new(interface: &str) -> Self {
        let directory = Path::new("/sys/class/net").join(interface).join("statistics");
        Self { start: read(&directory), directory }
    }

    /// What was counted since. A counter that cannot be read is 0.
    pub(super) fn stats(&self) -> NicStats {
        read(&self.directory).since(&self.start)
    }
}

impl NicStats {
    fn since(mut self, start: &Self) -> Self {
        for (count, (_, before)) in self.iter_mut().zip(start.iter()) {
            // A driver may begin anew when it is reset.
            *count = count.saturating_sub(before);
        }
        self
    }
}

fn read(directory: &Path) -> NicStats {
    let mut stats = NicStats::default();
    for (count, (name, _)) in stats.iter_mut().zip(NicStats::FIELDS) {
        let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        *count = text.trim().parse().unwrap_or(0);
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_begin_with_the_run_and_never_go_below() {
        let start = NicStats { rx_packets: 10, rx_errors: 5, ..NicStats::default() };
        let now = NicStats { rx_packets: 17, rx_errors: 2, rx_missed_errors: 3, ..NicStats::default() };
        let wanted = NicStats { rx_packets: 7, rx_missed_errors: 3, ..NicStats::default() };
        assert_eq!(now.since(&start), wanted);
    }

    #[test]
    fn every_loss_is_a_counter_and_every_counter_one_of_the_kernel() {
        assert!(NicStats::LOSSES.iter().all(|loss| NicStats::FIELDS.iter().any(|(name, _)| name == loss)));
        for (name, _) in NicStats::FIELDS {
            // Every Linux has a loopback.
            assert!(Path::new("/sys/class/net/lo/statistics").join(name).exists(), "{name}");
        }
    }
}
