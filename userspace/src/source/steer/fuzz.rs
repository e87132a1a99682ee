//! What the fuzz target `classify` does with an input.

use super::{Config, NoLists, Reason, Verdict, Walk, classify, octets};
use crate::Timestamp;
use crate::source::{Frame, InterfaceId, LinkType};
use crate::wire::{Decoder, TunnelKind, WireConfig};

/// Classifies an Ethernet frame of any octets. Panics when the classifier does, when it does not agree with [`Decoder`] on the
/// segment in it, or when the hash knows an order.
pub fn fuzz_classify(data: &[u8]) {
    agree(data);
}

/// Whether classifier and [`Decoder`] find the same segment in `frame`, or both none; what the classifier found.
///
/// Panics when they do not, but for what the classifier is known not to look into.
pub fn agree(frame: &[u8]) -> Walk {
    let config = Config { workers: 7, hash_key: [1, 2], ..Config::default() };
    let mut walk = Walk::default();
    classify(&mut walk, frame, &config, &NoLists);
    assert!(
        usize::from(walk.pos) <= frame.len() && walk.pos <= walk.end && u32::from(walk.end) <= walk.wire_end,
        "{walk:?}"
    );
    assert_eq!(walk.verdict == Verdict::Steer, matches!(walk.reason, Reason::Tcp | Reason::Fragment), "{walk:?}");

    let mut data = frame.to_vec();
    let (ts, interface, link) = (Timestamp::ZERO, InterfaceId(0), LinkType::ETHERNET);
    let mut decoder = Decoder::new(WireConfig::default());
    let segment = decoder.decode(Frame { ts, interface, link, wire_len: frame.len() as u32, data: &mut data });
    match segment {
        Some(segment) if walk.reason == Reason::Tcp => {
            let found = (walk.src, walk.src_port, walk.dst, walk.dst_port);
            let tuple = segment.tuple;
            assert_eq!(found, (octets(tuple.src.addr), tuple.src.port, octets(tuple.dst.addr), tuple.dst.port));
            let outer = segment.outer;
            assert_eq!((walk.vlans, walk.vlan_count), (outer.vlans, outer.vlan_count));
            assert_eq!(walk.tunnels > 0, outer.tunnel.is_some());
        }
        // Teredo, PPTP and WCCP are not looked into; both kinds of reader have a limit to their patience.
        Some(segment) => {
            let tunnel = segment.outer.tunnel.map(|tunnel| tunnel.kind);
            let known = match walk.reason {
                Reason::NotTcp => tunnel == Some(TunnelKind::Teredo),
                Reason::Tunnel => tunnel.is_some(),
                Reason::TooDeep => true,
                _ => false,
            };
            assert!(known, "the decoder finds {:?} by {tunnel:?}, the classifier {walk:?}", segment.tuple);
        }
        None => {
            let stats = decoder.stats();
            // The decoder has less patience with extension headers, and waits for the other fragments.
            let known = match walk.reason {
                Reason::Tcp => stats.malformed_ip == 1,
                Reason::Fragment => {
                    stats.fragments_held + stats.fragments_malformed + stats.fragments_truncated + stats.malformed_ip
                        == 1
                        || stats.datagrams_reassembled > 0
                }
                _ => true,
            };
            assert!(known, "the classifier finds {walk:?}, the decoder {stats:?}");
        }
    }
    walk
}
