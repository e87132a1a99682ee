//! Connections of rustls peers, fed to the observer with keys that come late, in part, wrong or never, and with octets lost.

use std::time::Duration;

use plaintap_keystore::keylog::load_keylog;
use plaintap_keystore::{KeySource, Reader, Store};

use super::*;
use crate::flow::Endpoint;
use crate::http::Transaction;
use crate::http::{HttpConfig, HttpStats};
use crate::sink::TransactionSink;
use crate::testing::session::{Conversation, Peers, Profile, Resumption, Step};
use crate::tls::{Keys, TlsConfig, Waiting};
use crate::wire::Outer;

use Direction::{ClientToServer, ServerToClient};

/// One observed connection.
struct Bench {
    connection: Connection,
    store: Store,
    reader: Reader,
    shared: TlsShared,
    http_stats: HttpStats,
    heard: Heard,
    now: u64,
}

/// What came out, by direction, and how the session went.
#[derive(Debug, Default)]
struct Heard {
    plaintext: [Vec<u8>; 2],
    outcome: Option<Outcome>,
    undecrypted: u64,
    resumed: Option<bool>,
    wait: Option<Duration>,
}

impl TransactionSink for Heard {
    fn transaction(&mut self, _: &Transaction<'_>) {}

    fn session(&mut self, session: &Session<'_>) {
        self.outcome = Some(session.outcome);
        self.undecrypted = session.undecrypted_bytes;
        self.resumed = session.resumed;
        self.wait = session.key.map(|(_, wait)| wait);
        let counted = session.client_app_data_bytes + session.server_app_data_bytes;
        assert_eq!(counted, self.plaintext.iter().map(|octets| octets.len() as u64).sum::<u64>());
    }

    fn app_data(&mut self, _: &FlowContext<'_>, direction: Direction, octets: &[u8]) {
        self.plaintext[direction as usize].extend_from_slice(octets);
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(TlsConfig::default(), &Store::default())
    }

    fn with(config: TlsConfig, store: &Store) -> Self {
        Self {
            connection: Connection::new(Timestamp::ZERO),
            store: store.clone(),
            reader: store.reader().unwrap(),
            shared: TlsShared::new(config),
            http_stats: HttpStats::default(),
            heard: Heard::default(),
            now: 0,
        }
    }

    fn work(&mut self, work: impl FnOnce(&mut Connection, Timestamp, &mut TlsContext<'_>)) {
        let end = |port| Endpoint { addr: [10, 0, 0, 1].into(), port };
        let outer = Outer::default();
        let flow = FlowContext {
            client: end(40_000),
            server: end(443),
            id: 1,
            interface: None,
            outer: &outer,
            tls: None,
            f5: None,
            midstream: false,
        };
        let mut context = TlsContext {
            flow: &flow,
            token: 7,
            keys: Keys { reader: &mut self.reader, store: &self.store },
            shared: &mut self.shared,
            http_config: &HttpConfig::default(),
            http_stats: &mut self.http_stats,
            sink: &mut self.heard,
        };
        work(&mut self.connection, Timestamp::from_nanos(self.now), &mut context);
    }

    fn send(&mut self, direction: Direction, octets: &[u8]) {
        let mut octets = octets.to_vec();
        self.now += 1_000;
        self.work(|connection, ts, context| connection.data(direction, ts, &mut octets, context));
    }

    fn lose(&mut self, direction: Direction, len: usize) {
        self.work(|connection, ts, context| connection.gap(direction, ts, len as u64, context));
    }

    /// Sends all flights, cut into segments of `mss` octets.
    fn play(&mut self, conversation: &Conversation, mss: usize) {
        for flight in &conversation.flights {
            flight.bytes.chunks(mss).for_each(|segment| self.send(flight.direction, segment));
        }
    }

    /// Loads key-log lines, and wakes the connection if it waits for one of them.
    fn learn(&mut self, keylog: &str) {
        load_keylog(&self.store, keylog.as_bytes(), KeySource::File, Duration::ZERO);
        while self.reader.poll_wake().is_some() {
            self.work(|connection, ts, context| connection.wake(ts, context));
        }
    }

    fn finish(mut self) -> (Heard, TlsStats) {
        self.work(|connection, ts, context| connection.finish(ts, [0, 0], context));
        let stats = self.shared.stats;
        let outcomes = stats.records_plain
            + stats.records_opened
            + stats.records_bad
            + stats.records_passed_over
            + stats.records_no_key
            + stats.records_wrong_key
            + stats.records_unsupported
            + stats.records_no_handshake
            + stats.records_unplaced;
        assert_eq!(stats.records_in, outcomes, "{stats:?}");
        assert_eq!((self.shared.parked, self.shared.waiting()), (0, Waiting::default()));
        assert_eq!(stats.octets_parked, stats.octets_released);
        assert_eq!(self.reader.waits(), 0);
        (self.heard, stats)
    }
}

const TLS12: CipherSuite = CipherSuite(0xc02f);
const TLS13: CipherSuite = CipherSuite(0x1301);

/// A few exchanges, of some records each.
fn script() -> Vec<Step> {
    let body =
        |len: usize, first: u8| (0..len).map(|offset| (offset as u8).wrapping_mul(31) ^ first).collect::<Vec<_>>();
    vec![
        Step::Send(ClientToServer, body(300, 1)),
        Step::Send(ServerToClient, body(40_000, 2)),
        Step::Send(ClientToServer, body(20, 3)),
        Step::Send(ServerToClient, body(5_000, 4)),
        Step::Close(ServerToClient),
        Step::Close(ClientToServer),
    ]
}

fn converse(suite: CipherSuite) -> Conversation {
    Peers::new(Profile::new(1, suite)).converse(&script())
}

fn lines(keylog: &str, keep: impl Fn(&str) -> bool) -> String {
    keylog.lines().filter(|line| keep(line)).map(|line| format!("{line}\n")).collect()
}

fn assert_all(heard: &Heard, conversation: &Conversation) {
    assert_eq!(heard.outcome, Some(Outcome::Decrypted));
    assert_eq!(heard.undecrypted, 0);
    for direction in [ClientToServer, ServerToClient] {
        assert!(heard.plaintext[direction as usize] == conversation.plaintext(direction), "{direction:?}");
    }
}

#[test]
fn key_at_any_moment_gives_all_plaintext() {
    for suite in [TLS12, TLS13] {
        let conversation = converse(suite);
        for before in 0..=conversation.flights.len() {
            let mut bench = Bench::new();
            for (index, flight) in conversation.flights.iter().enumerate() {
                if index == before {
                    bench.learn(&conversation.keylog);
                }
                flight.bytes.chunks(1_000).for_each(|segment| bench.send(flight.direction, segment));
            }
            bench.learn(&conversation.keylog);
            assert_all(&bench.finish().0, &conversation);
        }
    }
}

#[test]
fn keys_one_by_one_in_any_order_give_all_plaintext() {
    let conversation = converse(TLS13);
    let all: Vec<_> = conversation.keylog.lines().collect();
    for first in 0..all.len() {
        let mut bench = Bench::new();
        bench.play(&conversation, 1_400);
        for index in 0..all.len() {
            bench.learn(&format!("{}\n", all[(first + index) % all.len()]));
        }
        let (heard, stats) = bench.finish();
        assert_all(&heard, &conversation);
        let sent: usize = conversation.flights.iter().map(|flight| flight.bytes.len()).sum();
        assert!(stats.octets_parked <= sent as u64, "{} parked of {sent}", stats.octets_parked);
    }
}

#[test]
fn application_secrets_alone_suffice() {
    let conversation = converse(TLS13);
    for mss in [100, 1_400, 100_000] {
        let mut bench = Bench::new();
        bench.learn(&lines(&conversation.keylog, |line| line.contains("_TRAFFIC_SECRET_0")));
        bench.play(&conversation, mss);
        let (heard, stats) = bench.finish();
        assert_all(&heard, &conversation);
        assert!(stats.records_passed_over > 0);
    }
}

#[test]
fn secrets_of_one_side_open_that_side() {
    let conversation = converse(TLS13);
    let mut bench = Bench::new();
    bench.learn(&lines(&conversation.keylog, |line| line.starts_with("SERVER_")));
    bench.play(&conversation, 1_400);
    let (heard, stats) = bench.finish();
    assert_eq!(heard.outcome, Some(Outcome::Partial));
    assert!(heard.plaintext[1] == conversation.server_plaintext);
    assert!(heard.plaintext[0].is_empty() && stats.records_no_key > 0);
}

#[test]
fn no_key_is_told_and_nothing_guessed() {
    for suite in [TLS12, TLS13] {
        let mut bench = Bench::new();
        bench.play(&converse(suite), 1_400);
        let (heard, _) = bench.finish();
        assert_eq!(heard.outcome, Some(Outcome::NoKey));
        assert!(heard.plaintext.iter().all(Vec::is_empty) && heard.undecrypted > 40_000);
    }
}

#[test]
fn a_wrong_key_is_told_and_a_right_one_that_comes_later_wins() {
    for suite in [TLS12, TLS13] {
        let conversation = converse(suite);
        let wrong: String = conversation
            .keylog
            .lines()
            .map(|line| {
                let (rest, secret) = line.rsplit_once(' ').unwrap();
                let digit = |digit| if digit == 'a' { 'b' } else { 'a' };
                format!("{rest} {}\n", secret.chars().map(digit).collect::<String>())
            })
            .collect();
        let mut bench = Bench::new();
        bench.learn(&wrong);
        bench.play(&conversation, 1_400);
        bench.learn(&conversation.keylog);
        assert_all(&bench.finish().0, &conversation);

        let mut bench = Bench::new();
        bench.learn(&wrong);
        bench.play(&conversation, 1_400);
        let (heard, _) = bench.finish();
        assert_eq!(heard.outcome, Some(Outcome::WrongKey));
        assert!(heard.plaintext.iter().all(Vec::is_empty));
    }
}

#[test]
fn parking_has_a_cap_and_goes_on_after_it() {
    let conversation = converse(TLS12);
    let config = TlsConfig { parked_octets_per_flow: 20_000, ..TlsConfig::default() };
    let mut bench = Bench::with(config, &Store::default());
    // The last exchange comes after the key.
    let late = conversation.flights.len() - 4;
    for (index, flight) in conversation.flights.iter().enumerate() {
        if index == late {
            bench.learn(&conversation.keylog);
        }
        flight.bytes.chunks(1_400).for_each(|segment| bench.send(flight.direction, segment));
    }
    let (heard, stats) = bench.finish();
    assert_eq!(heard.outcome, Some(Outcome::ParkingLimit));
    assert!(stats.octets_unparked > 0 && stats.resyncs > 0);
    let [client, server] = &heard.plaintext;
    assert!(client == &conversation.client_plaintext);
    assert!(conversation.server_plaintext.starts_with(&server[..16_000]));
    assert!(conversation.server_plaintext.ends_with(&server[server.len() - 5_000..]));
}

#[test]
fn tiny_records_split_the_handshake() {
    for suite in [TLS12, TLS13] {
        let profile = Profile { max_record: Some(32), ..Profile::new(3, suite) };
        let conversation = Peers::new(profile).converse(&script());
        let mut bench = Bench::new();
        bench.learn(&conversation.keylog);
        bench.play(&conversation, 77);
        assert_all(&bench.finish().0, &conversation);
    }
}

#[test]
fn key_updates_of_both_sides_are_followed() {
    let mut script = script();
    script.insert(2, Step::KeyUpdate(ServerToClient));
    script.insert(1, Step::KeyUpdate(ClientToServer));
    let conversation = Peers::new(Profile::new(4, TLS13)).converse(&script);
    let mut bench = Bench::new();
    bench.learn(&conversation.keylog);
    bench.play(&conversation, 1_400);
    assert_all(&bench.finish().0, &conversation);
}

#[test]
fn resumption_needs_no_line_of_its_own() {
    for resumption in [Resumption::Stored, Resumption::Ticket] {
        let mut peers = Peers::new(Profile { resumption, ..Profile::new(5, TLS12) });
        let (first, second) = (peers.converse(&script()), peers.converse(&script()));
        assert!(second.resumed);
        let store = Store::default();
        let mut bench = Bench::with(TlsConfig::default(), &store);
        bench.learn(&first.keylog);
        bench.play(&first, 1_400);
        assert_all(&bench.finish().0, &first);
        let mut bench = Bench::with(TlsConfig::default(), &store);
        bench.play(&second, 1_400);
        let (heard, _) = bench.finish();
        assert_all(&heard, &second);
        assert_eq!(heard.resumed, Some(true));
    }
}

#[test]
fn a_resumed_connection_waits_for_the_key_of_the_first() {
    let mut peers = Peers::new(Profile { resumption: Resumption::Stored, ..Profile::new(6, TLS12) });
    let (first, second) = (peers.converse(&script()), peers.converse(&script()));
    let store = Store::default();
    let mut resumed = Bench::with(TlsConfig::default(), &store);
    resumed.play(&second, 1_400);
    let mut bench = Bench::with(TlsConfig::default(), &store);
    bench.play(&first, 1_400);
    bench.learn(&first.keylog);
    assert_all(&bench.finish().0, &first);
    resumed.learn("");
    assert_all(&resumed.finish().0, &second);
}

#[test]
fn early_data_counts_once_it_is_taken() {
    let profile = Profile { resumption: Resumption::Stored, early_data: true, ..Profile::new(7, TLS13) };
    let mut peers = Peers::new(profile);
    peers.converse(&script());
    let mut early = vec![Step::EarlyData(b"early request".to_vec())];
    early.extend(script());
    let conversation = peers.converse(&early);
    assert!(conversation.early_data_accepted);
    let mut bench = Bench::new();
    bench.learn(&conversation.keylog);
    bench.play(&conversation, 1_400);
    assert_all(&bench.finish().0, &conversation);

    // Without its secret it is passed over, and the rest is there.
    let mut bench = Bench::new();
    bench.learn(&lines(&conversation.keylog, |line| !line.contains("EARLY")));
    bench.play(&conversation, 1_400);
    let (heard, _) = bench.finish();
    assert!(heard.plaintext[0] == conversation.client_plaintext[b"early request".len()..]);
    assert!(heard.plaintext[1] == conversation.server_plaintext);
    assert_eq!(heard.outcome, Some(Outcome::Partial));
    assert!(heard.undecrypted > b"early request".len() as u64, "{}", heard.undecrypted);

    // What the server refuses is missing nowhere.
    peers.forget_sessions();
    let conversation = peers.converse(&early);
    assert!(!conversation.early_data_accepted);
    let mut bench = Bench::new();
    bench.learn(&lines(&conversation.keylog, |line| !line.contains("EARLY")));
    bench.play(&conversation, 1_400);
    assert_all(&bench.finish().0, &conversation);
}

/// Loses each segment in turn: what comes out is the plaintext without a stretch in the middle.
#[test]
fn losing_any_segment_loses_a_stretch_and_no_more() {
    for suite in [TLS12, TLS13, CipherSuite(0x1303), CipherSuite(0xcca8)] {
        let conversation = converse(suite);
        let segments: Vec<_> = conversation
            .flights
            .iter()
            .flat_map(|flight| flight.bytes.chunks(1_200).map(|segment| (flight.direction, segment)))
            .collect();
        for lost in 0..segments.len() {
            let mut bench = Bench::new();
            bench.learn(&conversation.keylog);
            for (index, (direction, segment)) in segments.iter().enumerate() {
                match index == lost {
                    true => bench.lose(*direction, segment.len()),
                    false => bench.send(*direction, segment),
                }
            }
            let (heard, stats) = bench.finish();
            let (hit, other) = (segments[lost].0, segments[lost].0.reverse());
            let (got, sent) = (&heard.plaintext[hit as usize], conversation.plaintext(hit));
            let common = got.iter().zip(sent).take_while(|(got, sent)| got == sent).count();
            assert!(sent.ends_with(&got[common..]), "{suite:?} segment {lost}: octets out of place");
            // Losing part of the ServerHello of TLS 1.2, or a ClientHello, leaves nothing to find the key by.
            let hopeless = heard.outcome == Some(Outcome::NoHandshake);
            let in_hello = lost < 2;
            assert!(!hopeless || in_hello, "{suite:?} segment {lost}: {:?} {stats:?}", heard.outcome);
            if !hopeless {
                assert!(
                    sent.len() - got.len() <= 2 * 16_384,
                    "{suite:?} segment {lost}: {} of {}",
                    got.len(),
                    sent.len()
                );
                let others = &heard.plaintext[other as usize];
                assert!(others == conversation.plaintext(other), "{suite:?} segment {lost}: the other direction");
            }
        }
    }
}

#[test]
fn a_changed_octet_costs_one_record() {
    for suite in [TLS12, TLS13] {
        let conversation = converse(suite);
        let mut bench = Bench::new();
        bench.learn(&conversation.keylog);
        let longest = conversation.flights.iter().map(|flight| flight.bytes.len()).max().unwrap();
        for flight in &conversation.flights {
            let mut bytes = flight.bytes.clone();
            if bytes.len() == longest {
                bytes[20_000] ^= 1;
            }
            bytes.chunks(1_400).for_each(|segment| bench.send(flight.direction, segment));
        }
        let (heard, stats) = bench.finish();
        assert_eq!((heard.outcome, stats.records_bad), (Some(Outcome::Partial), 1));
        assert_eq!(heard.plaintext[1].len(), conversation.server_plaintext.len() - 16_384);
    }
}

#[test]
fn noise_is_no_handshake() {
    let mut bench = Bench::new();
    let noise: Vec<_> = (0..100_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    bench.send(ClientToServer, &[23, 3, 3, 0, 100]);
    bench.send(ClientToServer, &noise);
    bench.send(ServerToClient, &noise);
    let (heard, _) = bench.finish();
    assert_eq!(heard.outcome, Some(Outcome::NoHandshake));
}

/// Whether `work` comes to its end with as little stack as a small thread has.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap().join().unwrap();
}

#[test]
fn records_that_end_and_begin_in_noise_take_no_stack() {
    // Two records follow each other, then an octet is none: 5,000 times.
    for record in [&[20, 3, 3, 0, 1, 1][..], &[23, 3, 3, 0, 1, 0]] {
        let noise = [record, record, &[0xff]].concat().repeat(5_000);
        on_a_small_stack(move || {
            let mut bench = Bench::new();
            bench.send(ClientToServer, &noise);
            let (_, stats) = bench.finish();
            assert_eq!(stats.resyncs, 4_999);
        });
    }
}

#[test]
fn hellos_without_end_leave_nothing_parked() {
    // Each ServerHello opens both directions again, and each record after it needs another key.
    let conversation = converse(TLS13);
    let hellos: Vec<_> = conversation.flights[..2].iter().map(|flight| (flight.direction, &flight.bytes)).collect();
    let mut bench = Bench::new();
    for _ in 0..50 {
        for (direction, octets) in &hellos {
            bench.send(*direction, octets);
        }
    }
    let (heard, _) = bench.finish();
    assert_eq!(heard.outcome, Some(Outcome::NoKey));
    assert!(heard.undecrypted as usize > 40 * hellos[1].1.len() / 2);
}

#[test]
fn gaps_while_parked_cost_the_same_however_much_is_parked() {
    let mut parked = Parked::default();
    parked.push_gap(ClientToServer, Timestamp::ZERO, 1);
    for _ in 0..200_000 {
        parked.push_data(ServerToClient, Timestamp::ZERO, &[0]);
    }
    // One by one they would look at all that is parked: 2 * 10^10 items.
    for _ in 0..100_000 {
        parked.push_gap(ClientToServer, Timestamp::ZERO, 1);
    }
    let (items, _) = parked.into_parts();
    assert_eq!(items.len(), 200_001);
    assert!(matches!(items[0].what, What::Gap(100_001)));
}

#[test]
fn early_data_beyond_the_cap_is_a_gap() {
    let profile = Profile { resumption: Resumption::Stored, early_data: true, ..Profile::new(8, TLS13) };
    let mut peers = Peers::new(profile);
    peers.converse(&script());
    let early: Vec<u8> = (0..200u8).collect();
    let script = [vec![Step::EarlyData(early.clone())], script()].concat();
    let conversation = peers.converse(&script);
    assert!(conversation.early_data_accepted);
    let mut bench = Bench::with(TlsConfig { early_data: 150, ..TlsConfig::default() }, &Store::default());
    bench.learn(&conversation.keylog);
    bench.play(&conversation, 1_400);
    let (heard, _) = bench.finish();
    assert_eq!((heard.outcome, heard.undecrypted), (Some(Outcome::Partial), 50));
    let expected = [&early[..150], &conversation.client_plaintext[200..]].concat();
    assert!(heard.plaintext[0] == expected);
}

#[test]
fn a_search_among_records_that_are_none_has_an_end() {
    // A client random whose keys are known, and then what looks like records, as short as they can be.
    let conversation = converse(TLS13);
    let mut bench = Bench::new();
    bench.learn(&conversation.keylog);
    bench.send(ClientToServer, &conversation.flights[0].bytes);
    for _ in 0..100 {
        bench.send(ClientToServer, &[20, 3, 3, 0, 1, 1, 20, 3, 3, 0, 1, 1, 0xff]);
        bench.send(ClientToServer, &[23, 3, 3, 0, 1, 0].repeat(200));
        bench.send(ClientToServer, &[0xff]);
    }
    let work = bench.connection.halves[0].work_done;
    assert!(work <= bench.shared.config.resync_work, "{work}");
    assert!(bench.connection.halves[0].work_left(bench.shared.config.resync_work) < 1 << 20);
    bench.finish();
}

#[test]
fn what_follows_early_data_opens_without_the_server() {
    let profile = Profile { resumption: Resumption::Stored, early_data: true, ..Profile::new(9, TLS13) };
    let mut peers = Peers::new(profile);
    peers.converse(&script());
    let conversation = peers.converse(&[vec![Step::EarlyData(b"early request".to_vec())], script()].concat());
    assert!(conversation.early_data_accepted);
    let mut bench = Bench::new();
    bench.learn(&conversation.keylog);
    for flight in conversation.flights.iter().filter(|flight| flight.direction == ClientToServer) {
        bench.send(ClientToServer, &flight.bytes);
    }
    let (heard, _) = bench.finish();
    assert!(heard.plaintext[0] == conversation.client_plaintext);
}

#[test]
fn refused_early_data_is_not_told_whatever_of_the_server_is_lost() {
    let profile = Profile { resumption: Resumption::Stored, early_data: true, ..Profile::new(10, TLS13) };
    let mut peers = Peers::new(profile);
    peers.converse(&script());
    peers.forget_sessions();
    let conversation = peers.converse(&[vec![Step::EarlyData(b"early request".to_vec())], script()].concat());
    assert!(!conversation.early_data_accepted);
    let hello = conversation.flights.iter().position(|flight| flight.direction == ServerToClient).unwrap();
    for lost in [0, 200, usize::MAX] {
        let mut bench = Bench::new();
        bench.learn(&conversation.keylog);
        for (index, flight) in conversation.flights.iter().enumerate() {
            let kept = if index == hello { lost.min(flight.bytes.len()) } else { flight.bytes.len() };
            bench.send(flight.direction, &flight.bytes[..kept]);
            if kept < flight.bytes.len() {
                bench.lose(flight.direction, flight.bytes.len() - kept);
            }
        }
        let (heard, _) = bench.finish();
        for direction in [ClientToServer, ServerToClient] {
            assert!(heard.plaintext[direction as usize] == conversation.plaintext(direction), "{lost} {direction:?}");
        }
    }
}

#[test]
fn nonces_that_count_from_0_are_no_messages_in_the_clear() {
    // As GnuTLS and Go send it: the first record after ChangeCipherSpec.
    let counted = [&[22, 3, 3, 0, 40][..], &[0; 40]].concat();
    assert!(!recovery::is_plain(&counted));
    assert!(recovery::is_plain(&[22, 3, 3, 0, 4, 0, 0, 0, 0]));
}

#[test]
fn a_record_that_began_before_the_wait_is_accounted_for_when_it_waits() {
    let profile = Profile { resumption: Resumption::Stored, early_data: true, ..Profile::new(11, TLS13) };
    let mut peers = Peers::new(profile);
    peers.converse(&script());
    let conversation = peers.converse(&[vec![Step::EarlyData(vec![b'x'; 10_000])], script()].concat());
    let mut flights = conversation.flights.iter();
    let mut bench = Bench::new();
    let balanced = |bench: &Bench| {
        let (stats, waiting) = (&bench.shared.stats, bench.shared.waiting());
        assert_eq!(stats.octets_parked, stats.octets_released + waiting.octets, "{stats:?} {waiting:?}");
        waiting
    };
    // The early data's record lacks its end when the server's records begin to wait.
    let first = flights.next().unwrap();
    let (most, rest) = first.bytes.split_at(first.bytes.len() - 10);
    bench.send(ClientToServer, most);
    assert_eq!(balanced(&bench), Waiting::default());
    bench.send(ServerToClient, &flights.next().unwrap().bytes);
    bench.send(ClientToServer, rest);
    let before = balanced(&bench);
    assert!(before.octets < 10_000 && before.connections == 1, "{before:?}");
    bench.learn(&lines(&conversation.keylog, |line| line.starts_with("SERVER_HANDSHAKE")));
    let after = balanced(&bench);
    assert!(after.octets > 10_000 && after.connections == 1, "{after:?}");
    for flight in flights {
        bench.send(flight.direction, &flight.bytes);
        balanced(&bench);
    }
    bench.learn(&conversation.keylog);
    assert_eq!(balanced(&bench), Waiting::default());
    let (heard, _) = bench.finish();
    assert!(heard.plaintext[1] == conversation.server_plaintext);
}
