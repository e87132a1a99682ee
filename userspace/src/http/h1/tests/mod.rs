//! Conversations as scripts, what comes out as one line a transaction.

mod limits;
mod model;
mod split;

use super::super::{Connection, HttpConfig, HttpStats, Lost, Next, Output, StreamEnd, Transaction};
use super::fuzz_h1;
use crate::Timestamp;
use crate::flow::Direction::{self, ClientToServer, ServerToClient};
use crate::flow::{Endpoint, FlowContext};
use crate::sink::{JsonLines, TransactionSink};
use crate::tls::Session;
use crate::wire::Outer;

/// One connection, one transaction a line, time that goes on by a microsecond with every call.
struct Rig {
    connection: Connection,
    config: HttpConfig,
    stats: HttpStats,
    midstream: bool,
    sink: Lines,
    micros: u64,
    /// What went in.
    log: Vec<String>,
}

/// Checks what holds for every transaction, and writes each as a line and as JSON.
#[derive(Debug)]
struct Lines {
    /// Whether lines tell the responses' `X-Id`.
    show_ids: bool,
    lines: Vec<String>,
    json: JsonLines<Vec<u8>>,
}

impl TransactionSink for Lines {
    fn transaction(&mut self, transaction: &Transaction<'_>) {
        self.json.transaction(transaction);
        self.lines.push(line(transaction, self.show_ids));
    }

    fn session(&mut self, _session: &Session<'_>) {}
}

/// `GET /a 3 -> 200 5 [reasons]`: method, target and body size, status and body size.
fn line(transaction: &Transaction<'_>, show_ids: bool) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut line = match &transaction.request {
        Some(request) => {
            let target = request.path.or(request.authority).unwrap_or_default();
            let query = request.query.map(|query| format!("?{}", text(query))).unwrap_or_default();
            format!("{} {}{query} {}", text(request.method), text(target), request.body_size)
        }
        None => "?".to_owned(),
    };
    line += &match &transaction.response {
        Some(response) => format!(" -> {} {}", response.status, response.body_size),
        None => " -> ?".to_owned(),
    };
    if show_ids && let Some(id) = transaction.response.as_ref().and_then(|response| response.headers.get("x-id")) {
        line += &format!(" #{}", text(id));
    }
    if !transaction.reasons.is_empty() {
        line += &format!(" [{}]", transaction.reasons.names().collect::<Vec<_>>().join(" "));
    }
    line
}

