//! Link layers and what stands between them and IP: Ethernet, VLAN tags, LLC/SNAP, PPP, cooked captures, 802.11.

use etherparse::{Ethernet2HeaderSlice, SingleVlanHeaderSlice};

use super::TunnelKind;
use super::stats::Outcome;
use super::walk::{Layer, Walk};
use crate::source::LinkType;

impl Walk {
    pub(super) fn link(&mut self, bytes: &[u8], link: LinkType) -> Result<Layer, Outcome> {
        match link {
            LinkType::ETHERNET => self.ethernet(bytes),
            LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 | DLT_RAW | DLT_RAW_OPENBSD => Ok(Layer::Ip),
            LinkType::NULL | LinkType::LOOP => self.loopback(bytes),
            LinkType::LINUX_SLL => self.cooked(bytes),
            LinkType::LINUX_SLL2 => self.cooked_v2(bytes),
            LinkType::PPP | LinkType::PPP_HDLC => self.ppp_framed(bytes),
            C_HDLC => self.cisco_hdlc(bytes),
            PPP_ETHER => self.pppoe(bytes),
            LinkType::IEEE802_11 => self.wifi(bytes, false),
            LinkType::IEEE802_11_RADIOTAP => self.radiotap(bytes),
            _ => Err(Outcome::UnknownLink),
        }
    }

    #[inline]
    pub(super) fn ethernet(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let header = Ethernet2HeaderSlice::from_slice(self.rest(bytes))
            .map_err(|error| self.too_short(error.required_len, Outcome::MalformedLink))?;
        self.pos += header.slice().len();
        Ok(Layer::EtherType(header.ether_type().0))
    }

    #[inline]
    pub(super) fn ether_type(&mut self, bytes: &[u8], ether_type: u16) -> Result<Layer, Outcome> {
        match ether_type {
            ether_type::IPV4 | ether_type::IPV6 => Ok(Layer::Ip),
            ether_type::VLAN | ether_type::QINQ | 0x9100 | 0x9200 | 0x9300 => self.vlan(bytes),
            _ => self.rare_ether_type(bytes, ether_type),
        }
    }

    fn rare_ether_type(&mut self, bytes: &[u8], ether_type: u16) -> Result<Layer, Outcome> {
        Err(match ether_type {
            ether_type::F5_FILE_INFO if self.rest(bytes).starts_with(b"F5-Pseudo-pkt\0") => Outcome::F5FileInfo,
            // Below 1,536 it is a length (IEEE 802.3 section 3.2.6).
            0..0x0600 => {
                self.shorten(usize::from(ether_type));
                return Ok(Layer::Llc);
            }
            ether_type::JUMBO_LLC => return Ok(Layer::Llc),
            ether_type::MPLS | ether_type::MPLS_UPSTREAM => return self.mpls(bytes),
            ether_type::PPPOE_SESSION => return self.pppoe(bytes),
            ether_type::PPPOE_DISCOVERY => Outcome::PppoeDiscovery,
            ether_type::TRANSPARENT_ETHERNET => return Ok(Layer::Ethernet),
            // A tag of 4 octets, then the EtherType of what it tags (Cisco VN-Tag).
            ether_type::VNTAG => return self.tagged(bytes, 4),
            // 6 octets of it in IEEE 802.1BR's E-TAG.
            ether_type::ETAG => return self.tagged(bytes, 6),
            // IEEE 802.1ah: the I-TAG, then the customer's whole frame.
            ether_type::PROVIDER_BACKBONE => {
                self.skip(4, Outcome::MalformedLink)?;
                return Ok(Layer::Ethernet);
            }
            ether_type::NSH => return self.nsh(bytes),
            ether_type::PPP => return self.ppp_framed(bytes),
            ether_type::ARP | ether_type::RARP => match self.rest(bytes).get(6..8) {
                Some(&[0, 1..=25]) => Outcome::Arp, // the opcodes that IANA has assigned
                Some(_) => Outcome::ArpHeartbeat,
                None => self.too_short(8, Outcome::MalformedLink),
            },
            ether_type::LLDP => Outcome::Lldp,
            ether_type::MACSEC => Outcome::Macsec,
            _ => Outcome::UnknownEtherType,
        })
    }

    fn vlan(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let tag = SingleVlanHeaderSlice::from_slice(self.rest(bytes))
            .map_err(|error| self.too_short(error.required_len, Outcome::MalformedLink))?;
        self.pos += tag.slice().len();
        // A priority tag (VLAN 0) says nothing of where the frame belongs. Of more than four tags, the outer four are kept.
        let id = tag.vlan_identifier().value();
        if let (1.., Some(slot)) = (id, self.outer.vlans.get_mut(usize::from(self.outer.vlan_count))) {
            *slot = id;
            self.outer.vlan_count += 1;
        }
        Ok(Layer::EtherType(tag.ether_type().0))
    }

