//! The walk down the headers of one frame, a header a step.
//!
//! ```text
//!            pos                      end             wire_end
//!             v                        v                 v
//! |  done  |  what is left of the frame | cut off by who  |
//! |        |  (limited by IP's length)  | mirrored it     |
//! ```
//!
//! The kernel's verifier follows every path through a loop. All that one step tells the next therefore lies in memory ([`Walk`] is an
//! entry of a map), of which the verifier knows nothing when the next step begins: it has to look at one step only, as many times as
//! there are steps, and not at all ways in which headers can follow one another.

use crate::{Cursor, Reason, Verdict};

/// Where the walk stands, and what it has found. Without padding; an entry of the map [`WALK`](crate::maps::WALK).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Source of the IP header passed last; IPv4 as `::ffff:a.b.c.d`.
    pub src: [u8; 16],
    /// Its destination.
    pub dst: [u8; 16],
    /// `end <= wire_end`.
    pub wire_end: u32,
    /// Hash of the flow, if steered.
    pub hash: u32,
    /// `pos <= end`, `pos <= MAX_HEADERS`.
    pub pos: u16,
    /// `end <= frame.len()`.
    pub end: u16,
    /// What announced the header at `pos`: EtherType, protocol number and the like, as `layer` has it.
    pub announced: u16,
    /// Source port, once TCP is found.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// VLAN identifiers but 0 from the outermost in.
    pub vlans: [u16; 4],
    /// What stands at `pos`.
    pub layer: Layer,
    /// How many of `vlans` are set.
    pub vlan_count: u8,
    /// Tunnels entered.
    pub tunnels: u8,
    /// Version of the IP header passed last; 0: none yet.
    pub ip_version: u8,
    /// What is to be done.
    pub verdict: Verdict,
    /// And why.
    pub reason: Reason,
}

/// What stands at [`Walk::pos`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// An Ethernet header.
    #[default]
    Ethernet = 0,
    /// What the EtherType in `announced` says.
    EtherType,
    /// IPv4 or IPv6, by its first half-octet.
    Ip,
    /// What the protocol number in `announced` says.
    Transport,
    /// An LLC header.
    Llc,
    /// An MPLS label.
    Mpls,
    /// What follows the last MPLS label.
    MplsPayload,
    /// A PPP protocol number.
    Ppp,
    /// GRE.
    Gre,
    /// VXLAN, or VXLAN-GPE where its bits or `announced` (1) say so.
    Vxlan,
    /// GENEVE.
    Geneve,
    /// GTP-U.
    Gtp,
    /// A GTP-U extension header of the type in `announced`; 0: none, what is carried.
    GtpExtension,
    /// A network service header.
    Nsh,
}

/// What a step comes to: on to the next, or the end.
pub(crate) type Step = Result<(), Reason>;

impl Walk {
    /// Walks down to the innermost TCP header, IP fragment, or whatever else is there.
    #[inline(always)]
    pub(crate) fn run<C: Cursor>(&mut self, frame: C) -> Reason {
        let end = if frame.len() > 0xffff { 0xffff } else { frame.len() as u16 };
        *self = Self { end, wire_end: end as u32, ..Self::default() };
        for _ in 0..MAX_STEPS {
            if let Err(reason) = self.step(frame) {
                return reason;
            }
        }
        Reason::TooDeep
    }

    /// A function of its own, so that what it reads and writes is memory.
    #[inline(never)]
    fn step<C: Cursor>(&mut self, frame: C) -> Step {
        match self.layer {
            Layer::Ethernet => self.ethernet(frame),
            Layer::EtherType => self.ether_type(frame),
            Layer::Ip => self.ip(frame),
            Layer::Transport => self.transport(frame),
            Layer::Llc => self.llc(frame),
            Layer::Mpls => self.mpls(frame),
            Layer::MplsPayload => self.mpls_payload(frame),
            Layer::Ppp => self.ppp(frame),
            Layer::Gre => self.gre(frame),
            Layer::Vxlan => self.vxlan(frame),
            Layer::Geneve => self.geneve(frame),
            Layer::Gtp => self.gtp(frame),
            Layer::GtpExtension => self.gtp_extension(frame),
            Layer::Nsh => self.nsh(frame),
        }
    }

