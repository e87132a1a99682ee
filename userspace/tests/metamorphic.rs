//! Generated sessions through everything that networks, mirrors and key intakes do to them.
//!
//! Where nothing is lost, the transactions are those of the model, whatever the frames looked like and whenever the key came.
//! Where something is lost, what is called whole is the model's, what is not whole says so, and what it shows is right.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{KeysAt, Run, assert_equal, assert_sound, assert_whole, read};
use plaintap::flow::Direction::{self, ClientToServer, ServerToClient};
use plaintap::testing::net::{Ending, Path, Segments, Trace};
use plaintap::testing::session::{Conversation, KeyExchange, Peers, Profile, Resumption, SUITES, Step};
use plaintap::testing::stream::{Dialogue, Manner};
use plaintap::testing::{Rng, Wrap};
use plaintap::tls::Outcome;

/// One connection by seed: what was said, what it must come out as, and the way that it took.
struct Case {
    seed: u64,
    dialogue: Dialogue,
    conversation: Conversation,
    path: Path,
}

impl Case {
    /// Any suite, key exchange, record size and way; in clear by times.
    fn random(seed: u64) -> Self {
        let mut rng = Rng::fork(seed, 0x6361_7365);
        let manner = Manner { transactions: rng.between(1, 12), max_body: 30_000, until_close: rng.per_mille(300) };
        let dialogue = Dialogue::http1(seed, manner);
        let mut path = Path::random(seed);
        if manner.until_close {
            path.ending = Ending::Fin;
        }
        if rng.per_mille(150) {
            return Self { seed, conversation: dialogue.in_clear(), dialogue, path };
        }
        let profile = Profile {
            key_exchange: *rng.pick(&[KeyExchange::Classic, KeyExchange::HelloRetry, KeyExchange::PostQuantum]),
            resumption: *rng.pick(&[Resumption::Never, Resumption::Stored, Resumption::Ticket]),
            client_auth: rng.per_mille(200),
            max_record: if rng.per_mille(300) { Some(rng.between(64, 4_000)) } else { None },
            ..Profile::new(seed, *rng.pick(&SUITES))
        };
        let mut script = dialogue.script();
        if rng.per_mille(300) {
            let at = rng.below(script.len() - 1);
            script.insert(at, Step::KeyUpdate(*rng.pick(&[ClientToServer, ServerToClient])));
        }
        let conversation = Peers::new(profile).converse(&script);
        Self { seed, dialogue, conversation, path }
    }

    fn trace(&self) -> Trace {
        self.conversation.trace(&self.path)
    }

    /// Reads the trace with the key there from the start.
    fn read(&self, trace: Trace) -> Run {
        read(trace, &self.conversation.keylog, KeysAt::Frame(0))
    }

    fn assert_whole(&self, run: &Run) {
        assert_whole(run, &self.dialogue.expected, self.seed);
    }

    fn is_tls(&self) -> bool {
        !self.conversation.keylog.is_empty()
    }
}

#[test]
fn every_session_gives_the_models_transactions() {
    for seed in 0..300 {
        let case = Case::random(seed);
        let run = case.read(case.trace());
        case.assert_whole(&run);
        if case.is_tls() {
            let [session] = &run.sink.sessions[..] else { panic!("seed {seed}: {:?}", run.sink.sessions) };
            assert_eq!(session.outcome, Outcome::Decrypted, "seed {seed}");
            assert_eq!(session.client_app_data_bytes, case.conversation.client_plaintext.len() as u64, "seed {seed}");
            assert_eq!(session.server_app_data_bytes, case.conversation.server_plaintext.len() as u64, "seed {seed}");
            assert_eq!((session.client_gap_bytes, session.server_gap_bytes), (0, 0), "seed {seed}");
            assert_eq!(session.alpn.as_deref(), Some("http/1.1"), "seed {seed}");
        }
    }
}

