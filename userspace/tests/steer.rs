//! The XDP program in the kernel (`BPF_PROG_TEST_RUN`) against the classifier that it is made of. Needs root; attaches nothing.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::HashSet;
use std::net::IpAddr;

use plaintap::source::steer::{Config, Filter, Program, Reason, Verdict, Walk, classify, flags, octets};
use plaintap::testing::Rng;
use plaintap::testing::nest::{any_tuple, nest};
use rustix::thread::{CpuSet, sched_setaffinity};

const PASS: u32 = 2;
const DROP: u32 = 1;

/// The program, loaded, and this thread bound to processor 0; `None`, with the reason printed, where that cannot be.
fn load(several_buffers: bool) -> Option<Program> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let mut processors = CpuSet::new();
    processors.set(0);
    sched_setaffinity(None, &processors).unwrap();
    if several_buffers && kernel() < (5, 18) {
        println!("skipped: frames in several buffers came with Linux 5.18");
        return None;
    }
    match Program::load(4, 3, several_buffers) {
        Ok(program) => Some(program),
        Err(plaintap::source::steer::SteerError::Load(error)) if format!("{error:?}").contains("PermissionDenied") => {
            println!("skipped: needs CAP_BPF: {error}");
            None
        }
        Err(error) => panic!("{error}: {error:#?}"),
    }
}

/// Of the kernel's release, the first two numbers.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|octet: char| !octet.is_ascii_digit()).map_while(|number| number.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// What the maps hold.
#[derive(Default)]
struct Lists {
    locals: HashSet<[u8; 16]>,
    networks: Vec<(u128, u32)>,
    ports: HashSet<u16>,
    vlans: HashSet<u16>,
}

impl Filter for Lists {
    fn local(&self, addr: &[u8; 16]) -> bool {
        self.locals.contains(addr)
    }

    fn network(&self, addr: &[u8; 16]) -> bool {
        let addr = u128::from_be_bytes(*addr);
        self.networks.iter().any(|(network, len)| *len == 0 || (addr ^ network) >> (128 - len) == 0)
    }

    fn port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    fn vlan(&self, vlan: u16) -> bool {
        self.vlans.contains(&vlan)
    }
}

/// Runs both on a frame and compares all that they found.
fn compare(program: &mut Program, frame: &[u8], config: &Config, lists: &Lists) -> Walk {
    let (action, walks) = program.try_frame(frame).unwrap();
    let mut walk = Walk::default();
    classify(&mut walk, frame, config, lists);
    // No socket is there to redirect to.
    let found = walk;
    if walk.verdict == Verdict::Steer {
        walk.verdict = if config.has(flags::DROP_OTHERS) { Verdict::Drop } else { Verdict::Pass };
        walk.reason = Reason::NoSocket;
    }
    assert_eq!(walks[0], walk.to_bytes(), "{walk:?}\nframe {frame:02x?}");
    assert_eq!(action, if walk.verdict == Verdict::Drop { DROP } else { PASS });
    found
}

/// Frames of every kind: whole, with wrong octets, cut off, at random. XDP sees none shorter than an Ethernet header.
fn frames(seed: u64, count: usize) -> impl Iterator<Item = Vec<u8>> {
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    (0..count).map(move |number| {
        let tuple = any_tuple(&mut rng);
        let mut frame = nest(&mut rng, &tuple, 4).frame;
        match number % 4 {
            0 => {}
            1 => {
                for _ in 0..rng.between(1, 3) {
                    let at = 12 + rng.below(frame.len() - 12);
                    frame[at] = rng.next_u64() as u8;
                }
            }
            2 => frame.truncate(rng.between(14, frame.len())),
            _ => {
                let known = if rng.per_mille(800) { 14 + rng.below(frame.len() - 14) } else { 0 };
                rng.fill(&mut frame[known..]);
            }
        }
        frame
    })
}

#[test]
fn the_kernel_finds_what_the_classifier_finds() {
    for several_buffers in [false, true] {
        let Some(mut program) = load(several_buffers) else { return };
        let config = Config { workers: 3, hash_key: [0x1234_5678, 0x9abc_def0], ..Config::default() };
        program.configure(config).unwrap();
        if let Some(verified) = program.verified_instructions().unwrap() {
            println!("the verifier followed {verified} instructions");
            assert!(verified < 500_000, "another kernel's verifier may see twice as many paths");
        }
        let mut seen = [0; Reason::ALL.len()];
        let mut total = 0;
        for frame in frames(11, 40_000) {
            let walk = compare(&mut program, &frame, &config, &Lists::default());
            seen[walk.reason as usize] += 1;
            total += 1;
        }
        println!("{:?}", Reason::ALL.iter().map(|reason| reason.name()).zip(seen).collect::<Vec<_>>());
        for reason in
            [Reason::Tcp, Reason::Fragment, Reason::CutShort, Reason::Malformed, Reason::Tunnel, Reason::NotTcp]
        {
            assert!(seen[reason as usize] > 0, "{reason:?} never happened");
        }
        let counts = program.counters().read().unwrap();
        assert_eq!(counts.iter().map(|(_, _, count)| count).sum::<u64>(), total, "every frame is counted once");
        let no_socket = counts.iter().find(|count| (count.0, count.1) == (Verdict::Pass, Reason::NoSocket));
        let steered = seen[Reason::Tcp as usize] + seen[Reason::Fragment as usize];
        assert_eq!(no_socket.map(|count| count.2), Some(steered));
    }
}