    fn tagged(&mut self, bytes: &[u8], tag_len: usize) -> Result<Layer, Outcome> {
        self.skip(tag_len, Outcome::MalformedLink)?;
        let ether_type = self.peek(bytes, Outcome::MalformedLink)?;
        self.pos += 2;
        Ok(Layer::EtherType(u16::from_be_bytes(ether_type)))
    }

    pub(super) fn llc(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let [dsap, ssap, control] = self.peek(bytes, Outcome::MalformedLink)?;
        match (dsap, ssap, control) {
            (0xaa, 0xaa, 0x03) => {
                let [_, _, _, oui @ .., t0, t1] = self.peek::<8>(bytes, Outcome::MalformedLink)?;
                self.pos += 8;
                match oui {
                    // RFC 1042, and the tunnels of IEEE 802.1H.
                    [0x00, 0x00, 0x00 | 0xf8] => Ok(Layer::EtherType(u16::from_be_bytes([t0, t1]))),
                    // Cisco's PVST+ is spanning tree too.
                    [0x00, 0x00, 0x0c] if (t0, t1) == (0x01, 0x0b) => Err(Outcome::Stp),
                    _ => Err(Outcome::Llc),
                }
            }
            (0x06, 0x06, 0x03) => {
                self.pos += 3;
                Ok(Layer::Ip)
            }
            (0x42, 0x42, _) => Err(Outcome::Stp),
            _ => Err(Outcome::Llc),
        }
    }

    /// BSD loopback: an address family of four octets, in the order of whichever machine it was.
    fn loopback(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let family = u32::from_be_bytes(self.peek(bytes, Outcome::MalformedLink)?);
        self.pos += 4;
        match family.min(family.swap_bytes()) {
            // AF_INET; AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS.
            2 | 10 | 24 | 28 | 30 => Ok(Layer::Ip),
            _ => Err(Outcome::UnknownEtherType),
        }
    }

    /// Linux cooked capture: packet type, ARPHRD, address length (2 octets each), address (8), protocol (2).
    fn cooked(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let header: [u8; 16] = self.peek(bytes, Outcome::MalformedLink)?;
        self.pos += 16;
        self.cooked_protocol(
            bytes,
            u16::from_be_bytes([header[2], header[3]]),
            u16::from_be_bytes([header[14], header[15]]),
        )
    }

    /// Version 2: protocol (2 octets), zero (2), interface (4), ARPHRD (2), packet type, address length, address (8).
    fn cooked_v2(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let header: [u8; 20] = self.peek(bytes, Outcome::MalformedLink)?;
        self.pos += 20;
        self.cooked_protocol(
            bytes,
            u16::from_be_bytes([header[8], header[9]]),
            u16::from_be_bytes([header[0], header[1]]),
        )
    }

    fn cooked_protocol(&mut self, bytes: &[u8], hardware: u16, protocol: u16) -> Result<Layer, Outcome> {
        match (hardware, protocol) {
            (ARPHRD_NETLINK, _) => Err(Outcome::UnknownEtherType),
            (ARPHRD_RADIOTAP, _) => self.radiotap(bytes),
            (_, LINUX_802_2) => Ok(Layer::Llc),
            (_, 0..0x0600) => Err(Outcome::UnknownEtherType),
            _ => Ok(Layer::EtherType(protocol)),
        }
    }

    /// PPP with or without address and control octets (RFC 1662 section 3.1).
    pub(super) fn ppp_framed(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        match self.peek(bytes, Outcome::MalformedLink)? {
            [0xff, 0x03] => self.pos += 2,
            [0x0f | 0x8f, 0x00] => return self.cisco_hdlc(bytes),
            _ => {}
        }
        self.ppp_protocol(bytes)
    }

    fn cisco_hdlc(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let [_, _, protocol @ ..] = self.peek::<4>(bytes, Outcome::MalformedLink)?;
        self.pos += 4;
        Ok(Layer::EtherType(u16::from_be_bytes(protocol)))
    }

    /// A protocol number of two octets, or of one, which then is odd (RFC 1661 sections 2 and 6.5).
    pub(super) fn ppp_protocol(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let [first] = self.peek(bytes, Outcome::MalformedLink)?;
        if first & 1 == 1 {
            self.pos += 1;
            return Ok(Layer::Ppp(u16::from(first)));
        }
        let protocol = self.peek(bytes, Outcome::MalformedLink)?;
        self.pos += 2;
        Ok(Layer::Ppp(u16::from_be_bytes(protocol)))
    }

    pub(super) fn ppp(&mut self, bytes: &[u8], protocol: u16) -> Result<Layer, Outcome> {
        match protocol {
            0x0021 | 0x0057 => Ok(Layer::Ip),
            0x0281 | 0x0283 => self.mpls(bytes),
            _ => Err(Outcome::PppOther),
        }
    }

