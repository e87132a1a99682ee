use std::net::IpAddr;

use etherparse::PacketBuilder;
use plaintap_keystore::{ClientRandom, Label};

use super::Trailer;
use crate::Timestamp;
use crate::flow::{Endpoint, F5Context};
use crate::source::{Frame, InterfaceId, LinkType};
use crate::testing::f5::{Around, OldTrailer, TlvTrailer};
use crate::wire::{Decoder, WireConfig};

const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 7];
/// 192.0.2.1 in route domain 3.
const ROUTE_DOMAIN: [u8; 16] = [0x26, 0x20, 0, 0, 0x0c, 0x10, 0xf5, 0x01, 0, 0, 0, 3, 192, 0, 2, 1];

/// A segment of `payload` from `port`, with no trailer.
fn segment(port: u16, payload: &[u8], syn: bool) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(port, 443, 7, 9);
    let mut frame = Vec::new();
    if syn { builder.syn() } else { builder.ack(1) }.write(&mut frame, payload).unwrap();
    frame
}

/// Label, first octet of client random and secret, length of the secret.
type Keys = Vec<(Label, u8, u8, usize)>;

fn keys(trailer: Option<&Trailer>) -> Keys {
    let keys = trailer.map_or(&[][..], Trailer::keys).iter();
    keys.map(|key| (key.label, key.client_random.0[0], key.secret.as_bytes()[0], key.secret.as_bytes().len())).collect()
}

fn decode<'a>(decoder: &'a mut Decoder, frame: &[u8]) -> Option<&'a Trailer> {
    let mut data = frame.to_vec();
    let (ts, interface, link, wire_len) = (Timestamp::ZERO, InterfaceId(0), LinkType::ETHERNET, data.len() as u32);
    let segment = decoder.decode(Frame { ts, interface, link, wire_len, data: &mut data });
    assert!(
        segment.is_some_and(|segment| segment.payload.iter().all(|&octet| octet == b'x')),
        "the trailer is no payload"
    );
    decoder.f5()
}

fn decoder() -> Decoder {
    Decoder::new(WireConfig::default())
}

/// Ingress, virtual server, flow, peer.
type Noise<'a> = (Option<bool>, &'a str, Option<u64>, Option<u64>);

fn all_noise(trailer: Option<&Trailer>) -> Option<Noise<'_>> {
    trailer
        .map(|trailer| (trailer.ingress, trailer.virtual_server().unwrap_or(""), trailer.flow_id, trailer.peer_flow_id))
}

#[test]
fn noise_of_every_form() {
    let tlv = TlvTrailer::default;
    let old = OldTrailer::default;
    for (form, trailer) in [
        ("low 2", tlv().low(2, true, "/Common/vs").medium(7, 8).build()),
        ("low 3", tlv().low(3, true, "/Common/vs").medium(7, 8).build()),
        ("low 4", tlv().low_named(true, &[(1, "1.1"), (0, "/Common/vs"), (9, "?")]).medium(7, 8).build()),
        ("any order", tlv().medium(7, 8).tlv(77, 1, 1, b"unknown").low(3, true, "/Common/vs").build()),
        ("9.4", old().low_9(true, 7, 8, "/Common/vs").part(2, 0, &[0; 5]).build()),
        ("10", old().low_10(true, "/Common/vs").medium_10(7, 8).build()),
        ("11.0", old().low_10(true, "/Common/vs").medium(0, 7, 8).build()),
        ("11.2", old().low(true, "/Common/vs").medium(1, 7, 8).build()),
        ("12", old().low(true, "/Common/vs").medium(2, 7, 8).build()),
        ("13", old().low(true, "/Common/vs").medium(3, 7, 8).build()),
    ] {
        for payload in [&b""[..], b"x", b"xxxxxxxxxxxxxxxxxxxxxxxx"] {
            for pad_to in [0, 60] {
                for fcs_before in [None, Some([1, 2, 3, 4]), Some([0, 0, 3, 4])] {
                    for fcs_after in [None, Some([1, 0, 3, 4])] {
                        let around = Around { pad_to, fcs_before, fcs_after };
                        let mut decoder = decoder();
                        let frame = around.append(&segment(1, payload, false), &trailer);
                        let noise = all_noise(decode(&mut decoder, &frame));
                        assert_eq!(noise, Some((Some(true), "/Common/vs", Some(7), Some(8))), "{form}, {around:?}");
                        assert_eq!(decoder.stats().f5_malformed, 0, "{form}");
                    }
                }
            }
        }
    }
}

#[test]
fn high_noise_gives_the_other_side() {
    let ports = [51_234, 443];
    let peer = |addr: [u8; 4], port| Endpoint { addr: IpAddr::from(addr), port };
    for trailer in [
        TlvTrailer::default().low(3, false, "").medium(7, 8).high(100, MAPPED, ROUTE_DOMAIN, ports).build(),
        OldTrailer::default().low(false, "").medium(3, 7, 8).high(100, MAPPED, ROUTE_DOMAIN, ports).build(),
    ] {
        let frame = Around::default().append(&segment(1, b"", false), &trailer);
        let mut decoder = decoder();
        let found = decode(&mut decoder, &frame).and_then(|trailer| trailer.peer).unwrap();
        assert_eq!((found.protocol, found.vlan), (6, 100));
        assert_eq!((found.remote, found.local), (peer([203, 0, 113, 7], 51_234), peer([192, 0, 2, 1], 443)));
    }
}

