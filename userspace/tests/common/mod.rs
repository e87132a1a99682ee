//! Runs the pipeline over generated traffic, and holds what comes out against the model.

use std::ops::Range;
use std::time::Duration;

use plaintap::config::Config;
use plaintap::http::{HttpConfig, Reasons};
use plaintap::pipeline::Pipeline;
use plaintap::stats::Stats;
use plaintap::testing::Rng;
use plaintap::testing::collect::{Collected, Collector};
use plaintap::testing::net::Trace;
use plaintap::testing::stream::{Expected, octets};
use plaintap_keystore::keylog::load_keylog;
use plaintap_keystore::{KeySource, Store, StoreConfig};

/// When the keys come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeysAt {
    /// Before the frame of that number; after the last one, but before the end of the input, if there are fewer.
    Frame(usize),
    /// Each line on its own, before a frame by chance.
    Drip {
        /// Of the chances.
        seed: u64,
    },
    /// Not at all.
    Never,
}

/// What came out of a run.
#[derive(Debug)]
pub(crate) struct Run {
    /// Transactions and sessions.
    pub(crate) sink: Collector,
    /// What the pipeline counted.
    pub(crate) stats: Stats,
}

/// Reads the frames of a trace.
pub(crate) fn read(trace: Trace, keylog: &str, keys_at: KeysAt) -> Run {
    let store = Store::new(StoreConfig::default());
    let config = Config { http: HttpConfig { body_limit: 1 << 20, ..HttpConfig::default() }, ..Default::default() };
    let mut pipeline = Pipeline::new(config, &store).unwrap();
    let mut sink = Collector::default();
    let mut frames = trace.into_frames();
    let count = frames.len();
    let mut rng = Rng::new(match keys_at {
        KeysAt::Drip { seed } => seed,
        _ => 0,
    });
    let mut due: Vec<(usize, &str)> = match keys_at {
        KeysAt::Frame(at) => vec![(at.min(count), keylog)],
        KeysAt::Drip { .. } => keylog.lines().map(|line| (rng.below(count + 1), line)).collect(),
        KeysAt::Never => Vec::new(),
    };
    due.sort_by_key(|(at, _)| *at);
    let mut due = due.into_iter().peekable();
    for (at, frame) in frames.iter_mut().enumerate() {
        while let Some((_, lines)) = due.next_if(|(when, _)| *when <= at) {
            load_keylog(&store, lines.as_bytes(), KeySource::File, Duration::from_nanos(frame.ts.as_nanos()));
        }
        pipeline.push(frame.lend(), &mut sink);
    }
    for (_, lines) in due {
        let now = frames.last().map_or(0, |frame| frame.ts.as_nanos());
        load_keylog(&store, lines.as_bytes(), KeySource::File, Duration::from_nanos(now));
    }
    pipeline.finish(&mut sink);
    assert_accounts_balance(&pipeline, count as u64, &sink);
    Run { sink, stats: pipeline.stats() }
}

/// What goes into a stage comes out of it, each unit under one name.
fn assert_accounts_balance(pipeline: &Pipeline, frames: u64, sink: &Collector) {
    let Stats { wire, flow, tcp, tls, http } = pipeline.stats();
    assert_eq!(wire.frames_in, frames);
    assert_eq!(wire.segments, tcp.segments_in);
    let flow_ends =
        [flow.flows_closed, flow.flows_reset, flow.flows_idle, flow.flows_evicted, flow.flows_replaced, flow.flows_cut];
    assert_eq!(flow.flows_opened, flow_ends.iter().sum::<u64>(), "{flow:?}");
    let segments = [
        tcp.segments_bare,
        tcp.segments_control,
        tcp.segments_delivered,
        tcp.segments_held,
        tcp.segments_duplicate,
        tcp.segments_out_of_window,
        tcp.segments_after_end,
    ];
    assert_eq!(tcp.segments_in, segments.iter().sum::<u64>(), "{tcp:?}");
    let octets = [tcp.octets_delivered, tcp.octets_duplicate, tcp.octets_dropped, tcp.octets_abandoned];
    assert_eq!(tcp.octets_in, octets.iter().sum::<u64>(), "{tcp:?}");
    let records = [
        tls.records_plain,
        tls.records_opened,
        tls.records_bad,
        tls.records_passed_over,
        tls.records_no_key,
        tls.records_wrong_key,
        tls.records_unsupported,
        tls.records_no_handshake,
        tls.records_unplaced,
    ];
    assert_eq!(tls.records_in, records.iter().sum::<u64>(), "{tls:?}");
    assert_eq!(tls.sessions, sink.sessions.len() as u64, "{tls:?}");
    assert_eq!(http.transactions, sink.transactions.len() as u64, "{http:?}");
    assert_eq!(http.transactions, http.paired + http.requests_unanswered + http.responses_unasked, "{http:?}");
    assert_eq!(http.requests, http.paired + http.requests_unanswered, "{http:?}");
    assert_eq!(http.responses, http.paired + http.responses_unasked, "{http:?}");
}

