//! HTTP messages to transactions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::h1::Agreed;
use crate::Timestamp;
use crate::flow::{Direction, FlowContext};
use crate::sink::TransactionSink;

mod body;
mod grpc;
mod h1;
pub mod h2;
mod head;
mod redact;
mod transaction;
mod websocket;

#[doc(hidden)]
pub use h1::fuzz_h1;
pub use head::{Header, Headers, REDACTED};
pub use redact::{HEADERS as REDACTED_HEADERS, PARAMETERS as REDACTED_PARAMETERS};
pub use transaction::{
    Body, Content, Host, Reasons, Request, Response, Rpc, RpcMessages, Server, Stage, Transaction, Version,
};
pub use websocket::{Sent, WebSocket};

crate::counters! {
    /// What became of HTTP messages.
    ///
    /// `requests` = `paired` + `requests_unanswered`, `responses` = `paired` + `responses_unasked`, and `transactions` is
    /// the sum of the three; `incomplete` of them have a reason.
    pub struct HttpStats {
        /// Transactions emitted.
        transactions,
        /// Transactions with a request and its response.
        paired,
        /// Transactions with a request only.
        requests_unanswered,
        /// Transactions with a response only.
        responses_unasked,
        /// Transactions with an incompleteness reason.
        incomplete,
        /// Request heads read.
        requests,
        /// Final response heads read.
        responses,
        /// Interim (1xx) response heads read.
        interim_responses,
        /// Heads that a gap or the end of the stream cut; they are no requests or responses.
        heads_cut,
        /// Heads over the limit of octets or fields: fields are missing.
        heads_too_large,
        /// Places where something that is not HTTP stood.
        malformed,
        /// Messages whose length is ambiguous.
        lengths_ambiguous,
        /// Gaps within a body of known framing: the message went on.
        gaps_bridged,
        /// Gaps that cut a message, or lay between messages.
        gaps_cut,
        /// Octets passed over while the next message was looked for.
        octets_skipped,
        /// Requests emitted unanswered because too many were outstanding.
        requests_overflowed,
        /// Connections that went on with another protocol.
        switched,
        /// Kept bodies whose content coding was removed.
        bodies_decoded,
        /// Kept bodies whose content coding is unknown or broken.
        bodies_undecoded,
        /// Header and query values redacted.
        values_redacted,
        /// Records of transactions that go on; another one of the same transaction follows.
        streams_announced,
        /// WebSocket records.
        websockets,
        /// HTTP/2 frames read.
        h2_frames,
        /// HTTP/2 frames that a loss or the end cut.
        h2_frames_cut,
        /// Times that HTTP/2 frames were found again after a loss, or by joining midway.
        h2_resyncs,
        /// CONTINUATION frames.
        h2_continuations,
        /// Header blocks over a limit (octets, CONTINUATION frames): cut, and the header table was forgotten.
        h2_blocks_too_long,
        /// Header blocks that are no HPACK, or that refer to what cannot be there.
        h2_blocks_malformed,
        /// Header blocks on streams that were over, read for the header table's sake.
        h2_blocks_late,
        /// Octets of DATA on streams that were over.
        h2_octets_late,
        /// Header fields that nobody can know who did not see the whole connection.
        h2_fields_unknown,
        /// RST_STREAM frames.
        h2_resets,
        /// GOAWAY frames.
        h2_goaways,
        /// Streams emitted because too many were open, or held too much.
        h2_streams_overflowed,
        /// Streams of which no header block was seen; not emitted.
        h2_streams_headless,
    }
}

