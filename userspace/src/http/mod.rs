//! HTTP messages to transactions.

use crate::Timestamp;
use crate::flow::{Direction, FlowContext};
use crate::sink::TransactionSink;

pub mod h2;
mod transaction;

pub use transaction::Transaction;

crate::counters! {
    /// What became of HTTP messages.
    pub struct HttpStats {
        /// Transactions emitted.
        transactions,
    }
}

/// Limits and switches of the HTTP stage.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// Body octets kept of each message, after content coding is removed (default 0: bodies are not kept).
    pub body_limit: usize,
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
    /// No longer HTTP (after CONNECT, an Upgrade to something unknown): the rest of the slice, from this offset on, and
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

/// One connection's HTTP, either version.
#[derive(Debug, Default)]
pub struct Connection {}

impl Connection {
    /// Takes the next plaintext octets of one direction.
    pub fn data(&mut self, direction: Direction, ts: Timestamp, bytes: &[u8], out: &mut Output<'_>) -> Next {
        let _ = (direction, ts, bytes, out);
        Next::Http
    }

    /// Takes note that octets of one direction are missing here.
    pub fn gap(&mut self, direction: Direction, ts: Timestamp, lost: Lost, out: &mut Output<'_>) {
        let _ = (direction, ts, lost, out);
    }

    /// Takes note that one direction has ended.
    pub fn end(&mut self, direction: Direction, ts: Timestamp, how: StreamEnd, out: &mut Output<'_>) {
        let _ = (direction, ts, how, out);
    }

    /// Emits what is outstanding: the connection is over.
    pub fn finish(&mut self, ts: Timestamp, out: &mut Output<'_>) {
        let _ = (ts, out);
    }

    /// Gives back buffers that hold nothing: the connection is idle.
    pub fn trim(&mut self) {}
}

/// Says what a stream's first octets look like.
pub fn probe(bytes: &[u8]) -> Probe {
    let _ = bytes;
    Probe::Unknown
}
