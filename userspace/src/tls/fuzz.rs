//! What the fuzz targets `records` and `handshake` do with an input.

use std::time::Duration;

use plaintap_keystore::keylog::load_keylog;
use plaintap_keystore::{KeySource, Store, StoreConfig};

use super::handshake::{self, ClientHello, EncryptedExtensions, ServerHello};
use super::{Connection, Keys, Session, TlsConfig, TlsContext, TlsShared, Waiting};
use crate::Timestamp;
use crate::flow::{Direction, Endpoint, FlowContext};
use crate::http::{HttpConfig, HttpStats, StreamEnd, Transaction};
use crate::sink::TransactionSink;
use crate::wire::Outer;

/// Parses any handshake messages. Panics only where a parser does.
pub fn fuzz_handshake(data: &[u8]) {
    let mut rest = data;
    while let Some((_, message)) = handshake::split_message(rest) {
        assert!(message.len() >= handshake::HEADER_LEN);
        rest = &rest[message.len()..];
        parse(&message[handshake::HEADER_LEN..]);
    }
    parse(data);
}

fn parse(body: &[u8]) {
    let hello = ClientHello::parse(body).or_else(|| ClientHello::parse_v2(body));
    if let Some(hello) = hello {
        assert!(hello.session_id.len() + hello.ticket.len() <= body.len());
    }
    let _ = ServerHello::parse(body).map(|hello| hello.is_retry_request());
    let _ = EncryptedExtensions::parse(body);
    let _ = handshake::session_ticket(body);
}

/// Observes any two streams. Input, per step: what happens (1 octet: direction, and data, a gap, an end, a key or a give-up),
/// length (1), and the octets. Keys for the client random of 32 zeros may come. Panics when the accounts do not balance.
pub fn fuzz_records(data: &[u8]) {
    // Small, since one is made for each input.
    let store = Store::new(StoreConfig { max_readers: 1, inbox_capacity: 8, capacity: 64, ..StoreConfig::default() });
    let Ok(mut reader) = store.reader() else { return };
    let config =
        TlsConfig { parked_octets_per_flow: 4_000, resync_octets: 2_000, resync_trials: 8, ..TlsConfig::default() };
    let mut shared = TlsShared::new(config);
    let (outer, http_config, mut http_stats) = (Outer::default(), HttpConfig::default(), HttpStats::default());
    let end = |port| Endpoint { addr: [10, 0, 0, 1].into(), port };
    let flow = FlowContext {
        client: end(1),
        server: end(2),
        id: 1,
        interface: None,
        outer: &outer,
        tls: None,
        f5: None,
        midstream: false,
    };
    let mut connection = Connection::new(Timestamp::ZERO);
    let mut sink = Sessions(0);
    let (mut rest, mut now) = (data, 0);
    while let Some((&[what, len], more)) = rest.split_first_chunk() {
        let (octets, more) = more.split_at(more.len().min(usize::from(len) * 4));
        rest = more;
        now += 1;
        let ts = Timestamp::from_nanos(now);
        let direction = if what & 1 == 0 { Direction::ClientToServer } else { Direction::ServerToClient };
        let mut context = TlsContext {
            flow: &flow,
            token: 1,
            keys: Keys { reader: &mut reader, store: &store },
            shared: &mut shared,
            http_config: &http_config,
            http_stats: &mut http_stats,
            sink: &mut sink,
        };
        match what >> 4 {
            0 => connection.gap(direction, ts, u64::from(len) + 1, &mut context),
            1 if len == 0 => connection.end(direction, ts, StreamEnd::Closed, &mut context),
            2 if len == 0 => connection.give_up(&mut context),
            3 if len == 0 => connection.trim(),
            4 if len < 4 => {
                let label = [
                    "CLIENT_RANDOM",
                    "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                    "SERVER_TRAFFIC_SECRET_0",
                    "CLIENT_TRAFFIC_SECRET_0",
                ];
                let len = if what & 2 == 0 { 96 } else { 64 };
                let line =
                    format!("{} {} {}\n", label[usize::from(what >> 2 & 3)], "0".repeat(63) + "1", "a".repeat(len));
                load_keylog(&store, line.as_bytes(), KeySource::File, Duration::ZERO);
                connection.wake(ts, &mut context);
            }
            _ => connection.data(direction, ts, &mut octets.to_vec(), &mut context),
        }
    }
    let mut context = TlsContext {
        flow: &flow,
        token: 1,
        keys: Keys { reader: &mut reader, store: &store },
        shared: &mut shared,
        http_config: &http_config,
        http_stats: &mut http_stats,
        sink: &mut sink,
    };
    connection.finish(Timestamp::from_nanos(now), [0, 0], &mut context);
    let stats = crate::stats::Stats { tls: shared.stats, http: http_stats, ..Default::default() };
    assert_eq!(stats.imbalances(), Vec::<String>::new());
    assert_eq!((sink.0, reader.waits(), shared.waiting()), (1, 0, Waiting::default()));
}

#[derive(Debug)]
struct Sessions(u64);

impl TransactionSink for Sessions {
    fn transaction(&mut self, _: &Transaction<'_>) {}

    fn session(&mut self, _: &Session<'_>) {
        self.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    /// A ClientHello and a ServerHello of a random of 31 zeros and a one, for a start.
    fn hellos() -> Vec<u8> {
        let hello = |kind: u8, tail: &[u8]| {
            let mut body = vec![3, 3];
            body.extend([0; 31]);
            body.push(1);
            body.extend(tail);
            let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, kind, 0, 0, body.len() as u8];
            record.extend(body);
            record
        };
        let mut data = Vec::new();
        for (step, record) in [(0x50, hello(1, &[0, 0, 2, 0x13, 1, 1, 0])), (0x51, hello(2, &[0, 0xc0, 0x2f, 0]))] {
            data.extend([step, record.len().div_ceil(4) as u8]);
            data.extend(&record);
            data.extend(std::iter::repeat_n(0, record.len().next_multiple_of(4) - record.len()));
        }
        data
    }

    #[test]
    fn any_octets_balance() {
        let mut state = 7u64;
        let mut octet = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        for round in 0..2_000usize {
            let mut data = if round % 2 == 0 { hellos() } else { Vec::new() };
            for _ in 0..round % 40 {
                let len = octet() % 12;
                data.extend([octet(), len]);
                if len > 2 {
                    // Records as they may be, now and then.
                    data.extend([20 + octet() % 5, 3, 3, 0, octet() % 44]);
                    data.extend((0..usize::from(len) * 4 - 5).map(|_| octet()));
                }
            }
            super::fuzz_records(&data);
            super::fuzz_handshake(&data);
        }
    }
}
