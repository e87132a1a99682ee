//! The walk down the headers of one frame: from the link layer through IP and tunnels to TCP.
//!
//! ```text
//!            pos                      end             wire_end
//!             v                        v                 v
//! |  done  |  what is left, as captured  | cut off by the  |
//! |        |  (limited by IP's length)   | capture         |
//! ```

use std::net::IpAddr;
use std::ops::Range;

use etherparse::{
    IpAuthHeaderSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    TcpHeaderSlice, UdpHeaderSlice, err, ip_number as ip,
};

use super::fragment::{Fragment, FragmentKey};
use super::stats::Outcome;
use super::{Outer, Tunnel, TunnelKind, f5};
use crate::flow::{Endpoint, FiveTuple};
use crate::source::LinkType;
use crate::tcp::{SeqNumber, TcpFlags};

/// Where the walk stands in a frame (or in a datagram put together from fragments).
#[derive(Debug)]
pub(super) struct Walk {
    /// `pos <= end <= bytes.len()` and `end <= wire_end`.
    pub(super) pos: usize,
    pub(super) end: usize,
    pub(super) wire_end: usize,
    layer: Layer,
    pub(super) outer: Outer,
    /// Source and destination of the IP header passed last.
    addrs: Option<(IpAddr, IpAddr)>,
    /// Tunnels that may still be entered.
    depth_left: u8,
    /// Where an F5 trailer stands in the frame.
    pub(super) trailer: Option<f5::Location>,
    /// The fragment that the walk stopped at.
    pub(super) fragment: Option<Fragment>,
    /// `bytes` is a frame, not a datagram: there may be a trailer.
    in_frame: bool,
}

/// What comes next at `pos`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layer {
    /// The link header of the frame.
    Link(LinkType),
    /// An Ethernet header.
    Ethernet,
    /// What an EtherType announces.
    EtherType(u16),
    /// An LLC header.
    Llc,
    /// What a PPP protocol number announces.
    Ppp(u16),
    /// IPv4 or IPv6, by its first half-octet.
    Ip,
    /// The payload of an IP packet, by its protocol number.
    Transport(u8),
}

/// Why the walk stopped before TCP.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    Outcome(Outcome),
    /// At an IP fragment: [`Walk::fragment`], which stands apart so that results of steps fit into a register.
    Fragment,
}

/// A TCP header and where its payload stands.
#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    pub(super) seq: SeqNumber,
    pub(super) ack: SeqNumber,
    pub(super) flags: TcpFlags,
    pub(super) window: u16,
    pub(super) payload: Range<usize>,
    pub(super) missing: u32,
}

impl Walk {
    pub(super) fn new(link: LinkType, captured: usize, wire_len: u32, max_depth: u8) -> Self {
        Self {
            pos: 0,
            end: captured,
            wire_end: captured.max(wire_len as usize),
            layer: Layer::Link(link),
            outer: Outer::default(),
            addrs: None,
            depth_left: max_depth,
            trailer: None,
            fragment: None,
            in_frame: true,
        }
    }

    /// Goes on in a datagram of `len` octets that was put together from fragments of `protocol`.
    pub(super) fn enter_datagram(&mut self, protocol: u8, len: usize) {
        self.pos = 0;
        self.end = len;
        self.wire_end = len;
        self.layer = Layer::Transport(protocol);
        self.in_frame = false;
    }

