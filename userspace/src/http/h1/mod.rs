//! HTTP/1.0 and HTTP/1.1 (RFC 9112), as somebody beside the wire sees them: octets of both directions in, transactions out.
//!
//! Responses answer requests in order, so pairing is a queue. What makes it hard is loss. Three rules keep a response from
//! being taken for another's:
//!
//! - **A client's gap** leaves a marker in the queue that stands for any number of requests. A response that meets the
//!   marker has no request of its own. On a connection that does not pipeline, the next request shows that all before it is
//!   answered: the marker goes, and the next pairs are flagged ([`pairing::DOUBTED`] of them, for the client may have begun to
//!   pipeline within the gap).
//! - **A server's gap** that the framing does not bridge means that responses may be lost. If just one request is
//!   outstanding when the next response comes, that is the one. On a connection that does not pipeline, the first request
//!   after the gap shows that the ones before it were answered within the gap: they are emitted without response. Otherwise
//!   nobody can say whose the responses are: requests and responses are emitted apart (each response takes one request off
//!   the queue, for it answers that or a later one) until the queue is empty, when all is certain again.
//! - **Octets that are not HTTP** are a gap of unknown size.
//!
//! A connection is held to pipeline once a request comes while another waits, until [`pairing::LOCKSTEP_RETURN`] requests in
//! succession each came after just one response. The caller delivers octets in the order of capture but for what a hole
//! holds back, and a server's octets never before the client's that they acknowledge. `tests/model.rs` plays this against
//! connections of which the truth is known.
//!
//! Every request head read ends in `paired` or `requests_unanswered`, every final response head in `paired` or
//! `responses_unasked`; the three together are the transactions.

mod chunked;
mod exchange;
mod framing;
mod fuzz;
mod messages;
mod pairing;
mod parse;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use fuzz::fuzz_h1;
pub(super) use reader::{begins_request, begins_response, may_begin_message};

use self::chunked::Chunked;
use self::exchange::{Exchange, Message};
use self::reader::{Reader, State};
use super::body::Kept;
use super::head::Head;
use super::{Lost, Next, Output, Reasons, StreamEnd, websocket};
use crate::Timestamp;
use crate::flow::Direction;

/// One HTTP/1 connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    client: Reader,
    server: Reader,
    /// Outstanding requests and the exchange that is being answered (at the front), oldest first.
    queue: VecDeque<Exchange>,
    /// Messages to be used again.
    #[expect(clippy::vec_box, reason = "boxes move between here and the queue")]
    spare: Vec<Box<Message>>,
    /// Transactions emitted.
    emitted: u64,
    /// Requests in succession between which just one response came.
    lockstep: u8,
    /// Final responses since the last request.
    answers: u8,
    /// Pairs that are to be flagged, and with what.
    doubt: Option<(u8, Reasons)>,
    /// Responses may be lost, and why; until the next response.
    lost: Option<Loss>,
    flags: Flags,
    /// What was agreed on when another protocol began, until the caller takes it.
    agreed: Option<Agreed>,
}

/// A protocol that goes on from HTTP/1 and is read too.
#[derive(Debug)]
pub(super) enum Agreed {
    /// HTTP/2, whose first stream answers this request (RFC 7540 section 3.2).
    Http2(Box<Upgraded>),
    WebSocket(Box<websocket::Connection>),
}

/// A request that HTTP/2 answers.
#[derive(Debug)]
pub(super) struct Upgraded {
    pub(super) head: Head,
    pub(super) kept: Kept,
    pub(super) size: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// All that a connection between messages has to remember.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    emitted: u64,
    lockstep: u8,
    answers: u8,
    flags: Flags,
}

#[derive(Clone, Copy, Debug)]
struct Loss {
    reasons: Reasons,
    /// The next response may be a body's octets that look like one.
    within_message: bool,
    /// A request has come since: the ones after it were not answered within the gap.
    asked_since: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    started: bool,
    /// The back of the queue is the request that the client's reader is in.
    reads_request: bool,
    /// The front of the queue is the exchange whose response the server's reader is in.
    reads_response: bool,
    /// A request came while another waited.
    pipelined: bool,
    /// Whose the responses are is unknown until the queue is empty.
    apart: bool,
    /// The response may answer a HEAD request that was not seen: its body may not be there.
    perhaps_bodyless: bool,
    /// Another protocol has begun.
    switched: bool,
}

