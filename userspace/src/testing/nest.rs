//! Ethernet frames with a TCP segment in tunnels in tunnels, made at random, and what was put where.
//!
//! Written from the RFCs, apart from the code that reads such frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Rng;
use crate::flow::{Endpoint, FiveTuple};

/// A frame and what is in it.
#[derive(Clone, Debug)]
pub struct Nest {
    /// The frame.
    pub frame: Vec<u8>,
    /// The layers around the innermost packet, from the outermost in.
    pub layers: Vec<&'static str>,
    /// VLAN identifiers from the outermost in.
    pub vlans: Vec<u16>,
    /// How many of the layers are tunnels.
    pub tunnels: u8,
}

/// What has been built so far, from the inside out.
struct Inside {
    bytes: Vec<u8>,
    /// An Ethernet frame, or else an IP packet.
    ethernet: bool,
    nest: Nest,
}

/// What a tunnel's header stands in.
enum Carrier {
    /// IP, of that protocol.
    Ip(u8),
    /// UDP, to that port.
    Udp(u16),
}

/// The segment of `tuple` within up to `depth` tunnels.
pub fn nest(rng: &mut Rng, tuple: &FiveTuple, depth: usize) -> Nest {
    let segment = tcp(rng, tuple);
    let bytes = packet(rng, tuple.src.addr, tuple.dst.addr, 6, &segment);
    let nest = Nest { frame: Vec::new(), layers: Vec::new(), vlans: Vec::new(), tunnels: 0 };
    let mut inside = Inside { bytes, ethernet: false, nest };
    for _ in 0..rng.below(depth + 1) {
        inside.tunnel(rng);
    }
    if !inside.ethernet {
        inside.frame(rng);
    }
    inside.nest.layers.reverse();
    inside.nest.vlans.reverse();
    inside.nest.frame = inside.bytes;
    inside.nest
}

/// Two ends at random, both of one family.
pub fn any_tuple(rng: &mut Rng) -> FiveTuple {
    let v6 = rng.per_mille(400);
    let mut end = || Endpoint { addr: any_addr(rng, v6), port: rng.next_u64() as u16 };
    FiveTuple { src: end(), dst: end() }
}

impl Inside {
    fn tunnel(&mut self, rng: &mut Rng) {
        let v6 = self.is_v6();
        if !self.ethernet && rng.per_mille(400) {
            let ether_type = self.ether_type();
            let (name, carrier, header) = match rng.below(5) {
                0 => ("gre", Carrier::Ip(47), gre(rng, ether_type, false)),
                1 => ("ip-in-ip", Carrier::Ip(if v6 { 41 } else { 4 }), vec![]),
                2 => ("gtp", Carrier::Udp(2152), gtp(rng, self.bytes.len())),
                3 => ("vxlan-gpe", Carrier::Udp(4790), vec![0x0c, 0, 0, if v6 { 2 } else { 1 }, 1, 2, 3, 0]),
                _ => ("geneve-ip", Carrier::Udp(6081), geneve(rng, ether_type)),
            };
            return self.put_in(rng, name, carrier, &header);
        }
        if !self.ethernet {
            self.frame(rng);
        }
        let (name, carrier, header) = match rng.below(7) {
            0 => ("vxlan", Carrier::Udp(*rng.pick(&[4789, 8472])), vec![0x08, 0, 0, 0, 9, 9, 9, 0]),
            1 => ("geneve", Carrier::Udp(6081), geneve(rng, 0x6558)),
            2 => ("gre-ethernet", Carrier::Ip(47), gre(rng, 0x6558, false)),
            3 => ("nvgre", Carrier::Ip(47), vec![0x20, 0, 0x65, 0x58, 0x12, 0x34, 0x56, 7]),
            4 => ("erspan-i", Carrier::Ip(47), vec![0, 0, 0x88, 0xbe]),
            5 => {
                let ii = [0x10, 0x0a, 0x18, 0x2a, 0, 0, 0, 5];
                ("erspan-ii", Carrier::Ip(47), [&gre(rng, 0x88be, true)[..], &ii].concat())
            }
            _ => {
                let subheader = rng.per_mille(500);
                let iii = [0x20, 0x0a, 0x18, 0x2a, 1, 2, 3, 4, 0, 0, 0, u8::from(subheader)];
                let platform: &[u8] = if subheader { &[0xaa; 8] } else { &[] };
                ("erspan-iii", Carrier::Ip(47), [&gre(rng, 0x22eb, true)[..], &iii, platform].concat())
            }
        };
        self.put_in(rng, name, carrier, &header);
    }

