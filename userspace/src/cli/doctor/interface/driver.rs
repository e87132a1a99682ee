//! What XDP the driver has, and whether somebody else uses it.

use super::super::netdev::Features;
use super::super::report::{Finding, Level};
use super::super::system::word;
use super::{Facts, Machine, not_told};

pub(super) fn findings(facts: &Facts, driver: &str, machine: &Machine) -> Vec<Finding> {
    let mut all = vec![native(facts, driver, machine), program(facts)];
    all.extend(caveat(facts, driver));
    all
}

fn native(facts: &Facts, driver: &str, machine: &Machine) -> Finding {
    const CHECK: &str = "driver";
    if driver.is_empty() {
        return Finding::unknown(CHECK, "neither /sys nor ip tells its driver");
    }
    let (features, by_table) = match (facts.features, machine.version) {
        (Some(features), _) => (features, ""),
        (None, Some(version)) => match KNOWN.iter().find(|known| known.name == driver) {
            Some(known) => (known.features(version), " (by its name: before Linux 6.3 the kernel does not tell)"),
            None => {
                return Finding::unknown(
                    CHECK,
                    format!(
                        "{driver}: the kernel does not tell what XDP it has, and it is not in the list of old drivers"
                    ),
                );
            }
        },
        (None, None) => return Finding::unknown(CHECK, format!("{driver}: the kernel does not tell what XDP it has")),
    };
    let Features { basic, redirect, zero_copy, several_buffers } = features;
    if !(basic && redirect) {
        let found = format!(
            "{driver}: no XDP of its own{by_table}: frames take the kernel's generic path, several times slower"
        );
        return Finding::warn(CHECK, found);
    }
    let copy = if zero_copy { "zero copy" } else { "with a copy" };
    let buffers = if several_buffers { "several buffers" } else { "one buffer a frame" };
    Finding::ok(CHECK, format!("{driver}: native XDP, AF_XDP {copy}, {buffers}{by_table}"))
}

/// Who has a program there.
fn program(facts: &Facts) -> Finding {
    const CHECK: &str = "XDP slot";
    let Some(link) = facts.link_json() else { return not_told(CHECK, "ip", "iproute2", &facts.link) };
    let Some(xdp) = link.get("xdp") else { return Finding::ok(CHECK, "free") };
    let program = xdp.get("prog");
    let id = program.and_then(|program| program.get("id")).and_then(|id| id.as_u64());
    let called = program.and_then(|program| program.get("name")).and_then(|name| name.as_str());
    let id = id.map_or_else(String::new, |id| format!(" {id}"));
    if called.is_some_and(|name| name.starts_with("plaintap")) {
        return Finding::ok(CHECK, format!("plaintap's program{id}: a run is on"));
    }
    let called = called.map_or_else(String::new, |name| format!(" ('{name}')"));
    // Of `if_link.h`: XDP_ATTACHED_SKB is 2.
    let off = if xdp.get("mode").and_then(|mode| mode.as_u64()) == Some(2) { "xdpgeneric" } else { "xdp" };
    let found = format!(
        "another program{id}{called} is there: stop what loaded it, or start with --force. If this is refused, it holds it: bpftool link list"
    );
    Finding::fail(CHECK, found).mend(format!("ip link set dev {} {off} off", word(&facts.name)))
}

/// What to know of this kind of interface.
fn caveat(facts: &Facts, driver: &str) -> Option<Finding> {
    const CHECK: &str = "kind";
    let master = facts.link_json().and_then(|link| Some(link.get("master")?.as_str()?.to_owned()));
    if let Some(master) = master {
        let found =
            format!("a member of '{master}', which does not get the TCP that is captured here: right for mirrors only");
        return Some(Finding::warn(CHECK, found));
    }
    let (_, level, what) = CAVEATS.iter().find(|(drivers, ..)| drivers.contains(&driver))?;
    Some(Finding::new(*level, CHECK, *what))
}

/// A driver, and since when it can do what.
struct Known {
    name: &'static str,
    native: Version,
    zero_copy: Option<Version>,
}

type Version = (u32, u32);

impl Known {
    fn features(&self, version: Version) -> Features {
        let since = |since: Option<Version>| since.is_some_and(|since| version >= since);
        let native = version >= self.native;
        Features {
            basic: native,
            redirect: native,
            zero_copy: since(self.zero_copy),
            // AF_XDP takes those from Linux 6.6 on, and then the kernel tells.
            several_buffers: false,
        }
    }
}

const fn known(name: &'static str, native: Version, zero_copy: Option<Version>) -> Known {
    Known { name, native, zero_copy }
}

/// The oldest kernel that plaintap runs on; what came before it need not be told apart.
const OLD: Version = (5, 10);

/// Drivers of the kernels up to 6.2, which are not told by the kernel itself: native XDP, and AF_XDP zero copy. The kernel has no
/// document of it, and the list was not checked driver by driver: `plaintap run` tries, and its start line says what it got.
const KNOWN: [Known; 22] = [
    known("bnxt_en", OLD, None),
    known("ena", OLD, None),
    known("fsl_dpaa2_eth", OLD, Some((6, 2))),
    known("hv_netvsc", OLD, None),
    known("i40e", OLD, Some(OLD)),
    known("ice", OLD, Some(OLD)),
    known("igb", OLD, None),
    known("igc", (5, 13), Some((5, 14))),
    known("ixgbe", OLD, Some(OLD)),
    known("ixgbevf", OLD, None),
    known("mlx4_core", OLD, None),
    known("mlx5_core", OLD, Some(OLD)),
    known("mvneta", OLD, None),
    known("mvpp2", OLD, None),
    known("nfp", OLD, Some((5, 18))),
    known("qede", OLD, None),
    known("sfc", OLD, None),
    known("st_gmac", (5, 13), Some((5, 13))),
    known("tun", OLD, None),
    known("veth", OLD, None),
    known("virtio_net", OLD, None),
    known("vif", OLD, None),
];

/// Kinds of interface with something to know.
const CAVEATS: [(&[&str], Level, &str); 8] = [
    (&["veth"], Level::Ok, "a veth: its peer is to send single frames (there: ethtool -K PEER tso off gso off)"),
    (
        &["virtio_net"],
        Level::Ok,
        "virtual: the host has to mirror into it, and its bridge to flood; XDP wants as many queue pairs more",
    ),
    (
        &["ena"],
        Level::Ok,
        "virtual: VPC traffic mirroring comes as VXLAN on UDP port 4789, which the security group must let in",
    ),
    (
        &["gve"],
        Level::Ok,
        "virtual: Packet Mirroring has to name this instance, behind its load balancer, as collector",
    ),
    (&["vmxnet3"], Level::Ok, "virtual: the port group has to allow promiscuous mode"),
    (&["hv_netvsc"], Level::Ok, "virtual: the port's mirroring mode has to be 'destination'"),
    (
        &["bond", "bonding", "team", "bridge", "openvswitch"],
        Level::Warn,
        "not a NIC: name its members, each with --interface",
    ),
    (
        &["vlan", "8021q", "macvlan", "ipvlan", "vxlan", "gre", "gretap", "erspan", "geneve"],
        Level::Warn,
        "not a NIC: name what it is on; plaintap looks through tags and tunnels",
    ),
];
