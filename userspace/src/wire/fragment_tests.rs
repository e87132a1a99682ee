//! Datagrams in pieces, against a model that is an array of "first octet that came".

use std::ops::Range;
use std::time::Duration;

use super::*;
use crate::source::{Frame, LinkType};
use crate::testing::Rng;

/// The octet at `offset` of every datagram's TCP payload.
fn octet(offset: usize) -> u8 {
    (offset % 251) as u8 ^ (offset / 251) as u8
}

/// A TCP segment of `len` octets, header and all, without IP.
fn tcp(len: usize) -> Vec<u8> {
    let mut segment = vec![0x04, 0xd2, 0x01, 0xbb, 0, 0, 0, 7, 0, 0, 0, 1, 0x50, 0x10, 0, 100, 0, 0, 0, 0];
    segment.extend((0..len - 20).map(octet));
    segment
}

#[derive(Clone, Copy)]
enum Version {
    V4,
    V6,
}

/// A raw IP packet that is the fragment of `datagram` with the octets `range`.
fn fragment(version: Version, id: u8, datagram: &[u8], range: Range<usize>, more: bool) -> Vec<u8> {
    let octets = &datagram[range.clone()];
    let flags = (range.start / 8) as u16;
    match version {
        Version::V4 => {
            let len = (20 + octets.len()) as u16;
            let [l0, l1] = len.to_be_bytes();
            let [f0, f1] = (flags | u16::from(more) << 13).to_be_bytes();
            [&[0x45, 0, l0, l1, 0, id, f0, f1, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..], octets].concat()
        }
        Version::V6 => {
            let [l0, l1] = ((8 + octets.len()) as u16).to_be_bytes();
            let [f0, f1] = (flags << 3 | u16::from(more)).to_be_bytes();
            let header = [0x60, 0, 0, 0, l0, l1, 44, 64];
            // The next header counts in the first fragment only.
            let next = if range.start == 0 { 6 } else { 0xfe };
            [&header[..], &[1; 16], &[2; 16], &[next, 0, f0, f1, 0, 0, 0, id], octets].concat()
        }
    }
}

struct Rig {
    decoder: Decoder,
    now: Timestamp,
}

impl Rig {
    fn new(config: WireConfig) -> Self {
        Self { decoder: Decoder::new(config), now: Timestamp::from_nanos(1_000_000_000_000) }
    }

    fn push(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        let len = packet.len();
        self.push_cut(packet, len)
    }

    fn push_cut(&mut self, mut packet: Vec<u8>, snaplen: usize) -> Option<Vec<u8>> {
        let (ts, interface, link, wire_len) = (self.now, InterfaceId(0), LinkType::RAW, packet.len() as u32);
        let payload = self.decoder.decode(Frame { ts, interface, link, wire_len, data: &mut packet[..snaplen] });
        let payload = payload.map(|segment| {
            assert_eq!((segment.tuple.src.port, segment.seq.0, segment.missing), (1234, 7, 0));
            segment.payload.to_vec()
        });
        let stats = self.stats();
        assert_eq!(stats.frames_in, stats.segments + stats.outcomes(), "{stats:?}");
        payload
    }

    fn stats(&self) -> &WireStats {
        self.decoder.stats()
    }
}

