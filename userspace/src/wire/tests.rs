//! Frames by hand: each function is one header around what it is given, so that a nest reads like the stack.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;

use super::*;
use crate::source::{Frame, LinkType};

const PAYLOAD: &[u8] = b"hello";
const OUTER_SRC: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What a test looks at of a segment, without the borrow.
#[derive(Debug, PartialEq)]
struct Seen {
    ports: (u16, u16),
    seq: u32,
    payload: Vec<u8>,
    missing: u32,
    outer: Outer,
}

fn decode(decoder: &mut Decoder, link: LinkType, frame: &[u8]) -> Option<Seen> {
    decode_cut(decoder, link, frame, frame.len())
}

/// Decodes what a capture has of `frame` that takes its first `snaplen` octets.
fn decode_cut(decoder: &mut Decoder, link: LinkType, frame: &[u8], snaplen: usize) -> Option<Seen> {
    let mut data = frame[..snaplen].to_vec();
    let wire_len = frame.len() as u32;
    let frame = Frame { ts: Timestamp::ZERO, interface: InterfaceId(0), link, wire_len, data: &mut data };
    let seen = decoder.decode(frame).map(|segment| Seen {
        ports: (segment.tuple.src.port, segment.tuple.dst.port),
        seq: segment.seq.0,
        payload: segment.payload.to_vec(),
        missing: segment.missing,
        outer: segment.outer,
    });
    let stats = decoder.stats();
    assert_eq!(stats.frames_in, stats.segments + stats.outcomes(), "{stats:?}");
    seen
}

/// The outcome counters that are not zero after one frame.
fn outcome(link: LinkType, frame: &[u8]) -> Vec<(&'static str, u64)> {
    let mut decoder = Decoder::new(WireConfig::default());
    assert_eq!(decode(&mut decoder, link, frame), None);
    decoder.stats().iter().filter(|(name, count)| *count != 0 && *name != "frames_in").collect()
}

fn seen(outer: Outer) -> Option<Seen> {
    Some(Seen { ports: (1234, 443), seq: 7, payload: PAYLOAD.to_vec(), missing: 0, outer })
}

fn be(value: usize) -> [u8; 2] {
    (value as u16).to_be_bytes()
}

/// The innermost packet: IPv4, TCP, "hello".
fn tcp4() -> Vec<u8> {
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1234, 443, 7, 100).ack(1);
    let mut packet = Vec::new();
    builder.write(&mut packet, PAYLOAD).unwrap();
    packet
}

/// The same over IPv6.
fn tcp6() -> Vec<u8> {
    let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(1234, 443, 7, 100).ack(1);
    let mut packet = Vec::new();
    builder.write(&mut packet, PAYLOAD).unwrap();
    packet
}

fn ethernet(ether_type: u16, inside: Vec<u8>) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ether_type.to_be_bytes(), &inside].concat()
}

fn tag(id: u16, ether_type: u16, inside: Vec<u8>) -> Vec<u8> {
    [&(0x6000 | id).to_be_bytes()[..], &ether_type.to_be_bytes(), &inside].concat()
}

fn ipv4(protocol: u8, inside: Vec<u8>) -> Vec<u8> {
    let len = be(20 + inside.len());
    [&[0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2][..], &inside].concat()
}

fn ipv6(next: u8, inside: Vec<u8>) -> Vec<u8> {
    let len = be(inside.len());
    [&[0x60, 0, 0, 0, len[0], len[1], next, 64][..], &[1; 16], &[2; 16], &inside].concat()
}

fn udp(dst: u16, inside: Vec<u8>) -> Vec<u8> {
    [&be(55_555)[..], &dst.to_be_bytes(), &be(8 + inside.len()), &[0, 0], &inside].concat()
}

/// A header given as octets.
fn header(octets: &[u8], inside: Vec<u8>) -> Vec<u8> {
    [octets, &inside].concat()
}