    /// Puts the packet into an Ethernet frame, with tags or labels perhaps.
    fn frame(&mut self, rng: &mut Rng) {
        let mut ether_type = self.ether_type();
        let mut head = Vec::new();
        match rng.below(8) {
            0 => {
                self.nest.layers.push("mpls");
                self.nest.tunnels += 1;
                let labels = rng.between(1, 3);
                for label in 1..=labels {
                    head.extend([rng.next_u64() as u8, 0, u8::from(label == labels), 64]);
                }
                ether_type = 0x8847;
            }
            1 => {
                self.nest.layers.push("pppoe");
                self.nest.tunnels += 1;
                let protocol = if self.is_v6() { 0x0057_u16 } else { 0x0021 };
                head.extend([0x11, 0, 0, 7]);
                head.extend((self.bytes.len() as u16 + 2).to_be_bytes());
                head.extend(protocol.to_be_bytes());
                ether_type = 0x8864;
            }
            2 if self.bytes.len() < 1_400 => {
                self.nest.layers.push("snap");
                head.extend([0xaa, 0xaa, 3, 0, 0, 0]);
                head.extend(ether_type.to_be_bytes());
                ether_type = (self.bytes.len() + 8) as u16;
            }
            _ => {}
        }
        // At most two a frame; a nest keeps the outer four, as what reads it does.
        for _ in 0..*rng.pick(&[0, 0, 0, 1, 1, 2]) {
            let id = rng.between(1, 4_094) as u16;
            self.nest.layers.push("vlan");
            self.nest.vlans.push(id);
            head.splice(0..0, [(0x6000 | id).to_be_bytes(), ether_type.to_be_bytes()].concat());
            ether_type = *rng.pick(&[0x8100, 0x88a8, 0x9100]);
        }
        let mut addresses = [0; 12];
        rng.fill(&mut addresses);
        self.bytes = [&addresses[..], &ether_type.to_be_bytes(), &head, &self.bytes].concat();
        self.ethernet = true;
    }

    fn put_in(&mut self, rng: &mut Rng, name: &'static str, carrier: Carrier, header: &[u8]) {
        self.nest.layers.push(name);
        self.nest.tunnels += 1;
        let (protocol, udp) = match carrier {
            Carrier::Ip(protocol) => (protocol, vec![]),
            Carrier::Udp(port) => {
                let source = 0xc000 | rng.next_u64() as u16;
                let len = (8 + header.len() + self.bytes.len()) as u16;
                (17, [source.to_be_bytes(), port.to_be_bytes(), len.to_be_bytes(), [0, 0]].concat())
            }
        };
        let v6 = rng.per_mille(300);
        let (src, dst) = (any_addr(rng, v6), any_addr(rng, v6));
        self.bytes = packet(rng, src, dst, protocol, &[&udp, header, &self.bytes].concat());
        self.ethernet = false;
    }

    fn is_v6(&self) -> bool {
        self.bytes[0] >> 4 == 6
    }

    fn ether_type(&self) -> u16 {
        if self.is_v6() { 0x86dd } else { 0x0800 }
    }
}

fn any_addr(rng: &mut Rng, v6: bool) -> IpAddr {
    let mut octets = [0; 16];
    rng.fill(&mut octets);
    let [a, b, c, d, ..] = octets;
    if v6 { Ipv6Addr::from(octets).into() } else { Ipv4Addr::new(a, b, c, d).into() }
}