/// Limits and switches of the HTTP stage.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Body octets kept of each message, after content coding is removed (default 0: bodies are not kept).
    #[serde(skip)]
    pub body_limit: usize,
    /// Octets kept of a head (default 65,536: eight times what common servers accept). What is over is counted in
    /// `heads_too_large`; the body is found all the same.
    pub max_head: usize,
    /// Field lines kept of a head (default 256: more than twice what common servers accept). Counted in `heads_too_large`.
    pub max_fields: usize,
    /// Requests that may wait for their responses on an HTTP/1 connection (default 128: the deepest pipelines of load
    /// generators). Counted in `requests_overflowed`.
    pub max_outstanding: usize,
    /// How long a transaction may go on after its response began before it is announced with what there is of it (default
    /// 10 s: nearly all are over by then; server-sent events, watches and tunnels are not). Counted in `streams_announced`.
    #[serde(with = "crate::config::seconds")]
    pub stream_after: Duration,
    /// Streams that may be open on an HTTP/2 connection (default 4,096: servers allow 100 to 1,000). Counted in
    /// `h2_streams_overflowed`.
    pub max_streams: usize,
    /// Octets that the open streams of an HTTP/2 connection may hold, heads and kept bodies (default 4 MiB: a thousand
    /// streams with usual heads). Counted in `h2_streams_overflowed`.
    pub max_streams_held: usize,
    /// Octets of an HTTP/2 header block, compressed, and of a frame that is needed whole (default 262,144: four times
    /// `max_head`). Counted in `h2_blocks_too_long`.
    pub max_header_block: usize,
    /// CONTINUATION frames of a header block (default 64: with full frames, four times `max_header_block`). Counted in
    /// `h2_blocks_too_long`.
    pub max_continuations: u32,
    /// Octets kept of an HTTP/2 header table, for each direction (default 65,536: the largest that browsers allow). What is
    /// over is forgotten and, where it is used, counted in `h2_fields_unknown`.
    pub max_header_table: usize,
    /// Whether credentials are replaced by `REDACTED` (default true).
    #[serde(skip)]
    pub redact: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            body_limit: 0,
            max_head: 65_536,
            max_fields: 256,
            max_outstanding: 128,
            stream_after: Duration::from_secs(10),
            max_streams: 4_096,
            max_streams_held: 4 << 20,
            max_header_block: 262_144,
            max_continuations: 64,
            max_header_table: 65_536,
            redact: true,
        }
    }
}

/// What a connection writes to and reads from while it works.
#[derive(Debug)]
pub struct Output<'a> {
    /// The flow it belongs to.
    pub flow: &'a FlowContext<'a>,
    /// Where transactions go.
    pub sink: &'a mut dyn TransactionSink,
    /// Counters.
    pub stats: &'a mut HttpStats,
    /// Limits.
    pub config: &'a HttpConfig,
}

/// How many plaintext octets are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Exactly this many.
    Exactly(u64),
    /// It cannot be known; the number is an upper limit.
    AtMost(u64),
}

/// How one direction of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The sender closed it in order: TCP FIN, or TLS close_notify.
    Closed,
    /// TCP RST, or a fatal alert.
    Reset,
    /// Nothing came for too long, or the input ended.
    Cut,
}

/// What the octets after those just consumed are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More HTTP.
    Http,
    /// No longer HTTP (after CONNECT, an Upgrade to something unknown; WebSocket and HTTP/2 are known): the rest of the slice, from this offset on, and
    /// everything after it in both directions belongs to the caller.
    Opaque(usize),
}

/// What a stream's first octets look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// An HTTP/1 request.
    Request,
    /// An HTTP/1 response.
    Response,
    /// The HTTP/2 client preface.
    Http2Preface,
    /// Too short to say.
    NeedMore,
    /// Something else.
    Unknown,
}

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1.0 or HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 from the client preface on (from anywhere, where the flow is `midstream`).
    Http2,
    /// HTTP/2 of which the beginning was not seen.
    Http2Midway,
}

/// One connection's HTTP, either version.
///
/// The caller delivers octets in the order of capture, but for what a hole in one direction holds back, and never a server's
/// octet before the client's octets that the server had acknowledged (or a [`Connection::gap`] in their place).
#[derive(Debug)]
pub struct Connection(Inner);

#[derive(Debug)]
enum Inner {
    H1(Box<h1::Connection>),
    /// HTTP/1 between messages, after [`Connection::trim`].
    IdleH1(h1::Idle),
    H2(Box<h2::Connection>),
    WebSocket(Box<websocket::Connection>),
}