#[test]
fn segmentation_changes_nothing() {
    for seed in 0..40 {
        let mut case = Case::random(seed);
        for segments in [
            Segments::Mss(1),
            Segments::Mss(40_000),
            Segments::Random { max: 3, seed },
            Segments::Random { max: 17, seed },
            Segments::Random { max: 20_000, seed },
        ] {
            let octets = case.conversation.flights.iter().map(|flight| flight.bytes.len()).sum::<usize>();
            if octets > 50_000 && matches!(segments, Segments::Mss(1) | Segments::Random { max: 3, .. }) {
                continue; // the short ones do, in far less time
            }
            case.path.segments = segments;
            case.assert_whole(&case.read(case.trace()));
        }
    }
}

#[test]
fn reordering_duplicates_and_retransmissions_change_nothing() {
    for seed in 0..300 {
        let case = Case::random(seed);
        let mut rng = Rng::fork(seed, 1);
        let trace = case.trace();
        let trace = match seed % 6 {
            0 => trace.reordered_after(1, &mut rng, 5),
            1 => trace.reordered_after(4, &mut rng, 40),
            2 => trace.duplicated(&mut rng, 1_000),
            3 => trace.retransmitted(&mut rng, 300),
            4 => trace.probed(&mut rng, 100).kept_alive(&mut rng, 100),
            _ => trace
                .retransmitted(&mut rng, 100)
                .probed(&mut rng, 50)
                .duplicated(&mut rng, 100)
                .reordered_after(1, &mut rng, 8),
        };
        case.assert_whole(&case.read(trace));
    }
}

#[test]
fn tunnels_and_interfaces_change_nothing() {
    for seed in 0..60 {
        let case = Case::random(seed);
        let trace = case.trace().split();
        let trace = match seed % 3 {
            0 => trace,
            1 => trace.wrapped(ClientToServer, Wrap::Vlan(100)),
            _ => trace.wrapped(ServerToClient, Wrap::Vxlan(42)),
        };
        case.assert_whole(&case.read(trace));
    }
}

#[test]
fn the_time_of_the_key_changes_nothing() {
    for seed in 0..60 {
        let case = Case::random(seed);
        if !case.is_tls() {
            continue;
        }
        let frames = case.trace().frames.len();
        let handshake = case.conversation.handshake_flights * 2;
        for at in [0, 3, 4, 5, 6, 8, handshake, handshake + 1, handshake + 4, frames / 2, frames - 1, frames] {
            let run = read(case.trace(), &case.conversation.keylog, KeysAt::Frame(at));
            case.assert_whole(&run);
        }
        let run = read(case.trace(), &case.conversation.keylog, KeysAt::Never);
        assert_eq!(run.sink.transactions, [], "seed {seed}");
        assert_eq!(run.sink.sessions[0].outcome, Outcome::NoKey, "seed {seed}");
    }
}

#[test]
fn one_key_line_at_a_time_changes_nothing() {
    for seed in 0..60 {
        let case = Case::random(seed);
        let run = read(case.trace(), &case.conversation.keylog, KeysAt::Drip { seed });
        case.assert_whole(&run);
    }
}

#[test]
fn resumed_sessions_need_no_more_keys_than_they_log() {
    for seed in 0..40 {
        let mut rng = Rng::fork(seed, 2);
        let suite = *rng.pick(&SUITES);
        let resumption = *rng.pick(&[Resumption::Stored, Resumption::Ticket]);
        let mut peers = Peers::new(Profile { resumption, ..Profile::new(seed, suite) });
        let manner = Manner { transactions: 3, max_body: 2_000, until_close: false };
        let first = Dialogue::http1(seed, manner);
        let opened = peers.converse(&first.script());
        let second = Dialogue::http1(seed + 1_000, manner);
        let resumed = peers.converse(&second.script());
        assert!(resumed.resumed, "seed {seed}");
        // TLS 1.2: the master secret is the first session's, and logged under that session's random alone by iRules.
        let keylog = match suite.0 >> 8 {
            0x13 => opened.keylog.clone() + &resumed.keylog,
            _ => opened.keylog.clone(),
        };
        let mut trace = opened.trace(&Path::random(seed));
        let mut path = Path::random(seed + 1_000);
        path.start = trace.frames.last().unwrap().frame.ts;
        trace.frames.extend(resumed.trace(&path).frames);
        let run = read(trace, &keylog, KeysAt::Frame(0));
        let expected = [first.expected, second.expected].concat();
        assert_whole(&run, &expected, seed);
        assert_eq!(run.sink.sessions[1].resumed, Some(true), "seed {seed}");
    }
}

