//! Headers by hand, in readable notation: see [`build`].

use etherparse::PacketBuilder;

use super::*;
use crate::source::{Frame, LinkType};

/// A decoder's answer, without the borrow.
#[derive(Debug, PartialEq)]
struct Seen {
    src_port: u16,
    payload: Vec<u8>,
    missing: u32,
    outer: Outer,
}

fn decode(decoder: &mut Decoder, link: LinkType, frame: &[u8]) -> Option<Seen> {
    decode_cut(decoder, link, frame, frame.len())
}

/// Decodes what a capture with `snaplen` has of `frame`.
fn decode_cut(decoder: &mut Decoder, link: LinkType, frame: &[u8], snaplen: usize) -> Option<Seen> {
    let mut data = frame[..snaplen].to_vec();
    let wire_len = frame.len() as u32;
    let frame = Frame { ts: Timestamp::ZERO, interface: InterfaceId(0), link, wire_len, data: &mut data };
    let seen = decoder.decode(frame).map(|segment| Seen {
        src_port: segment.tuple.src.port,
        payload: segment.payload.to_vec(),
        missing: segment.missing,
        outer: segment.outer,
    });
    let stats = decoder.stats();
    assert_eq!(stats.frames_in, stats.segments + stats.outcomes(), "{stats:?}");
    seen
}

fn ethernet_ipv4_tcp(payload: &[u8]) -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1234, 443, 7, 100);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

#[test]
fn plain_segment() {
    let mut decoder = Decoder::new(WireConfig::default());
    let seen = decode(&mut decoder, LinkType::ETHERNET, &ethernet_ipv4_tcp(b"hello"));
    let expected = Seen { src_port: 1234, payload: b"hello".to_vec(), missing: 0, outer: Outer::default() };
    assert_eq!(seen, Some(expected));
}
