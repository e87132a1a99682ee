//! JSON lines: schema `plaintap.http/1` for transactions, `plaintap.tls/1` for sessions, one object a line.
//!
//! Names are OpenTelemetry's where it has one. What is not known is absent, never null. Octets that are not UTF-8 are read as
//! ISO-8859-1, in paths and header values alike; bodies that are not UTF-8 come in base64.

use std::io::{self, Write};
use std::net::IpAddr;

use super::TransactionSink;
use super::json::{self, key};
use crate::Timestamp;
use crate::flow::{Direction, FlowContext};
use crate::http::{
    Body, Content, Headers, Host, Reasons, Request, Response, RpcMessages, Stage, Transaction, WebSocket,
};
use crate::tls::{CipherSuite, ProtocolVersion, Session};
use crate::wire::{Outer, TunnelKind};

/// Writes records as JSON lines: transactions to `W`, sessions to `S` where there is one.
///
/// Lines are gathered and written in blocks of about 64 KiB, and by [`JsonLines::flush`]. After an error nothing more is
/// written to that writer.
pub struct JsonLines<W, S = io::Sink> {
    transactions: Lines<W>,
    sessions: Option<Lines<S>>,
    /// Where each header name begins, for heads with many of them.
    order: Vec<u32>,
    /// Nanoseconds that are added to times.
    clock_shift: i64,
}

impl<W: Write> JsonLines<W> {
    /// Writes transactions only.
    pub fn new(transactions: W) -> Self {
        Self { transactions: Lines::new(transactions), sessions: None, order: Vec::new(), clock_shift: 0 }
    }
}

impl<W: Write, S: Write> JsonLines<W, S> {
    /// Writes transactions and sessions.
    pub fn with_sessions(transactions: W, sessions: S) -> Self {
        Self {
            transactions: Lines::new(transactions),
            sessions: Some(Lines::new(sessions)),
            order: Vec::new(),
            clock_shift: 0,
        }
    }

    /// Writes out what is gathered, and flushes the writers.
    ///
    /// Errors: the first one that any write had; [`io::ErrorKind::BrokenPipe`] when the reader has gone.
    pub fn flush(&mut self) -> io::Result<()> {
        self.transactions.flush();
        if let Some(sessions) = &mut self.sessions {
            sessions.flush();
        }
        match self.take_error() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The first error, if there was one; it is told once.
    pub fn take_error(&mut self) -> Option<io::Error> {
        let sessions = self.sessions.as_mut().and_then(|sessions| sessions.error.take());
        self.transactions.error.take().or(sessions)
    }

    /// Whether a write failed.
    pub fn has_failed(&self) -> bool {
        self.transactions.failed || self.sessions.as_ref().is_some_and(|sessions| sessions.failed)
    }

    /// The writers, everything written that could be.
    pub fn into_inner(mut self) -> (W, Option<S>) {
        self.transactions.flush();
        if let Some(sessions) = &mut self.sessions {
            sessions.flush();
        }
        (self.transactions.writer, self.sessions.map(|sessions| sessions.writer))
    }
}

impl<W: Write, S: Write> TransactionSink for JsonLines<W, S> {
    fn transaction(&mut self, transaction: &Transaction<'_>) {
        if self.transactions.failed {
            return;
        }
        let start = transaction.start.shifted(self.clock_shift);
        write_transaction(&mut self.transactions.buf, transaction, start, &mut self.order);
        self.transactions.line();
    }

    fn websocket(&mut self, websocket: &WebSocket<'_>) {
        if !self.transactions.failed {
            write_websocket(&mut self.transactions.buf, websocket, websocket.start.shifted(self.clock_shift));
            self.transactions.line();
        }
    }

    fn session(&mut self, session: &Session<'_>) {
        if let Some(sessions) = self.sessions.as_mut().filter(|sessions| !sessions.failed) {
            write_session(&mut sessions.buf, session, session.start.shifted(self.clock_shift));
            sessions.line();
        }
    }

    fn set_clock_shift(&mut self, nanos: i64) {
        self.clock_shift = nanos;
    }
}

impl<W, S> std::fmt::Debug for JsonLines<W, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonLines").field("gathered", &self.transactions.buf.len()).finish_non_exhaustive()
    }
}

/// One output with what is gathered for it.
struct Lines<W> {
    writer: W,
    buf: Vec<u8>,
    error: Option<io::Error>,
    failed: bool,
}