#[test]
fn early_data_is_read_once_whether_taken_or_refused() {
    for seed in 0..20 {
        let suite = SUITES[seed as usize % 3];
        let profile = Profile { early_data: true, resumption: Resumption::Stored, ..Profile::new(seed, suite) };
        let mut peers = Peers::new(profile);
        let opened = peers.converse(&[Step::Send(ServerToClient, b"x".to_vec())]);
        if seed % 2 == 1 {
            peers.forget_sessions();
        }
        let dialogue = Dialogue::small(3, 100, 100);
        let mut script = dialogue.script();
        let Step::Send(_, request) = script.remove(0) else { panic!("a request is first") };
        script.insert(0, Step::EarlyData(request));
        let conversation = peers.converse(&script);
        assert_eq!(conversation.early_data_accepted, seed % 2 == 0);
        let keylog = opened.keylog + &conversation.keylog;
        let run = read(conversation.trace(&Path::random(seed)), &keylog, KeysAt::Frame(0));
        assert_whole(&run, &dialogue.expected, seed);
    }
}

#[test]
fn loss_never_makes_wrong_data() {
    for seed in 0..400 {
        let case = Case::random(seed);
        let mut rng = Rng::fork(seed, 3);
        let per_mille = *rng.pick(&[3, 10, 50, 200, 600]);
        let trace = match rng.below(3) {
            0 => case.trace(),
            1 => case.trace().reordered(&mut rng, 8),
            _ => case.trace().retransmitted(&mut rng, 100).duplicated(&mut rng, 50),
        };
        let trace = trace.lossy(&mut rng, per_mille, None);
        let keys_at =
            *rng.pick(&[KeysAt::Frame(0), KeysAt::Frame(10), KeysAt::Frame(usize::MAX), KeysAt::Drip { seed }]);
        let run = read(trace, &case.conversation.keylog, keys_at);
        assert_sound(&run, &case.dialogue.expected, seed);
    }
}

#[test]
fn one_directions_loss_does_not_stop_the_other() {
    for seed in 0..200 {
        let case = Case::random(seed);
        let mut rng = Rng::fork(seed, 4);
        let lossy: Direction = *rng.pick(&[ClientToServer, ServerToClient]);
        let mut trace = case.trace();
        // The handshake is spared: without the server's first flight nobody can know the keys.
        let handshake: usize = case.conversation.flights[..case.conversation.handshake_flights]
            .iter()
            .filter(|flight| flight.direction == lossy)
            .map(|flight| flight.bytes.len())
            .sum();
        trace.frames.retain(|traced| {
            let data = !traced.range.is_empty() && traced.range.start >= handshake as u64;
            traced.direction != lossy || !data || !rng.per_mille(300)
        });
        let run = case.read(trace);
        assert_sound(&run, &case.dialogue.expected, seed);
        let seen = match lossy {
            ServerToClient => {
                let requests = run.sink.transactions.iter().filter_map(|seen| seen.request.as_ref());
                let requests =
                    requests.map(|request| (request.method.clone(), request.path.clone(), request.body_size));
                let expected = case.dialogue.expected.iter();
                let expected = expected.map(|expected| {
                    let size = expected.request_body.end - expected.request_body.start;
                    (expected.method.to_owned(), expected.path.clone(), size)
                });
                requests.eq(expected)
            }
            ClientToServer => {
                let responses = run.sink.transactions.iter().filter_map(|seen| seen.response.as_ref());
                // One whose request has a hole may be emitted late.
                let mut statuses: Vec<_> = responses.map(|response| response.status).collect();
                let mut expected: Vec<_> = case.dialogue.expected.iter().map(|expected| expected.status).collect();
                statuses.sort();
                expected.sort();
                // Without its request, a response to HEAD cannot be told from one whose body is missing.
                let heads = case.dialogue.expected.iter().any(|expected| expected.method == "HEAD");
                heads || statuses == expected
            }
        };
        assert!(seen, "seed {seed}: lossy {lossy:?}: {:#?}", run.sink.transactions);
    }
}

