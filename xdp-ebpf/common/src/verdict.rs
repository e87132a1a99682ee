//! What is done with a frame, and why.

use crate::{Config, Cursor, Walk, flags, flow_hash};

/// What is done with a frame.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Left to the kernel's stack.
    #[default]
    Pass = 0,
    /// Thrown away.
    Drop = 1,
    /// Handed to the worker that its flow hashes to.
    Steer = 2,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident => $name:literal,)*) => {
        /// Why. Every frame has exactly one verdict and one reason; [`counter`] is where it is counted.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $reason,)* }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$reason),*];

            /// The name that the counter has outside.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$reason => $name,)* }
            }
        }
    };
}

reasons! {
    /// No IP: an EtherType or LLC header that is not looked into. Heartbeats of inline devices too.
    #[default]
    NotIp => "not_ip",
    /// ARP or RARP.
    Arp => "arp",
    /// ARP with an opcode that is not assigned: heartbeats of bypass TAPs.
    ArpHeartbeat => "arp_heartbeat",
    /// IP without TCP in it.
    NotTcp => "not_tcp",
    /// A tunnel with a payload, version or option that is not looked into, or a message of the tunnel's own.
    Tunnel => "tunnel",
    /// More headers or tunnels than are looked through.
    TooDeep => "too_deep",
    /// The frame ends within a header.
    CutShort => "cut_short",
    /// A header that cannot be.
    Malformed => "malformed",
    /// A TCP segment.
    Tcp => "tcp",
    /// A fragment of an IP packet, steered by its addresses alone.
    Fragment => "fragment",
    /// To or from an address of the host, and not tunnelled.
    Local => "local",
    /// Neither port is one of those asked for.
    OtherPort => "other_port",
    /// Neither address is in one of the networks asked for.
    OtherNetwork => "other_network",
    /// Not in one of the VLANs asked for.
    OtherVlan => "other_vlan",
    /// Was to be steered, but there is no socket: it came by a queue that no worker listens on. A loss.
    NoSocket => "no_socket",
    /// Was to be steered, but steering has not begun yet.
    NotStarted => "not_started",
}

/// Where frames with this verdict and reason are counted.
#[inline(always)]
pub const fn counter(verdict: Verdict, reason: Reason) -> u32 {
    verdict as u32 * Reason::ALL.len() as u32 + reason as u32
}

/// The lists that the loader keeps. Asked only where [`Config::flags`] says so, but for `local`.
pub trait Filter {
    /// Whether the address is one of the host's.
    fn local(&self, addr: &[u8; 16]) -> bool;
    /// Whether the address is in a listed network.
    fn network(&self, addr: &[u8; 16]) -> bool;
    /// Whether the TCP port is listed.
    fn port(&self, port: u16) -> bool;
    /// Whether the VLAN is listed.
    fn vlan(&self, vlan: u16) -> bool;
}

/// Looks at a frame and decides. `walk` is where: whatever was in it does not matter, and afterwards it says all that was found.
#[inline(always)]
pub fn classify<C: Cursor, F: Filter>(walk: &mut Walk, frame: C, config: &Config, filter: &F) {
    walk.reason = walk.run(frame);
    (walk.verdict, walk.reason) = decide(walk, config, filter);
    if matches!(walk.verdict, Verdict::Steer) {
        let whole = matches!(walk.reason, Reason::Tcp) && !config.has(flags::HASH_ADDRESSES);
        let (src_port, dst_port) = if whole { (walk.src_port, walk.dst_port) } else { (0, 0) };
        walk.hash = flow_hash(&walk.src, src_port, &walk.dst, dst_port, config);
    }
}

/// The worker of a flow, below `workers`.
#[inline(always)]
pub const fn worker(hash: u32, workers: u32) -> u32 {
    ((hash as u64 * workers as u64) >> 32) as u32
}

#[inline(always)]
fn decide<F: Filter>(walk: &Walk, config: &Config, filter: &F) -> (Verdict, Reason) {
    let others = if config.has(flags::DROP_OTHERS) { Verdict::Drop } else { Verdict::Pass };
    if !matches!(walk.reason, Reason::Tcp | Reason::Fragment) {
        // The host may be asked for its address, or ask, whatever else the NIC is for.
        let verdict =
            if matches!(walk.reason, Reason::NotTcp) && is_local(walk, filter) { Verdict::Pass } else { others };
        return (verdict, walk.reason);
    }
    if is_local(walk, filter) {
        return (Verdict::Pass, Reason::Local);
    }
    if config.has(flags::FILTER_VLANS) && !in_vlan(walk, filter) {
        return (others, Reason::OtherVlan);
    }
    if config.has(flags::FILTER_NETWORKS) && !filter.network(&walk.src) && !filter.network(&walk.dst) {
        return (others, Reason::OtherNetwork);
    }
    let ports = matches!(walk.reason, Reason::Tcp) && config.has(flags::FILTER_PORTS);
    if ports && !filter.port(walk.src_port) && !filter.port(walk.dst_port) {
        return (others, Reason::OtherPort);
    }
    if config.workers == 0 {
        return (others, Reason::NotStarted);
    }
    (Verdict::Steer, walk.reason)
}

/// In a tunnel the addresses are of another network, whatever they are.
#[inline(always)]
fn is_local<F: Filter>(walk: &Walk, filter: &F) -> bool {
    walk.tunnels == 0 && (filter.local(&walk.dst) || filter.local(&walk.src))
}

#[inline(always)]
fn in_vlan<F: Filter>(walk: &Walk, filter: &F) -> bool {
    let [a, b, c, d] = walk.vlans;
    let listed = |number: u8, vlan: u16| walk.vlan_count > number && filter.vlan(vlan);
    listed(0, a) || listed(1, b) || listed(2, c) || listed(3, d)
}