impl<W: Write> Lines<W> {
    fn new(writer: W) -> Self {
        Self { writer, buf: Vec::with_capacity(BLOCK + BLOCK / 4), error: None, failed: false }
    }

    fn line(&mut self) {
        self.buf.push(b'\n');
        if self.buf.len() >= BLOCK {
            self.write();
        }
    }

    fn write(&mut self) {
        if !self.failed && !self.buf.is_empty() {
            let result = self.writer.write_all(&self.buf);
            self.note(result);
        }
        self.buf.clear();
        self.buf.shrink_to(4 * BLOCK);
    }

    fn flush(&mut self) {
        self.write();
        if !self.failed {
            let result = self.writer.flush();
            self.note(result);
        }
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed = true;
            self.error.get_or_insert(error);
        }
    }
}

/// Octets gathered before a write: far more than a pipe or a page takes at once, little memory.
const BLOCK: usize = 64 * 1024;

/// Writes one `plaintap.http/1` object, without a line's end.
fn write_transaction(buf: &mut Vec<u8>, transaction: &Transaction<'_>, start: Timestamp, order: &mut Vec<u32>) {
    let flow = transaction.flow;
    buf.extend_from_slice(b"{\"schema\":\"plaintap.http/1\"");
    key!(buf, "time");
    json::time(buf, start);
    key!(buf, "duration_ns");
    json::number(buf, transaction.end.as_nanos().saturating_sub(transaction.start.as_nanos()));
    if let Some((trace, parent)) = transaction.trace_parent() {
        key!(buf, "trace_id");
        json::string(buf, trace.as_bytes());
        key!(buf, "parent_span_id");
        json::string(buf, parent.as_bytes());
    }
    if let Some(request) = &transaction.request {
        write_request_line(buf, transaction, request);
    }
    let server = transaction.server();
    key!(buf, "server.address");
    match server.host {
        Host::Name(name) => json::string(buf, name),
        Host::Addr(addr) => json::addr(buf, addr),
    }
    key!(buf, "server.port");
    json::number(buf, u64::from(server.port));
    write_endpoints(buf, flow);
    key!(buf, "network.protocol.name");
    buf.extend_from_slice(b"\"http\"");
    key!(buf, "network.protocol.version");
    json::string(buf, transaction.version.as_str().as_bytes());
    if let Some(request) = &transaction.request {
        if let Some(agent) = request.headers.get("user-agent") {
            key!(buf, "user_agent.original");
            json::string(buf, agent);
        }
        write_fields(buf, b",\"http.request.header.", &request.headers, order);
        write_fields(buf, b",\"plaintap.request.trailer.", &request.trailers, order);
        write_unknown(buf, ",\"plaintap.request.unknown_headers\":", request.unknown_fields);
        key!(buf, "http.request.body.size");
        json::number(buf, request.body_size);
        write_body(buf, "http.request.body.content", "plaintap.request.body.", request.body);
    }
    if let Some(response) = &transaction.response {
        write_response(buf, response, order);
    }
    if let Some(rpc) = &transaction.rpc {
        key!(buf, "rpc.system.name");
        json::string(buf, rpc.system.as_bytes());
        if let Some(method) = rpc.method {
            key!(buf, "rpc.method");
            json::string(buf, method);
        }
        if let Some(status) = rpc.status_code {
            key!(buf, "rpc.status_code");
            json::string(buf, status.as_bytes());
        }
        if let Some(timeout) = rpc.timeout {
            key!(buf, "plaintap.rpc.timeout_ns");
            json::number(buf, saturating_nanos(timeout));
        }
        write_messages(buf, ",\"plaintap.rpc.request.", rpc.request);
        write_messages(buf, ",\"plaintap.rpc.response.", rpc.response);
    }
    if let Some(tls) = flow.tls {
        write_tls(buf, Some(tls.version), Some(tls.suite), tls.alpn.as_deref(), Some(tls.resumed), tls.sni.as_deref());
    }
    key!(buf, "plaintap.flow.id");
    json::id(buf, flow.id);
    if let Some(stream_id) = transaction.stream_id {
        key!(buf, "plaintap.flow.stream_id");
        json::number(buf, u64::from(stream_id));
    }
    key!(buf, "plaintap.flow.tx_index");
    json::number(buf, transaction.index);
    write_capture(buf, flow);
    if let Some(tls) = flow.tls {
        key!(buf, "plaintap.key.source");
        json::string(buf, tls.key_source.as_str().as_bytes());
        key!(buf, "plaintap.key.wait_ns");
        json::number(buf, saturating_nanos(tls.key_wait));
    }
    if let Some((direction, code)) = transaction.reset {
        key!(buf, "plaintap.reset.by");
        json::string(buf, if direction == Direction::ClientToServer { b"client" } else { b"server" });
        key!(buf, "plaintap.reset.code");
        match code.name() {
            Some(name) => json::string(buf, name.as_bytes()),
            None => json::string(buf, format!("{:#x}", code.0).as_bytes()),
        }
    }
    if transaction.stage != Stage::Whole {
        key!(buf, "plaintap.stream");
        json::boolean(buf, true);
    }
    write_reasons(buf, transaction.reasons);
    write_redacted(buf, transaction);
    buf.push(b'}');
}

