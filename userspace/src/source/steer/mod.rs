//! Which frames come up to userspace, and to which worker: the XDP program's classifier, and what loads and tells it.
//!
//! The classifier is [`plaintap_xdp_common`], the very code that the XDP program is made of.

pub mod fuzz;
#[cfg(feature = "live")]
mod occupant;
#[cfg(feature = "live")]
mod program;

use std::net::IpAddr;

#[cfg(feature = "live")]
pub use occupant::{Holder, Occupant};
pub use plaintap_xdp_common::{
    Config, Filter, Reason, STAMP, Verdict, Walk, classify, flags, flow_hash, stamped, worker,
};
#[cfg(feature = "live")]
pub use program::{Counts, Mode, Program, SteerError, VerdictCounters};

/// An address in 16 octets, as the XDP program has them: IPv4 as `::ffff:a.b.c.d`.
pub fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// The lists of a filter that lists nothing: no address is the host's.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLists;

impl Filter for NoLists {
    fn local(&self, _: &[u8; 16]) -> bool {
        false
    }

    fn network(&self, _: &[u8; 16]) -> bool {
        false
    }

    fn port(&self, _: u16) -> bool {
        false
    }

    fn vlan(&self, _: u16) -> bool {
        false
    }
}
