//! Link headers and tags: Ethernet, VLAN, LLC/SNAP, PPP, MPLS.

use crate::walk::{Layer, Step};
use crate::{Cursor, Reason, Walk};

impl Walk {
    #[inline(always)]
    pub(crate) fn ethernet<C: Cursor>(&mut self, frame: C) -> Step {
        let [high, low] = self.peek_at(frame, 12)?;
        self.pass(14, Layer::EtherType, u16::from_be_bytes([high, low]))
    }

    #[inline(always)]
    pub(crate) fn ether_type<C: Cursor>(&mut self, frame: C) -> Step {
        match self.announced {
            IPV4 | IPV6 => self.pass(0, Layer::Ip, 0),
            VLAN | QINQ | 0x9100 | 0x9200 | 0x9300 => self.vlan(frame),
            MPLS | MPLS_UPSTREAM => self.pass(0, Layer::Mpls, 0),
            TRANSPARENT_ETHERNET => self.pass(0, Layer::Ethernet, 0),
            PPPOE_SESSION => self.pppoe(frame),
            PPP => self.pass(0, Layer::Ppp, 0),
            NSH => self.pass(0, Layer::Nsh, 0),
            // A tag of 4 octets (Cisco VN-Tag) or 6 (IEEE 802.1BR), then the EtherType of what it tags.
            VNTAG => self.tag(frame, 4),
            ETAG => self.tag(frame, 6),
            // IEEE 802.1ah: the I-TAG, then the customer's whole frame.
            PROVIDER_BACKBONE => self.pass(4, Layer::Ethernet, 0),
            JUMBO_LLC => self.pass(0, Layer::Llc, 0),
            // Below 1,536 it is a length (IEEE 802.3 section 3.2.6).
            len if len < 0x0600 => {
                self.shorten(len as u32);
                self.pass(0, Layer::Llc, 0)
            }
            ARP | RARP => Err(match self.peek_at(frame, 6)? {
                [0, 1..=25] => Reason::Arp, // the opcodes that IANA has assigned
                _ => Reason::ArpHeartbeat,
            }),
            _ => Err(Reason::NotIp),
        }
    }

    /// A priority tag (VLAN 0) says nothing of where the frame belongs. Of more than four tags, the outer four are kept.
    #[inline(always)]
    fn vlan<C: Cursor>(&mut self, frame: C) -> Step {
        let [t0, t1, e0, e1] = self.peek(frame)?;
        let id = u16::from_be_bytes([t0, t1]) & 0x0fff;
        if let (1.., Some(slot)) = (id, self.vlans.get_mut(self.vlan_count as usize)) {
            *slot = id;
            self.vlan_count += 1;
        }
        self.pass(4, Layer::EtherType, u16::from_be_bytes([e0, e1]))
    }

    #[inline(always)]
    fn tag<C: Cursor>(&mut self, frame: C, len: u32) -> Step {
        let [high, low] = self.peek_at(frame, len)?;
        self.pass(len + 2, Layer::EtherType, u16::from_be_bytes([high, low]))
    }

    /// SNAP of RFC 1042 and IEEE 802.1H, and IP over LLC.
    #[inline(always)]
    pub(crate) fn llc<C: Cursor>(&mut self, frame: C) -> Step {
        match self.peek(frame)? {
            [0xaa, 0xaa, 0x03] => match self.peek_at(frame, 3)? {
                [0x00, 0x00, 0x00 | 0xf8, t0, t1] => self.pass(8, Layer::EtherType, u16::from_be_bytes([t0, t1])),
                _ => Err(Reason::NotIp),
            },
            [0x06, 0x06, 0x03] => self.pass(3, Layer::Ip, 0),
            _ => Err(Reason::NotIp),
        }
    }

    /// PPPoE session (RFC 2516 section 4): version and type (1 each), code, session, length, then PPP.
    #[inline(always)]
    fn pppoe<C: Cursor>(&mut self, frame: C) -> Step {
        let [version_type, code, _, _, l0, l1] = self.peek(frame)?;
        match (version_type, code) {
            (0x11, 0x00) => {}
            (0x11, _) => return Err(Reason::Tunnel),
            _ => return Err(Reason::Malformed),
        }
        self.pass(6, Layer::Ppp, BARE)?;
        self.shorten(u16::from_be_bytes([l0, l1]) as u32);
        self.enter()
    }

