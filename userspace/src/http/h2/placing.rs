//! Heads, interim heads and trailers: which of them a header block is, where loss lets nobody be sure.
//!
//! ```text
//! END_STREAM  head seen   it is
//! no          no          a head: trailers end the stream
//! no          yes         the final head, where the one before may have been interim; else nobody may send it
//! yes         no          a head, where the response is seen from its start; trailers, where DATA came before
//! yes         yes         trailers
//! otherwise               what its first known field says: pseudo-header fields are of heads
//! ```
//!
//! Where that tells nothing, its fields are counted as unknown rather than shown in the wrong place.

use super::block::{Block, Filled};
use super::hpack::{Decoded, Field, HpackError};
use super::state::gap_reason;
use super::stream::{Message, Stream};
use crate::Timestamp;
use crate::flow::Direction::{self, ClientToServer, ServerToClient};
use crate::http::{Output, Reasons, redact};

/// Where a header block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The message's head, a final or an interim one.
    Head,
    /// Its trailers.
    Trailers,
    /// The head was missed, or it may have been interim: only a field that is known can tell whether this is a head.
    Unclear,
    /// Nobody may send it.
    Nowhere,
}

/// What came of a header block.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) decoded: Result<Decoded, HpackError>,
    pub(super) filled: Filled,
    pub(super) cut: Option<Reasons>,
    pub(super) place: Place,
}

impl Message {
    /// Says where a header block goes, by a field of it: heads begin with pseudo-header fields, and trailers have none.
    pub(super) fn place_by(&mut self, field: &Field<'_>, position: u32) -> Place {
        match field.name {
            Some([b':', ..]) => {
                self.forget_head();
                Place::Head
            }
            Some(_) if position == 1 => {
                self.head.begin_trailers();
                Place::Trailers
            }
            _ => Place::Unclear,
        }
    }

    pub(super) fn forget_head(&mut self) {
        let keep = self.head.buf.capacity();
        self.head.reset(keep);
        self.protocol = None;
        self.unknown_fields = 0;
        self.headed = false;
    }

    /// Whether the head of a response may be an interim one: its status is not known, and nothing has followed it.
    pub(super) fn may_be_interim(&self) -> bool {
        self.headed && self.head.status == 0 && self.size == 0
    }

    /// Counts the fields of a head as unknown: they may be those of an interim response.
    pub(super) fn doubt_head(&mut self) {
        self.unknown_fields = self.unknown_fields.saturating_add(self.head.fields.len() as u32);
        self.head.fields.clear();
    }

    /// Takes note of when it began.
    pub(super) fn begin(&mut self, ts: Timestamp) {
        if !self.seen && self.size == 0 {
            self.first = ts;
        }
    }
}

impl Stream {
    /// Says where a header block goes.
    pub(super) fn place_for(&self, block: &Block, speaker: Direction) -> Place {
        let (message, from_start) = match speaker {
            ClientToServer => (&self.request, false),
            // A response cannot have begun before its request.
            ServerToClient => (&self.response, self.request.headed && !self.reasons.contains(Reasons::RESPONSE_GAP)),
        };
        // Where the status is not known, the head may have been interim; but nothing but trailers follows a body.
        let perhaps_interim = speaker == ServerToClient && message.may_be_interim();
        match (message.headed, block.end_stream) {
            _ if message.done => Place::Nowhere,
            // Trailers end the stream.
            (false, false) => Place::Head,
            (false, true) if message.size > 0 => Place::Trailers,
            (false, true) => {
                if from_start {
                    Place::Head
                } else {
                    Place::Unclear
                }
            }
            (true, true) => {
                if perhaps_interim {
                    Place::Unclear
                } else {
                    Place::Trailers
                }
            }
            (true, false) => {
                if perhaps_interim {
                    Place::Head
                } else {
                    Place::Nowhere
                }
            }
        }
    }

