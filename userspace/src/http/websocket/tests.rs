use super::*;
use crate::http::{Content, HttpStats};

fn frame(first: u8, payload: &[u8], mask: bool) -> Vec<u8> {
    let mut octets = vec![first];
    let masked = if mask { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => octets.push(masked | len as u8),
        len @ 126..=0xffff => {
            octets.push(masked | 126);
            octets.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            octets.push(masked | 127);
            octets.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let key = if mask { [0x37, 0xfa, 0x21, 0x3d] } else { [0; 4] };
    if mask {
        octets.extend_from_slice(&key);
    }
    octets.extend(payload.iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key));
    octets
}

/// RFC 6455 section 5.7: a single-frame masked text "Hello", a fragmented one, a ping, and 256 binary octets.
#[test]
fn rfc_examples_are_counted_however_they_are_cut() {
    let octets = [
        vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
        vec![0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f],
        vec![0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f],
        [&[0x82, 0x7e, 0x01, 0x00][..], &[7; 256]].concat(),
        [&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65_536]].concat(),
        frame(0x88, &[0x03, 0xe8, b'b', b'y', b'e'], true),
    ]
    .concat();
    for size in [1, 3, 14, 100_000] {
        let mut connection = Connection::new(0, None, Timestamp::ZERO, Some(b"permessage-deflate; x=1"));
        for chunk in octets.chunks(size) {
            connection.data(ClientToServer, Timestamp::ZERO, chunk, 0);
        }
        let sent = connection.readers[0].sent;
        assert_eq!((sent.text, sent.text_octets, sent.binary, sent.binary_octets), (2, 10, 2, 65_792));
        assert_eq!((sent.pings, sent.pongs, sent.compressed), (1, 0, 0));
        assert_eq!(connection.close, Some((ClientToServer, Some(1_000))));
        assert!(connection.deflate && connection.reasons.is_empty());
    }
}

#[test]
fn a_hole_in_a_payload_is_bridged_and_any_other_is_told() {
    let octets = [frame(0x82, &[1; 200], true), frame(0x81, b"after", true)].concat();
    let mut connection = Connection::new(0, None, Timestamp::ZERO, None);
    connection.data(ClientToServer, Timestamp::ZERO, &octets[..50], 0);
    connection.gap(ClientToServer, Lost::Exactly(100));
    connection.data(ClientToServer, Timestamp::ZERO, &octets[150..], 0);
    assert_eq!((connection.readers[0].sent.binary, connection.readers[0].sent.text), (1, 1));
    connection.gap(ClientToServer, Lost::Exactly(1));
    connection.data(ClientToServer, Timestamp::ZERO, &octets, 0);
    assert_eq!(connection.readers[0].sent.text, 1);
    assert!(connection.reasons.contains(Reasons::REQUEST_GAP));
}

#[test]
fn what_is_no_frame_is_malformed() {
    for first in [0x83, 0x91, 0x09, 0x80] {
        let mut connection = Connection::new(0, None, Timestamp::ZERO, None);
        connection.data(ServerToClient, Timestamp::ZERO, &frame(first, b"x", false), 0);
        assert!(connection.reasons.contains(Reasons::MALFORMED), "{first:#x}");
    }
}