impl Connection {
    pub(super) fn data(&mut self, direction: Direction, ts: Timestamp, bytes: &[u8], out: &mut Output<'_>) -> Next {
        if self.flags.switched {
            return Next::Opaque(0);
        }
        self.start(out);
        let mut at = 0;
        while at < bytes.len() && !self.flags.switched {
            let rest = &bytes[at..];
            at += self.step(direction, ts, rest, at == 0, out);
        }
        if self.flags.switched { Next::Opaque(at) } else { Next::Http }
    }

    /// What was agreed on, once, after [`Next::Opaque`].
    pub(super) fn agreed(&mut self) -> Option<Agreed> {
        self.agreed.take()
    }

    pub(super) fn gap(&mut self, direction: Direction, ts: Timestamp, lost: Lost, out: &mut Output<'_>) {
        self.start(out);
        if self.flags.switched || matches!(lost, Lost::Exactly(0) | Lost::AtMost(0)) {
            return;
        }
        let reason = gap_reason(direction);
        let state = self.reader(direction).state;
        match (state, lost) {
            (State::Length(left), Lost::Exactly(missing)) => {
                let within = missing.min(left);
                self.body_missing(direction, within);
                if within == left {
                    self.message_done(direction, ts, out);
                } else {
                    self.reader(direction).state = State::Length(left - within);
                }
                if missing == within {
                    out.stats.gaps_bridged += 1;
                    return;
                }
            }
            (State::Chunked(Chunked::Data { left }), Lost::Exactly(missing)) if missing <= left => {
                self.body_missing(direction, missing);
                self.reader(direction).state = State::Chunked(match left - missing {
                    0 => Chunked::DataEnd,
                    left => Chunked::Data { left },
                });
                out.stats.gaps_bridged += 1;
                return;
            }
            (State::UntilClose, lost) => {
                let missing = if let Lost::Exactly(missing) = lost { missing } else { 0 };
                self.body_missing(direction, missing);
                out.stats.gaps_bridged += 1;
                return;
            }
            (State::Hold { octets }, _) => {
                self.reader(direction).state = State::Hold { octets: octets.saturating_add(1) };
                out.stats.gaps_cut += 1;
                return;
            }
            _ => {}
        }
        out.stats.gaps_cut += 1;
        self.desync(direction, reason, out);
    }

    pub(super) fn end(&mut self, direction: Direction, ts: Timestamp, how: StreamEnd, out: &mut Output<'_>) {
        if self.flags.switched {
            return;
        }
        let state = self.reader(direction).state;
        match state {
            State::UntilClose if how == StreamEnd::Closed => self.message_done(direction, ts, out),
            State::Start | State::Seek | State::Hold { .. } => {}
            _ => self.cut(direction, Reasons::CLOSED_EARLY, out),
        }
        self.reader(direction).clear();
        self.reader(direction).state = State::Seek;
        if direction == Direction::ServerToClient {
            // Nothing will be answered any more. What the client is still sending goes on.
            let keep = usize::from(self.flags.reads_request);
            while self.queue.len() > keep {
                self.emit_front(Reasons::NONE, out);
            }
        }
    }

    pub(super) fn finish(&mut self, ts: Timestamp, out: &mut Output<'_>) {
        self.end(Direction::ClientToServer, ts, StreamEnd::Cut, out);
        self.end(Direction::ServerToClient, ts, StreamEnd::Cut, out);
        while !self.queue.is_empty() {
            self.emit_front(Reasons::NONE, out);
        }
    }