    /// Walks down to a TCP header. `bytes` are those of the frame or datagram that the walk was last told of.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Result<Tcp, Stop> {
        loop {
            self.layer = match self.layer {
                Layer::Transport(protocol) if protocol == ip::TCP.0 => return Ok(self.tcp(bytes)?),
                Layer::Transport(protocol) => self.transport(bytes, protocol)?,
                Layer::Ip => self.ip(bytes)?,
                Layer::EtherType(ether_type) => self.ether_type(bytes, ether_type)?,
                Layer::Ethernet => self.ethernet(bytes)?,
                Layer::Llc => self.llc(bytes)?,
                Layer::Ppp(protocol) => self.ppp(bytes, protocol)?,
                Layer::Link(link) => self.link(bytes, link)?,
            };
            self.invariants(bytes);
        }
    }

    /// What is left of the frame.
    #[inline]
    pub(super) fn rest<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(self.pos..self.end).unwrap_or_default()
    }

    /// The next `N` octets; `malformed` when the frame had no more on the wire either.
    #[inline]
    pub(super) fn peek<const N: usize>(&self, bytes: &[u8], malformed: Outcome) -> Result<[u8; N], Outcome> {
        self.rest(bytes).first_chunk().copied().ok_or_else(|| self.too_short(N, malformed))
    }

    /// Why there are no `len` octets left: the capture cut them off, or else they never were there.
    #[cold]
    pub(super) fn too_short(&self, len: usize, malformed: Outcome) -> Outcome {
        if self.pos.saturating_add(len) <= self.wire_end { Outcome::Truncated } else { malformed }
    }

    /// Passes `len` octets.
    #[inline]
    pub(super) fn skip(&mut self, len: usize, malformed: Outcome) -> Result<(), Outcome> {
        if len > self.end - self.pos {
            return Err(self.too_short(len, malformed));
        }
        self.pos += len;
        Ok(())
    }

    /// Limits what is left to the `len` octets that a length field announces. More than there are: the rest is missing.
    pub(super) fn limit(&mut self, len: usize) {
        self.wire_end = self.pos.saturating_add(len);
        self.end = self.end.min(self.wire_end);
    }

    /// The same, where a larger length than there is does not count: the IP packet inside says how long it is.
    pub(super) fn shorten(&mut self, len: usize) {
        if self.pos + len < self.wire_end {
            self.limit(len);
        }
    }

    /// Notes that a tunnel is entered.
    pub(super) fn enter(&mut self, kind: TunnelKind, id: Option<u32>) -> Result<(), Outcome> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(Outcome::TooDeep)?;
        self.outer.tunnel = Some(Tunnel { kind, id, src: self.addrs.map(|(src, _)| src) });
        Ok(())
    }

    fn ip(&mut self, bytes: &[u8]) -> Result<Layer, Stop> {
        let [first] = self.peek(bytes, Outcome::MalformedIp)?;
        match first >> 4 {
            4 => self.ipv4(bytes),
            6 => self.ipv6(bytes),
            _ => Err(Outcome::MalformedIp.into()),
        }
    }

    fn ipv4(&mut self, bytes: &[u8]) -> Result<Layer, Stop> {
        let header = Ipv4HeaderSlice::from_slice(self.rest(bytes)).map_err(|error| match error {
            err::ipv4::HeaderSliceError::Len(error) => self.too_short(error.required_len, Outcome::MalformedIp),
            err::ipv4::HeaderSliceError::Content(_) => Outcome::MalformedIp,
        })?;
        let (header_len, total_len) = (header.slice().len(), usize::from(header.total_len()));
        // Zero: segmentation offload; the NIC was to write the length.
        if total_len != 0 {
            if total_len < header_len {
                return Err(Outcome::MalformedIp.into());
            }
            self.packet_end(bytes, total_len);
        }
        self.pos += header_len;
        let (src, dst) = (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()));
        self.addrs = Some((src, dst));
        let protocol = header.protocol().0;
        if header.is_fragmenting_payload() {
            let id = u32::from(header.identification());
            let key = FragmentKey { src, dst, id, protocol, outer: self.outer };
            let offset = usize::from(header.fragments_offset().byte_offset());
            return Err(self.stop_at_fragment(key, protocol, offset, header.more_fragments()));
        }
        Ok(Layer::Transport(protocol))
    }

    fn ipv6(&mut self, bytes: &[u8]) -> Result<Layer, Stop> {
        let header = Ipv6HeaderSlice::from_slice(self.rest(bytes)).map_err(|error| match error {
            err::ipv6::HeaderSliceError::Len(error) => self.too_short(error.required_len, Outcome::MalformedIp),
            err::ipv6::HeaderSliceError::Content(_) => Outcome::MalformedIp,
        })?;
        let header_len = header.slice().len();
        // Zero: a jumbogram (RFC 2675) or segmentation offload.
        if header.payload_length() != 0 {
            self.packet_end(bytes, header_len + usize::from(header.payload_length()));
        }
        self.pos += header_len;
        let (src, dst) = (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()));
        self.addrs = Some((src, dst));
        self.extension_headers(bytes, header.next_header().0)
    }

    /// Passes IPv6 extension headers (RFC 8200 section 4) up to the transport header or a fragment.
    fn extension_headers(&mut self, bytes: &[u8], mut next: u8) -> Result<Layer, Stop> {
        for _ in 0..=MAX_EXTENSION_HEADERS {
            let number = etherparse::IpNumber(next);
            match number {
                ip::IPV6_HOP_BY_HOP | ip::IPV6_ROUTE | ip::IPV6_DEST_OPTIONS | ip::MOBILITY | ip::HIP | ip::SHIM6 => {
                    let header = Ipv6RawExtHeaderSlice::from_slice(self.rest(bytes))
                        .map_err(|error| self.too_short(error.required_len, Outcome::MalformedIp))?;
                    next = header.next_header().0;
                    self.pos += header.slice().len();
                }
                ip::IPV6_FRAG => {
                    let header = Ipv6FragmentHeaderSlice::from_slice(self.rest(bytes))
                        .map_err(|error| self.too_short(error.required_len, Outcome::MalformedIp))?;
                    next = header.next_header().0;
                    self.pos += header.slice().len();
                    if let (true, Some((src, dst))) = (header.is_fragmenting_payload(), self.addrs) {
                        let id = header.identification();
                        let key = FragmentKey { src, dst, id, protocol: ip::IPV6_FRAG.0, outer: self.outer };
                        let offset = usize::from(header.fragment_offset().byte_offset());
                        return Err(self.stop_at_fragment(key, next, offset, header.more_fragments()));
                    }
                }
                _ => return Ok(Layer::Transport(next)),
            }
        }
        Err(Outcome::MalformedIp.into())
    }

    /// Ends the packet at `pos` after `total_len` octets; what the link layer has beyond may be an F5 trailer.
    #[inline]
    fn packet_end(&mut self, bytes: &[u8], total_len: usize) {
        let packet_end = self.pos + total_len;
        if self.in_frame && packet_end < self.end {
            self.look_for_trailer(bytes, packet_end);
        }
        self.limit(total_len);
    }

    fn look_for_trailer(&mut self, bytes: &[u8], packet_end: usize) {
        if let Some(location) = bytes.get(packet_end..self.end).and_then(|slack| f5::locate(slack, packet_end)) {
            self.trailer = Some(location);
        }
    }

    #[cold]
    fn stop_at_fragment(&mut self, key: FragmentKey, next: u8, offset: usize, more: bool) -> Stop {
        if self.end < self.wire_end {
            return Outcome::FragmentTruncated.into();
        }
        self.fragment = Some(Fragment { key, next, offset, more, payload: self.pos..self.end });
        Stop::Fragment
    }

    fn transport(&mut self, bytes: &[u8], protocol: u8) -> Result<Layer, Stop> {
        Err(match etherparse::IpNumber(protocol) {
            ip::UDP => return Ok(self.udp(bytes)?),
            ip::IPV4 | ip::IPV6 => {
                self.enter(TunnelKind::IpInIp, None)?;
                return Ok(Layer::Ip);
            }
            ip::GRE => return Ok(self.gre(bytes)?),
            ip::MPLS_IN_IP => return Ok(self.mpls(bytes)?),
            ip::AUTHENTICATION_HEADER => {
                let header = IpAuthHeaderSlice::from_slice(self.rest(bytes)).map_err(|error| match error {
                    err::ip_auth::HeaderSliceError::Len(error) => {
                        self.too_short(error.required_len, Outcome::MalformedIp)
                    }
                    err::ip_auth::HeaderSliceError::Content(_) => Outcome::MalformedIp,
                })?;
                self.pos += header.slice().len();
                return Ok(Layer::Transport(header.next_header().0));
            }
            // Extension headers again: after authentication, or in a datagram that was fragmented.
            ip::IPV6_HOP_BY_HOP
            | ip::IPV6_ROUTE
            | ip::IPV6_DEST_OPTIONS
            | ip::IPV6_FRAG
            | ip::MOBILITY
            | ip::HIP
            | ip::SHIM6
                if matches!(self.addrs, Some((IpAddr::V6(_), _))) =>
            {
                return self.extension_headers(bytes, protocol);
            }
            ip::ICMP => Outcome::Icmp,
            ip::IPV6_ICMP => Outcome::Icmpv6,
            ip::SCTP => Outcome::Sctp,
            ip::ENCAPSULATING_SECURITY_PAYLOAD => Outcome::Esp,
            _ => Outcome::OtherIp,
        }
        .into())
    }

    fn udp(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let header = UdpHeaderSlice::from_slice(self.rest(bytes))
            .map_err(|error| self.too_short(error.required_len, Outcome::MalformedUdp))?;
        let (src, dst) = (header.source_port(), header.destination_port());
        let (header_len, len) = (header.slice().len(), usize::from(header.length()));
        // Zero: segmentation offload again, or a jumbogram.
        if len != 0 {
            if len < header_len {
                return Err(Outcome::MalformedUdp);
            }
            self.shorten(len);
        }
        self.pos += header_len;
        self.udp_tunnel(bytes, src, dst)?.ok_or(Outcome::Udp)
    }

    fn tcp(&mut self, bytes: &[u8]) -> Result<Tcp, Outcome> {
        let rest = self.rest(bytes);
        let mut fixed;
        let (header, header_len) = match TcpHeaderSlice::from_slice(rest) {
            Ok(header) => {
                let len = header.slice().len();
                (header, len)
            }
            Err(err::tcp::HeaderSliceError::Content(_)) => return Err(Outcome::MalformedTcp),
            Err(err::tcp::HeaderSliceError::Len(error)) => {
                // The capture may have cut the options off; the fixed part says all that is needed.
                let short = self.too_short(error.required_len, Outcome::MalformedTcp);
                fixed = *rest.first_chunk::<20>().ok_or(short)?;
                if short != Outcome::Truncated {
                    return Err(short);
                }
                fixed[12] = 0x50 | (fixed[12] & 0x0f); // data offset 5: no options
                let header = TcpHeaderSlice::from_slice(&fixed).map_err(|_| Outcome::MalformedTcp)?;
                (header, error.required_len)
            }
        };
        let payload_start = self.pos + header_len;
        let payload = payload_start.min(self.end)..self.end;
        let missing = self.wire_end.saturating_sub(self.end.max(payload_start)).min(MAX_MISSING);
        Ok(Tcp {
            src_port: header.source_port(),
            dst_port: header.destination_port(),
            seq: SeqNumber(header.sequence_number()),
            ack: SeqNumber(header.acknowledgment_number()),
            flags: TcpFlags(header.slice().get(13).copied().unwrap_or_default()),
            window: header.window_size(),
            payload,
            missing: missing as u32,
        })
    }

    /// The ends of the connection whose segment has been found.
    pub(super) fn tuple(&self, tcp: &Tcp) -> Option<FiveTuple> {
        let (src, dst) = self.addrs?;
        Some(FiveTuple {
            src: Endpoint { addr: src, port: tcp.src_port },
            dst: Endpoint { addr: dst, port: tcp.dst_port },
        })
    }

    fn invariants(&self, bytes: &[u8]) {
        debug_assert!(self.pos <= self.end && self.end <= bytes.len() && self.end <= self.wire_end, "{self:?}");
    }
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

/// RFC 8200 names six kinds, one of them at most twice; frames made to be walked for long have more.
const MAX_EXTENSION_HEADERS: usize = 10;

/// What a capture can lack of one packet: the largest that Linux hands to a NIC for segmentation (`GSO_MAX_SIZE`, 8 * 65,535).
const MAX_MISSING: usize = 524_280;
