//! In the steady state, neither segments nor records allocate.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use plaintap::Timestamp;
use plaintap::config::Config;
use plaintap::http::Transaction;
use plaintap::pipeline::Pipeline;
use plaintap::sink::TransactionSink;
use plaintap::testing::Rng;
use plaintap::testing::allocations::{Allocations, Counting};
use plaintap::testing::net::{Ending, Path, Trace};
use plaintap::testing::session::{Conversation, Peers, Profile};
use plaintap::testing::stream::Dialogue;
use plaintap::tls::{CipherSuite, Session};
use plaintap_keystore::keylog::load_keylog;
use plaintap_keystore::{KeySource, Store, StoreConfig};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Counts what it gets, and allocates nothing.
#[derive(Debug, Default)]
struct Totals {
    transactions: usize,
    whole: usize,
    response_octets: u64,
}

impl TransactionSink for Totals {
    fn transaction(&mut self, transaction: &Transaction<'_>) {
        self.transactions += 1;
        self.whole += usize::from(transaction.reasons.is_empty());
        self.response_octets += transaction.response.as_ref().map_or(0, |response| response.body_size);
    }

    fn session(&mut self, _: &Session<'_>) {}
}

const SUITES: [u16; 6] = [0x1301, 0x1302, 0x1303, 0xc02f, 0xc030, 0xcca8];
const OCTETS: u64 = 4 << 20;

/// Pushes a trace; gives the allocations of its second half but for the last few frames, and the totals.
fn allocations_of_second_half(trace: Trace, keylog: &str) -> (u64, Totals) {
    let store = Store::new(StoreConfig::default());
    load_keylog(&store, keylog.as_bytes(), KeySource::File, Duration::ZERO);
    let mut pipeline = Pipeline::new(Config::default(), &store).unwrap();
    let mut totals = Totals::default();
    let mut frames = trace.into_frames();
    let (half, end) = (frames.len() / 2, frames.len() - 10);
    let mut calls = 0;
    for (at, frame) in frames.iter_mut().enumerate() {
        let before = Allocations::so_far();
        pipeline.push(frame.lend(), &mut totals);
        if (half..end).contains(&at) {
            calls += Allocations::so_far().since(before).calls;
        }
    }
    pipeline.finish(&mut totals);
    (calls, totals)
}

fn download(suite: u16, max_record: Option<usize>) -> Conversation {
    let profile = Profile { max_record, ..Profile::new(1, CipherSuite(suite)) };
    Peers::new(profile).converse(&Dialogue::download(OCTETS).script())
}

fn assert_none(case: &str, trace: Trace, keylog: &str) {
    let (calls, totals) = allocations_of_second_half(trace, keylog);
    assert_eq!((totals.transactions, totals.whole, totals.response_octets), (1, 1, OCTETS), "{case}");
    assert_eq!(calls, 0, "{case}");
}

#[test]
fn long_records_over_many_segments_allocate_nothing() {
    for suite in SUITES {
        let conversation = download(suite, None);
        assert_none(&format!("{suite:#x}"), conversation.trace(&Path::numbered(1)), &conversation.keylog);
    }
}

#[test]
fn short_records_within_segments_allocate_nothing() {
    for suite in SUITES {
        let conversation = download(suite, Some(500));
        assert_none(&format!("{suite:#x}"), conversation.trace(&Path::numbered(1)), &conversation.keylog);
    }
}

#[test]
fn segments_out_of_order_allocate_nothing() {
    for suite in SUITES {
        let conversation = download(suite, None);
        let trace = conversation.trace(&Path::numbered(1)).reordered(&mut Rng::new(1), 6);
        assert_none(&format!("{suite:#x}"), trace, &conversation.keylog);
    }
}

#[test]
fn a_transfer_in_clear_allocates_nothing() {
    assert_none("clear", Dialogue::download(OCTETS).in_clear().trace(&Path::numbered(1)), "");
}

#[test]
fn small_transactions_on_one_connection_allocate_nothing() {
    for suite in SUITES {
        let dialogue = Dialogue::small(1_000, 100, 100);
        let conversation = Peers::new(Profile::new(1, CipherSuite(suite))).converse(&dialogue.script());
        let (calls, totals) = allocations_of_second_half(conversation.trace(&Path::numbered(1)), &conversation.keylog);
        assert_eq!((totals.transactions, totals.whole), (1_000, 1_000), "{suite:#x}");
        assert_eq!(calls, 0, "{suite:#x}");
    }
}

/// What `plaintap-bench memory` measures with more flows. Here fewer share the fixed cost of the table, so it is left out: the
/// first half of the flows pay for it.
#[test]
fn an_idle_https_flow_takes_a_kibibyte_at_most() {
    const FLOWS: u32 = 2_048;
    let store = Store::new(StoreConfig::default());
    let mut pipeline = Pipeline::new(Config::default(), &store).unwrap();
    let mut totals = Totals::default();
    let script = &Dialogue::small(1, 100, 100).script()[..2]; // without the ending
    let mut now = Timestamp::ZERO;
    let mut held = [0; 2];
    for (half, held) in (0..).zip(&mut held) {
        for number in 0..FLOWS / 2 {
            let number = half * (FLOWS / 2) + number;
            let conversation = Peers::new(Profile::new(u64::from(number), CipherSuite(0x1301))).converse(script);
            let mut path = Path { ending: Ending::Open, ..Path::numbered(number) };
            path.start = path.start.saturating_add(Duration::from_micros(10) * number + Duration::from_secs(20) * half);
            let mut frames = conversation.trace(&path).into_frames();
            now = now.max(frames.last().unwrap().ts);
            load_keylog(&store, conversation.keylog.as_bytes(), KeySource::File, Duration::ZERO);
            let before = Allocations::so_far();
            for frame in &mut frames {
                pipeline.push(frame.lend(), &mut totals);
            }
            *held += Allocations::so_far().since(before).live_bytes;
        }
        let before = Allocations::so_far();
        for second in 1..=6 {
            pipeline.tick(now.saturating_add(Duration::from_secs(second)), &mut totals);
        }
        *held += Allocations::so_far().since(before).live_bytes;
    }
    assert_eq!(totals.whole, FLOWS as usize);
    assert_eq!(pipeline.flow_count(), FLOWS as usize);
    let each = held[1] / i64::from(FLOWS / 2);
    assert!((300..=1_024).contains(&each), "{each} octets");
}
