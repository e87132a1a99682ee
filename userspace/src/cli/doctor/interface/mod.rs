//! An interface: what is known of it, and what that means for a mirror.
//!
//! ```text
//! /sys/class/net, ip, ethtool, netlink -> Facts -> link      is it there, up, wide enough, open to all frames
//!                                              -> driver    what XDP it has, and who else is there
//!                                              -> receive   what the NIC does with frames, and what it lost
//!                                              -> place     which memory and which processors
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::ethtool;
use super::host::HugePages;
use super::netdev::{self, Features};
use super::report::Finding;
use super::system::{Said, ask, names, number, processors, read, target};

mod driver;
mod link;
mod place;
mod receive;

pub(super) use self::receive::is_loss;

/// What is known of an interface. Texts are as the programs printed them.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    /// Of the files in `/sys/class/net/NAME`, those that are looked at.
    pub(super) files: BTreeMap<&'static str, String>,
    /// The driver of its device; none for what is made of software.
    pub(super) driver: Option<String>,
    /// Receive queues.
    pub(super) queues: u64,
    /// What the kernel says that the driver can do; from Linux 6.3 on.
    pub(super) features: Option<Features>,
    pub(super) addresses: Vec<IpAddr>,
    /// `ip -j -d link show`.
    pub(super) link: Said,
    /// `ethtool -i`.
    pub(super) about: Said,
    /// `ethtool -k`.
    pub(super) offloads: Said,
    /// `ethtool -l`.
    pub(super) channels: Said,
    /// `ethtool -g`.
    pub(super) rings: Said,
    /// `ethtool -a`.
    pub(super) pause: Said,
    /// `ethtool -x`.
    pub(super) spread: Said,
    /// `ethtool -u`.
    pub(super) rules: Said,
    /// What was lost, by counter; twice, a second apart.
    pub(super) lost: [BTreeMap<String, u64>; 2],
    /// Processors near to it, of its NUMA node.
    pub(super) near: Vec<u32>,
    /// Huge pages of its NUMA node.
    pub(super) huge_pages: Option<HugePages>,
    /// By interrupt: the processors that take it.
    pub(super) interrupts: Vec<Vec<u32>>,
}

/// What is known of the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub(super) processors: u32,
    /// Worker threads of a run, by default.
    pub(super) workers: u32,
    pub(super) nodes: usize,
    /// Of the kernel.
    pub(super) version: Option<(u32, u32)>,
}

/// The interfaces with a device behind them, real or virtual.
pub(super) fn physical() -> Vec<String> {
    let physical = |name: &String| {
        let directory = format!("{NET}/{name}");
        // ARPHRD_ETHER.
        number(format!("{directory}/type")) == Some(1)
            && std::fs::exists(format!("{directory}/device")).unwrap_or(false)
            && !std::fs::exists(format!("{directory}/wireless")).unwrap_or(false)
    };
    names(NET).into_iter().filter(physical).collect()
}

/// Whether there is an interface of that name.
pub(super) fn exists(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.contains('/')
        && std::fs::exists(format!("{NET}/{name}")).unwrap_or(false)
}

impl Facts {
    /// Looks at an interface that exists.
    pub(super) fn look(name: &str) -> Self {
        let directory = format!("{NET}/{name}");
        let file = |of: &&'static str| Some((*of, read(format!("{directory}/{of}"))?));
        let ethtool = |option: &str| ask("ethtool", &[option, name]);
        let queues = names(format!("{directory}/queues"));
        let node = number(format!("{directory}/device/numa_node")).filter(|node| *node >= 0);
        let index = number(format!("{directory}/ifindex")).and_then(|index| u32::try_from(index).ok());
        let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten().filter(|entry| entry.interface_name == name);
        let addresses = addresses.filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        let near = node.and_then(|node| read(format!("/sys/devices/system/node/node{node}/cpulist")));
        Self {
            name: name.to_owned(),
            files: FILES.iter().filter_map(file).collect(),
            driver: target(format!("{directory}/device/driver")),
            queues: queues.iter().filter(|queue| queue.starts_with("rx-")).count() as u64,
            features: index.and_then(|index| netdev::features(index).ok()),
            addresses: addresses.collect(),
            link: ask("ip", &["-j", "-d", "link", "show", "dev", name]),
            about: ethtool("-i"),
            offloads: ethtool("-k"),
            channels: ethtool("-l"),
            rings: ethtool("-g"),
            pause: ethtool("-a"),
            spread: ethtool("-x"),
            rules: ethtool("-u"),
            lost: [lost(name), BTreeMap::new()],
            near: near.map(|list| processors(&list)).unwrap_or_default(),
            huge_pages: node.and_then(HugePages::of_node),
            interrupts: interrupts(&directory),
        }
    }

