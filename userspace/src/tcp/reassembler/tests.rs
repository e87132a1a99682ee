//! Scripts for single behaviours, and a model: whatever the order and the losses, each octet that is delivered stands at its
//! place, and the octets balance.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::flow::{Endpoint, FiveTuple};
use crate::source::InterfaceId;
use crate::wire::Outer;

const A: Side = Side::A;
const B: Side = Side::B;

/// A connection under test: segments in, events out.
#[derive(Default)]
struct Bench {
    tcp: Reassembler,
    shared: TcpShared,
    heard: Heard,
    now: u64,
}

/// What was delivered, as text: `A"data"`, `A~len` for a gap, `A.` for an end, `A!` for a reset.
#[derive(Default)]
struct Heard(Vec<(Side, What)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Data(Vec<u8>),
    Gap(u64),
    End(StreamEnd),
}

impl StreamHandler for Heard {
    fn data(&mut self, side: Side, _: Timestamp, octets: &mut [u8]) {
        assert!(!octets.is_empty());
        self.0.push((side, What::Data(octets.to_vec())));
    }

    fn gap(&mut self, side: Side, _: Timestamp, len: u64) {
        assert!(len > 0);
        self.0.push((side, What::Gap(len)));
    }

    fn end(&mut self, side: Side, _: Timestamp, how: StreamEnd) {
        self.0.push((side, What::End(how)));
    }
}

impl Bench {
    /// A connection whose handshake has been seen: A opened it at `a`, B answered at `b`; data begins one further.
    fn open(a: u32, b: u32) -> Self {
        let mut bench = Self::default();
        bench.send(A, a, 0, "S", b"");
        bench.send(B, b, a.wrapping_add(1), "SA", b"");
        bench.send(A, a.wrapping_add(1), b.wrapping_add(1), "A", b"");
        assert_eq!(bench.take(), "");
        bench
    }

    fn send(&mut self, side: Side, seq: u32, ack: u32, flags: &str, payload: &[u8]) {
        self.send_cut(side, seq, ack, flags, payload, 0);
    }

    /// As `send`; the capture lacks the last `missing` octets.
    fn send_cut(&mut self, side: Side, seq: u32, ack: u32, flags: &str, payload: &[u8], missing: u32) {
        let bits = flags.chars().map(|flag| match flag {
            'F' => TcpFlags::FIN.0,
            'S' => TcpFlags::SYN.0,
            'R' => TcpFlags::RST.0,
            'P' => TcpFlags::PSH.0,
            'A' => TcpFlags::ACK.0,
            other => panic!("{other}"),
        });
        let end = Endpoint { addr: IpAddr::from([0, 0, 0, 0]), port: 0 };
        let mut payload = payload.to_vec();
        let mut segment = Segment {
            ts: Timestamp::from_nanos(self.now),
            interface: InterfaceId(0),
            tuple: FiveTuple { src: end, dst: end },
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags: TcpFlags(bits.fold(0, |all, bit| all | bit)),
            window: 0,
            payload: &mut payload,
            missing,
            outer: Outer::default(),
        };
        self.tcp.push(side, &mut segment, &mut self.shared, &mut self.heard);
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration.as_nanos() as u64;
        self.tcp.expire(Timestamp::from_nanos(self.now), &mut self.shared, &mut self.heard);
    }

    fn finish(&mut self) {
        self.tcp.finish(Timestamp::from_nanos(self.now), &mut self.shared, &mut self.heard);
        self.balance();
    }

    fn balance(&self) {
        let stats = &self.shared.stats;
        let held = self.tcp.held_octets() as u64;
        assert_eq!(self.tcp.held_cost(), self.shared.held, "{stats:?}");
        let octets = stats.octets_delivered + stats.octets_duplicate + stats.octets_dropped + stats.octets_abandoned;
        assert_eq!(stats.octets_in, octets + held, "{stats:?}");
        let segments = stats.segments_bare
            + stats.segments_control
            + stats.segments_delivered
            + stats.segments_held
            + stats.segments_duplicate
            + stats.segments_out_of_window
            + stats.segments_after_end;
        assert_eq!(stats.segments_in, segments, "{stats:?}");
    }