/// RFC 7692 section 7.2.3: "Hello" compressed in every way that the RFC shows, after one another as one side may send them.
const HELLO: [&[u8]; 6] = [
    // 7.2.3.1: one compressed block, and the same in two fragments (below).
    &[0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
    &[0x41, 0x03, 0xf2, 0x48, 0xcd],
    &[0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00],
    // 7.2.3.2: by reference to the message before.
    &[0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00],
    // 7.2.3.3: a block without compression.
    &[0xc1, 0x0b, 0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
    // 7.2.3.5: two blocks.
    &[0xc1, 0x0d, 0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
];

/// What is kept of the server's messages `octets`, cut into pieces of `size`.
fn kept(
    octets: &[u8],
    size: usize,
    limit: usize,
    extensions: Option<&[u8]>,
) -> (Option<(Vec<u8>, bool, bool)>, HttpStats) {
    let mut connection = Connection::new(0, None, Timestamp::ZERO, extensions);
    for chunk in octets.chunks(size) {
        connection.data(ServerToClient, Timestamp::ZERO, chunk, limit);
    }
    assert!(connection.reasons.is_empty());
    let mut stats = HttpStats::default();
    let payload = &mut connection.readers[ServerToClient as usize].payload;
    payload.finish(&mut stats);
    let body = payload.body().map(|body| match body.content {
        Content::Text(text) => (text.as_bytes().to_vec(), false, body.truncated),
        Content::Binary(octets) => (octets.to_vec(), false, body.truncated),
        Content::Undecoded(octets) => (octets.to_vec(), true, body.truncated),
    });
    (body, stats)
}

const DEFLATE: Option<&[u8]> = Some(b"permessage-deflate");

#[test]
fn rfc_examples_of_compression_are_inflated_however_they_are_cut() {
    let octets = HELLO.concat();
    for size in 1..octets.len() {
        let (body, stats) = kept(&octets, size, 100, DEFLATE);
        assert_eq!(body.unwrap(), (b"Hello".repeat(5), false, false), "{size}");
        assert_eq!((stats.bodies_decoded, stats.bodies_undecoded), (1, 0));
    }
}

#[test]
fn payloads_are_unmasked_joined_and_cut_at_the_limit() {
    let long = "0123456789abcdef".repeat(300);
    let parts = [
        frame(0x01, &long.as_bytes()[..4_001], true),
        frame(0x89, b"are you there?", true),
        frame(0x80, &long.as_bytes()[4_001..], true),
        frame(0x81, b"", true),
        frame(0x81, "\u{e4}".as_bytes(), true),
    ];
    let want = long.clone() + "\u{e4}";
    for size in [1, 7, 1_023, 100_000] {
        let all = kept(&parts.concat(), size, want.len(), None).0.unwrap();
        assert_eq!(all, (want.clone().into_bytes(), false, false));
        // Within the last character.
        let cut = kept(&parts.concat(), size, want.len() - 1, None).0.unwrap();
        assert_eq!(cut, (long.clone().into_bytes(), false, true));
        assert_eq!(kept(&parts.concat(), size, 0, None).0, None);
    }
}

#[test]
fn compression_that_cannot_be_removed_is_told() {
    let octets = HELLO.concat();
    // Nobody agreed on it: as it was sent.
    let (body, stats) = kept(HELLO[0], 3, 100, None);
    assert_eq!(body.unwrap(), (HELLO[0][2..].to_vec(), true, false));
    assert_eq!((stats.bodies_decoded, stats.bodies_undecoded), (0, 1));
    // A block of a type that there is not, after two messages.
    let broken = [&octets[..20], &[0xc1, 0x02, 0xff, 0xff], HELLO[0]].concat();
    let (body, stats) = kept(&broken, 5, 100, DEFLATE);
    assert_eq!(body.unwrap(), (b"HelloHello".to_vec(), false, true));
    assert_eq!(stats.bodies_undecoded, 1);
    // A bomb costs what the limit allows.
    let mut encoder = flate2::Compress::new(flate2::Compression::best(), false);
    let mut bomb = Vec::with_capacity(1 << 20);
    encoder.compress_vec(&vec![0; 10 << 20], &mut bomb, flate2::FlushCompress::Sync).unwrap();
    bomb.truncate(bomb.len() - 4);
    let (body, _) = kept(&frame(0xc2, &bomb, false), 1_000, 5_000, DEFLATE);
    assert_eq!(body.unwrap(), (vec![0; 5_000], false, true));
}

#[test]
fn nothing_is_kept_after_a_hole() {
    let octets = HELLO.concat();
    let mut connection = Connection::new(0, None, Timestamp::ZERO, DEFLATE);
    connection.data(ServerToClient, Timestamp::ZERO, &octets[..12], 100);
    connection.gap(ServerToClient, Lost::Exactly(2));
    connection.data(ServerToClient, Timestamp::ZERO, &octets[14..], 100);
    let reader = &mut connection.readers[ServerToClient as usize];
    assert_eq!(reader.sent.text, 5);
    reader.payload.finish(&mut HttpStats::default());
    let body = reader.payload.body().unwrap();
    assert!(body.truncated && matches!(body.content, Content::Text(text) if "HelloHello".starts_with(text)));
}