fn over_udp(dst: u16, octets: &[u8], inside: Vec<u8>) -> Vec<u8> {
    ethernet(0x0800, ipv4(17, udp(dst, header(octets, inside))))
}

fn over_gre(octets: &[u8], inside: Vec<u8>) -> Vec<u8> {
    ethernet(0x0800, ipv4(47, header(octets, inside)))
}

/// Every way that a segment may come: what it is, its link type, the frame, and what is expected around it.
fn ways() -> Vec<(&'static str, LinkType, Vec<u8>, Outer)> {
    let plain = Outer::default();
    let frame4 = || ethernet(0x0800, tcp4());
    let vlans = |ids: &[u16]| {
        let mut vlans = [0; 4];
        vlans[..ids.len()].copy_from_slice(ids);
        Outer { vlans, vlan_count: ids.len() as u8, tunnel: None }
    };
    let tunnel = |kind, id| Outer { tunnel: Some(Tunnel { kind, id, src: Some(OUTER_SRC) }), ..plain };
    let layer2 = |kind, id| Outer { tunnel: Some(Tunnel { kind, id, src: None }), ..plain };
    let ext = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let erspan_iii = [0x10, 0, 0x22, 0xeb, 0, 0, 0, 9, 0x20, 100, 1, 0x23, 0, 0, 0, 0, 0, 0, 0, 0];
    let (gtp, len) = ([0x30, 0xff, 0, 0, 0, 0, 0x12, 0x34], be(tcp4().len() + 8));
    use TunnelKind::*;
    let ether = |name, frame, outer| (name, LinkType::ETHERNET, frame, outer);
    let link = |name, number, octets: &[u8], inside| (name, LinkType(number), header(octets, inside), plain);
    vec![
        ether("ipv4", frame4(), plain),
        ether("ipv6", ethernet(0x86dd, tcp6()), plain),
        ether("padding, then fcs", header(&frame4(), vec![0, 0, 0, 0xde, 0xad, 0xbe, 0xef]), plain),
        ether("vlan", ethernet(0x8100, tag(100, 0x0800, tcp4())), vlans(&[100])),
        ether("priority tag", ethernet(0x8100, tag(0, 0x86dd, tcp6())), plain),
        ether("qinq", ethernet(0x88a8, tag(7, 0x8100, tag(8, 0x0800, tcp4()))), vlans(&[7, 8])),
        ether(
            "six tags",
            (1..=6).rev().fold(ethernet(0x0800, tcp4()), |frame, id| {
                ethernet(0x8100, tag(id, u16::from_be_bytes([frame[12], frame[13]]), frame[14..].to_vec()))
            }),
            vlans(&[1, 2, 3, 4]),
        ),
        ether("vn-tag", ethernet(0x8926, header(&[0, 1, 0, 2, 0x08, 0], tcp4())), plain),
        ether("e-tag", ethernet(0x893f, header(&[0, 1, 0, 2, 0, 0, 0x08, 0], tcp4())), plain),
        ether("provider backbone", ethernet(0x88e7, header(&[0, 0, 0, 9], frame4())), plain),
        ether("snap", ethernet(8 + 45, header(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], tcp4())), plain),
        ether(
            "extension headers",
            ethernet(0x86dd, {
                let tcp = tcp6()[40..].to_vec();
                let auth = header(&[6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], tcp);
                ipv6(0, header(&ext(60), header(&ext(43), header(&ext(44), header(&[51, 0, 0, 0, 0, 0, 0, 1], auth)))))
            }),
            plain,
        ),
        ether(
            "authentication header",
            ethernet(0x0800, ipv4(51, header(&[6, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1], tcp4()[20..].to_vec()))),
            plain,
        ),
        ether("mpls", ethernet(0x8847, header(&[0, 1, 0, 64, 0, 2, 1, 64], tcp4())), layer2(Mpls, Some(32))),
        ether("mpls ipv6", ethernet(0x8847, header(&[0, 2, 1, 64], tcp6())), layer2(Mpls, Some(32))),
        ether("pseudowire", ethernet(0x8847, header(&[0, 2, 1, 64], frame4())), layer2(Mpls, Some(32))),
        ether("control word", ethernet(0x8847, header(&[0, 2, 1, 64, 0, 0, 0, 1], frame4())), layer2(Mpls, Some(32))),
        ether("pppoe", ethernet(0x8864, header(&[0x11, 0, 0, 5, 0, 47, 0, 0x21], tcp4())), layer2(Pppoe, Some(5))),
        ether("ipip", ethernet(0x0800, ipv4(4, tcp4())), tunnel(IpInIp, None)),
        ether("6in4", ethernet(0x0800, ipv4(41, tcp6())), tunnel(IpInIp, None)),
        ether(
            "4in6",
            ethernet(0x86dd, ipv6(4, tcp4())),
            Outer { tunnel: Some(Tunnel { kind: IpInIp, id: None, src: Some(IpAddr::from([1; 16])) }), ..plain },
        ),
        ether("gre", over_gre(&[0, 0, 8, 0], tcp4()), tunnel(Gre, None)),
        ether("gre, key", over_gre(&[0x20, 0, 8, 0, 0, 0, 1, 2], tcp4()), tunnel(Gre, Some(258))),
        ether(
            "gre, all fields",
            over_gre(&[0xb0, 0, 0x86, 0xdd, 9, 9, 0, 0, 0, 0, 1, 2, 0, 0, 0, 9], tcp6()),
            tunnel(Gre, Some(258)),
        ),
        ether("gre, mpls", over_gre(&[0, 0, 0x88, 0x47, 0, 2, 1, 64], tcp4()), tunnel(Mpls, Some(32))),
        ether("gre, ethernet", over_gre(&[0x20, 0, 0x65, 0x58, 0, 0, 1, 2], frame4()), tunnel(Gre, Some(258))),
        ether("nvgre", over_gre(&[0x20, 0, 0x65, 0x58, 0, 0x20, 1, 0xff], frame4()), tunnel(Nvgre, Some(0x2001))),
        ether(
            "pptp",
            over_gre(&[0x30, 0x81, 0x88, 0x0b, 0, 49, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 3, 0, 0x21], tcp4()),
            tunnel(Gre, Some(5)),
        ),
        ether("wccp 2", over_gre(&[0, 0, 0x88, 0x3e, 0, 0, 0, 1], tcp4()), tunnel(Gre, None)),
        ether("erspan i", over_gre(&[0, 0, 0x88, 0xbe], frame4()), tunnel(Erspan, None)),
        ether(
            "erspan ii",
            over_gre(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 100, 1, 0x23, 0, 0, 0, 0], frame4()),
            tunnel(Erspan, Some(0x123)),
        ),
        ether("erspan iii", over_gre(&erspan_iii, frame4()), tunnel(Erspan, Some(0x123))),
        ether(
            "erspan iii, subheader",
            over_gre(&[&erspan_iii[..19], &[1, 1, 2, 3, 4, 5, 6, 7, 8]].concat(), frame4()),
            tunnel(Erspan, Some(0x123)),
        ),
        ether(
            "erspan iii, ip",
            over_gre(&[&erspan_iii[..18], &[0x08, 0]].concat(), tcp6()),
            tunnel(Erspan, Some(0x123)),
        ),
        ether("vxlan", over_udp(4789, &[8, 0, 0, 0, 0, 1, 2, 0], frame4()), tunnel(Vxlan, Some(258))),
        ether("vxlan, group policy", over_udp(8472, &[0x88, 0, 0, 9, 0, 1, 2, 0], frame4()), tunnel(Vxlan, Some(258))),
        ether("vxlan-gpe, ip", over_udp(4790, &[0x0c, 0, 0, 1, 0, 1, 2, 0], tcp4()), tunnel(Vxlan, Some(258))),
        ether("vxlan-gpe, ethernet", over_udp(4790, &[0x0c, 0, 0, 3, 0, 1, 2, 0], frame4()), tunnel(Vxlan, Some(258))),
        ether(
            "vxlan-gpe, nsh",
            over_udp(4790, &[0x0c, 0, 0, 4, 0, 1, 2, 0, 0, 3, 2, 1, 0, 0, 1, 255, 9, 9, 9, 9], tcp4()),
            tunnel(Vxlan, Some(258)),
        ),
        ether("geneve", over_udp(6081, &[0, 0, 0x65, 0x58, 0, 1, 2, 0], frame4()), tunnel(Geneve, Some(258))),
        ether(
            "geneve, options, ip",
            over_udp(6081, &[2, 0x40, 0x08, 0, 0, 1, 2, 0, 1, 2, 3, 1, 9, 9, 9, 9], tcp4()),
            tunnel(Geneve, Some(258)),
        ),
        ether(
            "geneve over ipv6, vlan inside",
            {
                let inside = ethernet(0x8100, tag(9, 0x0800, tcp4()));
                ethernet(0x86dd, ipv6(17, udp(6081, header(&[0, 0, 0x65, 0x58, 0, 1, 2, 0], inside))))
            },
            Outer {
                tunnel: Some(Tunnel { kind: Geneve, id: Some(258), src: Some(IpAddr::from([1; 16])) }),
                ..vlans(&[9])
            },
        ),
        ether("gtp-u", over_udp(2152, &[&gtp[..2], &be(45), &gtp[4..]].concat(), tcp4()), tunnel(Gtp, Some(0x1234))),
        ether(
            "gtp-u, sequence, extension",
            over_udp(2152, &[&[0x36, 0xff, len[0], len[1]], &gtp[4..], &[0, 1, 0, 0x85, 1, 0, 9, 0]].concat(), tcp4()),
            tunnel(Gtp, Some(0x1234)),
        ),
        ether("teredo", over_udp(3544, &[], tcp6()), tunnel(Teredo, None)),
        ether(
            "teredo, authentication, origin",
            over_udp(3544, &[0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 9, 8, 8, 8, 8], tcp6()),
            tunnel(Teredo, None),
        ),
        ether("gre over udp", over_udp(4754, &[0, 0, 8, 0], tcp4()), tunnel(Gre, None)),
        ether("mpls over udp", over_udp(6635, &[0, 2, 1, 64], tcp4()), tunnel(Mpls, Some(32))),
        ether(
            "vxlan in erspan",
            over_gre(
                &[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 100, 1, 0x23, 0, 0, 0, 0],
                over_udp(4789, &[8, 0, 0, 0, 0, 1, 2, 0], frame4()),
            ),
            tunnel(Vxlan, Some(258)),
        ),
        link("raw ipv4", 101, &[], tcp4()),
        link("raw ipv6", 101, &[], tcp6()),
        link("ipv4 link", 228, &[], tcp4()),
        link("ipv6 link", 229, &[], tcp6()),
        link("null, little-endian", 0, &[2, 0, 0, 0], tcp4()),
        link("null, big-endian, freebsd", 0, &[0, 0, 0, 28], tcp6()),
        link("loop", 108, &[0, 0, 0, 24], tcp6()),
        link("cooked", 113, &[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0], tcp4()),
        link("cooked 2", 276, &[0x86, 0xdd, 0, 0, 0, 0, 0, 5, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0], tcp6()),
        link("ppp", 9, &[0, 0x21], tcp4()),
        link("ppp, framed", 9, &[0xff, 3, 0, 0x57], tcp6()),
        link("ppp, compressed protocol", 50, &[0xff, 3, 0x21], tcp4()),
        link("cisco hdlc", 104, &[0x0f, 0, 8, 0], tcp4()),
        link("802.11", 105, &header(&[8, 1], [&[0; 22][..], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat()), tcp4()),
        link(
            "802.11 qos, four addresses",
            105,
            &header(&[0x88, 3], [&[0; 30][..], &[0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd]].concat()),
            tcp6(),
        ),
        link(
            "radiotap, padded 802.11 qos",
            127,
            &[
                &[0, 0, 17, 0, 3, 0, 0, 0][..], // TSFT and flags
                &[9, 9, 9, 9, 9, 9, 9, 9, 0x20],
                &[0x88, 1],
                &[0; 26],
                &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0],
            ]
            .concat(),
            tcp4(),
        ),
    ]
}