/// The transactions are exactly the model's, and whole.
pub(crate) fn assert_whole(run: &Run, expected: &[Expected], seed: u64) {
    let seen = &run.sink.transactions;
    let paths = || seen.iter().map(|seen| (seen.request.as_ref().map(|request| &request.path), seen.reasons));
    assert_eq!(
        seen.len(),
        expected.len(),
        "seed {seed}: {:?} {:?} {:?}",
        paths().collect::<Vec<_>>(),
        run.sink.sessions,
        run.stats
    );
    for (seen, expected) in seen.iter().zip(expected) {
        assert!(seen.reasons.is_empty(), "seed {seed}: {expected:?}: {seen:?}");
        assert_equal(seen, expected, seed);
    }
}

/// Nothing is wrong: what is whole is the model's, once each; what is not says so, and what it shows is part of the model's.
pub(crate) fn assert_sound(run: &Run, expected: &[Expected], seed: u64) {
    let mut whole = vec![false; expected.len()];
    for seen in &run.sink.transactions {
        let request = seen.request.as_ref();
        let number = request.map(|request| {
            let number = request.path.strip_prefix("/t/").and_then(|number| number.parse::<usize>().ok());
            number.filter(|number| *number < expected.len()).unwrap_or_else(|| panic!("seed {seed}: {seen:?}"))
        });
        if seen.reasons.is_empty() {
            let number = number.unwrap_or_else(|| panic!("seed {seed}: whole without a request: {seen:?}"));
            assert!(!std::mem::replace(&mut whole[number], true), "seed {seed}: twice: {seen:?}");
            assert_equal(seen, &expected[number], seed);
            continue;
        }
        if let (Some(request), Some(number)) = (request, number) {
            let model = &expected[number];
            assert_eq!(request.method, model.method, "seed {seed}: {seen:?}");
            assert_eq!(request.query, model.query, "seed {seed}: {seen:?}");
            assert_part(&request.body, &model.request_body, seed, seen);
        }
        if let Some(response) = &seen.response {
            let fits = |model: &Expected| {
                response.status == model.status && is_part(&response.body, &octets(model.response_body.clone()))
            };
            // Where octets are missing, the reason says that it may be another's; it is right of that one then.
            let doubtful = [Reasons::REQUEST_GAP, Reasons::RESPONSE_GAP, Reasons::MIDSTREAM];
            let right = match number {
                Some(number) if doubtful.iter().all(|doubt| !seen.reasons.contains(*doubt)) => fits(&expected[number]),
                _ => expected.iter().any(fits),
            };
            assert!(right, "seed {seed}: the response is not that request's: {seen:?}");
        }
    }
}

/// A transaction that has both halves shows what the model does.
pub(crate) fn assert_equal(seen: &Collected, expected: &Expected, seed: u64) {
    let request = seen.request.as_ref().unwrap_or_else(|| panic!("seed {seed}: no request: {seen:?}"));
    let response = seen.response.as_ref().unwrap_or_else(|| panic!("seed {seed}: no response: {seen:?}"));
    let size = |range: &Range<u64>| range.end - range.start;
    assert_eq!(
        (&request.method[..], &request.path, &request.query, request.body_size, response.status, response.body_size),
        (
            expected.method,
            &expected.path,
            &expected.query,
            size(&expected.request_body),
            expected.status,
            size(&expected.response_body)
        ),
        "seed {seed}: {seen:?}"
    );
    assert!(request.body == octets(expected.request_body.clone()), "seed {seed}: request body of {}", expected.path);
    assert!(response.body == octets(expected.response_body.clone()), "seed {seed}: response body of {}", expected.path);
}

fn assert_part(part: &[u8], range: &Range<u64>, seed: u64, seen: &Collected) {
    assert!(is_part(part, &octets(range.clone())), "seed {seed}: not part of the model's body: {seen:?}");
}

/// Whether `part` is made of pieces of `whole` in order, as holes leave them.
fn is_part(mut part: &[u8], mut whole: &[u8]) -> bool {
    while !part.is_empty() {
        let agree = part.iter().zip(whole).take_while(|(part, whole)| part == whole).count();
        (part, whole) = (&part[agree..], &whole[agree..]);
        // After a hole: the next octets are found further on. Eight of them say where, in a stream of random letters.
        let needle = &part[..part.len().min(8)];
        if needle.is_empty() {
            return true;
        }
        match whole.windows(needle.len()).position(|window| window == needle) {
            Some(at) => whole = &whole[at..],
            None => return false,
        }
    }
    true
}