/// A session of a few transactions in small segments, for each version, and in clear.
fn small_cases() -> Vec<Case> {
    let dialogue = Dialogue::small(3, 60, 120);
    let mut cases = Vec::new();
    for suite in [Some(0x1301), Some(0xc02f), Some(0xcca8), Some(0x1303), None] {
        let conversation = match suite {
            Some(suite) => Peers::new(Profile::new(1, plaintap::tls::CipherSuite(suite))).converse(&dialogue.script()),
            None => dialogue.in_clear(),
        };
        let mut path = Path::numbered(7);
        path.segments = Segments::Mss(100);
        cases.push(Case { seed: u64::from(suite.unwrap_or(0)), dialogue: dialogue.clone(), conversation, path });
    }
    cases
}

#[test]
fn any_single_frame_may_be_lost() {
    for case in small_cases() {
        let whole = case.trace();
        for lost in 0..whole.frames.len() {
            let run = case.read(whole.clone().without(&[lost]));
            assert_sound(&run, &case.dialogue.expected, lost as u64);
            if whole.frames[lost].range.is_empty() {
                assert_whole(&run, &case.dialogue.expected, lost as u64);
            }
        }
    }
}

#[test]
fn any_two_frames_may_be_lost() {
    for case in small_cases() {
        let whole = case.trace();
        for first in 0..whole.frames.len() {
            for second in first + 1..whole.frames.len() {
                let run = case.read(whole.clone().without(&[first, second]));
                assert_sound(&run, &case.dialogue.expected, (first * 1_000 + second) as u64);
            }
        }
    }
}

/// After a loss in the middle of a connection, transactions that it does not touch are whole again.
#[test]
fn what_a_loss_does_not_touch_stays_whole() {
    let dialogue = Dialogue::small(8, 100, 300);
    for suite in [0x1301, 0xc02f, 0xcca8, 0x1303] {
        let conversation = Peers::new(Profile::new(1, plaintap::tls::CipherSuite(suite))).converse(&dialogue.script());
        let mut path = Path::numbered(9);
        path.segments = Segments::Mss(150);
        let whole = conversation.trace(&path);
        // Flights after the handshake are requests and responses in turn; session tickets come with the handshake.
        let mut ends = [0_u64; 2];
        let mut last_of = Vec::new();
        for (number, flight) in conversation.flights.iter().enumerate() {
            let end = &mut ends[flight.direction as usize];
            *end += flight.bytes.len() as u64;
            if number >= conversation.handshake_flights {
                last_of.push((flight.direction, *end, (number - conversation.handshake_flights) / 2));
            }
        }
        for lost in 0..whole.frames.len() {
            let traced = &whole.frames[lost];
            let touched = last_of.iter().find(|(direction, end, _)| {
                *direction == traced.direction && !traced.range.is_empty() && traced.range.start < *end
            });
            let handshake = conversation.flights[..conversation.handshake_flights]
                .iter()
                .filter(|flight| flight.direction == traced.direction)
                .map(|flight| flight.bytes.len() as u64)
                .sum::<u64>();
            if traced.range.is_empty() || traced.range.start < handshake {
                continue;
            }
            let Some((_, _, touched)) = touched else { continue };
            let run = read(whole.clone().without(&[lost]), &conversation.keylog, KeysAt::Frame(0));
            assert_sound(&run, &dialogue.expected, lost as u64);
            for (number, expected) in dialogue.expected.iter().enumerate().filter(|(number, _)| number != touched) {
                let what = format!("suite {suite:#x}, frame {lost} of transaction {touched} lost: {expected:?}");
                let mut transactions = run.sink.transactions.iter();
                let seen = transactions.find(|seen| seen.request.as_ref().is_some_and(|it| it.path == expected.path));
                let seen = seen.unwrap_or_else(|| panic!("{what} is not there: {:#?}", run.sink.transactions));
                assert_equal(seen, expected, lost as u64);
                // The next three pairs may be flagged: more than one message may be lost.
                let doubted = (*touched + 1..=*touched + 3).contains(&number);
                assert!(seen.reasons.is_empty() || doubted, "{what} is not whole: {:#?}", run.sink.transactions);
            }
        }
    }
}
