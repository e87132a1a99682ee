//! The classifier of the XDP program against the decoder, and against what was put into the frames.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use plaintap::flow::FiveTuple;
use plaintap::source::pcap::CaptureSource;
use plaintap::source::steer::fuzz::{agree, fuzz_classify};
use plaintap::source::steer::{Config, Filter, Reason, Verdict, Walk, classify, flags, flow_hash, octets, worker};
use plaintap::source::{Event, FrameSource, LinkType};
use plaintap::testing::Rng;
use plaintap::testing::nest::{any_tuple, nest};

const FRAMES: u64 = 20_000;

#[test]
fn the_innermost_tuple_is_found_and_both_directions_hash_alike() {
    let seed = 1;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let mut layers: BTreeMap<&str, u32> = BTreeMap::new();
    for number in 0..FRAMES {
        let tuple = any_tuple(&mut rng);
        let there = nest(&mut rng, &tuple, 3);
        let walk = agree(&there.frame);
        let context = format!("frame {number}: {:?}", there.layers);
        assert_eq!((walk.verdict, walk.reason), (Verdict::Steer, Reason::Tcp), "{context}");
        assert_eq!((walk.src, walk.src_port), (octets(tuple.src.addr), tuple.src.port), "{context}");
        assert_eq!((walk.dst, walk.dst_port), (octets(tuple.dst.addr), tuple.dst.port), "{context}");
        assert_eq!(walk.tunnels, there.tunnels, "{context}");
        let kept = &there.vlans[..there.vlans.len().min(4)];
        assert_eq!(&walk.vlans[..usize::from(walk.vlan_count)], kept, "{context}");
        // The other direction, by another way.
        let back = nest(&mut rng, &FiveTuple { src: tuple.dst, dst: tuple.src }, 3);
        assert_eq!(agree(&back.frame).hash, walk.hash, "{context}, back {:?}", back.layers);
        there.layers.iter().for_each(|layer| *layers.entry(layer).or_default() += 1);
    }
    println!("{layers:?}");
    assert_eq!(layers.len(), 16, "each kind of layer has been there: {layers:?}");
}

#[test]
fn a_frame_cut_off_anywhere_is_not_taken_for_another_flow() {
    let mut rng = Rng::new(2);
    for _ in 0..300 {
        let tuple = any_tuple(&mut rng);
        let frame = nest(&mut rng, &tuple, 3).frame;
        for len in 0..frame.len() {
            let walk = agree(&frame[..len]);
            if walk.reason == Reason::Tcp {
                assert_eq!((walk.src_port, walk.dst_port), (tuple.src.port, tuple.dst.port));
            }
        }
    }
}

#[test]
fn frames_with_wrong_octets_are_read_as_the_decoder_reads_them() {
    let seed = 3;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let mut reasons: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..10 * FRAMES {
        let tuple = any_tuple(&mut rng);
        let mut frame = nest(&mut rng, &tuple, 3).frame;
        for _ in 0..rng.between(1, 3) {
            let at = 12 + rng.below(frame.len() - 12);
            frame[at] = if rng.per_mille(500) { rng.next_u64() as u8 } else { frame[at] ^ 1 << rng.below(8) };
        }
        *reasons.entry(agree(&frame).reason.name()).or_default() += 1;
    }
    println!("{reasons:?}");
    assert!(reasons.contains_key("fragment") && reasons.contains_key("malformed") && reasons.contains_key("tunnel"));
}

#[test]
fn octets_at_random() {
    let mut rng = Rng::new(4);
    for len in 0..2_000 {
        let mut frame = vec![0; len];
        rng.fill(&mut frame);
        for ether_type in [[8, 0], [0x86, 0xdd], [0x88, 0x47], [0x81, 0]] {
            if let Some(place) = frame.get_mut(12..14) {
                place.copy_from_slice(&ether_type);
            }
            fuzz_classify(&frame);
        }
    }
}

#[test]
fn captures_are_read_as_the_decoder_reads_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut captures: Vec<PathBuf> = (std::fs::read_dir(root.join("tests/corpus")).unwrap())
        .map(|case| case.unwrap().path().join("capture.pcapng"))
        .collect();
    match std::fs::read_dir(root.join("../../shared/corpus/captures")) {
        Ok(more) => captures.extend(more.map(|entry| entry.unwrap().path())),
        Err(_) => println!("in part skipped: needs the captures of other projects in ../../shared/corpus"),
    }
    let (mut frames, mut segments) = (0, 0);
    for capture in captures.iter().filter(|path| path.is_file()) {
        let Ok(mut source) = CaptureSource::open(&[capture]) else { continue };
        while let Ok(Some(event)) = source.next_event() {
            let Event::Frame(frame) = event else { continue };
            // What a capture cut off, XDP would have seen.
            if frame.link == LinkType::ETHERNET && frame.wire_len as usize == frame.data.len() {
                frames += 1;
                segments += u32::from(agree(frame.data).reason == Reason::Tcp);
            }
        }
    }
    println!("{frames} frames, {segments} segments");
    assert!(segments > 1_000);
}

