//! Tunnels with headers of their own: GRE, ERSPAN, VXLAN, GENEVE, GTP-U, NSH. The figures stand in `plaintap`'s `wire::tunnel`.

use crate::walk::{Layer, Step};
use crate::{Cursor, Reason, Walk};

impl Walk {
    /// GRE (RFC 2784, 2890), NVGRE (RFC 7637) and ERSPAN (draft-foschiano-erspan), which has sequence numbers from type II on.
    #[inline(always)]
    pub(crate) fn gre<C: Cursor>(&mut self, frame: C) -> Step {
        let [flags, version, p0, p1] = self.peek(frame)?;
        if version & 0x07 != 0 || flags & 0x40 != 0 {
            return Err(Reason::Tunnel); // PPTP, source routes
        }
        let word = |bit: u8| if flags & bit != 0 { 4 } else { 0 };
        let len = 4 + word(0x80) + word(0x20) + word(0x10);
        match u16::from_be_bytes([p0, p1]) {
            0 | WCCP => return Err(Reason::Tunnel), // keepalive
            ERSPAN if flags & 0x10 == 0 => self.pass(len, Layer::Ethernet, 0)?,
            ERSPAN => {
                self.pass(len, Layer::Ethernet, 0)?;
                let [version, _, _, _, _, _, _, _]: [u8; 8] = self.peek(frame)?;
                match version >> 4 {
                    1 => self.pass(8, Layer::Ethernet, 0)?,
                    2 => self.erspan_iii(frame)?,
                    _ => {} // some senders number type I too
                }
            }
            ERSPAN_III => {
                self.pass(len, Layer::Ethernet, 0)?;
                self.erspan_iii(frame)?;
            }
            protocol => self.pass(len, Layer::EtherType, protocol)?,
        }
        self.enter()
    }

    /// ERSPAN type III: 12 octets, and 8 more where the last bit says so.
    #[inline(always)]
    fn erspan_iii<C: Cursor>(&mut self, frame: C) -> Step {
        let [version, _, _, _, _, _, _, _, _, _, frame_type, options]: [u8; 12] = self.peek(frame)?;
        if version >> 4 != 2 {
            return Err(Reason::Malformed);
        }
        let len = if options & 0x01 != 0 { 20 } else { 12 };
        match frame_type >> 2 & 0x1f {
            0 => self.pass(len, Layer::Ethernet, 0),
            2 => self.pass(len, Layer::Ip, 0),
            _ => Err(Reason::Tunnel),
        }
    }

    /// VXLAN (RFC 7348 section 5), or VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe section 3) by its port or its bit P.
    #[inline(always)]
    pub(crate) fn vxlan<C: Cursor>(&mut self, frame: C) -> Step {
        let [flags, _, _, next, _, _, _, _]: [u8; 8] = self.peek(frame)?;
        if self.announced == 0 && (flags & 0x08 == 0 || flags & 0x04 == 0) {
            if flags & 0x08 == 0 {
                return Err(Reason::NotTcp);
            }
            self.pass(8, Layer::Ethernet, 0)?;
            return self.enter();
        }
        if flags & 0x30 != 0 || flags & 0x0c == 0 {
            return Err(Reason::NotTcp);
        }
        if flags & 0x01 != 0 {
            return Err(Reason::Tunnel);
        }
        self.enter()?;
        self.next_protocol(8, if flags & 0x04 == 0 { ETHERNET } else { next })
    }

    /// Network service header (RFC 8300 section 2): the length, in words of 4 octets, stands in the low bits of octet 1.
    #[inline(always)]
    pub(crate) fn nsh<C: Cursor>(&mut self, frame: C) -> Step {
        let [version, length, _, next] = self.peek(frame)?;
        let len = (length & 0x3f) as u32 * 4;
        if version >> 6 != 0 || len < 8 {
            return Err(Reason::Malformed);
        }
        self.next_protocol(len, next)
    }

    /// The protocols that VXLAN-GPE and NSH number alike.
    #[inline(always)]
    fn next_protocol(&mut self, len: u32, next: u8) -> Step {
        match next {
            1 | 2 => self.pass(len, Layer::Ip, 0),
            ETHERNET => self.pass(len, Layer::Ethernet, 0),
            4 => self.pass(len, Layer::Nsh, 0),
            5 => self.pass(len, Layer::Mpls, 0),
            _ => Err(Reason::Tunnel),
        }
    }

    /// GENEVE (RFC 8926 section 3.4).
    #[inline(always)]
    pub(crate) fn geneve<C: Cursor>(&mut self, frame: C) -> Step {
        let [version, flags, p0, p1, _, _, _, _] = self.peek(frame)?;
        if version >> 6 != 0 {
            return Err(Reason::NotTcp);
        }
        if flags & 0x80 != 0 {
            return Err(Reason::Tunnel);
        }
        self.pass(8 + (version & 0x3f) as u32 * 4, Layer::EtherType, u16::from_be_bytes([p0, p1]))?;
        self.enter()
    }

    /// GTP-U (3GPP TS 29.281 section 5.1).
    #[inline(always)]
    pub(crate) fn gtp<C: Cursor>(&mut self, frame: C) -> Step {
        let [flags, message, l0, l1, _, _, _, _] = self.peek(frame)?;
        if flags & 0xf0 != 0x30 {
            return Err(Reason::NotTcp); // not version 1, or the charging protocol
        }
        if message != 0xff {
            return Err(Reason::Tunnel);
        }
        self.pass(8, Layer::GtpExtension, 0)?;
        self.shorten(u16::from_be_bytes([l0, l1]) as u32);
        if flags & 0x07 == 0 {
            return Ok(());
        }
        let [_, _, _, next] = self.peek(frame)?;
        self.pass(4, Layer::GtpExtension, if flags & 0x04 != 0 { next as u16 } else { 0 })
    }

    /// An extension header: length in words of 4 octets first, the type of the next last.
    #[inline(always)]
    pub(crate) fn gtp_extension<C: Cursor>(&mut self, frame: C) -> Step {
        let [first] = self.peek(frame)?;
        if self.announced != 0 {
            if first == 0 {
                return Err(Reason::Malformed);
            }
            let len = first as u32 * 4;
            let [next] = self.peek_at(frame, len - 1)?;
            return self.pass(len, Layer::GtpExtension, next as u16);
        }
        match first >> 4 {
            4 | 6 => {
                self.enter()?;
                self.pass(0, Layer::Ip, 0)
            }
            _ => Err(Reason::Tunnel), // PPP or Ethernet sessions
        }
    }
}

const ETHERNET: u8 = 3;

/// GRE protocol types beside the EtherTypes.
const ERSPAN: u16 = 0x88be;
const ERSPAN_III: u16 = 0x22eb;
const WCCP: u16 = 0x883e;
