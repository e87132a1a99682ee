//! A request and its response while they are being read, and their way out to the sink.

use std::fmt;

use super::super::head::Head;
use super::super::transaction::{Reasons, Request, Response, Stage, Transaction, Version};
use super::super::{Output, body, grpc};
use crate::Timestamp;

/// One message. Boxed and reused: its buffers keep what they have grown to.
#[derive(Default)]
pub(super) struct Message {
    pub(super) head: Head,
    pub(super) version: Version,
    /// Octets of the body, transfer coding removed.
    pub(super) size: u64,
    /// The body's first octets as they were sent.
    pub(super) kept: body::Kept,
    /// gRPC-Web messages in the body.
    pub(super) calls: grpc::Messages,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// Its last octet was seen, or will not be.
    pub(super) done: bool,
    /// The request asks for another protocol.
    pub(super) upgrade: bool,
}

/// An outstanding request, an unasked response, or both halves of a transaction.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) request: Option<Box<Message>>,
    pub(super) response: Option<Box<Message>>,
    pub(super) reasons: Reasons,
    /// The number under which it was emitted while it went on.
    pub(super) announced: Option<u64>,
    /// Stands for any number of requests that were not seen (none, perhaps).
    pub(super) unknown: bool,
}

impl Exchange {
    /// Whether a response may still come for it.
    pub(super) fn awaits_response(&self) -> bool {
        self.request.is_some() && self.response.is_none()
    }

    /// Whether it can be emitted.
    pub(super) fn is_done(&self) -> bool {
        let done = |message: &Option<Box<Message>>| message.as_ref().is_none_or(|message| message.done);
        self.response.is_some() && done(&self.request) && done(&self.response)
    }

    /// Hands it to the sink.
    pub(super) fn emit(&mut self, index: u64, stage: Stage, out: &mut Output<'_>) {
        let mut reasons = self.reasons;
        let counter = match (&self.request, &self.response) {
            (Some(_), Some(_)) => &mut out.stats.paired,
            (Some(_), None) => {
                reasons.insert(Reasons::NO_RESPONSE);
                &mut out.stats.requests_unanswered
            }
            (None, Some(_)) => {
                reasons.insert(Reasons::NO_REQUEST);
                &mut out.stats.responses_unasked
            }
            (None, None) => return,
        };
        if stage == Stage::Open {
            reasons.insert(Reasons::STILL_OPEN);
            out.stats.streams_announced += 1;
        } else {
            *counter += 1;
            out.stats.transactions += 1;
            out.stats.incomplete += u64::from(!reasons.is_empty());
            let limit = out.config.body_limit;
            for message in self.request.iter_mut().chain(&mut self.response) {
                message.kept.decode(&message.head, limit, out.stats);
            }
        }
        let (request, response) = (self.request.as_deref(), self.response.as_deref());
        let Some(earlier) = request.or(response) else { return };
        let Some(later) = response.or(request) else { return };
        out.sink.transaction(&Transaction {
            flow: out.flow,
            version: earlier.version,
            index,
            stream_id: None,
            start: earlier.first,
            end: later.last,
            request: request.map(Message::as_request),
            response: response.map(Message::as_response),
            rpc: grpc::call(
                request.map(|message| (&message.head, &message.calls)),
                response.map(|message| (&message.head, &message.calls)),
            ),
            reset: None,
            stage,
            reasons,
        });
    }
}

impl Message {
    /// Empties it, to be used again.
    pub(super) fn reset(&mut self) {
        let mut head = std::mem::take(&mut self.head);
        let mut kept = std::mem::take(&mut self.kept);
        head.reset(KEEP);
        kept.reset(KEEP);
        *self = Self { head, kept, ..Self::default() };
    }

    fn as_request(&self) -> Request<'_> {
        let head = &self.head;
        Request {
            method: head.octets(head.method),
            scheme: head.scheme.map(|span| head.octets(span)),
            authority: head.authority.map(|span| head.octets(span)),
            path: head.path.map(|span| head.octets(span)),
            query: head.query.map(|span| head.octets(span)),
            query_redacted: head.query_redacted,
            protocol: None,
            pushed: false,
            headers: head.headers(),
            trailers: head.trailers(),
            unknown_fields: 0,
            body_size: self.size,
            body: self.kept.body(),
        }
    }

    fn as_response(&self) -> Response<'_> {
        Response {
            status: self.head.status,
            headers: self.head.headers(),
            trailers: self.head.trailers(),
            unknown_fields: 0,
            body_size: self.size,
            body: self.kept.body(),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("head", &self.head).field("size", &self.size).field("done", &self.done).finish()
    }
}

/// Octets that a reused buffer may hold on to: a usual head with long cookies.
const KEEP: usize = 8 * 1024;