#[test]
fn segments_are_found_in_every_tunnel() {
    for (name, link, frame, outer) in ways() {
        let mut decoder = Decoder::new(WireConfig::default());
        assert_eq!(decode(&mut decoder, link, &frame), seen(outer), "{name}: {:?}", decoder.stats());
    }
}

#[test]
fn captures_cut_at_every_length() {
    for (name, link, frame, outer) in ways() {
        // Trailing octets are no part of the packet.
        let packet_len = frame.len() - if name.starts_with("padding") { 7 } else { 0 };
        for snaplen in 0..packet_len {
            let mut decoder = Decoder::new(WireConfig::default());
            let found = decode_cut(&mut decoder, link, &frame, snaplen);
            let cut = packet_len - snaplen;
            if cut <= PAYLOAD.len() {
                let payload = PAYLOAD[..PAYLOAD.len() - cut].to_vec();
                let expected = Seen { payload, missing: cut as u32, ..seen(outer).unwrap() };
                assert_eq!(found, Some(expected), "{name} cut to {snaplen}");
            } else {
                assert_eq!(
                    (found, decoder.stats().truncated),
                    (None, 1),
                    "{name} cut to {snaplen}: {:?}",
                    decoder.stats()
                );
            }
        }
    }
}

#[test]
fn frames_that_end_early_are_malformed() {
    // The same octets, but the wire had no more: an IP length past the end of the frame is the capture's loss or a lie, and
    // both look alike; headers that do not fit into their packet are malformed.
    for (name, link, frame, _) in ways() {
        for len in 0..frame.len() {
            let mut decoder = Decoder::new(WireConfig::default());
            if let Some(seen) = decode(&mut decoder, link, &frame[..len]) {
                assert!(PAYLOAD.starts_with(&seen.payload), "{name}, {len} octets: {seen:?}");
            }
        }
    }
}