    /// Takes note of a header block whose fields have been put into the message.
    pub(super) fn take_block(
        &mut self,
        speaker: Direction,
        ts: Timestamp,
        block: &Block,
        outcome: &Outcome,
        out: &mut Output<'_>,
    ) {
        let Outcome { decoded, filled, cut, place } = outcome;
        let message = match speaker {
            ClientToServer => &mut self.request,
            ServerToClient => &mut self.response,
        };
        if *place == Place::Nowhere {
            out.stats.malformed += 1;
            self.reasons.insert(Reasons::MALFORMED);
            message.done |= block.end_stream;
            return;
        }
        if let Some(why) = cut {
            self.reasons.insert(why.with(Reasons::HPACK_DESYNC));
        }
        if *place == Place::Head && matches!(message.head.status, 100..=199) && !block.end_stream {
            out.stats.interim_responses += 1;
            message.forget_head();
            return;
        }
        message.begin(block.first);
        message.last = ts;
        if *place == Place::Unclear && message.headed {
            message.doubt_head();
        }
        // Nobody can know what the fields of a block are that nobody can place.
        let unknown = if *place == Place::Unclear { filled.fields } else { filled.unknown };
        message.unknown_fields += unknown;
        message.headed |= *place == Place::Head;
        if !message.seen {
            message.seen = true;
            match speaker {
                ClientToServer => out.stats.requests += 1,
                ServerToClient => out.stats.responses += 1,
            }
        }
        if out.config.redact {
            match place {
                Place::Head => redact::head(&mut message.head, out.stats),
                _ => redact::trailers(&mut message.head, out.stats),
            }
        }
        message.done |= block.end_stream || block.promised.is_some();
        if filled.over {
            out.stats.heads_too_large += 1;
            self.reasons.insert(Reasons::HEAD_TOO_LARGE);
        }
        if unknown > 0 {
            out.stats.h2_fields_unknown += u64::from(unknown);
            self.reasons.insert(Reasons::HPACK_DESYNC);
        }
        if filled.malformed || decoded.is_err() {
            self.reasons.insert(Reasons::MALFORMED);
        }
    }

    /// Whether the other side has just agreed to an extended CONNECT (RFC 8441 section 5).
    pub(super) fn becomes_websocket(&self) -> bool {
        let request = &self.request.head;
        let asks = self.request.protocol.is_some_and(|span| request.octets(span) == b"websocket");
        asks && self.response.headed
            && self.websocket.is_none()
            && request.octets(request.method) == b"CONNECT"
            && (200..300).contains(&self.response.head.status)
    }

    /// Whether the message of `direction` has ended, all of it seen, before its body was as long as its head says (RFC 9113
    /// section 8.1.1).
    pub(super) fn falls_short(&self, direction: Direction) -> bool {
        let message = match direction {
            ClientToServer => &self.request,
            ServerToClient => &self.response,
        };
        let whole =
            message.headed && message.done && !message.end_lost && !self.reasons.contains(gap_reason(direction));
        // Answers to HEAD, and 304, say how long another answer would be (RFC 9110 section 8.6).
        let request = &self.request.head;
        let bodiless = direction == ServerToClient
            && (!self.request.headed || request.octets(request.method) == b"HEAD" || self.response.head.status == 304);
        if !whole || bodiless {
            return false;
        }
        let length = message.head.headers().get("content-length").and_then(|value| std::str::from_utf8(value).ok());
        length.and_then(|digits| digits.parse::<u64>().ok()).is_some_and(|length| message.size < length)
    }

    /// When it is to be announced, or to be ended, if it is to be.
    pub(super) fn due(&self, out: &Output<'_>) -> Option<Timestamp> {
        if self.lingers_until.is_some() {
            return self.lingers_until;
        }
        let goes_on = self.response.headed && self.announced.is_none() && self.websocket.is_none();
        goes_on.then(|| self.response.first.saturating_add(out.config.stream_after))
    }
}