    /// PPPoE session (RFC 2516 section 4): version and type (1 each), code, session, length, then PPP.
    fn pppoe(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let [version_type, code, s0, s1, l0, l1] = self.peek(bytes, Outcome::MalformedTunnel)?;
        self.pos += 6;
        match (version_type, code) {
            (0x11, 0x00) => {}
            (0x11, _) => return Err(Outcome::PppoeDiscovery),
            _ => return Err(Outcome::MalformedTunnel),
        }
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        self.shorten(len);
        self.enter(TunnelKind::Pppoe, Some(u32::from(u16::from_be_bytes([s0, s1]))))?;
        self.ppp_protocol(bytes)
    }

    /// Radiotap: version 0, a pad, length (little-endian), then bitmaps and fields (radiotap.org). Only the flags matter: whether
    /// the 802.11 header is padded.
    fn radiotap(&mut self, bytes: &[u8]) -> Result<Layer, Outcome> {
        let [version, _, l0, l1, present @ ..] = self.peek::<8>(bytes, Outcome::MalformedLink)?;
        let len = usize::from(u16::from_le_bytes([l0, l1]));
        if version != 0 || len < 8 {
            return Err(Outcome::MalformedLink);
        }
        let header = self.rest(bytes).get(..len).ok_or_else(|| self.too_short(len, Outcome::MalformedLink))?;
        let present = u32::from_le_bytes(present);
        // The bitmaps end with the first that has no top bit.
        let bitmaps = header[4..].chunks_exact(4).take_while(|word| word[3] & 0x80 != 0).count() + 1;
        let fields = 4 + 4 * bitmaps;
        let flags_at = if present & 1 == 0 { fields } else { fields.next_multiple_of(8) + 8 }; // after the TSFT
        let flags = if present & 2 == 0 { 0 } else { header.get(flags_at).copied().unwrap_or_default() };
        self.pos += len;
        self.wifi(bytes, flags & 0x20 != 0)
    }

    /// IEEE 802.11 section 9.2: frame control, duration, three addresses, sequence control, and what the flags add.
    fn wifi(&mut self, bytes: &[u8], padded: bool) -> Result<Layer, Outcome> {
        let [control, flags] = self.peek(bytes, Outcome::MalformedLink)?;
        if control & 0x0f != 0x08 || control & 0x40 != 0 {
            return Err(Outcome::WifiOther); // not data, or data without any
        }
        if flags & 0x40 != 0 {
            return Err(Outcome::WifiProtected);
        }
        let mut len = if flags & 0x03 == 0x03 { 30 } else { 24 };
        if control & 0x80 != 0 {
            let qos = self.rest(bytes).get(len).ok_or_else(|| self.too_short(len + 2, Outcome::MalformedLink))?;
            if qos & 0x80 != 0 {
                return Err(Outcome::WifiOther); // an aggregate (A-MSDU), which is encrypted but in old open networks
            }
            len += if flags & 0x80 != 0 { 6 } else { 2 };
        }
        if padded {
            len = len.next_multiple_of(4);
        }
        self.skip(len, Outcome::MalformedLink)?;
        Ok(Layer::Llc)
    }
}

/// EtherTypes of the IEEE registry.
pub(super) mod ether_type {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const TRANSPARENT_ETHERNET: u16 = 0x6558;
    pub(crate) const RARP: u16 = 0x8035;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const IPV6: u16 = 0x86dd;
    pub(crate) const PPP: u16 = 0x880b;
    pub(crate) const MPLS: u16 = 0x8847;
    pub(crate) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(crate) const PPPOE_DISCOVERY: u16 = 0x8863;
    pub(crate) const PPPOE_SESSION: u16 = 0x8864;
    pub(crate) const JUMBO_LLC: u16 = 0x8870;
    pub(crate) const QINQ: u16 = 0x88a8;
    pub(crate) const LLDP: u16 = 0x88cc;
    pub(crate) const MACSEC: u16 = 0x88e5;
    pub(crate) const PROVIDER_BACKBONE: u16 = 0x88e7;
    pub(crate) const VNTAG: u16 = 0x8926;
    pub(crate) const ETAG: u16 = 0x893f;
    pub(crate) const NSH: u16 = 0x894f;
    /// Below 1,536, yet no length: the frame with which `tcpdump` on a BIG-IP begins a file.
    pub(crate) const F5_FILE_INFO: u16 = 0x05ff;
}

/// `DLT_RAW` of most systems and of OpenBSD, which some writers put into files in place of 101.
const DLT_RAW: LinkType = LinkType(12);
const DLT_RAW_OPENBSD: LinkType = LinkType(14);
const PPP_ETHER: LinkType = LinkType(51);
const C_HDLC: LinkType = LinkType(104);

/// `linux/if_arp.h`, `linux/if_ether.h`.
const ARPHRD_RADIOTAP: u16 = 803;
const ARPHRD_NETLINK: u16 = 824;
const LINUX_802_2: u16 = 0x0004;
