//! Metamorphic: however the same octets are cut into slices, the same transactions come out.

use super::model::Random;
use super::*;

/// A conversation with something of everything: `(direction, octets)` in order.
fn conversation() -> Vec<(Direction, String)> {
    let c = |text: &str| (ClientToServer, text.to_owned());
    let s = |text: &str| (ServerToClient, text.to_owned());
    vec![
        c("GET /1?sig=secret&a=b HTTP/1.1\r\nHost: h:8080\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n"),
        s("HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nContent-Length: 11\r\nX:\r\n\r\nhello world"),
        c(
            "POST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n5;ext=1\r\nabcde\r\n1\r\nf\r\n0\r\nT: a\r\nU: b\r\n\r\n",
        ),
        s("HTTP/1.1 100 Continue\r\n\r\n"),
        s("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n"),
        c(
            "\r\nGET /3 b HTTP/1.1\r\nFold: a\r\n b\r\nNo colon\r\n\r\nHEAD http://u:p@abs/4 HTTP/1.1\nA : b\n\nOPTIONS * HTTP/1.1\r\n\r\n",
        ),
        s(
            "HTTP/1.1 500 Oops\r\nFold: a\r\n\tb\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        ),
        s("HTTP/1.1 204 \r\nA: \u{e4}\"\\\r\n\r\n"),
        c("GET /5 HTTP/1.0\r\nX-Long: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n\r\n"),
        s("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil\r\n\r\nthe HTTP/1.1 200 OK\r\n\r\nend"),
    ]
}

fn play(slices: &[(Direction, &[u8])], max_head: usize) -> Vec<String> {
    let mut rig = Rig::new();
    rig.config.max_head = max_head;
    rig.config.body_limit = 8;
    for (direction, bytes) in slices {
        rig.data(*direction, bytes);
    }
    rig.end(ServerToClient, StreamEnd::Closed);
    rig.finish();
    let records = rig.json().into_iter().map(|mut record| {
        record.remove("time");
        record.remove("duration_ns");
        serde_json::to_string(&record).unwrap()
    });
    records.collect()
}

#[test]
fn any_splitting_gives_the_same_transactions() {
    let conversation = conversation();
    for max_head in [65_536, 70] {
        let whole = conversation.iter().map(|(direction, text)| (*direction, text.as_bytes())).collect::<Vec<_>>();
        let expected = play(&whole, max_head);
        assert_eq!(expected.len(), 6, "{expected:#?}");
        let ones = whole.iter().flat_map(|(direction, bytes)| bytes.chunks(1).map(move |slice| (*direction, slice)));
        assert_eq!(play(&ones.collect::<Vec<_>>(), max_head), expected, "octet by octet, max_head {max_head}");
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut slices = Vec::new();
            for (direction, bytes) in &whole {
                let mut rest = *bytes;
                while !rest.is_empty() {
                    let (slice, tail) = rest.split_at(1 + random.below(rest.len().min(1 + seed as usize)));
                    slices.push((*direction, slice));
                    rest = tail;
                }
            }
            assert_eq!(play(&slices, max_head), expected, "seed {seed}, max_head {max_head}");
        }
    }
}

#[test]
fn the_fuzz_target_runs() {
    for seed in 0..2_000 {
        let mut random = Random::new(seed);
        let mut data = vec![random.below(256) as u8];
        for (direction, text) in conversation() {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let (slice, tail) = rest.split_at(1 + random.below(rest.len().min(255)));
                let code = if random.one_in(12) { random.below(8) } else { 8 } as u8;
                data.extend([code << 1 | u8::from(direction == ServerToClient), slice.len() as u8]);
                data.extend(slice);
                if random.one_in(12) {
                    let at = data.len() - 1 - random.below(slice.len());
                    data[at] = random.below(256) as u8;
                }
                rest = tail;
            }
        }
        for line in fuzz_h1(&data).split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            let record = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(line);
            assert!(record.is_ok(), "seed {seed}: {record:?} {}", String::from_utf8_lossy(line));
        }
    }
}