#[test]
fn corrupted_frames_are_counted_once() {
    let mut rng = crate::testing::Rng::new(20_261);
    for (_, link, frame, _) in ways() {
        for _ in 0..200 {
            let mut frame = frame.clone();
            for _ in 0..rng.between(1, 4) {
                let at = rng.below(frame.len());
                frame[at] = rng.next_u64() as u8;
            }
            // `decode` asserts that the accounts balance; debug assertions watch the walk.
            decode(&mut Decoder::new(WireConfig::default()), link, &frame);
        }
    }
}

#[test]
fn depth_is_limited() {
    let nest = |depth| ethernet(0x0800, (0..depth).fold(tcp4(), |packet, _| ipv4(4, packet)));
    let mut decoder = Decoder::new(WireConfig { max_depth: 3, ..WireConfig::default() });
    assert!(decode(&mut decoder, LinkType::ETHERNET, &nest(3)).is_some());
    assert!(decode(&mut decoder, LinkType::ETHERNET, &nest(4)).is_none());
    assert_eq!(decoder.stats().too_deep, 1);
}

#[test]
fn packets_without_a_length_end_with_the_frame() {
    let mut decoder = Decoder::new(WireConfig::default());
    let mut tso4 = tcp4();
    tso4[2..4].fill(0);
    let mut tso6 = tcp6();
    tso6[4..6].fill(0);
    for frame in [ethernet(0x0800, tso4), ethernet(0x86dd, tso6)] {
        assert_eq!(decode(&mut decoder, LinkType::ETHERNET, &frame), seen(Outer::default()));
        let cut = decode_cut(&mut decoder, LinkType::ETHERNET, &frame, frame.len() - 3).unwrap();
        assert_eq!((cut.payload.as_slice(), cut.missing), (&PAYLOAD[..2], 3));
    }
}