/// Writes one `plaintap.websocket/1` object, without a line's end.
fn write_websocket(buf: &mut Vec<u8>, websocket: &WebSocket<'_>, start: Timestamp) {
    let flow = websocket.flow;
    buf.extend_from_slice(b"{\"schema\":\"plaintap.websocket/1\"");
    key!(buf, "time");
    json::time(buf, start);
    key!(buf, "duration_ns");
    json::number(buf, websocket.end.as_nanos().saturating_sub(websocket.start.as_nanos()));
    write_endpoints(buf, flow);
    key!(buf, "plaintap.flow.id");
    json::id(buf, flow.id);
    if let Some(stream_id) = websocket.stream_id {
        key!(buf, "plaintap.flow.stream_id");
        json::number(buf, u64::from(stream_id));
    }
    key!(buf, "plaintap.flow.tx_index");
    json::number(buf, websocket.index);
    for (side, sent) in [("client", websocket.client), ("server", websocket.server)] {
        for (name, number) in [
            ("text_messages", sent.text),
            ("text_octets", sent.text_octets),
            ("binary_messages", sent.binary),
            ("binary_octets", sent.binary_octets),
            ("compressed_messages", sent.compressed),
            ("pings", sent.pings),
            ("pongs", sent.pongs),
        ] {
            for part in [",\"plaintap.websocket.", side, ".", name, "\":"] {
                buf.extend_from_slice(part.as_bytes());
            }
            json::number(buf, number);
        }
    }
    let (client, server) = (websocket.client_payload, websocket.server_payload);
    write_body(buf, "plaintap.websocket.client.content", "plaintap.websocket.client.", client);
    write_body(buf, "plaintap.websocket.server.content", "plaintap.websocket.server.", server);
    key!(buf, "plaintap.websocket.permessage_deflate");
    json::boolean(buf, websocket.deflate);
    if let Some((direction, code)) = websocket.close {
        key!(buf, "plaintap.websocket.close_by");
        json::string(buf, if direction == Direction::ClientToServer { b"client" } else { b"server" });
        if let Some(code) = code {
            key!(buf, "plaintap.websocket.close_code");
            json::number(buf, u64::from(code));
        }
    }
    write_capture(buf, flow);
    write_reasons(buf, websocket.reasons);
    buf.push(b'}');
}

fn write_reasons(buf: &mut Vec<u8>, reasons: Reasons) {
    key!(buf, "plaintap.complete");
    json::boolean(buf, reasons.is_empty());
    if !reasons.is_empty() {
        key!(buf, "plaintap.incomplete_reasons");
        array(buf, reasons.names(), |buf, name| json::string(buf, name.as_bytes()));
    }
}

/// Method and target. A method that OpenTelemetry does not know is `_OTHER`, with its name beside.
fn write_request_line(buf: &mut Vec<u8>, transaction: &Transaction<'_>, request: &Request<'_>) {
    if !request.method.is_empty() {
        write_method(buf, request);
    }
    key!(buf, "url.scheme");
    json::string(buf, transaction.scheme());
    if let Some(path) = request.path {
        key!(buf, "url.path");
        json::string(buf, path);
    }
    if let Some(query) = request.query {
        key!(buf, "url.query");
        json::string(buf, query);
    }
    if let Some(protocol) = request.protocol {
        key!(buf, "plaintap.request.protocol");
        json::string(buf, protocol);
    }
    if request.pushed {
        key!(buf, "plaintap.request.pushed");
        json::boolean(buf, true);
    }
}

