//! What the fuzz target `h1` runs; a unit test runs it too.

use super::super::{Connection, HttpConfig, HttpStats, Lost, Next, Output, StreamEnd};
use crate::Timestamp;
use crate::flow::Direction::{ClientToServer, ServerToClient};
use crate::flow::{Endpoint, FlowContext};
use crate::sink::JsonLines;
use crate::wire::Outer;

/// Plays `data` as a connection with small limits, checks the accounts, and returns what came out as JSON lines: the caller
/// checks that they are JSON.
///
/// ```text
/// data: switches (1 octet), then operations: code (1 octet), length (1 octet), octets
/// ```
pub fn fuzz_h1(data: &[u8]) -> Vec<u8> {
    let Some((&switches, mut rest)) = data.split_first() else { return Vec::new() };
    let config = HttpConfig {
        body_limit: if switches & 1 == 0 { 0 } else { 64 },
        max_head: if switches & 2 == 0 { 65_536 } else { 128 },
        max_fields: 4,
        max_outstanding: 4,
        redact: switches & 4 == 0,
        ..HttpConfig::default()
    };
    let outer = Outer::default();
    let end = |port| Endpoint { addr: [127, 0, 0, 1].into(), port };
    let flow = FlowContext {
        client: end(1),
        server: end(2),
        id: 0,
        interface: None,
        outer: &outer,
        tls: None,
        f5: None,
        midstream: switches & 8 != 0,
    };
    let mut sink = JsonLines::new(Vec::new());
    let mut stats = HttpStats::default();
    let mut connection = Connection::default();
    let mut ts = Timestamp::ZERO;
    let mut opaque = false;
    while let [code, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        ts = Timestamp::from_nanos(ts.as_nanos() + 1);
        let mut out = Output { flow: &flow, sink: &mut sink, stats: &mut stats, config: &config };
        let direction = if code & 1 == 0 { ClientToServer } else { ServerToClient };
        match code >> 1 & 7 {
            0 => connection.gap(direction, ts, Lost::Exactly(u64::from(*len)), &mut out),
            1 => connection.gap(direction, ts, Lost::AtMost(u64::from(*len)), &mut out),
            2 => connection.end(direction, ts, StreamEnd::Closed, &mut out),
            3 => connection.trim(),
            _ => match connection.data(direction, ts, bytes, &mut out) {
                Next::Http => assert!(!opaque, "HTTP after another protocol"),
                Next::Opaque(offset) => {
                    assert!(offset <= bytes.len());
                    opaque = true;
                }
            },
        }
    }
    let mut out = Output { flow: &flow, sink: &mut sink, stats: &mut stats, config: &config };
    connection.finish(ts, &mut out);
    connection.finish(ts, &mut out);
    assert_eq!(stats.requests, stats.paired + stats.requests_unanswered, "{stats:?}");
    assert_eq!(stats.responses, stats.paired + stats.responses_unasked, "{stats:?}");
    assert_eq!(stats.transactions, stats.requests + stats.responses_unasked, "{stats:?}");
    sink.into_inner().0
}