    /// The entry as octets, as the map has it.
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        let (mut rest, mut put) = (&mut bytes[..], 0);
        let mut append = |field: &[u8]| {
            let (head, tail) = core::mem::take(&mut rest).split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
            put += field.len();
        };
        append(&self.src);
        append(&self.dst);
        append(&self.wire_end.to_ne_bytes());
        append(&self.hash.to_ne_bytes());
        for field in [self.pos, self.end, self.announced, self.src_port, self.dst_port] {
            append(&field.to_ne_bytes());
        }
        for vlan in self.vlans {
            append(&vlan.to_ne_bytes());
        }
        append(&[self.layer as u8, self.vlan_count, self.tunnels, self.ip_version]);
        append(&[self.verdict as u8, self.reason as u8]);
        assert_eq!(put, size_of::<Self>(), "no padding");
        bytes
    }

    /// Octets left of the frame.
    #[inline(always)]
    pub(crate) fn left(&self) -> u32 {
        (self.end as u32).saturating_sub(self.pos as u32)
    }

    /// Octets left on the wire.
    #[inline(always)]
    pub(crate) fn wire_left(&self) -> u32 {
        self.wire_end.saturating_sub(self.pos as u32)
    }

    /// The `N` octets at `offset` from where the walk stands.
    #[inline(always)]
    pub(crate) fn peek_at<C: Cursor, const N: usize>(&self, frame: C, offset: u32) -> Result<[u8; N], Reason> {
        if offset + N as u32 > self.left() {
            return Err(Reason::CutShort);
        }
        frame.read(self.pos as usize + offset as usize).ok_or(Reason::TooDeep)
    }

    #[inline(always)]
    pub(crate) fn peek<C: Cursor, const N: usize>(&self, frame: C) -> Result<[u8; N], Reason> {
        self.peek_at(frame, 0)
    }

    /// Passes `len` octets to what `layer` says.
    #[inline(always)]
    pub(crate) fn pass(&mut self, len: u32, layer: Layer, announced: u16) -> Step {
        if len > self.left() {
            return Err(Reason::CutShort);
        }
        let pos = self.pos as u32 + len;
        if pos > MAX_HEADERS {
            return Err(Reason::TooDeep);
        }
        self.pos = pos as u16;
        self.layer = layer;
        self.announced = announced;
        Ok(())
    }

    /// Limits what is left to the `len` octets that a length field announces. More than there are: the rest is missing.
    #[inline(always)]
    pub(crate) fn limit(&mut self, len: u32) {
        self.wire_end = self.pos as u32 + len;
        if self.wire_end < self.end as u32 {
            self.end = self.wire_end as u16;
        }
    }

    /// The same, where a larger length than there is does not count: the IP packet inside says how long it is.
    #[inline(always)]
    pub(crate) fn shorten(&mut self, len: u32) {
        if self.pos as u32 + len < self.wire_end {
            self.limit(len);
        }
    }

    /// Notes that a tunnel is entered.
    #[inline(always)]
    pub(crate) fn enter(&mut self) -> Step {
        if self.tunnels >= MAX_TUNNELS {
            return Err(Reason::TooDeep);
        }
        self.tunnels += 1;
        Ok(())
    }
}

const _: () = assert!(size_of::<Walk>() == 64);

/// Steps of a walk: eight tunnels of eight steps, a real stack of three takes some 25. The verifier follows them all, at some
/// thousand instructions each, and has patience for a million (since Linux 5.2).
pub const MAX_STEPS: u32 = 64;

/// How far down a frame headers are looked for. XDP sees no more than the first page of a frame anyway.
pub const MAX_HEADERS: u32 = 0x0fff - 64;

/// Tunnels in one another that are looked through, as many as `plaintap`'s own decoder looks through.
pub const MAX_TUNNELS: u8 = 8;