fn write_method(buf: &mut Vec<u8>, request: &Request<'_>) {
    key!(buf, "http.request.method");
    if Transaction::KNOWN_METHODS.iter().any(|known| known.as_bytes() == request.method) {
        json::string(buf, request.method);
    } else {
        buf.extend_from_slice(b"\"_OTHER\"");
        key!(buf, "http.request.method_original");
        json::string(buf, request.method);
    }
}

fn write_response(buf: &mut Vec<u8>, response: &Response<'_>, order: &mut Vec<u32>) {
    write_fields(buf, b",\"http.response.header.", &response.headers, order);
    write_fields(buf, b",\"plaintap.response.trailer.", &response.trailers, order);
    if response.status != 0 {
        key!(buf, "http.response.status_code");
        json::number(buf, u64::from(response.status));
    }
    write_unknown(buf, ",\"plaintap.response.unknown_headers\":", response.unknown_fields);
    key!(buf, "http.response.body.size");
    json::number(buf, response.body_size);
    write_body(buf, "http.response.body.content", "plaintap.response.body.", response.body);
    if response.status >= 500 {
        key!(buf, "error.type");
        buf.push(b'"');
        json::number(buf, u64::from(response.status));
        buf.push(b'"');
    }
}

/// How many messages of a call went one way, and how large they were.
fn write_messages(buf: &mut Vec<u8>, prefix: &str, messages: Option<RpcMessages>) {
    let Some(messages) = messages else { return };
    for (name, number) in [
        ("messages\":", messages.messages),
        ("message_octets\":", messages.octets),
        ("compressed_messages\":", messages.compressed),
    ] {
        buf.extend_from_slice(prefix.as_bytes());
        buf.extend_from_slice(name.as_bytes());
        json::number(buf, number);
    }
}

/// How many header fields cannot be known.
fn write_unknown(buf: &mut Vec<u8>, key: &str, fields: u32) {
    if fields > 0 {
        buf.extend_from_slice(key.as_bytes());
        json::number(buf, u64::from(fields));
    }
}

fn write_body(buf: &mut Vec<u8>, content: &str, prefix: &str, body: Option<Body<'_>>) {
    let Some(body) = body else { return };
    let key = |buf: &mut Vec<u8>, prefix: &str, name: &str| {
        buf.extend_from_slice(b",\"");
        buf.extend_from_slice(prefix.as_bytes());
        buf.extend_from_slice(name.as_bytes());
        buf.extend_from_slice(b"\":");
    };
    match body.content {
        Content::Text(text) => {
            key(buf, content, "");
            json::string(buf, text.as_bytes());
        }
        Content::Binary(octets) => {
            key(buf, prefix, "base64");
            json::base64(buf, octets);
        }
        Content::Undecoded(octets) => {
            key(buf, prefix, "base64");
            json::base64(buf, octets);
            key(buf, prefix, "undecoded");
            json::boolean(buf, true);
        }
    }
    if body.truncated {
        key(buf, prefix, "truncated");
        json::boolean(buf, true);
    }
}

/// One key a name, the values of repeated fields together.
fn write_fields(buf: &mut Vec<u8>, prefix: &[u8], fields: &Headers<'_>, order: &mut Vec<u32>) {
    if fields.len() > SORT_ABOVE {
        return write_sorted_fields(buf, prefix, fields, order);
    }
    for (index, field) in fields.iter().enumerate() {
        if fields.iter().take(index).any(|earlier| earlier.name == field.name) {
            continue;
        }
        buf.extend_from_slice(prefix);
        json::escaped(buf, field.name);
        buf.extend_from_slice(b"\":[");
        json::string(buf, field.value);
        for again in fields.iter().skip(index + 1).filter(|later| later.name == field.name) {
            buf.push(b',');
            json::string(buf, again.value);
        }
        buf.push(b']');
    }
}