#[test]
fn lists_are_changed_while_the_program_runs() {
    let Some(mut program) = load(false) else { return };
    let seed = 12;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let mut reasons = HashSet::new();
    for round in 0..60 {
        let tuples: Vec<_> = (0..30).map(|_| any_tuple(&mut rng)).collect();
        let nests: Vec<_> = tuples.iter().map(|tuple| nest(&mut rng, tuple, 2)).collect();
        let mut chosen = |chance| (0..tuples.len()).filter(|_| rng.per_mille(chance)).collect::<Vec<_>>();
        let ports: Vec<u16> = chosen(400).into_iter().map(|at| tuples[at].dst.port).collect();
        let vlans: Vec<u16> = chosen(400).into_iter().flat_map(|at| nests[at].vlans.clone()).collect();
        let locals: Vec<IpAddr> = chosen(100).into_iter().map(|at| tuples[at].src.addr).collect();
        let networks: Vec<(IpAddr, u8)> = chosen(300)
            .into_iter()
            .map(|at| {
                let addr = tuples[at].src.addr;
                (addr, (round % if addr.is_ipv4() { 33 } else { 129 }) as u8)
            })
            .collect();
        // Some rounds have no list of a kind, after rounds that had one.
        let (ports, vlans) = (if round % 3 == 0 { vec![] } else { ports }, if round % 5 < 3 { vec![] } else { vlans });
        let networks = if round % 4 == 0 { vec![] } else { networks };
        program.set_ports(&ports).unwrap();
        program.set_vlans(&vlans).unwrap();
        program.set_networks(&networks).unwrap();
        program.set_local_addresses(&locals).unwrap();
        let flag = |flag, unused: bool| if unused { 0 } else { flag };
        let others = flag(flags::DROP_OTHERS, round % 2 == 0) | flag(flags::HASH_ADDRESSES, round % 7 == 0);
        let config = Config { flags: others, workers: round % 4, hash_key: [round, 1] };
        program.configure(config).unwrap();
        let asked = flag(flags::FILTER_PORTS, ports.is_empty())
            | flag(flags::FILTER_VLANS, vlans.is_empty())
            | flag(flags::FILTER_NETWORKS, networks.is_empty());
        let prefix = |addr: IpAddr, len: u8| u32::from(len) + if addr.is_ipv4() { 96 } else { 0 };
        let lists = Lists {
            locals: locals.iter().map(|addr| octets(*addr)).collect(),
            networks: networks
                .iter()
                .map(|&(addr, len)| (u128::from_be_bytes(octets(addr)), prefix(addr, len)))
                .collect(),
            ports: ports.into_iter().collect(),
            vlans: vlans.into_iter().collect(),
        };
        for nest in &nests {
            let config = Config { flags: others | asked, ..config };
            reasons.insert(compare(&mut program, &nest.frame, &config, &lists).reason.name());
        }
    }
    for reason in ["tcp", "local", "other_port", "other_network", "other_vlan", "not_started"] {
        assert!(reasons.contains(reason), "{reason} never happened: {reasons:?}");
    }
}

#[test]
fn a_full_list_of_networks_gives_way_to_another() {
    let Some(mut program) = load(false) else { return };
    let list = |first: u8, count: u16| -> Vec<(IpAddr, u8)> {
        (0..count).map(|number| (IpAddr::from([first, (number >> 8) as u8, number as u8, 0]), 24)).collect()
    };
    let config = Config { workers: 3, ..Config::default() };
    program.configure(config).unwrap();
    let mut rng = Rng::new(13);
    let tuple = std::iter::repeat_with(|| any_tuple(&mut rng)).find(|tuple| tuple.src.addr.is_ipv4()).unwrap();
    let mut tuple = tuple;
    tuple.src.addr = IpAddr::from([11, 3, 255, 9]);
    let frame = nest(&mut rng, &tuple, 1).frame;
    // Twice the same one: nothing is new, and there may be no room.
    for (first, seen) in [(10, false), (11, true), (11, true), (10, false)] {
        program.set_networks(&list(first, 1_024)).unwrap();
        // One more is refused, and the list stays as it was.
        assert!(program.set_networks(&list(12, 1_025)).unwrap_err().to_string().contains("1025 networks"));
        let networks = list(first, 1_024).into_iter();
        let lists = Lists {
            networks: networks.map(|(addr, len)| (u128::from_be_bytes(octets(addr)), 96 + u32::from(len))).collect(),
            ..Lists::default()
        };
        let config = Config { flags: flags::FILTER_NETWORKS, ..config };
        let walk = compare(&mut program, &frame, &config, &lists);
        assert_eq!(walk.reason == Reason::Tcp, seen, "{walk:?}");
    }
}