#[test]
fn no_trailer_in_padding_and_fcs() {
    let mut decoder = decoder();
    for slack in
        [&[0; 6][..], &[0; 46], &[0, 0, 0, 0, 0, 0, 1, 2, 3, 4], &[0xf5, 0xde, 0xb0, 0xf5], &[1, 5, 0, 1, 0, 1, 9]]
    {
        let frame = [&segment(1, b"", false), slack].concat();
        assert!(decode(&mut decoder, &frame).is_none(), "{slack:?}");
    }
    assert_eq!(decoder.stats().f5_trailers, 0);
}

#[test]
fn trailer_goes_with_its_frame() {
    let mut decoder = decoder();
    let plain = segment(1, b"x", false);
    let frame = Around::default().append(&plain, &TlvTrailer::default().low(3, true, "vs").build());
    assert!(decode(&mut decoder, &frame).is_some());
    assert!(decode(&mut decoder, &plain).is_none());
    let mut udp = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(1, 2);
    builder.write(&mut udp, b"x").unwrap();
    udp.extend(TlvTrailer::default().low(3, true, "of udp").build());
    let len = udp.len() as u32;
    let (ts, interface, link) = (Timestamp::ZERO, InterfaceId(0), LinkType::ETHERNET);
    assert!(decoder.decode(Frame { ts, interface, link, wire_len: len, data: &mut udp }).is_none());
    assert_eq!(decoder.f5().and_then(Trailer::virtual_server), Some("of udp"));
}

#[test]
fn secrets_come_once_when_whole() {
    let (zero, random) = ([0; 32], [1; 32]);
    let tls12 = |master, random| TlvTrailer::default().medium(7, 8).tls12(&[master; 48], random).build();
    let mut decoder = decoder();
    let mut given =
        |trailer: Vec<u8>| keys(decode(&mut decoder, &Around::default().append(&segment(1, b"x", false), &trailer)));
    assert_eq!(given(tls12(0, &zero)), [], "the ClientHello's own frame");
    assert_eq!(given(tls12(0, &random)), []);
    assert_eq!(given(tls12(9, &zero)), [(Label::ClientRandom, 1, 9, 48)], "halves on two frames");
    assert_eq!(given(tls12(9, &random)), [], "again");
    assert_eq!(given(tls12(8, &[2; 32])), [(Label::ClientRandom, 2, 8, 48)], "renegotiated");
    assert_eq!(given(tls12(0, &zero)), [], "another connection in the same flow structure");
    assert_eq!(given(tls12(7, &zero)), [], "its random is not known");
    assert_eq!(given(tls12(7, &[3; 32])), [(Label::ClientRandom, 3, 7, 48)]);
    assert_eq!(decoder.stats().f5_keys, 3);
}

#[test]
fn tls13_secrets_of_both_versions() {
    let all = |len| [10_u8, 11, 12, 13].map(|octet| vec![octet; len]);
    for len in [32, 48] {
        let secrets = all(len);
        let secrets = [&secrets[0][..], &secrets[1], &secrets[2], &secrets[3]];
        let traffic = [
            (Label::ClientHandshakeTrafficSecret, 1, 10, len),
            (Label::ServerHandshakeTrafficSecret, 1, 11, len),
            (Label::ClientTrafficSecret0, 1, 12, len),
            (Label::ServerTrafficSecret0, 1, 13, len),
        ];
        let early = vec![14; len];
        let with_early = [&[(Label::ClientEarlyTrafficSecret, 1, 14, len)][..], &traffic].concat();
        for (early, expected) in [(None, traffic.to_vec()), (Some(&early[..]), with_early)] {
            let trailer = TlvTrailer::default().tls13(early, secrets, &[1; 32]).build();
            let frame = Around::default().append(&segment(1, b"x", false), &trailer);
            assert_eq!(keys(decode(&mut decoder(), &frame)), expected);
        }
    }
    // Version 0 with the unfilled field of the early secret; and nothing known yet.
    let mut data = vec![32];
    for octet in [0, 10, 11, 12, 13] {
        data.extend([octet; 64]);
    }
    data.extend([1; 32]);
    data.extend([2; 32]);
    for (trailer, count) in
        [(TlvTrailer::default().tlv(4, 2, 0, &data), 4), (TlvTrailer::default().tlv(4, 2, 1, &[0]), 0)]
    {
        let mut decoder = decoder();
        let frame = Around::default().append(&segment(1, b"x", false), &trailer.build());
        assert_eq!(keys(decode(&mut decoder, &frame)).len(), count);
        assert_eq!((decoder.stats().f5_malformed, decoder.stats().f5_unknown), (0, 0));
    }
}

