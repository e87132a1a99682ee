//! Tunnels: what they carry and under which number.

use super::TunnelKind;
use super::link::ether_type;
use super::stats::Outcome;
use super::walk::{Layer, Walk};

impl Walk {
    /// The tunnel in a UDP payload, recognised by its port and then by its header. `None`: UDP of some other use.
    pub(super) fn udp_tunnel(&mut self, bytes: &[u8], src: u16, dst: u16) -> Result<Option<Layer>, Outcome> {
        match (src, dst) {
            (_, 4789 | 8472) => self.vxlan(bytes),
            (_, 4790) => self.vxlan_gpe(bytes),
            (_, 6081) => self.geneve(bytes),
            (2152, _) | (_, 2152) => self.gtp(bytes),
            (3544, _) | (_, 3544) => self.teredo(bytes),
            (_, 4754) => match self.peek::<2>(bytes, Outcome::Udp)? {
                // RFC 8086 has checksum, key and sequence number, version 0.
                [flags, 0] if flags & 0x4f == 0 => self.gre(bytes).map(Some),
                _ => Ok(None),
            },
            (_, 6635) => self.mpls(bytes).map(Some),
            _ => Ok(None),
        }
    }

    /// GRE (RFC 2784, 2890, 2637 for version 1):
    ///
    /// ```text
    ///  0                   1                   2                   3
    ///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    /// |C|R|K|S|s|Recur|A| Flags | Ver |         Protocol Type         |
    /// |      Checksum (C or R)        |           Offset              |
    /// |                            Key (K)                            |
    /// |                      Sequence Number (S)                      |
    /// |                Acknowledgment Number (A, version 1)           |
    /// ```
    pub(super) fn gre(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let [f0, f1, p0, p1] = self.peek(bytes, Outcome::MalformedTunnel)?;
        let (flags, protocol) = (u16::from_be_bytes([f0, f1]), u16::from_be_bytes([p0, p1]));
        let (checksum, routing, keyed, sequenced, version) =
            (flags & 0x8000 != 0, flags & 0x4000 != 0, flags & 0x2000 != 0, flags & 0x1000 != 0, flags & 0x0007);
        if version > 1 || routing {
            return Err(Outcome::TunnelUnsupported);
        }
        self.pos += 4;
        if checksum {
            self.skip(4, Outcome::MalformedTunnel)?;
        }
        let mut key = None;
        if keyed {
            key = Some(u32::from_be_bytes(self.peek(bytes, Outcome::MalformedTunnel)?));
            self.pos += 4;
        }
        if sequenced {
            self.skip(4, Outcome::MalformedTunnel)?;
        }
        if version == 1 {
            return self.pptp(bytes, protocol, key, flags & 0x0080 != 0);
        }
        match protocol {
            0 => Err(Outcome::TunnelControl), // keepalive
            ether_type::TRANSPARENT_ETHERNET => {
                // NVGRE (RFC 7637 section 3.2) is told from other keyed GRE by its bits and by its virtual subnets, which
                // begin at 0x1000.
                match key {
                    Some(key) if !checksum && !sequenced && key >> 8 >= 0x1000 => {
                        self.enter(TunnelKind::Nvgre, Some(key >> 8))?;
                    }
                    key => self.enter(TunnelKind::Gre, key)?,
                }
                Ok(Layer::Ethernet)
            }
            ERSPAN => self.erspan(bytes, sequenced),
            ERSPAN_III => self.erspan_iii(bytes),
            WCCP => {
                // Version 2 puts a redirect header of 4 octets before the packet.
                self.enter(TunnelKind::Gre, key)?;
                let [first] = self.peek(bytes, Outcome::MalformedTunnel)?;
                if first >> 4 != 4 {
                    self.skip(4, Outcome::MalformedTunnel)?;
                }
                Ok(Layer::Ip)
            }
            _ => {
                self.enter(TunnelKind::Gre, key)?;
                Ok(Layer::EtherType(protocol))
            }
        }
    }

    /// Enhanced GRE (RFC 2637 section 4.1): the key is the payload's length and the call.
    fn pptp(&mut self, bytes: &[u8], protocol: u16, key: Option<u32>, acknowledges: bool) -> Result<Layer, Outcome> {
        if acknowledges {
            self.skip(4, Outcome::MalformedTunnel)?;
        }
        let key = key.ok_or(Outcome::MalformedTunnel)?;
        if protocol != ether_type::PPP {
            return Err(Outcome::TunnelUnsupported);
        }
        let len = (key >> 16) as usize;
        if len == 0 {
            return Err(Outcome::TunnelControl); // an acknowledgement only
        }
        self.shorten(len);
        self.enter(TunnelKind::Gre, Some(key & 0xffff))?;
        self.ppp_framed(bytes)
    }

