//! Records as JSON, read back by serde_json.

use std::io::{self, Write};
use std::time::Duration;

use plaintap_keystore::KeySource;
use serde_json::{Map, Value, json};

use super::{JsonLines, TransactionSink};
use crate::Timestamp;
use crate::flow::Direction::{ClientToServer, ServerToClient};
use crate::flow::{Endpoint, F5Context, FlowContext};
use crate::http::{Connection, HttpConfig, HttpStats, Output};
use crate::tls::{CipherSuite, Outcome, ProtocolVersion, Session, TlsInfo};
use crate::wire::{Outer, Tunnel, TunnelKind};

fn tls() -> TlsInfo {
    TlsInfo {
        version: ProtocolVersion::TLS_1_3,
        suite: CipherSuite(0x1301),
        alpn: Some("http/1.1".into()),
        sni: Some("api.example.com".into()),
        resumed: false,
        key_source: KeySource::Irule,
        key_wait: Duration::from_nanos(1_200_345),
    }
}

fn outer() -> Outer {
    let tunnel = Tunnel { kind: TunnelKind::Vxlan, id: Some(42), src: Some([10, 0, 0, 9].into()) };
    Outer { vlans: [100, 7, 0, 0], vlan_count: 2, tunnel: Some(tunnel) }
}

fn flow<'a>(outer: &'a Outer, tls: Option<&'a TlsInfo>, f5: Option<&'a F5Context>) -> FlowContext<'a> {
    FlowContext {
        client: Endpoint { addr: [203, 0, 113, 7].into(), port: 51_234 },
        server: Endpoint { addr: [198, 51, 100, 10].into(), port: 8_443 },
        id: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
        interface: Some("ens1f0"),
        outer,
        tls,
        f5,
        midstream: false,
    }
}

/// One exchange on `flow`, as a record.
fn record(flow: &FlowContext<'_>, config: &HttpConfig, request: &[u8], response: &[u8]) -> Map<String, Value> {
    let mut sink = JsonLines::new(Vec::new());
    let mut stats = HttpStats::default();
    let mut connection = Connection::default();
    let mut out = Output { flow, sink: &mut sink, stats: &mut stats, config };
    let start = Timestamp::from_nanos(1_787_398_495_123_456_789);
    connection.data(ClientToServer, start, request, &mut out);
    let end = start.saturating_add(Duration::from_nanos(18_234_567));
    connection.data(ServerToClient, end, response, &mut out);
    connection.finish(end, &mut out);
    let (text, _) = sink.into_inner();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_transaction_has_the_fields_of_its_schema() {
    let (outer, tls) = (outer(), tls());
    let f5 = F5Context { virtual_server: Some("/Common/vs".into()), flow_id: Some(7), peer_flow_id: Some(8) };
    let request = b"POST /v1/pay?a=1&sig=abc HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.9\r\n\
        Content-Type: application/json\r\nAccept: a\r\nACCEPT: b\r\nAuthorization: Basic eDp5\r\n\
        traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nContent-Length: 5\r\n\r\n12345";
    let response = b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nabc";
    let got = record(&flow(&outer, Some(&tls), Some(&f5)), &HttpConfig::default(), request, response);
    let expected: Value = serde_json::from_str(
        r#"{
        "schema": "plaintap.http/1", "time": "2026-08-22T11:34:55.123456789Z", "duration_ns": 18234567,
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "parent_span_id": "b7ad6b7169203331",
        "http.request.method": "POST", "url.scheme": "https", "url.path": "/v1/pay", "url.query": "a=1&sig=REDACTED",
        "server.address": "api.example.com", "server.port": 443,
        "client.address": "203.0.113.7", "client.port": 51234,
        "network.peer.address": "203.0.113.7", "network.peer.port": 51234,
        "network.local.address": "198.51.100.10", "network.local.port": 8443,
        "network.transport": "tcp", "network.type": "ipv4",
        "network.protocol.name": "http", "network.protocol.version": "1.1", "user_agent.original": "curl/8.9",
        "http.request.header.host": ["api.example.com"], "http.request.header.user-agent": ["curl/8.9"],
        "http.request.header.content-type": ["application/json"], "http.request.header.accept": ["a", "b"],
        "http.request.header.authorization": ["REDACTED"],
        "http.request.header.traceparent": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
        "http.request.header.content-length": ["5"], "http.response.header.content-length": ["3"],
        "http.request.body.size": 5, "http.response.status_code": 503, "http.response.body.size": 3, "error.type": "503",
        "tls.protocol.version": "1.3", "tls.cipher": "TLS_AES_128_GCM_SHA256", "tls.next_protocol": "http/1.1",
        "tls.resumed": false, "plaintap.tls.sni": "api.example.com",
        "plaintap.flow.id": "0123456789abcdef0011223344556677", "plaintap.flow.tx_index": 0,
        "plaintap.capture.interface": "ens1f0", "plaintap.capture.vlan": [100, 7],
        "plaintap.capture.tunnel": "vxlan", "plaintap.capture.tunnel_id": 42, "plaintap.capture.tunnel_src": "10.0.0.9",
        "plaintap.f5.virtual_server": "/Common/vs", "plaintap.f5.flow_id": 7, "plaintap.f5.peer_flow_id": 8,
        "plaintap.key.source": "irule", "plaintap.key.wait_ns": 1200345,
        "plaintap.complete": true,
        "plaintap.redacted": ["http.request.header.authorization", "url.query"]}"#,
    )
    .unwrap();
    assert_eq!(Value::Object(got), expected);
}