#[test]
fn any_order_and_overlap_gives_the_first_copy() {
    let seed = 4_711;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    for round in 0..120 {
        let version = *rng.pick(&[Version::V4, Version::V6]);
        let len = rng.between(28, 3_000);
        let clean = tcp(len);
        let mut rig = Rig::new(WireConfig::default());
        let mut model: Vec<Option<u8>> = vec![None; len];
        let (mut end_known, mut conflicts, mut duplicates) = (false, 0, 0);
        let mut done = None;
        for _ in 0..10_000 {
            let start = rng.below(len.div_ceil(8)) * 8;
            let end = if rng.per_mille(300) { len } else { (start + 8 * rng.between(1, 40)).min(len / 8 * 8) };
            if start >= end || (start, end) == (0, len) {
                continue; // nothing, or no fragment at all
            }
            // Other content now and then, but not in the TCP header, so that the segment is still one.
            let mut datagram = clean.clone();
            if rng.per_mille(200) {
                datagram[20..].iter_mut().for_each(|octet| *octet = octet.wrapping_add(1 + round as u8 % 7));
            }
            let more = end < len || len.is_multiple_of(8) && rng.per_mille(500);
            end_known |= !more;
            let pieces = start..end;
            conflicts += u64::from(pieces.clone().any(|at| model[at].is_some_and(|seen| seen != datagram[at])));
            let brings = pieces.clone().any(|at| model[at].is_none());
            for at in pieces.clone() {
                model[at].get_or_insert(datagram[at]);
            }
            let whole = end_known && model.iter().all(Option::is_some);
            duplicates += u64::from(!brings && !whole);
            let found = rig.push(fragment(version, 1, &datagram, pieces, more));
            assert_eq!(found.is_some(), whole, "round {round}");
            if found.is_some() {
                done = found;
                break;
            }
        }
        let expected: Vec<u8> = model.into_iter().skip(20).map(Option::unwrap).collect();
        assert_eq!(done, Some(expected), "round {round}");
        let stats = rig.stats();
        assert_eq!((stats.fragment_conflicts, stats.fragments_duplicate), (conflicts, duplicates), "round {round}");
        assert_eq!(stats.datagrams_reassembled, 1);
    }
}

#[test]
fn datagrams_do_not_mix() {
    let datagram = tcp(100);
    let mut rig = Rig::new(WireConfig::default());
    for id in 1..=3 {
        assert_eq!(rig.push(fragment(Version::V4, id, &datagram, 0..64, true)), None);
    }
    assert_eq!(rig.push(fragment(Version::V6, 1, &datagram, 64..100, false)), None, "another version");
    let mut elsewhere = fragment(Version::V4, 1, &datagram, 64..100, false);
    elsewhere[19] = 9;
    assert_eq!(rig.push(elsewhere), None, "another receiver");
    let tunnelled = |inside: Vec<u8>| {
        let [l0, l1] = ((20 + inside.len()) as u16).to_be_bytes();
        [&[0x45, 0, l0, l1, 0, 1, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..], &inside].concat()
    };
    assert_eq!(rig.push(tunnelled(fragment(Version::V4, 1, &datagram, 64..100, false))), None, "in a tunnel");
    assert!(rig.push(tunnelled(fragment(Version::V4, 1, &datagram, 0..64, true))).is_some());
    assert!(rig.push(fragment(Version::V4, 2, &datagram, 64..100, false)).is_some());
}

#[test]
fn fragments_of_fragments() {
    let datagram = tcp(1_000);
    let mut rig = Rig::new(WireConfig::default());
    let mut found = None;
    for (range, more) in [(0..504, true), (504..1_000, false)] {
        let inner = fragment(Version::V4, 1, &datagram, range.clone(), more);
        // The outer packet carries IPv4 (protocol 4) and is cut in two.
        for (outer, more) in [(0..256, true), (256..inner.len(), false)] {
            let mut packet = fragment(Version::V4, 2 + range.start as u8, &inner, outer, more);
            packet[9] = 4;
            assert_eq!(found, None);
            found = rig.push(packet);
        }
    }
    assert_eq!(found.as_deref(), Some(&datagram[20..]));
    assert_eq!(rig.stats().datagrams_reassembled, 3);
}

#[test]
fn extension_headers_after_the_fragment_header() {
    let datagram = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp(92)].concat();
    let mut rig = Rig::new(WireConfig::default());
    let mut first = fragment(Version::V6, 1, &datagram, 0..64, true);
    first[40] = 60;
    assert_eq!(rig.push(fragment(Version::V6, 1, &datagram, 64..100, false)), None);
    assert_eq!(rig.push(first).as_deref(), Some(&datagram[28..]));
}