    /// ERSPAN types I and II (draft-foschiano-erspan section 4): type I has no GRE sequence number and no header of its own.
    ///
    /// ```text
    /// |  Ver  |          VLAN         | COS | En|T|    Session ID     |
    /// |      Reserved         |                  Index                |
    /// ```
    fn erspan(&mut self, bytes: &[u8], sequenced: bool) -> Result<Layer, Outcome> {
        if !sequenced {
            self.enter(TunnelKind::Erspan, None)?;
            return Ok(Layer::Ethernet);
        }
        let [version, _, s0, s1, _, _, _, _] = self.peek(bytes, Outcome::MalformedTunnel)?;
        match version >> 4 {
            1 => {
                self.pos += 8;
                self.enter(TunnelKind::Erspan, Some(erspan_session(s0, s1)))?;
                Ok(Layer::Ethernet)
            }
            2 => self.erspan_iii(bytes),
            // Some senders number type I too.
            _ => {
                self.enter(TunnelKind::Erspan, None)?;
                Ok(Layer::Ethernet)
            }
        }
    }

    /// ERSPAN type III (draft-foschiano-erspan section 4.3):
    ///
    /// ```text
    /// |  Ver  |          VLAN         | COS |BSO|T|     Session ID    |
    /// |                          Timestamp                            |
    /// |             SGT               |P|    FT   |   Hw ID   |D|Gra|O|
    /// |            Platform specific subheader, 8 octets (O)          |
    /// ```
    fn erspan_iii(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let [version, _, s0, s1, .., frame_type, options] = self.peek::<12>(bytes, Outcome::MalformedTunnel)?;
        if version >> 4 != 2 {
            return Err(Outcome::MalformedTunnel);
        }
        self.pos += 12;
        if options & 0x01 != 0 {
            self.skip(8, Outcome::MalformedTunnel)?;
        }
        self.enter(TunnelKind::Erspan, Some(erspan_session(s0, s1)))?;
        match frame_type >> 2 & 0x1f {
            0 => Ok(Layer::Ethernet),
            2 => Ok(Layer::Ip),
            _ => Err(Outcome::TunnelUnsupported),
        }
    }

    /// VXLAN (RFC 7348 section 5), with the flags of its group-policy extension allowed for:
    ///
    /// ```text
    /// |G|R|R|R|I|R|R|R|            Reserved                           |
    /// |                VXLAN Network Identifier       |   Reserved    |
    /// ```
    fn vxlan(&mut self, bytes: &[u8]) -> Result<Option<Layer>, Outcome> {
        let [flags, _, _, _, vni @ .., _] = self.peek::<8>(bytes, Outcome::Udp)?;
        if flags & 0x08 == 0 {
            return Ok(None);
        }
        // The bits of VXLAN-GPE, which some send to this port.
        if flags & 0x04 != 0 {
            return self.vxlan_gpe(bytes);
        }
        self.pos += 8;
        self.enter(TunnelKind::Vxlan, Some(be24(vni)))?;
        Ok(Some(Layer::Ethernet))
    }

    /// VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe section 3): version, the bits I, P, B, O, and the next protocol.
    fn vxlan_gpe(&mut self, bytes: &[u8]) -> Result<Option<Layer>, Outcome> {
        let [flags, _, _, next, vni @ .., _] = self.peek::<8>(bytes, Outcome::Udp)?;
        if flags & 0x30 != 0 || flags & 0x0c == 0 {
            return Ok(None);
        }
        self.pos += 8;
        self.enter(TunnelKind::Vxlan, (flags & 0x08 != 0).then(|| be24(vni)))?;
        if flags & 0x01 != 0 {
            return Err(Outcome::TunnelControl);
        }
        match if flags & 0x04 == 0 { NEXT_ETHERNET } else { next } {
            NEXT_NSH => self.nsh(bytes).map(Some),
            next => next_protocol(next).map(Some),
        }
    }