#[test]
fn flows_without_identifier_are_told_by_their_ends() {
    let (zero, random) = ([0; 32], [1; 32]);
    let mut decoder = decoder();
    let mut given = |port, syn, master, random| {
        let trailer = TlvTrailer::default().tls12(&[master; 48], random).build();
        keys(decode(&mut decoder, &Around::default().append(&segment(port, b"", syn), &trailer)))
    };
    assert_eq!(given(1, false, 0, &random), []);
    assert_eq!(given(2, false, 9, &zero), [], "another connection");
    assert_eq!(given(1, false, 9, &zero), [(Label::ClientRandom, 1, 9, 48)]);
    assert_eq!(given(1, true, 8, &zero), [], "a SYN begins another");
}

#[test]
fn oldest_flow_makes_room() {
    let mut decoder = Decoder::new(WireConfig { f5_flows: 2, ..WireConfig::default() });
    let mut given = |flow, master, random| {
        let trailer = TlvTrailer::default().medium(flow, 0).tls12(&[master; 48], &[random; 32]).build();
        keys(decode(&mut decoder, &Around::default().append(&segment(1, b"", false), &trailer))).len()
    };
    assert_eq!([given(1, 0, 1), given(2, 0, 1), given(3, 0, 1)], [0; 3]);
    assert_eq!([given(1, 9, 0), given(3, 9, 0)], [0, 1], "the random of flow 1 is gone");
    assert_eq!(decoder.stats().f5_flows_evicted, 2);
}

#[test]
fn cut_at_every_length() {
    let trailer = TlvTrailer::default()
        .low(3, true, "/Common/vs")
        .medium(7, 8)
        .high(1, MAPPED, MAPPED, [1, 2])
        .tls12(&[9; 48], &[1; 32])
        .tls13(None, [&[1; 48]; 4], &[1; 32])
        .build();
    let old = OldTrailer::default().low(true, "/Common/vs").medium(3, 7, 8).high(1, MAPPED, MAPPED, [1, 2]).build();
    let plain = segment(1, b"x", false);
    for trailer in [trailer, old] {
        let whole = keys(decode(&mut decoder(), &Around::default().append(&plain, &trailer)));
        for len in 0..trailer.len() {
            let frame = Around::default().append(&plain, &trailer[..len]);
            let mut decoder = decoder();
            let keys = keys(decode(&mut decoder, &frame));
            assert!(keys.iter().all(|key| whole.contains(key)), "{len}: {keys:?}");
        }
    }
}

#[test]
fn lengths_that_cannot_be() {
    let plain = segment(1, b"x", false);
    for (data, malformed) in [
        (TlvTrailer::default().tlv(1, 1, 3, &[1, 0, 1, 200, b'v']).build(), 1),
        (TlvTrailer::default().tlv(1, 1, 4, &[1, 0, 1, 3, 0, 9, b'v']).build(), 1),
        (TlvTrailer::default().tlv(1, 2, 4, &[0; 15]).build(), 1),
        (TlvTrailer::default().tlv(4, 0, 0, &[1; 79]).build(), 1),
        (TlvTrailer::default().tlv(4, 2, 1, &[65; 386]).build(), 1),
        ([&[0xf5, 0xde, 0xb0, 0xf5, 0, 16, 0, 1][..], &[0, 1, 0, 1, 0, 7, 0, 3]].concat(), 1),
        ([&[0xf5, 0xde, 0xb0, 0xf5, 0, 7, 0, 1][..], &[0; 8]].concat(), 1),
        (TlvTrailer::default().tlv(4, 3, 0, &[1; 7]).build(), 0),
    ] {
        let mut decoder = decoder();
        assert_eq!(keys(decode(&mut decoder, &Around::default().append(&plain, &data))), []);
        assert_eq!((decoder.stats().f5_trailers, decoder.stats().f5_malformed), (1, malformed), "{data:?}");
    }
}

#[test]
fn context_keeps_what_is_known() {
    let mut context = F5Context::default();
    let mut decoder = decoder();
    let plain = segment(1, b"x", false);
    for trailer in [
        TlvTrailer::default().low(3, true, "vs"),
        TlvTrailer::default().medium(7, 0),
        TlvTrailer::default().medium(0, 8),
    ] {
        decode(&mut decoder, &Around::default().append(&plain, &trailer.build())).unwrap().update(&mut context);
    }
    let expected = F5Context { virtual_server: Some("vs".into()), flow_id: Some(7), peer_flow_id: Some(8) };
    assert_eq!(context, expected);
}

#[test]
fn secrets_are_not_printed() {
    let mut decoder = decoder();
    let trailer = TlvTrailer::default().tls12(&[0xab; 48], &[1; 32]).build();
    let printed = format!("{:?}", decode(&mut decoder, &Around::default().append(&segment(1, b"x", false), &trailer)));
    assert!(!printed.contains("171") && !printed.contains("abab"), "{printed}");
    assert_eq!(decoder.f5().map(|trailer| trailer.keys()[0].client_random), Some(ClientRandom([1; 32])));
}