#[test]
fn what_cannot_be_is_dropped() {
    let datagram = tcp(200);
    for version in [Version::V4, Version::V6] {
        let mut rig = Rig::new(WireConfig::default());
        let mut nonsense = |range, more| {
            let before = rig.stats().fragments_malformed;
            assert_eq!(rig.push(fragment(version, 1, &datagram, range, more)), None);
            rig.stats().fragments_malformed - before
        };
        assert_eq!(nonsense(0..63, true), 1, "no multiple of eight");
        assert_eq!(nonsense(8..8, true), 1, "empty");
        assert_eq!(nonsense(64..128, false), 0, "the last one, it says");
        assert_eq!(nonsense(120..136, true), 1, "past the last one");
        assert_eq!(nonsense(128..200, false), 1, "another last one");
        assert_eq!(nonsense(16..24, false), 1, "an earlier last one: teardrop");
    }
    // Past 65,535 octets: the ping of death.
    let mut packet = fragment(Version::V4, 3, &datagram, 0..64, false);
    packet[6..8].copy_from_slice(&[0x1f, 0xff]);
    let mut rig = Rig::new(WireConfig::default());
    assert_eq!(rig.push(packet), None);
    assert_eq!(rig.stats().fragments_malformed, 1);
}

#[test]
fn fragments_that_the_capture_cut_are_dropped() {
    let mut rig = Rig::new(WireConfig::default());
    let packet = fragment(Version::V4, 1, &tcp(200), 0..64, true);
    assert_eq!(rig.push_cut(packet, 80), None);
    assert_eq!(rig.stats().fragments_truncated, 1);
}

#[test]
fn old_datagrams_are_not_completed() {
    let datagram = tcp(200);
    let mut rig = Rig::new(WireConfig { fragment_age: Duration::from_secs(30), ..WireConfig::default() });
    assert_eq!(rig.push(fragment(Version::V4, 1, &datagram, 0..64, true)), None);
    rig.now = rig.now.saturating_add(Duration::from_secs(31));
    assert_eq!(rig.push(fragment(Version::V4, 1, &datagram, 64..200, false)), None, "the same identification, later");
    assert_eq!(rig.stats().datagrams_expired, 1);
    rig.now = rig.now.saturating_add(Duration::from_secs(29));
    assert!(rig.push(fragment(Version::V4, 1, &datagram, 0..64, true)).is_some());
}

#[test]
fn oldest_datagrams_make_room() {
    let datagram = tcp(200);
    for config in [
        WireConfig { fragment_datagrams: 3, ..WireConfig::default() },
        WireConfig { fragment_bytes: 3 * 64, ..WireConfig::default() },
    ] {
        let mut rig = Rig::new(config);
        for id in 1..=4 {
            assert_eq!(rig.push(fragment(Version::V4, id, &datagram, 0..64, true)), None);
        }
        assert_eq!(rig.stats().datagrams_evicted, 1);
        // The first is gone; its end makes the second go.
        assert_eq!(rig.push(fragment(Version::V4, 1, &datagram, 64..200, false)), None);
    }
    let mut rig = Rig::new(WireConfig { fragment_bytes: 100, ..WireConfig::default() });
    assert_eq!(rig.push(fragment(Version::V4, 1, &datagram, 64..200, false)), None);
    assert_eq!(rig.stats().fragments_over_limit, 1, "larger than all there is");
}

#[test]
fn table_does_not_grow_with_traffic() {
    let datagram = tcp(100);
    let config = WireConfig { fragment_datagrams: 4, ..WireConfig::default() };
    let mut rig = Rig::new(config);
    assert_eq!(rig.push(fragment(Version::V4, 200, &datagram, 0..64, true)), None, "stays incomplete");
    for round in 0..1_000 {
        let id = (round % 100) as u8;
        assert_eq!(rig.push(fragment(Version::V4, id, &datagram, 0..64, true)), None);
        assert!(rig.push(fragment(Version::V4, id, &datagram, 64..100, false)).is_some());
    }
    let (datagrams, by_age, bytes) = rig.decoder.fragments_held();
    assert!(datagrams == 1 && by_age <= 8 && bytes == 64, "{datagrams} {by_age} {bytes}");
}

#[test]
fn runs_are_limited() {
    let datagram = tcp(4_000);
    let mut rig = Rig::new(WireConfig::default());
    for run in 0..100 {
        let start = 16 * run;
        assert_eq!(rig.push(fragment(Version::V4, 1, &datagram, start..start + 8, true)), None);
    }
    assert_eq!((rig.stats().fragments_held, rig.stats().fragments_over_limit), (64, 36));
}