    /// What is left of a connection that is between messages and in no doubt; `None` while it is not.
    pub(super) fn idle(&self) -> Option<Idle> {
        let Self { client, server, queue, spare: _, emitted, lockstep, answers, doubt, lost, flags, agreed } = self;
        let between = client.is_between_messages() && server.is_between_messages() && queue.is_empty();
        let (emitted, lockstep, answers, flags) = (*emitted, *lockstep, *answers, *flags);
        (between && doubt.is_none() && lost.is_none() && agreed.is_none()).then_some(Idle {
            emitted,
            lockstep,
            answers,
            flags,
        })
    }

    /// The connection that goes on after it was idle.
    pub(super) fn resume(idle: Idle) -> Self {
        let Idle { emitted, lockstep, answers, flags } = idle;
        Self { emitted, lockstep, answers, flags, ..Self::default() }
    }

    pub(super) fn trim(&mut self) {
        self.client.trim();
        self.server.trim();
        self.spare = Vec::new();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Octets of the heap that it holds, without what the messages hold themselves.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.client.buf.capacity()
            + self.server.buf.capacity()
            + self.queue.capacity() * size_of::<Exchange>()
            + self.spare.capacity() * size_of::<Box<Message>>()
            + self.spare.len() * size_of::<Message>()
    }

    /// Where the capture began after the connection, requests may be outstanding already, and either direction may be in
    /// the midst of a message.
    fn start(&mut self, out: &Output<'_>) {
        if self.flags.started {
            return;
        }
        self.flags.started = true;
        if out.flow.midstream {
            self.client.state = State::Seek;
            self.server.state = State::Seek;
            self.queue.push_back(Exchange { unknown: true, reasons: Reasons::MIDSTREAM, ..Exchange::default() });
        }
    }

    /// Takes some of `bytes` (at least one octet, or the state changes) and says how many.
    fn step(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        bytes: &[u8],
        slice_start: bool,
        out: &mut Output<'_>,
    ) -> usize {
        match self.reader(direction).state {
            State::Start => {
                let blank = bytes.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
                let reader = self.reader(direction);
                if blank < bytes.len() {
                    reader.state = State::Head;
                    reader.start = ts;
                }
                blank
            }
            State::Head => self.head(direction, ts, bytes, out),
            State::HeadRest { skipped } => self.head_rest(direction, ts, bytes, skipped, out),
            State::Length(left) => {
                if self.unseen_head_request(direction, bytes) {
                    self.message_done(direction, ts, out);
                    return 0;
                }
                let take = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.body(direction, ts, &bytes[..take], out);
                match left - take as u64 {
                    0 => self.message_done(direction, ts, out),
                    left => self.reader(direction).state = State::Length(left),
                }
                take
            }
            State::Chunked(chunked) => self.chunk(direction, ts, bytes, chunked, out),
            State::Trailers => self.trailer(direction, ts, bytes, out),
            State::UntilClose => {
                if self.unseen_head_request(direction, bytes) {
                    self.message_done(direction, ts, out);
                    return 0;
                }
                self.body(direction, ts, bytes, out);
                bytes.len()
            }
            State::Seek => {
                if slice_start && reader::begins_message(direction, bytes) {
                    self.reader(direction).state = State::Start;
                    return 0;
                }
                out.stats.octets_skipped += bytes.len() as u64;
                bytes.len()
            }
            State::Hold { octets } => {
                self.reader(direction).state = State::Hold { octets: octets.saturating_add(bytes.len() as u64) };
                bytes.len()
            }
        }
    }

    fn reader(&mut self, direction: Direction) -> &mut Reader {
        match direction {
            Direction::ClientToServer => &mut self.client,
            Direction::ServerToClient => &mut self.server,
        }
    }

    fn recycle(&mut self, mut message: Box<Message>) {
        message.reset();
        if self.spare.len() < MAX_SPARE {
            self.spare.push(message);
        }
    }
}

const fn gap_reason(direction: Direction) -> Reasons {
    match direction {
        Direction::ClientToServer => Reasons::REQUEST_GAP,
        Direction::ServerToClient => Reasons::RESPONSE_GAP,
    }
}

/// Messages kept for use: pipelines of some depth.
const MAX_SPARE: usize = 32;