    /// What was heard since the last call.
    fn take(&mut self) -> String {
        self.balance();
        let text = self.heard.0.drain(..).map(|(side, what)| match what {
            What::Data(octets) => format!("{side:?}{:?}", String::from_utf8_lossy(&octets)),
            What::Gap(len) => format!("{side:?}~{len}"),
            What::End(StreamEnd::Reset) => format!("{side:?}!"),
            What::End(_) => format!("{side:?}."),
        });
        text.collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn in_order_segments_pass_at_once() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 101, 201, "PA", b"one");
    bench.send(B, 201, 104, "PA", b"two");
    bench.send(A, 104, 204, "PA", b"three");
    assert_eq!(bench.take(), r#"A"one" B"two" A"three""#);
    assert_eq!(bench.shared.stats.segments_held, 0);
}

#[test]
fn sequence_numbers_wrap() {
    let mut bench = Bench::open(u32::MAX - 2, 0xffff_fffe);
    bench.send(A, u32::MAX - 1, 0xffff_ffff, "PA", b"abcd");
    bench.send(A, 2, 0xffff_ffff, "PA", b"efgh");
    bench.send(B, 0xffff_ffff, 6, "PA", b"xy");
    assert_eq!(bench.take(), r#"A"abcd" A"efgh" B"xy""#);
}

#[test]
fn out_of_order_segments_wait_for_what_comes_before() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 104, 201, "A", b"two");
    bench.send(A, 107, 201, "A", b"three");
    assert_eq!(bench.take(), "");
    bench.send(A, 101, 201, "A", b"one");
    assert_eq!(bench.take(), r#"A"one" A"two" A"three""#);
    assert!(!bench.tcp.is_blocked());
}

#[test]
fn retransmissions_keepalives_and_probes_bring_nothing() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 101, 201, "A", b"data");
    bench.send(A, 101, 201, "A", b"data");
    bench.send(A, 104, 201, "A", b"a");
    bench.send(A, 104, 201, "A", b"");
    assert_eq!(bench.take(), r#"A"data""#);
    // A zero-window probe is one octet of new data; it comes again with the rest.
    bench.send(A, 105, 201, "A", b"m");
    bench.send(A, 105, 201, "A", b"more");
    assert_eq!(bench.take(), r#"A"m" A"ore""#);
}

#[test]
fn overlap_keeps_first_octets() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 103, 201, "A", b"CDE");
    bench.send(A, 102, 201, "A", b"bXdef");
    bench.send(A, 101, 201, "A", b"abc");
    assert_eq!(bench.take(), r#"A"a" A"b" A"CDE" A"f""#);
    assert_eq!(bench.shared.stats.overlaps_conflicting, 2);
}

#[test]
fn an_acknowledged_hole_becomes_a_gap_after_the_reorder_window() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 104, 201, "A", b"two");
    bench.send(B, 201, 107, "A", b"");
    bench.wait(Duration::from_millis(50));
    assert_eq!(bench.take(), "");
    bench.wait(Duration::from_millis(60));
    assert_eq!(bench.take(), r#"A~3 A"two""#);
    // What comes later is too late.
    bench.send(A, 101, 201, "A", b"one");
    assert_eq!(bench.take(), "");
}

#[test]
fn a_hole_that_nobody_acknowledged_waits_for_a_retransmission() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 104, 201, "A", b"two");
    bench.wait(Duration::from_secs(3));
    assert_eq!(bench.take(), "");
    bench.wait(Duration::from_secs(3));
    assert_eq!(bench.take(), r#"A~3 A"two""#);
}