    /// Network Service Header (RFC 8300 section 2): the length, in words of 4 octets, stands in the low bits of octet 1.
    ///
    /// ```text
    /// |Ver|O|U|    TTL    |   Length  |U|U|U|U|MD Type| Next Protocol |
    /// |          Service Path Identifier              | Service Index |
    /// ```
    pub(super) fn nsh(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let [version, length, _, next] = self.peek(bytes, Outcome::MalformedTunnel)?;
        let len = usize::from(length & 0x3f) * 4;
        if version >> 6 != 0 || len < 8 {
            return Err(Outcome::MalformedTunnel);
        }
        self.skip(len, Outcome::MalformedTunnel)?;
        next_protocol(next)
    }

    /// GENEVE (RFC 8926 section 3.4):
    ///
    /// ```text
    /// |Ver|  Opt Len  |O|C|    Rsvd.  |          Protocol Type        |
    /// |        Virtual Network Identifier (VNI)       |    Reserved   |
    /// |                    Options, Opt Len words                     |
    /// ```
    fn geneve(&mut self, bytes: &[u8]) -> Result<Option<Layer>, Outcome> {
        let [version, flags, p0, p1, vni @ .., _] = self.peek::<8>(bytes, Outcome::Udp)?;
        if version >> 6 != 0 {
            return Ok(None);
        }
        self.skip(8 + usize::from(version & 0x3f) * 4, Outcome::MalformedTunnel)?;
        self.enter(TunnelKind::Geneve, Some(be24(vni)))?;
        if flags & 0x80 != 0 {
            return Err(Outcome::TunnelControl);
        }
        Ok(Some(Layer::EtherType(u16::from_be_bytes([p0, p1]))))
    }

    /// GTP-U (3GPP TS 29.281 section 5.1):
    ///
    /// ```text
    /// | Ver |P|*|E|S|N| Message Type  |            Length             |
    /// |                 Tunnel Endpoint Identifier                    |
    /// |     Sequence Number (ESN)     |  N-PDU Number |  Next Ext (E) |
    /// | Len, words    |      extension content        |  Next Ext     | ...
    /// ```
    fn gtp(&mut self, bytes: &[u8]) -> Result<Option<Layer>, Outcome> {
        let [flags, message, l0, l1, teid @ ..] = self.peek::<8>(bytes, Outcome::Udp)?;
        if flags & 0xf0 != 0x30 {
            return Ok(None); // not version 1, or the charging protocol
        }
        if message != GTP_T_PDU {
            return Err(Outcome::TunnelControl);
        }
        self.pos += 8;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        self.shorten(len);
        if flags & 0x07 != 0 {
            let [_, _, _, mut next] = self.peek(bytes, Outcome::MalformedTunnel)?;
            self.pos += 4;
            while flags & 0x04 != 0 && next != 0 {
                let [words] = self.peek(bytes, Outcome::MalformedTunnel)?;
                if words == 0 {
                    return Err(Outcome::MalformedTunnel);
                }
                self.skip(usize::from(words) * 4, Outcome::MalformedTunnel)?;
                next = bytes.get(self.pos - 1).copied().unwrap_or_default();
            }
        }
        self.enter(TunnelKind::Gtp, Some(u32::from_be_bytes(teid)))?;
        let [first] = self.peek(bytes, Outcome::MalformedTunnel)?;
        match first >> 4 {
            4 | 6 => Ok(Some(Layer::Ip)),
            _ => Err(Outcome::TunnelUnsupported), // PPP or Ethernet sessions
        }
    }

    /// Teredo (RFC 4380 section 5.1.1): IPv6, perhaps after an authentication and an origin header.
    fn teredo(&mut self, bytes: &[u8]) -> Result<Option<Layer>, Outcome> {
        let rest = self.rest(bytes);
        let mut len = 0;
        if let Some(&[0x00, 0x01, id_len, auth_len]) = rest.first_chunk() {
            // The two lengths, then identifier and authenticator, a nonce of 8 octets and a confirmation.
            len = 4 + usize::from(id_len) + usize::from(auth_len) + 9;
        }
        if let Some([0x00, 0x00, ..]) = rest.get(len..) {
            len += 8;
        }
        match rest.get(len..) {
            // Looked at closely, since the port is in the range that clients take theirs from on some systems.
            Some(packet @ [0x60..=0x6f, _, _, _, _, _, ..])
                if looks_like_ip(packet, self.wire_end - self.pos - len) =>
            {
                self.pos += len;
                self.enter(TunnelKind::Teredo, None)?;
                Ok(Some(Layer::Ip))
            }
            Some([_, _, _, _, _, _, ..]) => Ok(None),
            _ => Err(self.too_short(len + 6, Outcome::Udp)),
        }
    }