#[test]
fn workers_get_even_shares() {
    let mut rng = Rng::new(5);
    for workers in [2, 3, 8] {
        let mut shares = vec![0; workers];
        let config = Config { workers: workers as u32, hash_key: [3, 4], ..Config::default() };
        for client in 0..10_000_u32 {
            // One server, clients side by side, ports one after another: the worst that real traffic is.
            let mut tuple = any_tuple(&mut rng);
            tuple.src.addr = std::net::Ipv4Addr::from(0x0a00_0000 + client / 16).into();
            tuple.src.port = 32_768 + (client % 16) as u16;
            tuple.dst = "198.51.100.10:443"
                .parse::<std::net::SocketAddr>()
                .map(|end| plaintap::flow::Endpoint { addr: end.ip(), port: end.port() })
                .unwrap();
            let mut walk = Walk::default();
            classify(&mut walk, &nest(&mut rng, &tuple, 0).frame[..], &config, &List::default());
            shares[worker(walk.hash, config.workers) as usize] += 1;
        }
        let fair = 10_000 / workers as i32;
        // Five standard deviations of a fair die.
        let spread = 5.0 * (10_000.0 / workers as f64 * (1.0 - 1.0 / workers as f64)).sqrt();
        assert!(shares.iter().all(|share| f64::from((share - fair).abs()) < spread), "{shares:?}");
    }
}

/// Lists of one entry each.
#[derive(Default)]
struct List {
    local: Option<[u8; 16]>,
    network: Option<[u8; 16]>,
    port: Option<u16>,
    vlan: Option<u16>,
}

impl Filter for List {
    fn local(&self, addr: &[u8; 16]) -> bool {
        self.local == Some(*addr)
    }

    fn network(&self, addr: &[u8; 16]) -> bool {
        self.network == Some(*addr)
    }

    fn port(&self, port: u16) -> bool {
        self.port == Some(port)
    }

    fn vlan(&self, vlan: u16) -> bool {
        self.vlan == Some(vlan)
    }
}

/// ARP over Ethernet with that opcode (RFC 826).
fn arp(opcode: [u8; 2]) -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, opcode[0], opcode[1]]);
    frame.resize(60, 0);
    frame
}

#[test]
fn verdicts_follow_the_lists() {
    let mut rng = Rng::new(6);
    let tuple = loop {
        let tuple = any_tuple(&mut rng);
        if tuple.src.addr.is_ipv4() {
            break tuple;
        }
    };
    let (src, dst) = (octets(tuple.src.addr), octets(tuple.dst.addr));
    let plain = loop {
        let nest = nest(&mut rng, &tuple, 0);
        if nest.layers == ["vlan"] {
            break nest;
        }
    };
    let tunnelled = loop {
        let nest = nest(&mut rng, &tuple, 1);
        if nest.tunnels == 1 {
            break nest.frame;
        }
    };
    let vlan = plain.vlans[0];
    let look = |frame: &[u8], flags, list: List| {
        let config = Config { flags, workers: 2, ..Config::default() };
        let mut walk = Walk::default();
        classify(&mut walk, frame, &config, &list);
        (walk.verdict, walk.reason)
    };
    use Reason::*;
    use Verdict::*;
    let frame = &plain.frame[..];
    let all = flags::FILTER_PORTS | flags::FILTER_NETWORKS | flags::FILTER_VLANS;
    let listed = || List { network: Some(dst), port: Some(tuple.src.port), vlan: Some(vlan), ..List::default() };
    assert_eq!(look(frame, 0, List::default()), (Steer, Tcp));
    assert_eq!(look(frame, all, listed()), (Steer, Tcp));
    assert_eq!(look(frame, all, List { network: None, ..listed() }), (Pass, OtherNetwork));
    assert_eq!(look(frame, all, List { port: Some(!tuple.src.port), ..listed() }), (Pass, OtherPort));
    assert_eq!(look(frame, all | flags::DROP_OTHERS, List { vlan: Some(vlan ^ 1), ..listed() }), (Drop, OtherVlan));
    // The host's own frames reach it even where all else is dropped, but not because of an address within a tunnel.
    for local in [src, dst] {
        let list = || List { local: Some(local), ..List::default() };
        assert_eq!(look(frame, flags::DROP_OTHERS, list()), (Pass, Local));
        assert_eq!(look(&tunnelled, flags::DROP_OTHERS, list()), (Steer, Tcp));
    }
    assert_eq!(look(&arp([0, 1]), 0, List::default()), (Pass, Arp));
    assert_eq!(look(&arp([2, 0]), 0, List::default()), (Pass, ArpHeartbeat));
    assert_eq!(look(&arp([2, 0]), flags::DROP_OTHERS, List::default()), (Drop, ArpHeartbeat));
    assert_eq!(look(&[0x99; 60], 0, List::default()), (Pass, NotIp));
    let mut nobody = Walk::default();
    classify(&mut nobody, frame, &Config::default(), &List::default());
    assert_eq!((nobody.verdict, nobody.reason), (Pass, NotStarted), "without a worker nothing is steered");
}