#[test]
fn what_is_missing_is_limited() {
    let mut packet = tcp4();
    packet[2..4].fill(0);
    let (ts, interface, link) = (Timestamp::ZERO, InterfaceId(0), LinkType::RAW);
    let mut decoder = Decoder::new(WireConfig::default());
    let segment = decoder.decode(Frame { ts, interface, link, wire_len: u32::MAX, data: &mut packet });
    assert_eq!(segment.map(|segment| segment.missing), Some(524_280));
}

#[test]
fn tcp_options_may_be_cut_off() {
    let builder =
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1234, 443, 7, 100);
    let builder = builder.options_raw(&[1; 12]).unwrap();
    let mut frame = Vec::new();
    builder.write(&mut frame, PAYLOAD).unwrap();
    for snaplen in 0..frame.len() {
        let seen = decode_cut(&mut Decoder::new(WireConfig::default()), LinkType::ETHERNET, &frame, snaplen);
        let payload = snaplen.saturating_sub(14 + 20 + 32);
        let expected = (snaplen >= 14 + 20 + 20).then_some(((1234, 443), payload, 5 - payload as u32));
        assert_eq!(seen.map(|seen| (seen.ports, seen.payload.len(), seen.missing)), expected, "{snaplen}");
    }
}

#[test]
fn frames_without_tcp_are_counted_by_kind() {
    let arp =
        |opcode: u16| ethernet(0x0806, header(&[0, 1, 8, 0, 6, 4], [&opcode.to_be_bytes()[..], &[0; 20]].concat()));
    let wifi = |control, flags| (LinkType::IEEE802_11, header(&[control, flags], vec![0; 60]));
    let broken = |at: usize, octet: u8| {
        let mut frame = ethernet(0x0800, tcp4());
        frame[at] = octet;
        frame
    };
    for (counter, frame) in [
        ("udp", over_udp(53, &[1, 2, 3], vec![])),
        ("udp", over_udp(4789, &[0, 0, 0, 0, 0, 1, 2, 0], ethernet(0x0800, tcp4()))), // not VXLAN: no I
        ("udp", over_udp(6081, &[0x40, 0, 0, 0, 0, 1, 2, 0], vec![])),                // not GENEVE: version 1
        ("udp", over_udp(3544, b"other", vec![])),
        ("udp", over_udp(4754, &[0xff; 8], vec![])),
        ("udp", over_udp(4789, &[8], vec![])),
        ("icmp", ethernet(0x0800, ipv4(1, header(&[3, 1, 0, 0, 0, 0, 0, 0], tcp4())))),
        ("icmpv6", ethernet(0x86dd, ipv6(58, vec![128, 0, 0, 0]))),
        ("sctp", ethernet(0x0800, ipv4(132, vec![0; 12]))),
        ("esp", ethernet(0x0800, ipv4(50, vec![0; 12]))),
        ("other_ip", ethernet(0x0800, ipv4(89, vec![0; 12]))),
        ("other_ip", ethernet(0x86dd, ipv6(59, vec![]))),
        ("arp", arp(1)),
        ("arp", arp(25)),
        ("arp_heartbeat", arp(26)),
        ("arp_heartbeat", arp(512)),
        ("arp_heartbeat", arp(0)),
        ("lldp", ethernet(0x88cc, vec![0; 46])),
        ("stp", ethernet(38, header(&[0x42, 0x42, 3], vec![0; 43]))),
        ("stp", ethernet(50, header(&[0xaa, 0xaa, 3, 0, 0, 0x0c, 1, 0x0b], vec![0; 42]))),
        ("llc", ethernet(50, header(&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0], vec![0; 42]))), // CDP
        ("llc", ethernet(50, header(&[0xfe, 0xfe, 3], vec![0; 47]))),
        ("macsec", ethernet(0x88e5, vec![0; 46])),
        ("unknown_ethertype", ethernet(0x9000, vec![0; 46])),
        ("f5_file_info", ethernet(0x05ff, b"F5-Pseudo-pkt\0CMD: tcpdump".to_vec())),
        ("pppoe_discovery", ethernet(0x8863, vec![0x11, 9, 0, 0, 0, 0])),
        ("ppp_other", ethernet(0x8864, vec![0x11, 0, 0, 5, 0, 4, 0xc0, 0x21, 9, 1])),
        ("tunnel_control", over_gre(&[0, 0, 0, 0], vec![])),
        ("tunnel_control", over_gre(&[0x20, 0x81, 0x88, 0x0b, 0, 0, 0, 5, 0, 0, 0, 2], vec![])),
        ("tunnel_control", over_udp(2152, &[0x32, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0], vec![])),
        ("tunnel_control", ethernet(0x8847, header(&[0, 2, 1, 64, 0x10, 0, 0, 7], vec![0; 30]))),
        ("tunnel_unsupported", over_gre(&[0x40, 0, 8, 0, 0, 0, 0, 0], tcp4())),
        ("tunnel_unsupported", ethernet(0x8847, header(&[0, 2, 1, 64], vec![0xff; 30]))),
        ("malformed_link", vec![0; 13]),
        ("malformed_ip", broken(14, 0x44)),
        ("malformed_ip", broken(14, 0x55)),
        ("malformed_ip", broken(17, 19)),
        ("malformed_tcp", broken(46, 0x40)), // data offset 4
        ("malformed_tcp", broken(46, 0xf0)), // past the end of the packet
        ("malformed_tcp", broken(17, 39)),   // no room for the header
        ("malformed_udp", ethernet(0x0800, ipv4(17, vec![0, 1, 0, 2, 0, 7, 0, 0]))),
        ("malformed_tunnel", over_gre(&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 9], vec![0x10; 20])),
        ("malformed_tunnel", over_udp(2152, &[0x34, 0xff, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0x85, 0, 0, 0, 0], vec![])),
    ] {
        assert_eq!(outcome(LinkType::ETHERNET, &frame), [(counter, 1)], "{frame:02x?}");
    }
    for (counter, (link, frame)) in [
        ("wifi_other", wifi(0x80, 0)), // beacon
        ("wifi_other", wifi(0x48, 1)), // no data
        ("wifi_protected", wifi(0x08, 0x41)),
        ("unknown_link", (LinkType(147), vec![0; 60])),
        ("unknown_ethertype", (LinkType::LINUX_SLL, header(&[0; 2], [&[3, 56][..], &[0; 40]].concat()))), // netlink
    ] {
        assert_eq!(outcome(link, &frame), [(counter, 1)], "{frame:02x?}");
    }
}

