//! One stream: a request, its response, and their way out to the sink.
//!
//! ```text
//!                 HEADERS                DATA               HEADERS + END_STREAM (trailers)
//! message  Unseen -------> (1xx: again)  Open -----------> Done
//!                 head      final head   size, body         or END_STREAM on any of them
//! ```

use std::fmt;

use super::frame::{ErrorCode, StreamId};
use crate::Timestamp;
use crate::flow::Direction;
use crate::http::head::{Head, Span};
use crate::http::transaction::{Reasons, Request, Response, Stage, Transaction, Version};
use crate::http::{Output, body, grpc, websocket};

/// One direction of a stream. Reused: its buffers keep what they have grown to.
#[derive(Default)]
pub(super) struct Message {
    pub(super) head: Head,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub(super) protocol: Option<Span>,
    /// A header block of it was seen: the head, or the trailers where the head is lost.
    pub(super) seen: bool,
    /// Its head was seen.
    pub(super) headed: bool,
    /// Its last octet was seen, or will not be.
    pub(super) done: bool,
    /// Its end may have been missed.
    pub(super) end_lost: bool,
    /// Header fields of which the name or the value is not known.
    pub(super) unknown_fields: u32,
    /// Octets of DATA, padding apart.
    pub(super) size: u64,
    /// The first octets of DATA.
    pub(super) kept: body::Kept,
    /// gRPC messages in DATA.
    pub(super) messages: grpc::Messages,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// A stream that is open.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) request: Message,
    pub(super) response: Message,
    pub(super) reasons: Reasons,
    /// The server made the request up.
    pub(super) pushed: bool,
    /// Who gave the stream up, and why.
    pub(super) reset: Option<(Direction, ErrorCode)>,
    /// The response is whole and the server needs no more of the request: until then, more of it may come.
    pub(super) lingers_until: Option<Timestamp>,
    /// What it has become by an extended CONNECT; its transaction is emitted.
    pub(super) websocket: Option<Box<websocket::Connection>>,
    /// The number under which it was emitted while it went on.
    pub(super) announced: Option<u64>,
    /// Octets that it holds.
    pub(super) held: usize,
}

impl Stream {
    /// Empties it, to be used again.
    pub(super) fn reset(&mut self) {
        let (mut request, mut response) = (std::mem::take(&mut self.request), std::mem::take(&mut self.response));
        request.reset();
        response.reset();
        *self = Self { request, response, ..Self::default() };
    }

    pub(super) fn message(&mut self, direction: Direction) -> &mut Message {
        match direction {
            Direction::ClientToServer => &mut self.request,
            Direction::ServerToClient => &mut self.response,
        }
    }

    /// Whether nothing more can come that belongs to it: both sides have ended, or the response has and where the request
    /// ends may be lost.
    pub(super) fn is_done(&self) -> bool {
        let request_done = self.request.done || self.request.end_lost || !self.request.seen;
        self.response.seen && self.response.done && request_done
    }

    /// Octets that its messages hold.
    pub(super) fn footprint(&self) -> usize {
        let websocket = self.websocket.as_ref().map_or(0, |websocket| websocket.footprint());
        self.request.footprint() + self.response.footprint() + websocket
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        [&self.request, &self.response]
            .map(|message| {
                message.head.buf.capacity() + message.head.fields.capacity() * FIELD_COST + message.kept.len()
            })
            .iter()
            .sum()
    }

    /// Hands it to the sink as the transaction `index`. Nothing is emitted of a stream of which no header block was seen.
    pub(super) fn emit(&mut self, index: u64, stage: Stage, out: &mut Output<'_>) -> bool {
        let mut reasons = self.reasons;
        let counter = match (self.request.seen, self.response.seen) {
            (false, false) => {
                out.stats.h2_streams_headless += 1;
                return false;
            }
            (true, true) => &mut out.stats.paired,
            (true, false) => {
                reasons.insert(Reasons::NO_RESPONSE);
                &mut out.stats.requests_unanswered
            }
            (false, true) => {
                reasons.insert(Reasons::NO_REQUEST);
                &mut out.stats.responses_unasked
            }
        };
        if stage == Stage::Open {
            reasons.insert(Reasons::STILL_OPEN);
            out.stats.streams_announced += 1;
        } else {
            *counter += 1;
            out.stats.transactions += 1;
            out.stats.incomplete += u64::from(!reasons.is_empty());
        }
        let limit = out.config.body_limit;
        if limit > 0 && stage != Stage::Open {
            self.request.kept.decode(&self.request.head, limit, out.stats);
            self.response.kept.decode(&self.response.head, limit, out.stats);
        }
        let (request, response) = (&self.request, &self.response);
        let earlier = if request.seen { request } else { response };
        let later = if response.seen { response } else { request };
        out.sink.transaction(&Transaction {
            flow: out.flow,
            version: Version::Http2,
            index,
            stream_id: Some(self.id.0),
            start: earlier.first,
            end: later.last,
            request: request.seen.then(|| request.as_request(self.pushed)),
            response: response.seen.then(|| response.as_response()),
            rpc: grpc::call(
                request.seen.then_some((&request.head, &request.messages)),
                response.seen.then_some((&response.head, &response.messages)),
            ),
            reset: self.reset,
            stage,
            reasons,
        });
        true
    }
}

impl Message {
    /// Takes octets of its body; `limit`: of those kept.
    pub(super) fn take_data(&mut self, octets: &[u8], limit: usize) {
        if !self.headed {
            return self.messages.lose();
        }
        self.messages.feed(octets, &self.head);
        if limit > 0 {
            self.kept.extend(octets, &self.head, limit);
        }
    }

    fn reset(&mut self) {
        let (mut head, mut kept) = (std::mem::take(&mut self.head), std::mem::take(&mut self.kept));
        head.reset(KEEP);
        kept.reset(KEEP);
        *self = Self { head, kept, ..Self::default() };
    }

    fn footprint(&self) -> usize {
        self.head.buf.len() + self.head.fields.len() * FIELD_COST + self.kept.len()
    }

    fn as_request(&self, pushed: bool) -> Request<'_> {
        let head = &self.head;
        Request {
            method: head.octets(head.method),
            scheme: head.scheme.map(|span| head.octets(span)),
            authority: head.authority.map(|span| head.octets(span)),
            path: head.path.map(|span| head.octets(span)),
            query: head.query.map(|span| head.octets(span)),
            query_redacted: head.query_redacted,
            protocol: self.protocol.map(|span| head.octets(span)),
            pushed,
            headers: head.headers(),
            trailers: head.trailers(),
            unknown_fields: self.unknown_fields,
            body_size: self.size,
            body: self.kept.body(),
        }
    }

    fn as_response(&self) -> Response<'_> {
        Response {
            status: self.head.status,
            headers: self.head.headers(),
            trailers: self.head.trailers(),
            unknown_fields: self.unknown_fields,
            body_size: self.size,
            body: self.kept.body(),
        }
    }
}

/// Sizes only: heads and bodies may hold anything.
impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("id", &self.id)
            .field("held", &self.held)
            .field("reasons", &self.reasons)
            .finish()
    }
}

/// Octets that a reused buffer may hold on to: a usual head with long cookies.
const KEEP: usize = 8 * 1024;

/// Octets that a field line costs besides its own.
const FIELD_COST: usize = 24;
