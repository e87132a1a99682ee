//! Whether the interface is there, up, wide enough, and open to frames that are not addressed to it.

use std::net::IpAddr;

use plaintap::source::af_xdp::MAX_MTU;

use super::super::report::Finding;
use super::super::system::word;
use super::{Facts, Machine};

pub(super) fn findings(facts: &Facts, machine: &Machine) -> Vec<Finding> {
    vec![state(facts), mtu(facts, machine), promiscuous(facts), addresses(facts)]
}

fn state(facts: &Facts) -> Finding {
    const CHECK: &str = "link";
    let Some(flags) = facts.flags() else { return Finding::unknown(CHECK, "its flags cannot be read") };
    if flags & IFF_UP == 0 {
        return Finding::fail(CHECK, "down").mend(format!("ip link set dev {} up", word(&facts.name)));
    }
    if facts.number("carrier") != Some(1) {
        return Finding::warn(CHECK, "up, but without a carrier: is it plugged in, and is the other side on?");
    }
    match facts.number("speed") {
        Some(speed) => Finding::ok(CHECK, format!("up, {} Gbit/s", speed as f64 / 1_000.0)),
        None => Finding::ok(CHECK, "up"),
    }
}

fn mtu(facts: &Facts, machine: &Machine) -> Finding {
    const CHECK: &str = "MTU";
    let name = word(&facts.name);
    match facts.number("mtu") {
        None => Finding::unknown(CHECK, "it cannot be read"),
        Some(mtu) if mtu > u64::from(MAX_MTU) => match why_one_buffer(facts, machine) {
            None => Finding::ok(
                CHECK,
                format!("{mtu}: frames of more than {MAX_MTU} octets come in pieces, and are joined"),
            ),
            Some(why) => {
                Finding::fail(CHECK, format!("{mtu}: a frame of more than {MAX_MTU} octets comes in pieces, and {why}"))
                    .mend(format!("ip link set dev {name} mtu {MAX_MTU}"))
            }
        },
        Some(mtu) if mtu < ETHERNET => {
            Finding::warn(CHECK, format!("{mtu}: whole Ethernet frames, of {ETHERNET}, may not get through"))
                .mend(format!("ip link set dev {name} mtu {TUNNELLED}"))
        }
        Some(mtu) if mtu < TUNNELLED => {
            Finding::ok(CHECK, format!("{mtu}, in one piece; a mirror by VXLAN, GRE or ERSPAN wants {TUNNELLED}"))
        }
        Some(mtu) => Finding::ok(CHECK, format!("{mtu}, in one piece")),
    }
}

/// Why frames cannot come in several buffers, if they cannot.
fn why_one_buffer(facts: &Facts, machine: &Machine) -> Option<&'static str> {
    if machine.version.is_some_and(|version| version < PIECES) {
        return Some("AF_XDP takes those from Linux 6.6 on");
    }
    match facts.features {
        Some(features) if features.several_buffers => None,
        Some(_) => Some("its driver does not give XDP those"),
        None => Some("the kernel does not tell whether its driver does that"),
    }
}

fn promiscuous(facts: &Facts) -> Finding {
    const CHECK: &str = "promiscuous";
    match facts.flags() {
        None => Finding::unknown(CHECK, "its flags cannot be read"),
        Some(flags) if flags & IFF_PROMISC != 0 => Finding::ok(CHECK, "yes: it takes frames to others"),
        Some(_) if facts.driver() == "veth" => Finding::ok(CHECK, "no, but a veth takes all frames"),
        Some(_) => {
            let found = "no: it drops mirrored frames, which are to others, unless they come in a tunnel to this host";
            Finding::warn(CHECK, found).mend(format!("ip link set dev {} promisc on", word(&facts.name)))
        }
    }
}

fn addresses(facts: &Facts) -> Finding {
    const CHECK: &str = "addresses";
    let name = word(&facts.name);
    let local = |addr: &IpAddr| matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    let all: Vec<String> = facts.addresses.iter().map(IpAddr::to_string).collect();
    if all.is_empty() {
        return Finding::ok(CHECK, "none, as is right for a mirror's interface");
    }
    if facts.addresses.iter().all(local) {
        let found = format!(
            "{}: the host talks into the mirror (neighbour discovery); frames to it are not captured",
            all.join(", ")
        );
        return Finding::warn(CHECK, found)
            .mend(format!("sysctl -w net.ipv6.conf.{}.disable_ipv6=1", name.replace('.', "/")));
    }
    let found = format!(
        "{}: frames from and to these are not captured; if the interface is for the mirror only:",
        all.join(", ")
    );
    Finding::warn(CHECK, found).mend(format!("ip address flush dev {name}"))
}

/// Of `if.h`.
const IFF_UP: u64 = 0x1;
const IFF_PROMISC: u64 = 0x100;
/// `XDP_USE_SG`.
const PIECES: (u32, u32) = (6, 6);
/// The payload of an Ethernet frame (IEEE 802.3 section 3.2.7).
const ETHERNET: u64 = 1_500;
/// That, with what a tunnel adds: 70 octets for VXLAN over IPv6 with a tag within.
const TUNNELLED: u64 = 1_600;
