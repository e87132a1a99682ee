//! IP and what it carries.

use crate::walk::{Layer, Step};
use crate::{Cursor, Reason, Walk};

impl Walk {
    #[inline(always)]
    pub(crate) fn ip<C: Cursor>(&mut self, frame: C) -> Step {
        let [first] = self.peek(frame)?;
        match first >> 4 {
            4 => self.ipv4(frame),
            6 => self.ipv6(frame),
            _ => Err(Reason::Malformed),
        }
    }

    #[inline(always)]
    fn ipv4<C: Cursor>(&mut self, frame: C) -> Step {
        let header: [u8; 20] = self.peek(frame)?;
        let [version_len, _, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = header;
        let header_len = (version_len & 0x0f) as u32 * 4;
        let total_len = u16::from_be_bytes([l0, l1]) as u32;
        if header_len < 20 {
            return Err(Reason::Malformed);
        }
        if header_len > self.left() {
            return Err(Reason::CutShort);
        }
        // Zero: segmentation offload; the NIC was to write the length.
        if total_len != 0 {
            if total_len < header_len {
                return Err(Reason::Malformed);
            }
            self.limit(total_len);
        }
        self.src = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, s0, s1, s2, s3];
        self.dst = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, d0, d1, d2, d3];
        self.ip_version = 4;
        self.pass(header_len, Layer::Transport, protocol as u16)?;
        // More fragments, or an offset (RFC 791 section 3.1).
        if f0 & 0x3f != 0 || f1 != 0 { Err(Reason::Fragment) } else { Ok(()) }
    }

    #[inline(always)]
    fn ipv6<C: Cursor>(&mut self, frame: C) -> Step {
        let [l0, l1, next]: [u8; 3] = self.peek_at(frame, 4)?;
        let src = self.peek_at(frame, 8)?;
        let dst = self.peek_at(frame, 24)?;
        let payload_len = u16::from_be_bytes([l0, l1]) as u32;
        // Zero: a jumbogram (RFC 2675) or segmentation offload.
        if payload_len != 0 {
            self.limit(40 + payload_len);
        }
        self.src = src;
        self.dst = dst;
        self.ip_version = 6;
        self.pass(40, Layer::Transport, next as u16)
    }

    #[inline(always)]
    pub(crate) fn transport<C: Cursor>(&mut self, frame: C) -> Step {
        match self.announced {
            6 => Err(self.tcp(frame).map_or_else(|reason| reason, |()| Reason::Tcp)),
            17 => self.udp(frame),
            4 | 41 => {
                self.enter()?;
                self.pass(0, Layer::Ip, 0)
            }
            47 => self.pass(0, Layer::Gre, 0),
            137 => self.pass(0, Layer::Mpls, 0),
            // Authentication header: its length is in words of 4 octets, less 2 (RFC 4302 section 2.2).
            51 => {
                let [next, words] = self.peek(frame)?;
                if words == 0 {
                    return Err(Reason::Malformed);
                }
                self.pass((words as u32 + 2) * 4, Layer::Transport, next as u16)
            }
            // IPv6 extension headers (RFC 8200 section 4) of the usual form: length in words of 8 octets, less 1.
            0 | 43 | 60 | 135 | 139 | 140 if self.ip_version == 6 => {
                let [next, words] = self.peek(frame)?;
                self.pass((words as u32 + 1) * 8, Layer::Transport, next as u16)
            }
            // Fragment header (RFC 8200 section 4.5): an offset in the upper 13 bits, and M in the last.
            44 if self.ip_version == 6 => {
                let [next, _, offset, offset_more] = self.peek(frame)?;
                self.pass(8, Layer::Transport, next as u16)?;
                if offset != 0 || offset_more & 0xf9 != 0 { Err(Reason::Fragment) } else { Ok(()) }
            }
            _ => Err(Reason::NotTcp),
        }
    }

    /// A header that is there up to its options.
    #[inline(always)]
    fn tcp<C: Cursor>(&mut self, frame: C) -> Step {
        let header: [u8; 20] = self.peek(frame)?;
        let [s0, s1, d0, d1, _, _, _, _, _, _, _, _, offset, ..] = header;
        let header_len = (offset >> 4) as u32 * 4;
        if header_len < 20 || header_len > self.wire_left() {
            return Err(Reason::Malformed);
        }
        self.src_port = u16::from_be_bytes([s0, s1]);
        self.dst_port = u16::from_be_bytes([d0, d1]);
        Ok(())
    }

    /// UDP, for the tunnels in it, which are told by their ports.
    #[inline(always)]
    fn udp<C: Cursor>(&mut self, frame: C) -> Step {
        let [s0, s1, d0, d1, l0, l1, _, _] = self.peek(frame)?;
        let (src, dst) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        let len = u16::from_be_bytes([l0, l1]) as u32;
        // Zero: segmentation offload again, or a jumbogram.
        if len != 0 {
            if len < 8 {
                return Err(Reason::Malformed);
            }
            self.shorten(len);
        }
        match (src, dst) {
            (_, 4789 | 8472) => self.pass(8, Layer::Vxlan, 0),
            (_, 4790) => self.pass(8, Layer::Vxlan, 1),
            (_, 6081) => self.pass(8, Layer::Geneve, 0),
            (2152, _) | (_, 2152) => self.pass(8, Layer::Gtp, 0),
            // GRE (RFC 8086) with checksum, key and sequence number at most, version 0.
            (_, 4754) => match self.peek_at(frame, 8)? {
                [flags, 0] if flags & 0x4f == 0 => self.pass(8, Layer::Gre, 0),
                _ => Err(Reason::NotTcp),
            },
            (_, 6635) => self.pass(8, Layer::Mpls, 0),
            _ => Err(Reason::NotTcp),
        }
    }
}
