//! Frames to TCP segments.
//!
//! ```text
//! | Ethernet, cooked, raw ... | VLAN | IP | tunnel ... | IP | TCP | payload | pad, F5 trailer, FCS |
//! '------------------ peeled off: Outer ------------'    '-- Segment ------'  '-- f5::Trailer -----'
//! ```
//!
//! [`Decoder`] walks down the headers, through tunnels, to the innermost TCP segment; IP fragments are put together on the
//! way. The lengths in the IP headers say where a payload ends, so padding, trailers and FCS never belong to one. Checksums
//! are not verified: captures made on the sending host show them before the NIC has filled them in.

mod config;
mod decoder;
pub mod f5;
mod fragment;
#[cfg(test)]
mod fragment_tests;
pub mod fuzz;
mod link;
mod stats;
#[cfg(test)]
mod tests;
mod tunnel;
mod walk;

use std::net::IpAddr;

pub use config::WireConfig;
pub use decoder::Decoder;
pub use stats::WireStats;

use crate::Timestamp;
use crate::flow::FiveTuple;
use crate::source::InterfaceId;
use crate::tcp::{SeqNumber, TcpFlags};

/// A TCP segment found in a frame, with what the frame told of the way that it came.
#[derive(Debug)]
pub struct Segment<'a> {
    /// When the frame was captured.
    pub ts: Timestamp,
    /// Where the frame was captured.
    pub interface: InterfaceId,
    /// Sender and receiver.
    pub tuple: FiveTuple,
    /// Sequence number of the first payload octet (of the SYN, where it is set).
    pub seq: SeqNumber,
    /// Acknowledgement number; counts only with [`TcpFlags::ACK`].
    pub ack: SeqNumber,
    /// Flags.
    pub flags: TcpFlags,
    /// Window as sent, unscaled.
    pub window: u16,
    /// The payload as far as it was captured, without padding, trailer or FCS.
    pub payload: &'a mut [u8],
    /// Payload octets that the capture cut off after `payload`.
    pub missing: u32,
    /// What was peeled off around the innermost IP packet.
    pub outer: Outer,
}

/// The layers around the innermost IP packet: `plaintap.capture.*` of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outer {
    /// VLAN identifiers from the outermost in; `vlan_count` of them count.
    pub vlans: [u16; 4],
    /// How many of `vlans` are set.
    pub vlan_count: u8,
    /// The innermost tunnel.
    pub tunnel: Option<Tunnel>,
}

impl Outer {
    /// Nothing was peeled off.
    pub const NONE: Self = Self { vlans: [0; 4], vlan_count: 0, tunnel: None };
}

/// A tunnel that a frame came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// Which protocol.
    pub kind: TunnelKind,
    /// VNI, GRE key, ERSPAN session, TEID: whatever the protocol calls its number.
    pub id: Option<u32>,
    /// Who sent the outer packet (the tunnel end point that mirrored it).
    pub src: Option<IpAddr>,
}

/// Tunnel protocols that are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TunnelKind {
    /// MPLS label stack (`id`: the bottom label).
    Mpls,
    /// PPP over Ethernet (`id`: the session).
    Pppoe,
    /// IPv4 or IPv6 in IPv4 or IPv6.
    IpInIp,
    /// GRE with a layer-3 or Ethernet payload.
    Gre,
    /// NVGRE (`id`: the virtual subnet).
    Nvgre,
    /// VXLAN or VXLAN-GPE.
    Vxlan,
    /// GENEVE.
    Geneve,
    /// ERSPAN type I, II or III.
    Erspan,
    /// GTP-U.
    Gtp,
    /// Teredo.
    Teredo,
}