#[test]
fn extension_headers_are_limited() {
    let chain = |count| {
        let tcp = tcp6()[40..].to_vec();
        ethernet(
            0x86dd,
            ipv6(
                60,
                (0..count).fold((6, tcp), |(next, inside), _| (60, header(&[next, 0, 1, 4, 0, 0, 0, 0], inside))).1,
            ),
        )
    };
    let mut decoder = Decoder::new(WireConfig::default());
    assert!(decode(&mut decoder, LinkType::ETHERNET, &chain(10)).is_some());
    assert!(decode(&mut decoder, LinkType::ETHERNET, &chain(11)).is_none());
    assert_eq!(decoder.stats().malformed_ip, 1);
}

#[test]
fn payload_can_be_overwritten() {
    let mut data = ethernet(0x0800, tcp4());
    let mut decoder = Decoder::new(WireConfig::default());
    let wire_len = data.len() as u32;
    let (ts, interface, link) = (Timestamp::ZERO, InterfaceId(3), LinkType::ETHERNET);
    let segment = decoder.decode(Frame { ts, interface, link, wire_len, data: &mut data }).unwrap();
    assert_eq!((segment.interface, segment.window, segment.ack.0), (interface, 100, 1));
    segment.payload.make_ascii_uppercase();
    assert!(data.ends_with(b"HELLO"));
}
