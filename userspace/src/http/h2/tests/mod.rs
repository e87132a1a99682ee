//! Whole connections: what peers say, split, coalesced and lost in every way, against what comes out.

mod frames;
mod loss;
mod sessions;

use crate::Timestamp;
use crate::flow::Direction;
use crate::flow::{Endpoint, FlowContext};
use crate::http::{
    Connection, Headers, HttpConfig, HttpStats, Kind, Lost, Output, Stage, StreamEnd, Transaction, WebSocket,
};
use crate::sink::{JsonLines, TransactionSink};
use crate::testing::h2::{Fields, Said, SaidMessage, Session};
use crate::tls;
use crate::wire::Outer;

/// One connection, time that goes on by a microsecond with every call.
pub(super) struct Rig {
    pub(super) connection: Connection,
    pub(super) config: HttpConfig,
    pub(super) stats: HttpStats,
    pub(super) midstream: bool,
    pub(super) sink: Collected,
    pub(super) micros: u64,
}

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) seen: Vec<Seen>,
    json: Option<JsonLines<Vec<u8>>>,
}

/// A transaction with its own octets.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) said: Said,
    pub(super) has_request: bool,
    pub(super) has_response: bool,
    pub(super) unknown: [u32; 2],
    pub(super) reasons: Vec<&'static str>,
    pub(super) stage: Stage,
    pub(super) index: u64,
}

impl TransactionSink for Collected {
    fn transaction(&mut self, transaction: &Transaction<'_>) {
        self.json.get_or_insert_with(|| JsonLines::new(Vec::new())).transaction(transaction);
        self.seen.push(Seen::from(transaction));
    }

    fn session(&mut self, _session: &tls::Session<'_>) {}

    fn websocket(&mut self, websocket: &WebSocket<'_>) {
        self.json.get_or_insert_with(|| JsonLines::new(Vec::new())).websocket(websocket);
    }
}

impl Seen {
    fn from(transaction: &Transaction<'_>) -> Self {
        let fields = |headers: &Headers<'_>| -> Fields {
            headers.iter().map(|header| (header.name.to_vec(), header.value.to_vec())).collect()
        };
        let mut said = Said { id: transaction.stream_id.unwrap_or_default(), ..Said::default() };
        if let Some(request) = &transaction.request {
            let path = request.path.map(|path| {
                let query = request.query.map(|query| [b"?", query].concat()).unwrap_or_default();
                [path, &query].concat()
            });
            let pseudo = [
                (":method", (!request.method.is_empty()).then(|| request.method.to_vec())),
                (":scheme", request.scheme.map(<[u8]>::to_vec)),
                (":authority", request.authority.map(<[u8]>::to_vec)),
                (":path", path),
            ];
            let pseudo = pseudo.into_iter().filter_map(|(name, value)| Some((name.as_bytes().to_vec(), value?)));
            let head = pseudo.chain(fields(&request.headers)).collect();
            said.request = SaidMessage { head, body: request.body_size, trailers: fields(&request.trailers) };
            said.pushed = request.pushed;
        }
        if let Some(response) = &transaction.response {
            let status = (response.status > 0).then(|| response.status.to_string().into_bytes());
            let status = status.map(|status| (b":status".to_vec(), status));
            let head = status.into_iter().chain(fields(&response.headers)).collect();
            said.response = SaidMessage { head, body: response.body_size, trailers: fields(&response.trailers) };
        }
        Self {
            said,
            has_request: transaction.request.is_some(),
            has_response: transaction.response.is_some(),
            unknown: [
                transaction.request.as_ref().map_or(0, |request| request.unknown_fields),
                transaction.response.as_ref().map_or(0, |response| response.unknown_fields),
            ],
            reasons: transaction.reasons.names().collect(),
            stage: transaction.stage,
            index: transaction.index,
        }
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        // Never-indexed values are redacted by default; most tests want to see them.
        let config = HttpConfig { redact: false, ..HttpConfig::default() };
        let (stats, sink) = Default::default();
        Self { connection: Connection::new(Kind::Http2), config, stats, midstream: false, sink, micros: 0 }
    }

    pub(super) fn midway() -> Self {
        Self { midstream: true, ..Self::new() }
    }

    pub(super) fn with<T>(&mut self, work: impl FnOnce(&mut Connection, Timestamp, &mut Output<'_>) -> T) -> T {
        self.micros += 1;
        let ts = Timestamp::from_nanos(self.micros * 1_000);
        let end = |last: u8, port: u16| Endpoint { addr: [192, 0, 2, last].into(), port };
        let outer = Outer::default();
        let flow = FlowContext {
            client: end(1, 50_000),
            server: end(2, 443),
            id: 1,
            interface: None,
            outer: &outer,
            tls: None,
            f5: None,
            midstream: self.midstream,
        };
        let mut out = Output { flow: &flow, sink: &mut self.sink, stats: &mut self.stats, config: &self.config };
        work(&mut self.connection, ts, &mut out)
    }

    pub(super) fn data(&mut self, direction: Direction, octets: &[u8]) {
        self.with(|connection, ts, out| connection.data(direction, ts, octets, out));
    }

    pub(super) fn gap(&mut self, direction: Direction, lost: Lost) {
        self.with(|connection, ts, out| connection.gap(direction, ts, lost, out));
    }

    pub(super) fn end(&mut self, direction: Direction, how: StreamEnd) {
        self.with(|connection, ts, out| connection.end(direction, ts, how, out));
    }

    /// Ends the connection; what came out, with the accounts checked.
    pub(super) fn finish(&mut self) -> Vec<Seen> {
        self.with(|connection, ts, out| connection.finish(ts, out));
        let stats = &self.stats;
        assert_eq!(stats.requests, stats.paired + stats.requests_unanswered, "{stats:?}");
        assert_eq!(stats.responses, stats.paired + stats.responses_unasked, "{stats:?}");
        assert_eq!(stats.transactions, stats.paired + stats.requests_unanswered + stats.responses_unasked);
        assert_eq!(stats.transactions + stats.streams_announced, self.sink.seen.len() as u64);
        std::mem::take(&mut self.sink.seen)
    }

    pub(super) fn json(&mut self) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let (text, _) = self.sink.json.take().unwrap().into_inner();
        text.split(|octet| *octet == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

/// What was said, in the form of what came out.
pub(super) fn text(said: &Said) -> String {
    let seen = Seen {
        said: said.clone(),
        has_request: true,
        has_response: true,
        unknown: [0; 2],
        reasons: Vec::new(),
        stage: Stage::Whole,
        index: 0,
    };
    seen.to_string()
}

/// What came out, by stream, must be what was said.
pub(super) fn assert_all(mut seen: Vec<Seen>, session: &Session, seed: u64) {
    seen.sort_by_key(|seen| seen.said.id);
    assert_eq!(seen.len(), session.streams.len(), "seed {seed}");
    for (seen, said) in seen.iter().zip(&session.streams) {
        assert_eq!(seen.said, *said, "seed {seed}");
        assert!(seen.reasons.is_empty(), "seed {seed}: {seen:?}");
    }
}

/// As text, long values cut.
impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stream {} {:?}", self.said.id, self.reasons)?;
        for (message, unknown) in [(&self.said.request, self.unknown[0]), (&self.said.response, self.unknown[1])] {
            write!(f, "\n  {} octets, {unknown} unknown:", message.body)?;
            for (name, value) in message.head.iter().chain(&[(b"|".to_vec(), Vec::new())]).chain(&message.trailers) {
                let value = &value[..value.len().min(12)];
                write!(f, " {}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))?;
            }
        }
        Ok(())
    }
}