    /// A protocol number of two octets, or of one, which then is odd (RFC 1661 sections 2 and 6.5), perhaps after address and control
    /// octets (RFC 1662 section 3.1).
    #[inline(always)]
    pub(crate) fn ppp<C: Cursor>(&mut self, frame: C) -> Step {
        if self.announced != BARE {
            match self.peek(frame)? {
                [0xff, 0x03] => return self.pass(2, Layer::Ppp, BARE),
                [0x0f | 0x8f, 0x00] => return Err(Reason::Tunnel), // Cisco HDLC
                _ => {}
            }
        }
        let [first] = self.peek(frame)?;
        let (len, protocol) = if first & 1 == 1 {
            (1, first as u16)
        } else {
            let [high, low] = self.peek(frame)?;
            (2, u16::from_be_bytes([high, low]))
        };
        match protocol {
            0x0021 | 0x0057 => self.pass(len, Layer::Ip, 0),
            0x0281 | 0x0283 => self.pass(len, Layer::Mpls, 0),
            _ => Err(Reason::NotIp),
        }
    }

    /// A label of an MPLS stack (RFC 3032 section 2.1); S is set in the last.
    ///
    /// ```text
    /// |            Label (20)                 | TC  |S|      TTL      |
    /// ```
    #[inline(always)]
    pub(crate) fn mpls<C: Cursor>(&mut self, frame: C) -> Step {
        let [_, _, bottom, _] = self.peek(frame)?;
        if bottom & 1 == 0 {
            return self.pass(4, Layer::Mpls, 0);
        }
        self.pass(4, Layer::MplsPayload, 0)?;
        self.enter()
    }

    /// Nothing announces what follows the labels. IP shows by its version and length; else it is a pseudowire, whose control word
    /// (RFC 4385 section 3) begins with a zero half-octet, and whose Ethernet frame is one when its EtherType is known.
    #[inline(always)]
    pub(crate) fn mpls_payload<C: Cursor>(&mut self, frame: C) -> Step {
        let [first] = self.peek(frame)?;
        if self.looks_like_ip(frame, first) {
            return self.pass(0, Layer::Ip, 0);
        }
        const TO_TELL: u32 = 4 + 14; // a control word and an Ethernet header
        if self.left() < TO_TELL && self.left() < self.wire_left() {
            return Err(Reason::CutShort);
        }
        if first >> 4 == 0 && self.looks_like_ethernet(frame, 4) {
            return self.pass(4, Layer::Ethernet, 0);
        }
        if self.looks_like_ethernet(frame, 0) {
            return self.pass(0, Layer::Ethernet, 0);
        }
        Err(Reason::Tunnel)
    }

    #[inline(always)]
    fn looks_like_ip<C: Cursor>(&self, frame: C, first: u8) -> bool {
        match first {
            0x45..=0x4f => self.peek_at(frame, 2).is_ok_and(|[l0, l1]| {
                let total_len = u16::from_be_bytes([l0, l1]) as u32;
                total_len == 0 || (total_len >= 20 && total_len <= self.wire_left())
            }),
            0x60..=0x6f => self
                .peek_at(frame, 4)
                .is_ok_and(|[l0, l1]| u16::from_be_bytes([l0, l1]) as u32 + 40 <= self.wire_left()),
            _ => false,
        }
    }

    #[inline(always)]
    fn looks_like_ethernet<C: Cursor>(&self, frame: C, offset: u32) -> bool {
        let Ok([t0, t1]) = self.peek_at(frame, offset + 12) else { return false };
        match u16::from_be_bytes([t0, t1]) {
            IPV4 | ARP | IPV6 | VLAN | QINQ | MPLS | MPLS_UPSTREAM | PPPOE_DISCOVERY | PPPOE_SESSION | LLDP
            | MACSEC => true,
            len => (3..0x0600).contains(&len) && len as u32 + offset + 14 <= self.wire_left(),
        }
    }
}

/// In [`Walk::announced`] of [`Layer::Ppp`]: there are no address and control octets.
const BARE: u16 = 1;

/// EtherTypes of the IEEE registry.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const TRANSPARENT_ETHERNET: u16 = 0x6558;
const RARP: u16 = 0x8035;
const VLAN: u16 = 0x8100;
const IPV6: u16 = 0x86dd;
const PPP: u16 = 0x880b;
const MPLS: u16 = 0x8847;
const MPLS_UPSTREAM: u16 = 0x8848;
const PPPOE_DISCOVERY: u16 = 0x8863;
const PPPOE_SESSION: u16 = 0x8864;
const JUMBO_LLC: u16 = 0x8870;
const QINQ: u16 = 0x88a8;
const LLDP: u16 = 0x88cc;
const MACSEC: u16 = 0x88e5;
const PROVIDER_BACKBONE: u16 = 0x88e7;
const VNTAG: u16 = 0x8926;
const ETAG: u16 = 0x893f;
const NSH: u16 = 0x894f;