/// A header of any length (RFC 9293 section 3.1) and a little payload.
fn tcp(rng: &mut Rng, tuple: &FiveTuple) -> Vec<u8> {
    let words = rng.between(5, 15);
    let mut segment = vec![1; 4 * words + rng.below(20)]; // options: no operation
    segment[..2].copy_from_slice(&tuple.src.port.to_be_bytes());
    segment[2..4].copy_from_slice(&tuple.dst.port.to_be_bytes());
    rng.fill(&mut segment[4..12]);
    segment[12] = (words as u8) << 4;
    segment[13] = 0x10;
    segment
}

/// An IP packet, some with options or extension headers, none with a checksum.
fn packet(rng: &mut Rng, src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let words = if rng.per_mille(200) { rng.between(6, 15) } else { 5 };
            let mut header = vec![1; 4 * words];
            header[0] = 0x40 | words as u8;
            header[2..4].copy_from_slice(&((4 * words + payload.len()) as u16).to_be_bytes());
            header[4..12].copy_from_slice(&[0, 1, 0x40, 0, 64, protocol, 0, 0]); // do not fragment
            header[12..16].copy_from_slice(&src.octets());
            header[16..20].copy_from_slice(&dst.octets());
            [&header, payload].concat()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (mut next, mut extensions) = (protocol, Vec::new());
            for _ in 0..*rng.pick(&[0, 0, 0, 1, 2]) {
                let kind = *rng.pick(&[0, 43, 60, 44]);
                let words = if kind == 44 { 0 } else { rng.below(3) };
                let mut extension = vec![0; 8 + 8 * words];
                (extension[0], extension[1]) = (next, words as u8); // of the fragment header: reserved; offset and M are 0
                extensions.splice(0..0, extension);
                next = kind;
            }
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(((extensions.len() + payload.len()) as u16).to_be_bytes());
            header.extend([next, 64]);
            [&header, &src.octets()[..], &dst.octets(), &extensions, payload].concat()
        }
        _ => unreachable!("both are of one family"),
    }
}

/// RFC 2784 and 2890.
fn gre(rng: &mut Rng, protocol: u16, sequenced: bool) -> Vec<u8> {
    let (checksum, key) = (rng.per_mille(300), rng.per_mille(300));
    let sequenced = sequenced || (protocol != 0x88be && rng.per_mille(300));
    let flags = u8::from(checksum) << 7 | u8::from(key) << 5 | u8::from(sequenced) << 4;
    let mut header = vec![flags, 0];
    header.extend(protocol.to_be_bytes());
    header.resize(4 + 4 * (usize::from(checksum) + usize::from(key) + usize::from(sequenced)), 5);
    header
}

/// RFC 8926 section 3.4, options included.
fn geneve(rng: &mut Rng, protocol: u16) -> Vec<u8> {
    let words = rng.below(4);
    let mut header = vec![words as u8, 0];
    header.extend(protocol.to_be_bytes());
    header.extend([0, 0, 42, 0]);
    header.resize(8 + 4 * words, 0xee);
    header
}

/// 3GPP TS 29.281 section 5.1, with a sequence number or extension headers perhaps.
fn gtp(rng: &mut Rng, carried: usize) -> Vec<u8> {
    let optional: &[u8] = match rng.below(3) {
        0 => &[],
        1 => &[0, 1, 0, 0],
        _ => &[0, 0, 0, 0x85, 1, 0, 9, 0x85, 2, 0, 9, 9, 9, 9, 9, 0],
    };
    let flags = [0x30, 0x32, 0x34][match optional.len() {
        0 => 0,
        4 => 1,
        _ => 2,
    }];
    let mut header = vec![flags, 0xff];
    header.extend(((optional.len() + carried) as u16).to_be_bytes());
    header.extend([0, 0, 0, 1]);
    header.extend(optional);
    header
}
