//! Sources of frames: captures now, AF_XDP rings later.

#[cfg(feature = "live")]
pub mod af_xdp;
pub mod pcap;
pub mod record;
pub mod steer;

use crate::Timestamp;

/// One captured frame, lent to the pipeline for the time of one `push`. The pipeline may overwrite `data`: records are
/// opened in place.
#[derive(Debug)]
pub struct Frame<'a> {
    /// When it was captured.
    pub ts: Timestamp,
    /// Where it was captured.
    pub interface: InterfaceId,
    /// What its first octet is.
    pub link: LinkType,
    /// Its length on the wire in octets; more than `data.len()` when the capture cut it off.
    pub wire_len: u32,
    /// The captured octets.
    pub data: &'a mut [u8],
}

/// A capture interface: an index that the source gave out, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InterfaceId(pub u16);

/// A link-layer type by its number in the LINKTYPE registry of pcap and pcapng.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: the address family in the host order of the capturing machine.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, perhaps with HDLC framing.
    pub const PPP: Self = Self(9);
    /// PPP in HDLC-like framing.
    pub const PPP_HDLC: Self = Self(50);
    /// IPv4 or IPv6, by its first half-octet.
    pub const RAW: Self = Self(101);
    /// IEEE 802.11.
    pub const IEEE802_11: Self = Self(105);
    /// OpenBSD loopback: the address family in network order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture.
    pub const LINUX_SLL: Self = Self(113);
    /// IEEE 802.11 after a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// IPv4.
    pub const IPV4: Self = Self(228);
    /// IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// What a source gives next.
#[derive(Debug)]
pub enum Event<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// Key-log text that stands among the frames (a pcapng Decryption Secrets Block of type `TLSK`).
    Secrets(&'a [u8]),
}

/// Where frames come from.
pub trait FrameSource {
    /// What stops the source: the text tells the operator what to change.
    type Error: std::error::Error;

    /// The next event; `None` at the end of the input.
    fn next_event(&mut self) -> Result<Option<Event<'_>>, Self::Error>;

    /// The name of an interface, where the source knows one.
    fn interface_name(&self, interface: InterfaceId) -> Option<&str>;
}