/// The same for heads with so many fields that comparing each with each would take long: in the order of names.
fn write_sorted_fields(buf: &mut Vec<u8>, prefix: &[u8], fields: &Headers<'_>, order: &mut Vec<u32>) {
    let name = |index: u32| fields.at(index as usize).map_or(&[][..], |field| field.name);
    order.clear();
    order.extend(0..fields.len() as u32);
    order.sort_unstable_by(|a, b| name(*a).cmp(name(*b)).then(a.cmp(b)));
    for group in order.chunk_by(|a, b| name(*a) == name(*b)) {
        buf.extend_from_slice(prefix);
        json::escaped(buf, group.first().map_or(&[][..], |first| name(*first)));
        buf.extend_from_slice(b"\":");
        array(buf, group.iter().filter_map(|index| fields.at(*index as usize)), |buf, field| {
            json::string(buf, field.value);
        });
    }
}

/// Field lines above which they are sorted: below, comparing each with each is quicker.
const SORT_ABOVE: usize = 32;

fn array<T>(buf: &mut Vec<u8>, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    buf.push(b'[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            buf.push(b',');
        }
        write(buf, item);
    }
    buf.push(b']');
}

fn write_endpoints(buf: &mut Vec<u8>, flow: &FlowContext<'_>) {
    key!(buf, "client.address");
    json::addr(buf, flow.client.addr);
    key!(buf, "client.port");
    json::number(buf, u64::from(flow.client.port));
    key!(buf, "network.peer.address");
    json::addr(buf, flow.client.addr);
    key!(buf, "network.peer.port");
    json::number(buf, u64::from(flow.client.port));
    key!(buf, "network.local.address");
    json::addr(buf, flow.server.addr);
    key!(buf, "network.local.port");
    json::number(buf, u64::from(flow.server.port));
    key!(buf, "network.transport");
    buf.extend_from_slice(b"\"tcp\"");
    key!(buf, "network.type");
    buf.extend_from_slice(match flow.client.addr {
        IpAddr::V4(_) => b"\"ipv4\"",
        IpAddr::V6(_) => b"\"ipv6\"",
    });
}

fn write_tls(
    buf: &mut Vec<u8>,
    version: Option<ProtocolVersion>,
    suite: Option<CipherSuite>,
    alpn: Option<&str>,
    resumed: Option<bool>,
    sni: Option<&str>,
) {
    if let Some(version) = version {
        if version == ProtocolVersion::SSL_3_0 {
            key!(buf, "tls.protocol.name");
            buf.extend_from_slice(b"\"ssl\"");
        }
        key!(buf, "tls.protocol.version");
        json::string(buf, version.as_str().as_bytes());
    }
    if let Some(suite) = suite {
        key!(buf, "tls.cipher");
        match suite.name() {
            Some(name) => json::string(buf, name.as_bytes()),
            // Not in the registry: the number, as standards write it.
            None => {
                let _ = write!(buf, "\"0x{:04x}\"", suite.0);
            }
        }
    }
    if let Some(alpn) = alpn {
        key!(buf, "tls.next_protocol");
        json::string(buf, alpn.as_bytes());
    }
    if let Some(resumed) = resumed {
        key!(buf, "tls.resumed");
        json::boolean(buf, resumed);
    }
    if let Some(sni) = sni {
        key!(buf, "plaintap.tls.sni");
        json::string(buf, sni.as_bytes());
    }
}

fn write_capture(buf: &mut Vec<u8>, flow: &FlowContext<'_>) {
    if let Some(interface) = flow.interface {
        key!(buf, "plaintap.capture.interface");
        json::string(buf, interface.as_bytes());
    }
    let Outer { vlans, vlan_count, tunnel, .. } = flow.outer;
    if *vlan_count > 0 {
        key!(buf, "plaintap.capture.vlan");
        array(buf, vlans.iter().take(usize::from(*vlan_count)), |buf, vlan| json::number(buf, u64::from(*vlan)));
    }
    if let Some(tunnel) = tunnel {
        key!(buf, "plaintap.capture.tunnel");
        json::string(buf, tunnel_name(tunnel.kind).as_bytes());
        if let Some(id) = tunnel.id {
            key!(buf, "plaintap.capture.tunnel_id");
            json::number(buf, u64::from(id));
        }
        if let Some(src) = tunnel.src {
            key!(buf, "plaintap.capture.tunnel_src");
            json::addr(buf, src);
        }
    }
    if let Some(f5) = flow.f5 {
        if let Some(virtual_server) = &f5.virtual_server {
            key!(buf, "plaintap.f5.virtual_server");
            json::string(buf, virtual_server.as_bytes());
        }
        if let Some(flow_id) = f5.flow_id {
            key!(buf, "plaintap.f5.flow_id");
            json::number(buf, flow_id);
        }
        if let Some(peer) = f5.peer_flow_id {
            key!(buf, "plaintap.f5.peer_flow_id");
            json::number(buf, peer);
        }
    }
}