/// Flows to one server, in the way that clients and attackers count, come to each of 8 workers in their share, whatever the key.
#[test]
fn flows_that_follow_one_another_are_spread_evenly() {
    const WORKERS: u32 = 8;
    const FLOWS: u16 = 2_000;
    type End = ([u8; 16], u16);
    let seed = 21;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let v4 = |addr: u32| octets(IpAddr::V4(addr.into()));
    let v6 = |low: u64| octets(IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(low)).into()));
    // What an end was once hashed as: the port over the last two octets of the address.
    let cancelled = |number: u16| {
        let [c, d] = number.to_be_bytes();
        0xa5c3 ^ u16::from_be_bytes([d, c])
    };
    let clients: [(&str, &dyn Fn(u16) -> End); 9] = [
        ("addresses", &|number| (v4(0x0a00_0000 + u32::from(number)), 50_000)),
        ("networks", &|number| (v4(0x0a00_0001 + (u32::from(number) << 8)), 50_000)),
        ("ports", &|number| (v4(0x0a00_0001), 10_000 + number)),
        ("addresses and ports", &|number| (v4(0x0a00_0001 + u32::from(number)), 10_000 + number)),
        ("networks and ports", &|number| (v4(0x0a00_0001 + (u32::from(number) << 8)), 10_000 + number)),
        ("ports that cancel the address", &|number| (v4(0x0a00_0000 + u32::from(number)), cancelled(number))),
        ("addresses, IPv6", &|number| (v6(number.into()), 50_000)),
        ("addresses and ports, IPv6", &|number| (v6(number.into()), 10_000 + number)),
        ("ports that cancel the address, IPv6", &|number| (v6(number.into()), cancelled(number))),
    ];
    let mean = f64::from(FLOWS) / f64::from(WORKERS);
    let sigma = (mean * (1.0 - 1.0 / f64::from(WORKERS))).sqrt();
    for _ in 0..100 {
        let hash_key = [rng.next_u64() as u32, rng.next_u64() as u32];
        let config = Config { workers: WORKERS, hash_key, ..Config::default() };
        let server = (v4(0xc0a8_0001), 443);
        for (name, client) in &clients {
            let mut shares = [0_u32; WORKERS as usize];
            for number in 0..FLOWS {
                let (addr, port) = client(number);
                let hash = flow_hash(&addr, port, &server.0, server.1, &config);
                shares[worker(hash, WORKERS) as usize] += 1;
            }
            let worst = shares.iter().map(|share| (f64::from(*share) - mean).abs() / sigma).fold(0.0, f64::max);
            assert!(worst < 5.0, "{name}: {shares:?} with the key {hash_key:x?} is {worst:.1} sigma off");
        }
    }
}

#[test]
fn fragments_go_by_their_addresses() {
    let mut rng = Rng::new(7);
    for _ in 0..1_000 {
        let tuple = any_tuple(&mut rng);
        let mut first = nest(&mut rng, &tuple, 0).frame;
        let (v4, back) = (tuple.src.addr.is_ipv4(), FiveTuple { src: tuple.dst, dst: tuple.src });
        if !v4 || first[12..14] != [8, 0] {
            continue;
        }
        first[14 + 6] = 0x20; // more fragments
        let walk = agree(&first);
        assert_eq!(walk.reason, Reason::Fragment);
        let config = Config { workers: 7, hash_key: [1, 2], flags: flags::HASH_ADDRESSES };
        let mut whole = Walk::default();
        classify(&mut whole, &nest(&mut rng, &back, 2).frame[..], &config, &List::default());
        assert_eq!(whole.hash, walk.hash, "with HASH_ADDRESSES fragments meet the rest of their flow");
    }
}