impl Connection {
    /// A connection that is about to begin.
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Http1 => Self(Inner::H1(Box::default())),
            Kind::Http2 => Self(Inner::H2(Box::default())),
            Kind::Http2Midway => Self(Inner::H2(Box::new(h2::Connection::midway()))),
        }
    }

    /// Takes the next plaintext octets of one direction, captured at `ts`. The beginning of a slice is where a TLS record or
    /// TCP segment begins: after a gap, messages are looked for there.
    pub fn data(&mut self, direction: Direction, ts: Timestamp, bytes: &[u8], out: &mut Output<'_>) -> Next {
        match self.awake() {
            Awake::H1(connection) => {
                let next = connection.data(direction, ts, bytes, out);
                match (next, connection.agreed()) {
                    (Next::Opaque(at), Some(agreed)) => {
                        self.0 = match agreed {
                            Agreed::Http2(request) => Inner::H2(Box::new(h2::Connection::upgraded(*request))),
                            Agreed::WebSocket(websocket) => Inner::WebSocket(websocket),
                        };
                        self.data(direction, ts, bytes.get(at..).unwrap_or_default(), out)
                    }
                    (next, _) => next,
                }
            }
            Awake::H2(connection) => connection.data(direction, ts, bytes, out),
            Awake::WebSocket(connection) => {
                connection.data(direction, ts, bytes, out.config.body_limit);
                Next::Http
            }
        }
    }

    /// Takes note that octets of one direction are missing here.
    pub fn gap(&mut self, direction: Direction, ts: Timestamp, lost: Lost, out: &mut Output<'_>) {
        match self.awake() {
            Awake::H1(connection) => connection.gap(direction, ts, lost, out),
            Awake::H2(connection) => connection.gap(direction, ts, lost, out),
            Awake::WebSocket(connection) => connection.gap(direction, lost),
        }
    }

    /// Takes note that one direction has ended.
    pub fn end(&mut self, direction: Direction, ts: Timestamp, how: StreamEnd, out: &mut Output<'_>) {
        match self.awake() {
            Awake::H1(connection) => connection.end(direction, ts, how, out),
            Awake::H2(connection) => connection.end(direction, ts, how, out),
            Awake::WebSocket(_) => {}
        }
    }

    /// Emits what is outstanding: the connection is over.
    pub fn finish(&mut self, ts: Timestamp, out: &mut Output<'_>) {
        match self.awake() {
            Awake::H1(connection) => connection.finish(ts, out),
            Awake::H2(connection) => connection.finish(ts, out),
            Awake::WebSocket(connection) => {
                connection.finish(out);
                *self = Self::default();
            }
        }
    }

    /// Gives back what an idle connection does not need.
    pub fn trim(&mut self) {
        match &mut self.0 {
            Inner::H1(connection) => match connection.idle() {
                Some(idle) => self.0 = Inner::IdleH1(idle),
                None => connection.trim(),
            },
            Inner::IdleH1(_) => {}
            Inner::H2(connection) => connection.trim(),
            Inner::WebSocket(_) => {}
        }
    }

    /// Octets of the heap that it holds.
    #[cfg(test)]
    fn heap(&self) -> usize {
        match &self.0 {
            Inner::H1(connection) => size_of::<h1::Connection>() + connection.heap(),
            Inner::IdleH1(_) => 0,
            Inner::H2(connection) => size_of::<h2::Connection>() + connection.heap(),
            Inner::WebSocket(connection) => size_of::<websocket::Connection>() + connection.footprint(),
        }
    }

    #[inline]
    fn awake(&mut self) -> Awake<'_> {
        if let Inner::IdleH1(idle) = self.0 {
            self.0 = Inner::H1(Box::new(h1::Connection::resume(idle)));
        }
        match &mut self.0 {
            Inner::H1(connection) => Awake::H1(connection),
            Inner::H2(connection) => Awake::H2(connection),
            Inner::WebSocket(connection) => Awake::WebSocket(connection),
            Inner::IdleH1(_) => unreachable!("it has just been woken"),
        }
    }
}

/// A connection with all its state.
enum Awake<'a> {
    H1(&'a mut h1::Connection),
    H2(&'a mut h2::Connection),
    WebSocket(&'a mut websocket::Connection),
}

impl Default for Connection {
    fn default() -> Self {
        Self::new(Kind::default())
    }
}

/// Says what a stream's first octets look like.
pub fn probe(bytes: &[u8]) -> Probe {
    /// RFC 9113 section 3.4.
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if bytes.starts_with(PREFACE) {
        return Probe::Http2Preface;
    }
    if h1::begins_response(bytes) {
        return Probe::Response;
    }
    if h1::begins_request(bytes) {
        return Probe::Request;
    }
    let undecided = PREFACE.starts_with(bytes) || h1::may_begin_message(bytes);
    if undecided { Probe::NeedMore } else { Probe::Unknown }
}