    /// Looks again at what it lost.
    pub(super) fn look_again(&mut self) {
        self.lost[1] = lost(&self.name);
    }

    /// What it comes to.
    pub(super) fn findings(&self, machine: &Machine) -> Vec<Finding> {
        let driver = self.driver();
        let mut all = link::findings(self, machine);
        all.extend(driver::findings(self, &driver, machine));
        all.extend(receive::findings(self, &driver, machine));
        all.extend(place::findings(self, machine));
        all
    }

    /// The driver's name, or the kind of what has no device (`veth`).
    fn driver(&self) -> String {
        let kind = || Some(self.link_json()?.get("linkinfo")?.get("info_kind")?.as_str()?.to_owned());
        let about = || self.about.text().and_then(ethtool::driver);
        self.driver.clone().or_else(kind).or_else(about).unwrap_or_default()
    }

    /// What `ip` says of it.
    fn link_json(&self) -> Option<serde_json::Value> {
        let mut links: serde_json::Value = serde_json::from_str(self.link.text()?).ok()?;
        let links = links.as_array_mut()?;
        (!links.is_empty()).then(|| links.swap_remove(0))
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.files.get(file)?.parse().ok()
    }

    /// `IFF_` flags.
    fn flags(&self) -> Option<u64> {
        u64::from_str_radix(self.files.get("flags")?.strip_prefix("0x")?, 16).ok()
    }
}

/// Counters of frames that were lost before XDP saw them: the kernel's, and those of the driver that are called so.
fn lost(name: &str) -> BTreeMap<String, u64> {
    let standard = LOST.iter().filter_map(|counter| {
        let count = number(format!("{NET}/{name}/statistics/{counter}"))?;
        Some(((*counter).to_owned(), count.unsigned_abs()))
    });
    let mut all: BTreeMap<_, _> = standard.collect();
    if let Some(text) = ask("ethtool", &["-S", name]).text() {
        all.extend(ethtool::counters(text).into_iter().filter(|(name, _)| is_loss(name)));
    }
    all
}

/// By interrupt of the device: the processors that take it.
fn interrupts(directory: &str) -> Vec<Vec<u32>> {
    // A virtio device's are its parent's.
    let places = ["device/msi_irqs", "device/../msi_irqs"].map(|place| format!("{directory}/{place}"));
    let numbers = places.iter().map(names).find(|names| !names.is_empty()).unwrap_or_default();
    let interrupts = numbers.iter().filter_map(|number| {
        let directory = format!("/proc/irq/{number}");
        // Those that are not in use have no handler, which is a directory.
        std::fs::read_dir(&directory)
            .ok()?
            .flatten()
            .find(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))?;
        read(format!("{directory}/effective_affinity_list")).or_else(|| read(format!("{directory}/smp_affinity_list")))
    });
    interrupts.map(|list| processors(&list)).filter(|list| !list.is_empty()).collect()
}

/// `?`, and how to get the program or what it said.
fn not_told(check: &'static str, program: &str, package: &str, said: &Said) -> Finding {
    match said {
        Said::Missing => {
            Finding::unknown(check, format!("{program} is not installed")).mend(format!("apt-get install {package}"))
        }
        Said::Refused(why) => Finding::unknown(check, format!("{program} says: {why}")),
        Said::Text(_) => Finding::unknown(check, format!("what {program} says is not understood")),
    }
}

const NET: &str = "/sys/class/net";
/// Files of an interface that are looked at.
const FILES: [&str; 4] = ["flags", "carrier", "mtu", "speed"];
/// Of `struct rtnl_link_stats64`: frames that the NIC had to drop or could not read. (`rx_dropped` is the stack's as well.)
const LOST: [&str; 6] =
    ["rx_missed_errors", "rx_fifo_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors", "rx_length_errors"];
