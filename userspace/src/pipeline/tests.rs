use std::time::Duration;

use plaintap_keystore::Store;
use plaintap_keystore::keylog::load_keylog;

use super::timers::MIN_TIMERS;
use super::*;
use crate::flow::Direction;
use crate::http::{Reasons, Transaction};
use crate::testing::collect::Collector;
use crate::testing::net::{Ending, Path, Segments};
use crate::testing::session::{Conversation, Peers, Profile, Step};
use crate::testing::stream::Dialogue;
use crate::tls::{CipherSuite, Session};

#[derive(Debug)]
struct Nowhere;

impl TransactionSink for Nowhere {
    fn transaction(&mut self, _: &Transaction<'_>) {}
    fn session(&mut self, _: &Session<'_>) {}
}

#[test]
fn flows_that_come_and_go_leave_no_timers() {
    let mut pipeline = Pipeline::new(Config::default(), &Store::default()).unwrap();
    let nothing = Conversation::in_clear([]);
    for number in 0..20_000u32 {
        let start = Timestamp::from_nanos(u64::from(number) * 10_000_000);
        let path = Path { start, ending: Ending::Reset, ..Path::numbered(number) };
        for mut frame in nothing.trace(&path).into_frames() {
            pipeline.push(frame.lend(), &mut Nowhere);
        }
        let Timers { blocked, trim, idle, linger, key, begun } = &pipeline.timers;
        let most = 2 * (MIN_TIMERS + pipeline.flow_count());
        for queue in [blocked, trim, idle, linger, key, begun] {
            assert!(queue.len() <= most, "{number}: {} timers, {} flows", queue.len(), pipeline.flow_count());
        }
    }
    // The flows of the last seconds linger; the others are gone, in a third of the idle time-out.
    assert!(pipeline.flow_count() < 1_000);
    for second in [201, 210] {
        pipeline.tick(Timestamp::from_nanos(second * 1_000_000_000), &mut Nowhere);
    }
    assert_eq!((pipeline.flow_count(), pipeline.stats().flow.flows_reset), (0, 20_000));
}

#[test]
fn the_end_of_time_is_no_end_to_a_push() {
    let mut pipeline = Pipeline::new(Config::default(), &Store::default()).unwrap();
    let mut sink = Collector::default();
    let talk = Conversation::in_clear([
        (Direction::ClientToServer, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        (Direction::ServerToClient, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
    ]);
    for mut frame in talk.trace(&Path::numbered(1)).into_frames() {
        frame.ts = Timestamp::MAX;
        pipeline.push(frame.lend(), &mut sink);
    }
    pipeline.finish(&mut sink);
    assert_eq!(pipeline.stats().http.paired, 1);
    assert_eq!(pipeline.stats().imbalances(), Vec::<String>::new());
}

/// Connections that go on while `flood` connections begin between any two of their frames, with `frames` frames each.
fn talk_in_a_flood(flood: u32, frames: usize) -> (Collector, Stats) {
    let mut config = Config::default();
    config.flow.max_flows = 200;
    let mut pipeline = Pipeline::new(config, &Store::default()).unwrap();
    let mut sink = Collector::default();
    let request = || (Direction::ClientToServer, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec());
    let response = || (Direction::ServerToClient, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
    let talk = Conversation::in_clear([request(), response(), request(), response()]);
    let mut talks: Vec<_> =
        (0..50).map(|number| talk.trace(&Path::numbered(number)).into_frames().into_iter()).collect();
    let mut number = 1_000;
    loop {
        let mut any = false;
        for frame in talks.iter_mut().filter_map(Iterator::next) {
            any = true;
            pipeline.push({ frame }.lend(), &mut sink);
        }
        if !any {
            break;
        }
        for _ in 0..flood {
            number += 1;
            for mut frame in talk.trace(&Path::numbered(number)).into_frames().into_iter().take(frames) {
                pipeline.push(frame.lend(), &mut Nowhere);
            }
        }
    }
    pipeline.finish(&mut Nowhere);
    (sink, pipeline.stats())
}

#[test]
fn a_flood_of_syns_pushes_out_nobody_who_talks() {
    let (sink, stats) = talk_in_a_flood(2_000, 1);
    assert!(stats.flow.flows_evicted > 10_000);
    assert_eq!(sink.transactions.len(), 2 * 50);
    assert!(sink.transactions.iter().all(|transaction| transaction.reasons == Reasons::default()));
    assert_eq!(stats.imbalances(), Vec::<String>::new());
}

#[test]
fn who_has_been_idle_longest_makes_room() {
    // Between any two frames of those who talk begin fewer connections than there is room for.
    let (sink, stats) = talk_in_a_flood(100, 5);
    assert!(stats.flow.flows_evicted > 500);
    assert!(sink.transactions.iter().all(|transaction| transaction.reasons == Reasons::default()));
    assert_eq!(sink.transactions.len(), 2 * 50);
}

/// What each side says before TLS.
type Preamble = Vec<(Direction, &'static [u8])>;

#[test]
fn tls_is_found_behind_what_asks_for_it() {
    use Direction::{ClientToServer, ServerToClient};
    // CONNECT, SOCKS 5 (RFC 1928), PostgreSQL's SSLRequest, LDAP's StartTLS (RFC 4511 section 4.14), FTP (RFC 4217).
    let ldap = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    let before: [(&str, Preamble); 6] = [
        (
            "CONNECT",
            vec![
                (ClientToServer, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
                (ServerToClient, b"HTTP/1.1 200 Connection established\r\n\r\n"),
            ],
        ),
        (
            "SOCKS",
            vec![
                (ClientToServer, b"\x05\x01\0"),
                (ServerToClient, b"\x05\0"),
                (ClientToServer, b"\x05\x01\0\x01\x0a\0\0\x01\x01\xbb"),
                (ServerToClient, b"\x05\0\0\x01\x0a\0\0\x01\x01\xbb"),
            ],
        ),
        ("PostgreSQL", vec![(ClientToServer, b"\0\0\0\x08\x04\xd2\x16\x2f"), (ServerToClient, b"S")]),
        ("LDAP", vec![(ClientToServer, ldap), (ServerToClient, b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0")]),
        (
            "FTP",
            vec![
                (ServerToClient, b"220 ready\r\n"),
                (ClientToServer, b"AUTH TLS\r\n"),
                (ServerToClient, b"234 go on\r\n"),
            ],
        ),
        ("nothing", vec![]),
    ];
    let request = b"GET /inside HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let script = [Step::Send(ClientToServer, request), Step::Send(ServerToClient, b"HTTP/1.1 204 x\r\n\r\n".to_vec())];
    for (name, before) in before {
        for mss in [1, 3, 5, 1_400] {
            let mut talk = Peers::new(Profile::new(1, CipherSuite(0x1301))).converse(&script);
            let clear = Conversation::in_clear(before.iter().map(|(direction, octets)| (*direction, octets.to_vec())));
            talk.flights.splice(0..0, clear.flights);
            let store = Store::default();
            load_keylog(&store, talk.keylog.as_bytes(), KeySource::File, Duration::ZERO);
            let mut pipeline = Pipeline::new(Config::default(), &store).unwrap();
            let mut sink = Collector::default();
            for mut frame in talk.trace(&Path { segments: Segments::Mss(mss), ..Path::numbered(1) }).into_frames() {
                pipeline.push(frame.lend(), &mut sink);
            }
            pipeline.finish(&mut sink);
            let inside = sink.transactions.iter().filter(|transaction| {
                transaction.suite.is_some()
                    && transaction.request.as_ref().is_some_and(|request| request.path == "/inside")
            });
            assert_eq!(inside.count(), 1, "{name}, segments of {mss}: {:?}", sink.transactions);
        }
    }
}

#[test]
fn accounts_balance_at_any_time_with_what_is_in_flight() {
    let (store, mut sink) = (Store::default(), Collector::default());
    let mut pipeline = Pipeline::new(Config::default(), &store).unwrap();
    let talk = Peers::new(Profile::new(5, CipherSuite(0x1301))).converse(&Dialogue::small(6, 300, 4_000).script());
    let mut frames = talk.trace(&Path { segments: Segments::Mss(500), ..Path::numbered(1) }).into_frames();
    frames.chunks_exact_mut(3).for_each(|three| three.swap(1, 2));
    let late = frames.len() * 2 / 3;
    let mut most = Gauges::default();
    for (number, mut frame) in frames.into_iter().enumerate() {
        if number == late {
            load_keylog(&store, talk.keylog.as_bytes(), KeySource::Irule, Duration::ZERO);
        }
        pipeline.push(frame.lend(), &mut sink);
        let now = pipeline.gauges();
        assert_eq!(pipeline.stats().imbalances_while(&now), Vec::<String>::new(), "after frame {number}");
        assert_eq!(now.flow_open + now.flow_lingering, pipeline.flow_count() as u64);
        assert!(now.tls_waiting_octets == 0 || number < late, "after frame {number}");
        most = Gauges {
            tcp_held_octets: most.tcp_held_octets.max(now.tcp_held_octets),
            tls_waiting_octets: most.tls_waiting_octets.max(now.tls_waiting_octets),
            http_outstanding_requests: most.http_outstanding_requests.max(now.http_outstanding_requests),
            ..now
        };
    }
    assert_eq!(sink.transactions.len(), 6);
    // All three kinds were there to be counted: a segment held, ten answers parked, a request under way.
    assert!(
        most.tcp_held_octets >= 500 && most.tls_waiting_octets > 4_000 && most.http_outstanding_requests == 1,
        "{most:?}"
    );
    assert_eq!((most.flow_open, most.flow_lingering), (0, 1), "the connection was closed by both sides");
    pipeline.finish(&mut sink);
    assert_eq!((pipeline.gauges(), pipeline.stats().imbalances()), (Gauges::default(), Vec::new()));
}