    /// An MPLS label stack (RFC 3032 section 2.1) and what can be told of its payload, which nothing announces:
    ///
    /// ```text
    /// |            Label (20)                 | TC  |S|      TTL      |
    /// ```
    ///
    /// IP shows by its version and length; else it is a pseudowire, whose control word (RFC 4385 section 3) begins with a zero
    /// half-octet, and whose Ethernet frame is one when its EtherType is known (MAC addresses can begin with any octet).
    pub(super) fn mpls(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let label = loop {
            let entry = u32::from_be_bytes(self.peek(bytes, Outcome::MalformedTunnel)?);
            self.pos += 4;
            if entry & 0x100 != 0 {
                break entry >> 12;
            }
        };
        self.enter(TunnelKind::Mpls, Some(label))?;
        let [first] = self.peek(bytes, Outcome::MalformedTunnel)?;
        let (rest, wire_len) = (self.rest(bytes), self.wire_end - self.pos);
        if looks_like_ip(rest, wire_len) {
            return Ok(Layer::Ip);
        }
        const TO_TELL: usize = 4 + 14; // a control word and an Ethernet header
        if rest.len() < TO_TELL && rest.len() < wire_len {
            return Err(Outcome::Truncated);
        }
        if first >> 4 == 0 && rest.get(4..).is_some_and(|rest| looks_like_ethernet(rest, wire_len - 4)) {
            self.pos += 4;
            return Ok(Layer::Ethernet);
        }
        if looks_like_ethernet(rest, wire_len) {
            return Ok(Layer::Ethernet);
        }
        Err(match first >> 4 {
            1 => Outcome::TunnelControl, // associated channel (RFC 4385 section 5)
            _ => Outcome::TunnelUnsupported,
        })
    }
}

/// The protocols that VXLAN-GPE and NSH number alike.
fn next_protocol(next: u8) -> Result<Layer, Outcome> {
    match next {
        1 | 2 => Ok(Layer::Ip),
        NEXT_ETHERNET => Ok(Layer::Ethernet),
        NEXT_NSH => Ok(Layer::EtherType(ether_type::NSH)),
        5 => Ok(Layer::EtherType(ether_type::MPLS)),
        _ => Err(Outcome::TunnelUnsupported),
    }
}

/// Whether an IPv4 or IPv6 header stands at the start of `bytes`, of which the wire had `wire_len`.
fn looks_like_ip(bytes: &[u8], wire_len: usize) -> bool {
    match bytes {
        [0x45..=0x4f, _, l0, l1, ..] => {
            let total_len = usize::from(u16::from_be_bytes([*l0, *l1]));
            total_len == 0 || (20..=wire_len).contains(&total_len)
        }
        [0x60..=0x6f, _, _, _, l0, l1, ..] => usize::from(u16::from_be_bytes([*l0, *l1])) + 40 <= wire_len,
        _ => false,
    }
}

/// Whether an Ethernet header stands at the start of `bytes`, of which the wire had `wire_len`, by its EtherType or length.
fn looks_like_ethernet(bytes: &[u8], wire_len: usize) -> bool {
    let Some(&[t0, t1]) = bytes.get(12..14) else { return false };
    match u16::from_be_bytes([t0, t1]) {
        len @ 3..0x0600 => usize::from(len) + 14 <= wire_len,
        ether_type::IPV4
        | ether_type::ARP
        | ether_type::IPV6
        | ether_type::VLAN
        | ether_type::QINQ
        | ether_type::MPLS
        | ether_type::MPLS_UPSTREAM
        | ether_type::PPPOE_DISCOVERY
        | ether_type::PPPOE_SESSION
        | ether_type::LLDP
        | ether_type::MACSEC => true,
        _ => false,
    }
}

const fn erspan_session(high: u8, low: u8) -> u32 {
    (high as u32 & 0x03) << 8 | low as u32
}

const fn be24([a, b, c]: [u8; 3]) -> u32 {
    (a as u32) << 16 | (b as u32) << 8 | c as u32
}

/// GRE protocol types beside the EtherTypes.
const ERSPAN: u16 = 0x88be;
const ERSPAN_III: u16 = 0x22eb;
const WCCP: u16 = 0x883e;

const NEXT_ETHERNET: u8 = 3;
const NEXT_NSH: u8 = 4;
const GTP_T_PDU: u8 = 0xff;
