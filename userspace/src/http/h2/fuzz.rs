//! What the fuzz targets `hpack` and `h2` run; unit tests run it on a few inputs too.

use super::hpack::{Decoder, Scratch};
use crate::Timestamp;
use crate::flow::Direction::{ClientToServer, ServerToClient};
use crate::flow::{Endpoint, FlowContext};
use crate::http::{Connection, HttpConfig, HttpStats, Kind, Lost, Output, StreamEnd};
use crate::sink::JsonLines;
use crate::wire::Outer;

/// Decodes `data` as header blocks with one decoder that sees all of them and one that misses some: neither may panic or
/// exceed its limit, and as long as the first finds nothing to object to, the second agrees with it or does not know.
///
/// ```text
/// data: limit (1 octet, times 64), then blocks: length (1 octet; 0: the observer misses the next), octets
/// ```
pub fn fuzz_hpack(data: &[u8]) {
    let Some((&limit, mut rest)) = data.split_first() else { return };
    let limit = usize::from(limit) * 64;
    let (mut whole, mut observer) = (Decoder::new(1 << 20), Decoder::unknown(limit));
    let mut scratch = Scratch::default();
    let mut lawful = true;
    let mut missed = false;
    while let Some((&len, tail)) = rest.split_first() {
        if len == 0 {
            missed = true;
            rest = tail;
            continue;
        }
        let (block, tail) = tail.split_at(tail.len().min(usize::from(len)));
        rest = tail;
        let mut truth = Vec::new();
        let outcome = whole.decode(block, &mut scratch, |field| {
            truth.push((field.name.map(<[u8]>::to_vec), field.value.map(<[u8]>::to_vec)));
        });
        lawful &= outcome.is_ok_and(|decoded| decoded.unknown == 0);
        if missed {
            observer.forget();
            missed = false;
            continue;
        }
        let mut position = 0;
        let outcome = observer.decode(block, &mut scratch, |field| {
            if lawful {
                let (name, value) = &truth[position];
                assert!(field.name.is_none() || field.name == name.as_deref());
                assert!(field.value.is_none() || field.value == value.as_deref());
            }
            position += 1;
        });
        assert!(!lawful || outcome.is_ok_and(|decoded| decoded.beyond_table == 0));
        assert!(observer.table().size() <= limit && observer.table().len() <= limit / 32);
    }
}

/// Plays `data` as a connection with small limits, checks the accounts, and returns what came out as JSON lines: the caller
/// checks that they are JSON.
///
/// ```text
/// data: switches (1 octet), then operations: code (1 octet), length (1 octet), octets
/// ```
pub fn fuzz_h2(data: &[u8]) -> Vec<u8> {
    let Some((&switches, mut rest)) = data.split_first() else { return Vec::new() };
    let config = HttpConfig {
        body_limit: if switches & 1 == 0 { 0 } else { 64 },
        max_head: if switches & 2 == 0 { 65_536 } else { 128 },
        max_fields: 4,
        max_streams: 4,
        max_streams_held: 2_048,
        max_header_block: 256,
        max_continuations: 2,
        max_header_table: 512,
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
        midstream: switches & 4 != 0,
    };
    let (mut sink, mut stats) = (JsonLines::new(Vec::new()), HttpStats::default());
    let mut connection = Connection::new(if switches & 8 == 0 { Kind::Http2 } else { Kind::Http2Midway });
    let mut ts = Timestamp::ZERO;
    while let [code, len, tail @ ..] = rest {
        let (octets, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        ts = ts.saturating_add(std::time::Duration::from_millis(u64::from(code >> 4) * 500));
        let mut out = Output { flow: &flow, sink: &mut sink, stats: &mut stats, config: &config };
        let direction = if code & 1 == 0 { ClientToServer } else { ServerToClient };
        match code >> 1 & 7 {
            0 => connection.gap(direction, ts, Lost::Exactly(u64::from(*len)), &mut out),
            1 => connection.gap(direction, ts, Lost::AtMost(u64::from(*len)), &mut out),
            2 if *len == 0 => connection.end(direction, ts, StreamEnd::Closed, &mut out),
            2 if *len == 1 => connection.trim(),
            3 => {
                connection.data(direction, ts, super::frame::PREFACE, &mut out);
            }
            _ => {
                connection.data(direction, ts, octets, &mut out);
            }
        }
    }
    let mut out = Output { flow: &flow, sink: &mut sink, stats: &mut stats, config: &config };
    connection.finish(ts, &mut out);
    assert_eq!(stats.requests, stats.paired + stats.requests_unanswered);
    assert_eq!(stats.responses, stats.paired + stats.responses_unasked);
    assert_eq!(stats.transactions, stats.paired + stats.requests_unanswered + stats.responses_unasked);
    sink.into_inner().0
}

#[cfg(test)]
mod tests {
    use crate::testing::Rng;
    use crate::testing::h2::{Manner, Session};

    #[test]
    fn hpack_target_runs() {
        super::fuzz_hpack(&[]);
        super::fuzz_hpack(&[1, 0, 4, 0x40, 1, b'a', 0, 1, 0xbe, 3, 0x7f, 0x80, 0x01, 2, 0x40, 0xff]);
        let noise = noise(1);
        for start in 0..200 {
            super::fuzz_hpack(&noise[start * 100..]);
        }
    }

    #[test]
    fn h2_target_runs() {
        let noise = noise(2);
        for start in 0..50 {
            super::fuzz_h2(&noise[start * 300..]);
        }
        // Sessions with a few octets changed get further.
        for seed in 0..FUZZED {
            let mut rng = Rng::new(seed);
            let session = Session::random(seed, Manner { requests: 6, concurrency: 3, max_body: 300 });
            let mut data = vec![seed as u8 & 3];
            for (direction, octets) in &session.writes {
                for chunk in octets.chunks(255) {
                    let code = 8 | *direction as u8;
                    data.extend([if rng.per_mille(30) { rng.below(256) as u8 } else { code }, chunk.len() as u8]);
                    data.extend_from_slice(chunk);
                }
            }
            for _ in 0..rng.below(6) {
                let at = rng.below(data.len());
                data[at] = rng.below(256) as u8;
            }
            for line in super::fuzz_h2(&data).split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
                serde_json::from_slice::<serde_json::Value>(line).unwrap();
            }
        }
    }

    const FUZZED: u64 = 200;

    fn noise(seed: u64) -> Vec<u8> {
        let mut noise = vec![0; 20_000];
        Rng::new(seed).fill(&mut noise);
        noise
    }
}