#[test]
fn a_hole_is_given_up_at_the_cap() {
    let mut bench = Bench::open(100, 200);
    bench.shared.config.held_octets_per_flow = 10;
    bench.send(A, 104, 201, "A", b"1234567");
    bench.send(A, 111, 201, "A", b"89abcd");
    assert_eq!(bench.take(), r#"A~3 A"1234567" A"89abcd""#);
    assert_eq!(bench.shared.stats.gaps_forced, 1);
}

#[test]
fn a_response_waits_for_the_request_that_it_acknowledges() {
    let mut bench = Bench::open(100, 200);
    bench.send(B, 201, 108, "PA", b"response");
    assert_eq!(bench.take(), "");
    bench.send(A, 101, 201, "PA", b"request");
    assert_eq!(bench.take(), r#"A"request" B"response""#);
}

#[test]
fn a_lost_request_does_not_hold_its_response_for_ever() {
    let mut bench = Bench::open(100, 200);
    bench.send(B, 201, 108, "PA", b"response");
    bench.wait(Duration::from_millis(110));
    assert_eq!(bench.take(), r#"A~7 B"response""#);
}

#[test]
fn one_side_alone_is_not_held() {
    let mut bench = Bench::default();
    bench.send(B, 200, 101, "SA", b"");
    bench.send(B, 201, 150, "PA", b"only");
    bench.send(B, 205, 190, "PA", b" side");
    assert_eq!(bench.take(), r#"B"only" B" side""#);
    assert_eq!(bench.tcp.gap_octets(A), 89);
}

#[test]
fn fin_ends_each_direction_after_its_data() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 104, 201, "FA", b"end");
    assert_eq!(bench.take(), "");
    bench.send(A, 101, 201, "A", b"the");
    assert_eq!(bench.take(), r#"A"the" A"end" A."#);
    assert!(!bench.tcp.is_over());
    bench.send(B, 201, 108, "PA", b"half-closed");
    bench.send(B, 212, 108, "FA", b"");
    assert_eq!(bench.take(), r#"B"half-closed" B."#);
    assert!(bench.tcp.is_over());
}

#[test]
fn fin_with_data_in_order_is_not_held() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 101, 201, "FPA", b"all");
    assert_eq!(bench.take(), r#"A"all" A."#);
    assert_eq!(bench.shared.stats.segments_held, 0);
}

#[test]
fn reset_must_stand_at_its_place() {
    let mut bench = Bench::open(100, 200);
    bench.send(B, 5_000, 0, "R", b"");
    assert!(!bench.tcp.is_over());
    bench.send(B, 201, 0, "R", b"");
    assert_eq!(bench.take(), "B!");
    assert!(bench.tcp.is_over());
}

#[test]
fn refused_connection_ends() {
    let mut bench = Bench::default();
    bench.send(A, 100, 0, "S", b"");
    bench.send(B, 0, 101, "RA", b"");
    assert_eq!(bench.take(), "B!");
    assert!(bench.tcp.is_over());
}

#[test]
fn simultaneous_open_and_data_with_the_syn() {
    let mut bench = Bench::default();
    bench.send(A, 100, 0, "S", b"early");
    bench.send(B, 200, 0, "S", b"");
    bench.send(A, 100, 201, "SA", b"");
    bench.send(B, 200, 106, "SA", b"");
    bench.send(B, 201, 106, "PA", b"late");
    assert_eq!(bench.take(), r#"A"early" B"late""#);
}

#[test]
fn joined_midway_begins_where_the_peer_expects() {
    let mut bench = Bench::default();
    bench.send(B, 900, 101, "A", b"");
    bench.send(A, 104, 900, "PA", b"two");
    bench.send(A, 101, 900, "PA", b"one");
    assert_eq!(bench.take(), r#"A"one" A"two""#);
}

#[test]
fn octets_that_the_capture_cut_off_are_a_gap() {
    let mut bench = Bench::open(100, 200);
    bench.send_cut(A, 101, 201, "PA", b"head", 6);
    bench.send(A, 111, 201, "PA", b"next");
    assert_eq!(bench.take(), r#"A"head" A~6 A"next""#);
    // Out of order too.
    bench.send(A, 125, 201, "PA", b"!");
    bench.send_cut(A, 115, 201, "PA", b"mid", 7);
    assert_eq!(bench.take(), r#"A"mid" A~7 A"!""#);
}

#[test]
fn a_lost_fin_is_no_gap() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 101, 201, "FPA", b"bye");
    bench.send(B, 201, 105, "PA", b"ok");
    // The server's FIN at 203 was lost; the client acknowledges it.
    bench.send(A, 105, 204, "A", b"");
    bench.finish();
    assert_eq!(bench.take(), r#"A"bye" A. B"ok" B."#);
    assert_eq!(bench.shared.stats.gap_octets, 0);
}

#[test]
fn trailing_octets_that_were_acknowledged_are_a_gap() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 101, 201, "PA", b"get");
    bench.send(A, 104, 1_201, "A", b"");
    bench.finish();
    assert_eq!(bench.take(), r#"A"get" A. B~1000 B."#);
}

#[test]
fn pieces_that_wait_for_each_other_are_freed() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 101, 210, "PA", b"chicken");
    bench.send(B, 201, 110, "PA", b"egg");
    bench.wait(Duration::from_secs(20));
    bench.finish();
    let heard = bench.take();
    assert!(heard.contains("chicken") && heard.contains("egg"), "{heard}");
}

/// Octet `offset` of a stream.
fn octet(side: Side, offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ side.index() as u8
}

/// A small generator of random numbers (xorshift64*), so that a seed tells the whole run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit.max(1)
    }
}

struct Sent {
    side: Side,
    seq: u32,
    ack: u32,
    payload: Vec<u8>,
}

/// A dialogue cut at random: each side sends `turns` bursts in turn, each acknowledging what the other has sent.
fn dialogue(random: &mut Random, bases: [u32; 2], turns: u64) -> (Vec<Sent>, [u64; 2]) {
    let mut lens = [0u64; 2];
    let mut sent = Vec::new();
    for turn in 0..turns {
        let side = if turn % 2 == 0 { A } else { B };
        let other = side.reverse();
        for _ in 0..=random.below(6) {
            let len = 1 + random.below(40);
            let from = lens[side.index()];
            sent.push(Sent {
                side,
                seq: bases[side.index()].wrapping_add(from as u32),
                ack: bases[other.index()].wrapping_add(lens[other.index()] as u32),
                payload: (from..from + len).map(|offset| octet(side, offset)).collect(),
            });
            lens[side.index()] += len;
        }
    }
    (sent, lens)
}

/// Checks that each octet heard stands at its place. Returns how many octets and how many of them in gaps, by side.
fn check_places(heard: &Heard) -> [(u64, u64); 2] {
    let mut places = [(0, 0); 2];
    for (side, what) in &heard.0 {
        let (place, gaps) = &mut places[side.index()];
        match what {
            What::Data(octets) => {
                for got in octets {
                    assert_eq!(*got, octet(*side, *place), "{side:?} at {place}");
                    *place += 1;
                }
            }
            What::Gap(len) => {
                *place += len;
                *gaps += len;
            }
            What::End(_) => {}
        }
    }
    places
}

#[test]
fn any_order_gives_the_same_streams() {
    for seed in 1..400 {
        let random = &mut Random(seed);
        let bases = [random.below(1 << 32) as u32, u32::MAX - random.below(200) as u32];
        let (mut sent, lens) = dialogue(random, bases, 12);
        // Overlapping retransmissions.
        for index in 0..sent.len() {
            if random.below(4) == 0 {
                let original = &sent[index];
                let from = random.below(original.payload.len() as u64) as usize;
                let copy = Sent {
                    side: original.side,
                    seq: original.seq.wrapping_add(from as u32),
                    ack: original.ack,
                    payload: original.payload[from..].to_vec(),
                };
                sent.push(copy);
            }
        }
        for index in (1..sent.len()).rev() {
            let other = random.below(index as u64 + 1) as usize;
            sent.swap(index, other);
        }
        let mut bench = Bench::open(bases[0].wrapping_sub(1), bases[1].wrapping_sub(1));
        for Sent { side, seq, ack, payload } in &sent {
            bench.send(*side, *seq, *ack, "PA", payload);
            bench.balance();
        }
        let places = check_places(&bench.heard);
        assert_eq!(places.map(|(place, _)| place), lens, "seed {seed}");
        assert_eq!(places.map(|(_, gaps)| gaps), [0, 0], "seed {seed}");
        assert!(!bench.tcp.is_blocked(), "seed {seed}");
    }
}

#[test]
fn loss_never_moves_an_octet() {
    for seed in 1..400 {
        let random = &mut Random(seed);
        let bases = [random.below(1 << 32) as u32, random.below(1 << 32) as u32];
        let (mut sent, lens) = dialogue(random, bases, 14);
        let loss = 1 + random.below(30);
        for index in (1..sent.len()).rev() {
            let other = index - random.below(4.min(index as u64 + 1)) as usize;
            sent.swap(index, other);
        }
        let mut bench = Bench::open(bases[0].wrapping_sub(1), bases[1].wrapping_sub(1));
        let mut lost = 0;
        for Sent { side, seq, ack, payload } in &sent {
            if random.below(100) < loss {
                lost += 1;
                continue;
            }
            bench.now += random.below(30_000_000);
            bench.send(*side, *seq, *ack, "PA", payload);
            bench.wait(Duration::ZERO);
            bench.balance();
        }
        bench.finish();
        let places = check_places(&bench.heard);
        for (side, (place, gaps)) in places.iter().enumerate() {
            // What was lost at the very end is known only where it was acknowledged.
            assert!(*place <= lens[side], "seed {seed}");
            assert!(lost > 0 || *gaps == 0, "seed {seed}");
        }
        assert_eq!(bench.shared.stats.octets_abandoned, 0, "seed {seed}");
    }
}

#[test]
fn the_stream_goes_on_after_a_hole_larger_than_any_window() {
    let mut bench = Bench::open(100, 200);
    bench.send(B, 201, 101, "PA", b"before");
    // The capture misses 100 MB; then both sides are seen where they are now.
    let far = 207 + 100_000_000;
    bench.send(B, far, 101, "A", b"stray?");
    bench.send(A, 101, far + 6, "A", b"");
    bench.send(B, far + 6, 101, "A", b"after");
    bench.send(A, 101, far + 11, "A", b"");
    assert_eq!(bench.take(), r#"B"before""#);
    bench.wait(bench.shared.config.reorder_window);
    assert_eq!(bench.take(), r#"B~100000006 B"after""#);
    bench.send(B, far + 11, 101, "PA", b"more");
    assert_eq!(bench.take(), r#"B"more""#);
}

#[test]
fn one_side_alone_goes_on_after_a_hole_larger_than_any_window() {
    let mut bench = Bench::default();
    bench.send(B, 201, 101, "PA", b"before");
    let far = 207 + 100_000_000;
    for (index, text) in [&b"one"[..], b"two", b"six"].into_iter().enumerate() {
        bench.send(B, far + 3 * index as u32, 101, "A", text);
    }
    bench.wait(bench.shared.config.hole_timeout);
    assert_eq!(bench.take(), r#"B"before" B~100000003 B"two" B"six""#);
}

#[test]
fn a_forged_acknowledgement_hides_nothing() {
    let mut bench = Bench::open(100, 200);
    // The server drops a segment that acknowledges what it has not sent (RFC 9293 section 3.10.7.4).
    bench.send(A, 101, 201 + (1 << 30), "PA", b"x");
    bench.wait(bench.shared.config.hole_timeout);
    bench.send(B, 201, 101, "PA", b"secret");
    assert_eq!(bench.take(), r#"A"x" B"secret""#);
}

#[test]
fn a_segment_beyond_the_receivers_window_hides_nothing() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 101, 201, "PA", b"before");
    bench.send(B, 201, 107, "A", b"");
    // The server answers what is out of its window with what it expects (RFC 9293 section 3.10.7.4).
    bench.send(A, 107 + 1_000_000, 201, "PA", b"decoy");
    bench.send(B, 201, 107, "A", b"");
    bench.wait(bench.shared.config.hole_timeout);
    bench.send(A, 107, 201, "PA", b"secret");
    bench.send(B, 201, 113, "PA", b"answer");
    bench.wait(bench.shared.config.reorder_window);
    assert_eq!(bench.take(), r#"A"before" A"secret" B"answer""#);
    assert_eq!((bench.shared.stats.gaps, bench.shared.stats.octets_abandoned), (0, 5));
    bench.finish();
}

#[test]
fn a_hole_that_the_receiver_was_not_heard_of_becomes_a_gap() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 107, 201, "PA", b"after");
    bench.wait(bench.shared.config.hole_timeout);
    assert_eq!(bench.take(), r#"A~6 A"after""#);
}

#[test]
fn small_pieces_count_with_what_they_take() {
    let mut bench = Bench::open(100, 200);
    bench.shared.config.held_octets = 20 * PIECE_COST;
    for index in 0..100 {
        bench.send(A, 201 + 2 * index, 201, "A", b"x");
    }
    assert!(bench.tcp.held_cost() <= 20 * PIECE_COST && bench.shared.stats.gaps_forced > 0);
}

#[test]
fn a_fin_lost_before_a_reset_is_no_gap() {
    let mut bench = Bench::open(100, 200);
    bench.send(A, 101, 201, "PA", b"bye");
    // A's FIN is lost; B acknowledges it, and sends what A resets.
    bench.send(B, 201, 105, "PA", b"late");
    bench.send(A, 105, 0, "R", b"");
    bench.wait(bench.shared.config.reorder_window);
    assert_eq!(bench.take(), r#"A"bye" A. B"late""#);
    assert!(bench.tcp.is_reset());
    assert_eq!(bench.shared.stats.gaps, 0);
}