const fn tunnel_name(kind: TunnelKind) -> &'static str {
    match kind {
        TunnelKind::Mpls => "mpls",
        TunnelKind::Pppoe => "pppoe",
        TunnelKind::IpInIp => "ipip",
        TunnelKind::Gre => "gre",
        TunnelKind::Nvgre => "nvgre",
        TunnelKind::Vxlan => "vxlan",
        TunnelKind::Geneve => "geneve",
        TunnelKind::Erspan => "erspan",
        TunnelKind::Gtp => "gtp",
        TunnelKind::Teredo => "teredo",
    }
}

/// `plaintap.redacted`: the keys of this record whose values were replaced, each once.
fn write_redacted(buf: &mut Vec<u8>, transaction: &Transaction<'_>) {
    let mut count = 0_usize;
    let mut item = |buf: &mut Vec<u8>, prefix: &str, name: &[u8]| {
        if count == 0 {
            key!(buf, "plaintap.redacted");
        }
        buf.push(if count == 0 { b'[' } else { b',' });
        count += 1;
        buf.push(b'"');
        buf.extend_from_slice(prefix.as_bytes());
        json::escaped(buf, name);
        buf.push(b'"');
    };
    let mut fields = |buf: &mut Vec<u8>, prefix: &str, fields: &Headers<'_>| {
        let redacted = || fields.iter().filter(|field| field.redacted);
        for (index, field) in redacted().enumerate() {
            if !redacted().take(index).any(|earlier| earlier.name == field.name) {
                item(buf, prefix, field.name);
            }
        }
    };
    if let Some(request) = &transaction.request {
        fields(buf, "http.request.header.", &request.headers);
        fields(buf, "plaintap.request.trailer.", &request.trailers);
    }
    if let Some(response) = &transaction.response {
        fields(buf, "http.response.header.", &response.headers);
        fields(buf, "plaintap.response.trailer.", &response.trailers);
    }
    if transaction.request.as_ref().is_some_and(|request| request.query_redacted) {
        item(buf, "url.query", b"");
    }
    if count > 0 {
        buf.push(b']');
    }
}

/// Writes one `plaintap.tls/1` object, without a line's end.
fn write_session(buf: &mut Vec<u8>, session: &Session<'_>, start: Timestamp) {
    let flow = session.flow;
    buf.extend_from_slice(b"{\"schema\":\"plaintap.tls/1\"");
    key!(buf, "time");
    json::time(buf, start);
    key!(buf, "duration_ns");
    json::number(buf, session.end.as_nanos().saturating_sub(session.start.as_nanos()));
    key!(buf, "client.address");
    json::addr(buf, flow.client.addr);
    key!(buf, "client.port");
    json::number(buf, u64::from(flow.client.port));
    key!(buf, "server.address");
    json::addr(buf, flow.server.addr);
    key!(buf, "server.port");
    json::number(buf, u64::from(flow.server.port));
    key!(buf, "plaintap.flow.id");
    json::id(buf, flow.id);
    write_tls(buf, session.version, session.suite, session.alpn, session.resumed, session.sni);
    write_capture(buf, flow);
    if let Some((source, wait)) = session.key {
        key!(buf, "plaintap.key.source");
        json::string(buf, source.as_str().as_bytes());
        key!(buf, "plaintap.key.wait_ns");
        json::number(buf, saturating_nanos(wait));
    }
    key!(buf, "plaintap.client.app_data_bytes");
    json::number(buf, session.client_app_data_bytes);
    key!(buf, "plaintap.server.app_data_bytes");
    json::number(buf, session.server_app_data_bytes);
    key!(buf, "plaintap.client.gap_bytes");
    json::number(buf, session.client_gap_bytes);
    key!(buf, "plaintap.server.gap_bytes");
    json::number(buf, session.server_gap_bytes);
    key!(buf, "plaintap.undecrypted_bytes");
    json::number(buf, session.undecrypted_bytes);
    key!(buf, "plaintap.outcome");
    json::string(buf, session.outcome.as_str().as_bytes());
    buf.push(b'}');
}

fn saturating_nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