impl Rig {
    fn new() -> Self {
        let sink = Lines { show_ids: false, lines: Vec::new(), json: JsonLines::new(Vec::new()) };
        let (connection, config, stats) = Default::default();
        Self { connection, config, stats, midstream: false, sink, micros: 0, log: Vec::new() }
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Connection, Timestamp, &mut Output<'_>) -> T) -> T {
        self.micros += 1;
        let ts = Timestamp::from_nanos(self.micros * 1_000);
        let end = |last: u8, port: u16| Endpoint { addr: [192, 0, 2, last].into(), port };
        let outer = Outer::default();
        let flow = FlowContext {
            client: end(1, 50_000),
            server: end(2, 80),
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

    fn data(&mut self, direction: Direction, bytes: &[u8]) -> Next {
        self.log.push(format!("{direction:?} {:?}", String::from_utf8_lossy(bytes)));
        self.with(|connection, ts, out| connection.data(direction, ts, bytes, out))
    }

    fn client(&mut self, text: &str) -> &mut Self {
        assert_eq!(self.data(ClientToServer, text.as_bytes()), Next::Http);
        self
    }

    fn server(&mut self, text: &str) -> &mut Self {
        assert_eq!(self.data(ServerToClient, text.as_bytes()), Next::Http);
        self
    }

    fn gap(&mut self, direction: Direction, lost: Lost) -> &mut Self {
        self.log.push(format!("{direction:?} {lost:?}"));
        self.with(|connection, ts, out| connection.gap(direction, ts, lost, out));
        self
    }

    fn end(&mut self, direction: Direction, how: StreamEnd) -> &mut Self {
        self.with(|connection, ts, out| connection.end(direction, ts, how, out));
        self
    }

    /// Ends the connection; the lines that came out, and the accounts checked.
    fn finish(&mut self) -> Vec<String> {
        self.with(|connection, ts, out| connection.finish(ts, out));
        let stats = &self.stats;
        assert_eq!(stats.requests, stats.paired + stats.requests_unanswered, "{stats:?}");
        assert_eq!(stats.responses, stats.paired + stats.responses_unasked, "{stats:?}");
        assert_eq!(stats.transactions, stats.paired + stats.requests_unanswered + stats.responses_unasked);
        assert_eq!(stats.transactions, self.sink.lines.len() as u64);
        std::mem::take(&mut self.sink.lines)
    }

    fn json(self) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let (text, _) = self.sink.json.into_inner();
        text.split(|octet| *octet == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

#[test]
fn a_request_and_its_response() {
    let mut rig = Rig::new();
    rig.client("POST /a?b=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    rig.server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(rig.finish(), ["POST /a?b=1 3 -> 200 5"]);
    let json = rig.json();
    assert_eq!(json[0]["url.path"], "/a");
    assert_eq!(json[0]["server.address"], "x");
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn keep_alive_and_pipelining_pair_in_order() {
    let mut rig = Rig::new();
    rig.client(&get("/1")).server(OK);
    rig.client(&(get("/2") + &get("/3"))).client(&get("/4"));
    rig.server(&format!("{OK}HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n")).server(OK);
    assert_eq!(rig.finish(), ["GET /1 0 -> 200 2", "GET /2 0 -> 200 2", "GET /3 0 -> 404 0", "GET /4 0 -> 200 2"]);
}

#[test]
fn bodies_are_framed_as_rfc_9112_says() {
    let mut rig = Rig::new();
    rig.client("HEAD /head HTTP/1.1\r\n\r\n").server("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
    rig.client(&get("/204")).server("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n");
    rig.client(&get("/304")).server("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
    rig.client("PUT /chunks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0a  \r\n0123456789\r\n0\r\nT: v\r\n\r\n");
    rig.server("HTTP/1.1 100 Continue\r\n\r\n").server("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").server(OK);
    rig.client(&get("/same")).server("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nok");
    rig.client(&get("/both"))
        .server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    rig.client(&get("/lf")).server("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n");
    rig.client(&get("/close"))
        .server("HTTP/1.0 200 OK\r\n\r\nall the")
        .server(" rest")
        .end(ServerToClient, StreamEnd::Closed);
    assert_eq!(
        rig.finish(),
        [
            "HEAD /head 0 -> 200 0",
            "GET /204 0 -> 204 0",
            "GET /304 0 -> 304 0",
            "PUT /chunks 13 -> 200 2",
            "GET /same 0 -> 200 2",
            "GET /both 0 -> 200 0 [ambiguous_length]",
            "GET /lf 0 -> 200 2",
            "GET /close 0 -> 200 12",
        ]
    );
    assert_eq!(rig.stats.interim_responses, 2);
    assert_eq!(rig.json()[3]["plaintap.request.trailer.t"][0], "v");
}

#[test]
fn lengths_that_contradict_end_the_message_there() {
    let mut rig = Rig::new();
    rig.client("POST /1 HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde");
    rig.server("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").end(ServerToClient, StreamEnd::Closed);
    assert_eq!(rig.finish(), ["POST /1 0 -> 400 0 [request_body_truncated ambiguous_length]"]);
}

#[test]
fn a_switch_of_protocols_hands_the_rest_over() {
    let mut rig = Rig::new();
    rig.client("CONNECT h.example:443 / HTTP/1.1\r\n\r\n").server("HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n");
    rig.client("CONNECT u:p@h.example:443 HTTP/1.1\r\nHost: other\r\n\r\n");
    let established = b"HTTP/1.0 200 Established\r\nContent-Length: 4\r\n\r\n\x16\x03\x03";
    assert_eq!(rig.data(ServerToClient, established), Next::Opaque(established.len() - 3));
    assert_eq!(rig.data(ClientToServer, b"GET / HTTP/1.1\r\n\r\n"), Next::Opaque(0));
    assert_eq!(rig.finish(), ["CONNECT h.example:443 0 -> 407 0", "CONNECT h.example:443 0 -> 200 0"]);
    let json = rig.json();
    assert_eq!((&json[1]["server.address"], &json[1]["server.port"]), (&"h.example".into(), &443.into()));
    assert!(!json[1].contains_key("url.path"));

    let mut rig = Rig::new();
    rig.client("GET /ws HTTP/1.1\r\nUpgrade: irc/6.9\r\nConnection: upgrade\r\n\r\n");
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: irc/6.9\r\n\r\n\x81\x00";
    assert_eq!(rig.data(ServerToClient, switching), Next::Opaque(switching.len() - 2));
    assert_eq!(rig.finish(), ["GET /ws 0 -> 101 0"]);
}

#[test]
fn odd_heads_that_peers_send_are_read() {
    let mut rig = Rig::new();
    for (request, target) in [
        ("GET /a b HTTP/1.1\r\n\r\n", "/a b"),
        ("GET  /two   HTTP/1.1\r\n\r\n", "/two"),
        ("\r\n\r\nGET /after-empty-lines HTTP/1.1\r\n\r\n", "/after-empty-lines"),
        ("GET /folded HTTP/1.1\r\nX: a\r\n  b\r\n\tc\r\n\r\n", "/folded"),
        ("GET /blank HTTP/1.1\r\nHost : x\r\nno colon\r\nA\x01B: \x02\r\n\r\n", "/blank"),
        ("GET /low http/1.1\r\n\r\n", "/low"),
        ("GET /lf HTTP/1.1\nHost: x\n\n", "/lf"),
        ("M-SEARCH * HTTP/1.1\r\n\r\n", "*"),
        ("GET http://u:p@h:81/abs?q HTTP/1.1\r\nHost: other\r\n\r\n", "/abs?q"),
        ("GET http://h HTTP/1.1\r\n\r\n", ""),
        ("GET /1.2 HTTP/1.2\r\n\r\n", "/1.2"),
    ] {
        rig.client(request).server("HTTP/1.1  200\r\nX : y\r\nContent-Length: 0\r\n\r\n");
        let method = if target == "*" { "M-SEARCH" } else { "GET" };
        assert_eq!(rig.sink.lines.last().unwrap(), &format!("{method} {target} 0 -> 200 0"));
    }
    rig.finish();
    let json = rig.json();
    assert_eq!(json[3]["http.request.header.x"][0], "a    b  \tc");
    assert_eq!(json[4]["http.request.header.host"][0], "x");
    assert_eq!(json[4]["http.request.header.a\u{1}b"][0], "\u{2}");
    assert_eq!(json[7]["http.request.method"], "_OTHER");
    assert_eq!(json[7]["http.request.method_original"], "M-SEARCH");
    assert_eq!((&json[8]["server.address"], &json[8]["server.port"]), (&"h".into(), &81.into()));
    assert_eq!(json[8]["url.scheme"], "http");
}

#[test]
fn what_lacks_its_other_half_says_so() {
    let mut rig = Rig::new();
    rig.server("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n").client(&get("/1"));
    assert_eq!(rig.finish(), ["? -> 408 0 [no_request]", "GET /1 0 -> ? [no_response]"]);

    let mut rig = Rig::new();
    rig.client("POST /half HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").end(ClientToServer, StreamEnd::Reset);
    assert_eq!(rig.finish(), ["POST /half 3 -> ? [no_response request_body_truncated closed_early]"]);

    let mut rig = Rig::new();
    rig.client(&get("/1"))
        .server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        .end(ServerToClient, StreamEnd::Closed);
    assert_eq!(rig.finish(), ["GET /1 0 -> 200 3 [response_body_truncated closed_early]"]);
}

#[test]
fn an_early_response_waits_for_its_request() {
    let mut rig = Rig::new();
    rig.client("POST /big HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc").server(OK);
    assert!(rig.sink.lines.is_empty());
    rig.client("def");
    assert_eq!(rig.finish(), ["POST /big 6 -> 200 2"]);
}

#[test]
fn gaps_within_bodies_are_bridged() {
    let mut rig = Rig::new();
    rig.client("POST /1 HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc").gap(ClientToServer, Lost::Exactly(5)).client("de");
    rig.server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nab").gap(ServerToClient, Lost::Exactly(6));
    rig.server("\r\n0\r\n\r\n");
    rig.client(&get("/2")).server(OK);
    assert_eq!(rig.finish(), ["POST /1 10 -> 200 8 [request_gap response_gap]", "GET /2 0 -> 200 2"]);
    assert_eq!(rig.stats.gaps_bridged, 2);
}

#[test]
fn a_lost_response_is_missed_when_the_next_request_comes() {
    let mut rig = Rig::new();
    for path in ["/1", "/2", "/3"] {
        rig.client(&get(path)).server(OK);
    }
    rig.client(&get("/lost")).gap(ServerToClient, Lost::Exactly(40));
    rig.client(&get("/4")).server(OK);
    assert_eq!(rig.finish()[3..], ["GET /lost 0 -> ? [no_response response_gap]", "GET /4 0 -> 200 2"]);
}

#[test]
fn a_lost_request_leaves_its_response_alone() {
    let mut rig = Rig::new();
    rig.client(&get("/1")).server(OK).gap(ClientToServer, Lost::Exactly(40)).server(OK);
    for path in ["/3", "/4", "/5", "/6"] {
        rig.client(&get(path)).server(OK);
    }
    // The three after it could be shifted, had the client sent the lost one and the next in a row.
    assert_eq!(
        rig.finish(),
        [
            "GET /1 0 -> 200 2",
            "? -> 200 2 [no_request request_gap]",
            "GET /3 0 -> 200 2 [request_gap]",
            "GET /4 0 -> 200 2 [request_gap]",
            "GET /5 0 -> 200 2 [request_gap]",
            "GET /6 0 -> 200 2",
        ]
    );
}

#[test]
fn responses_lost_from_a_pipeline_are_not_guessed() {
    let mut rig = Rig::new();
    rig.client(&(get("/1") + &get("/2") + &get("/3"))).server(OK).gap(ServerToClient, Lost::AtMost(40)).server(OK);
    rig.finish();
    let mut rig = Rig::new();
    rig.client(&(get("/1") + &get("/2") + &get("/3"))).server(OK).gap(ServerToClient, Lost::AtMost(40)).server(OK);
    assert_eq!(
        rig.finish(),
        [
            "GET /1 0 -> 200 2",
            "GET /2 0 -> ? [no_response response_gap]",
            "? -> 200 2 [no_request response_gap]",
            "GET /3 0 -> ? [no_response]"
        ]
    );
}

#[test]
fn first_octets_are_recognised() {
    use super::super::{Probe, probe};
    for (octets, expected) in [
        ("GET / HTTP/1.1\r\n", Probe::Request),
        ("get /x HTTP/1.0\n", Probe::Request),
        ("GET /a b HTTP/1.0\r\n", Probe::Request),
        ("the end of HTTP/1.0\r\n", Probe::Unknown),
        ("PROPFIND /dav HTTP/1.1\r\nDepth", Probe::Request),
        ("POST /long", Probe::Request),
        ("PROPFIND /dav", Probe::NeedMore),
        ("GE", Probe::NeedMore),
        ("", Probe::NeedMore),
        ("HTTP/1.1 200 OK\r\n", Probe::Response),
        ("HTTP/1.1 200\r\n", Probe::Response),
        ("HTTP/1.1 2", Probe::NeedMore),
        ("HTTP/2 200 OK\r\n", Probe::Unknown),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Probe::Http2Preface),
        ("PRI * HTTP/2.0\r\n", Probe::NeedMore),
        ("EHLO mail.example\r\n", Probe::Unknown),
        ("SSH-2.0-OpenSSH\r\n", Probe::Unknown),
        ("\x16\x03\x01\x02\x00\x01", Probe::Unknown),
        ("220 smtp.example ESMTP\r\n", Probe::Unknown),
    ] {
        assert_eq!(probe(octets.as_bytes()), expected, "{octets:?}");
    }
}

#[test]
fn a_connection_joined_midway_is_not_trusted_at_once() {
    let mut rig = Rig::new();
    rig.midstream = true;
    rig.server("end of a body").server(OK).client("half a body").client(&get("/2")).server(OK);
    for path in ["/3", "/4", "/5"] {
        rig.client(&get(path)).server(OK);
    }
    assert_eq!(
        rig.finish(),
        [
            "? -> 200 2 [no_request midstream]",
            "GET /2 0 -> 200 2 [midstream]",
            "GET /3 0 -> 200 2 [midstream]",
            "GET /4 0 -> 200 2 [midstream]",
            "GET /5 0 -> 200 2",
        ]
    );
}

#[test]
fn octets_that_are_not_http_are_passed_over() {
    // As a public capture has it (zeek, http-11-request-then-cruft).
    let mut rig = Rig::new();
    rig.client(&get("/")).server(OK).client("T / HTTP\r\n\r\n").server("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n");
    rig.client("T / HTTP\r\n\r\nT / HTTP\r\n\r\n");
    assert_eq!(rig.finish(), ["GET / 0 -> 200 2", "? -> 400 0 [no_request malformed]"]);
    assert_eq!(rig.stats.octets_skipped, 36);
}

#[test]
fn a_response_to_an_unseen_head_request_has_no_body() {
    let mut rig = Rig::new();
    rig.server("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n").server(OK);
    assert_eq!(rig.finish(), ["? -> 200 0 [no_request]", "? -> 200 2 [no_request]"]);
}