#[test]
fn a_server_that_no_one_names_is_the_sni_or_the_address() {
    let (outer, tls) = (Outer::default(), tls());
    let (request, response) = (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.0 204 x\r\n\r\n");
    let server = |record: &Map<String, Value>| (record["server.address"].clone(), record["server.port"].clone());
    let got = record(&flow(&outer, Some(&tls), None), &HttpConfig::default(), request, response);
    assert_eq!(server(&got), (json!("api.example.com"), json!(8443)));
    let got = record(&flow(&outer, None, None), &HttpConfig::default(), request, response);
    assert_eq!(server(&got), (json!("198.51.100.10"), json!(8443)));
    assert!(!got.keys().any(|key| key.starts_with("tls.") || key.starts_with("plaintap.key")));
    assert_eq!((&got["url.scheme"], &got["network.protocol.version"]), (&json!("http"), &json!("1.0")));
    for (host, address, port) in [
        ("h", "h", 80),
        ("h:8080", "h", 8080),
        ("h:", "h", 80),
        ("[2001:db8::1]:81", "2001:db8::1", 81),
        ("[2001:db8::1]", "2001:db8::1", 80),
        ("::1", "::1", 80),
        ("h:99999", "h", 80),
        ("", "198.51.100.10", 8443),
        ("[", "198.51.100.10", 8443),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let got = record(&flow(&outer, None, None), &HttpConfig::default(), request.as_bytes(), response);
        assert_eq!(server(&got), (json!(address), json!(port)), "{host}");
    }
}

#[test]
fn octets_are_text_and_nothing_is_lost() {
    let outer = Outer::default();
    let mut request =
        b"GET /\xe4\xff HTTP/1.1\r\nUtf8: \xc3\xa4\r\nLatin1: \xe4\x80\"\\\x7f\tx\r\nControl: \x01\x1f\r\n".to_vec();
    for repeat in 0..50 {
        request.extend(format!("A{}: {repeat}\r\n", repeat % 20).bytes());
    }
    request.extend(b"\r\n");
    let got = record(&flow(&outer, None, None), &HttpConfig::default(), &request, b"HTTP/1.1 204 x\r\n\r\n");
    assert_eq!(got["url.path"], "/\u{e4}\u{ff}");
    assert_eq!(got["http.request.header.utf8"][0], "\u{e4}");
    assert_eq!(got["http.request.header.latin1"][0], "\u{e4}\u{80}\"\\\u{7f}\tx");
    assert_eq!(got["http.request.header.control"][0], "\u{1}\u{1f}");
    assert_eq!(got["http.request.header.a3"], json!(["3", "23", "43"]));
    assert_eq!(got["http.request.header.a19"], json!(["19", "39"]));
}

#[test]
fn bodies_are_text_or_base64() {
    let outer = Outer::default();
    let config = HttpConfig { body_limit: 9, ..HttpConfig::default() };
    let body = |body: &[u8]| {
        let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        response.extend(body);
        record(&flow(&outer, None, None), &config, b"GET / HTTP/1.1\r\n\r\n", &response)
    };
    let got = body(b"\"text\"");
    assert_eq!(got["http.response.body.content"], "\"text\"");
    assert!(!got.contains_key("plaintap.response.body.truncated") && !got.contains_key("http.request.body.content"));
    // Ten octets, cut within the last character.
    let got = body("12345678\u{e4}".as_bytes());
    assert_eq!((&got["http.response.body.content"], &got["http.response.body.size"]), (&json!("12345678"), &json!(10)));
    assert_eq!((&got["plaintap.response.body.truncated"], &got["plaintap.complete"]), (&json!(true), &json!(true)));
    // RFC 4648 section 10.
    for (text, base64) in [("f", "/2Y="), ("fo", "/2Zv"), ("foo", "/2Zvbw=="), ("foob", "/2Zvb2I=")] {
        let mut octets = b"\xff".to_vec();
        octets.extend(text.bytes());
        let got = body(&octets);
        assert_eq!(got["plaintap.response.body.base64"], base64);
    }
}

#[test]
fn credentials_do_not_leave() {
    let outer = Outer::default();
    let request = b"GET http://user:secret@h/p?X-Amz-Signature=secret&b=2&x-amz-%63redential=secret&AWSAccessKeyId=&sigh=1 HTTP/1.1\r\n\
        Cookie: secret\r\nX-Api-Key: secret\r\nProxy-Authorization: secret\r\nReferer: https://u:secret@h/?sig=secret&a\r\n\r\n";
    let response = b"HTTP/1.1 302 x\r\nSet-Cookie: secret\r\nSet-Cookie: secret\r\nLocation: /p?Signature=secret\r\nContent-Length: 0\r\n\r\n";
    let got = record(&flow(&outer, None, None), &HttpConfig::default(), request, response);
    assert!(!serde_json::to_string(&got).unwrap().contains("secret"), "{got:#?}");
    assert_eq!(
        got["url.query"],
        "X-Amz-Signature=REDACTED&b=2&x-amz-%63redential=REDACTED&AWSAccessKeyId=REDACTED&sigh=1"
    );
    assert_eq!(got["http.request.header.referer"][0], "https://REDACTED@h/?sig=REDACTED&a");
    assert_eq!(got["http.response.header.location"][0], "/p?Signature=REDACTED");
    assert_eq!(got["http.response.header.set-cookie"], json!(["REDACTED", "REDACTED"]));
    assert_eq!(
        got["plaintap.redacted"],
        json!([
            "http.request.header.cookie",
            "http.request.header.x-api-key",
            "http.request.header.proxy-authorization",
            "http.request.header.referer",
            "http.response.header.set-cookie",
            "http.response.header.location",
            "url.query"
        ])
    );
    let open = HttpConfig { redact: false, ..HttpConfig::default() };
    let got = record(&flow(&outer, None, None), &open, request, response);
    assert_eq!(got["http.request.header.cookie"][0], "secret");
    assert!(!got.contains_key("plaintap.redacted"));
}

#[test]
fn a_traceparent_must_be_valid() {
    let outer = Outer::default();
    for (value, valid) in [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", false),
        ("", false),
    ] {
        let request = format!("GET / HTTP/1.1\r\ntraceparent: {value}\r\n\r\n");
        let got =
            record(&flow(&outer, None, None), &HttpConfig::default(), request.as_bytes(), b"HTTP/1.1 204 x\r\n\r\n");
        assert_eq!(got.contains_key("trace_id"), valid, "{value}");
    }
}

#[test]
fn a_session_has_the_fields_of_its_schema() {
    let outer = Outer::default();
    let flow = flow(&outer, None, None);
    let session = Session {
        flow: &flow,
        start: Timestamp::ZERO,
        end: Timestamp::from_nanos(5),
        sni: Some("h"),
        version: Some(ProtocolVersion::TLS_1_2),
        suite: Some(CipherSuite(0xfafa)),
        alpn: Some("h2"),
        resumed: Some(true),
        key: Some((KeySource::File, Duration::ZERO)),
        client_app_data_bytes: 79,
        server_app_data_bytes: 1148,
        client_gap_bytes: 1,
        server_gap_bytes: 2,
        undecrypted_bytes: 3,
        outcome: Outcome::Partial,
    };
    // The clock has been set by half a minute since.
    let mut shifted = JsonLines::with_sessions(Vec::new(), Vec::new());
    shifted.set_clock_shift(30_000_000_000);
    shifted.session(&session);
    let later: Value = serde_json::from_slice(&shifted.into_inner().1.unwrap()).unwrap();
    assert_eq!((&later["time"], &later["duration_ns"]), (&json!("1970-01-01T00:00:30.000000000Z"), &json!(5)));
    let mut sink = JsonLines::with_sessions(Vec::new(), Vec::new());
    sink.session(&session);
    let (transactions, sessions) = sink.into_inner();
    assert!(transactions.is_empty());
    let expected = json!({
        "schema": "plaintap.tls/1", "time": "1970-01-01T00:00:00.000000000Z", "duration_ns": 5,
        "client.address": "203.0.113.7", "client.port": 51234, "server.address": "198.51.100.10", "server.port": 8443,
        "plaintap.flow.id": "0123456789abcdef0011223344556677", "plaintap.tls.sni": "h",
        "tls.protocol.version": "1.2", "tls.cipher": "0xfafa", "tls.next_protocol": "h2", "tls.resumed": true,
        "plaintap.capture.interface": "ens1f0", "plaintap.key.source": "file", "plaintap.key.wait_ns": 0,
        "plaintap.client.app_data_bytes": 79, "plaintap.server.app_data_bytes": 1148,
        "plaintap.client.gap_bytes": 1, "plaintap.server.gap_bytes": 2, "plaintap.undecrypted_bytes": 3,
        "plaintap.outcome": "partial",
    });
    assert_eq!(serde_json::from_slice::<Value>(&sessions.unwrap()).unwrap(), expected);
}

/// A pipe whose reader goes after some writes.
#[derive(Debug)]
struct Pipe(usize);

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_first_error_is_kept_and_told_once() {
    let outer = Outer::default();
    let flow = flow(&outer, None, None);
    let mut sink = JsonLines::new(Pipe(1));
    let (mut stats, config) = (HttpStats::default(), HttpConfig::default());
    let mut connection = Connection::default();
    for _ in 0..1_000 {
        let mut out = Output { flow: &flow, sink: &mut sink, stats: &mut stats, config: &config };
        connection.data(ClientToServer, Timestamp::ZERO, b"GET / HTTP/1.1\r\n\r\n", &mut out);
        connection.data(ServerToClient, Timestamp::ZERO, b"HTTP/1.1 204 x\r\n\r\n", &mut out);
    }
    assert!(sink.has_failed());
    assert_eq!(sink.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(sink.flush().is_ok() && sink.has_failed());
}
