//! HTTP/1.0 and HTTP/1.1 (RFC 9112), as somebody beside the wire sees them: octets of both directions in, transactions out.
//!
//! Responses answer requests in order, so pairing is a queue. What makes it hard is loss. Three rules keep a response from
//! being taken for another's:
//!
//! - **A client's gap** leaves a marker in the queue that stands for any number of requests. A response that meets the
//!   marker has no request of its own. On a connection that does not pipeline, the next request shows that all before it is
//!   answered: the marker goes, and the next pairs are flagged ([`DOUBTED`] of them, for the client may have begun to
//!   pipeline within the gap).
//! - **A server's gap** that the framing does not bridge means that responses may be lost. If just one request is
//!   outstanding when the next response comes, that is the one. On a connection that does not pipeline, the first request
//!   after the gap shows that the ones before it were answered within the gap: they are emitted without response. Otherwise
//!   nobody can say whose the responses are: requests and responses are emitted apart (each response takes one request off
//!   the queue, for it answers that or a later one) until the queue is empty, when all is certain again.
//! - **Octets that are not HTTP** are a gap of unknown size.
//!
//! A connection is held to pipeline once a request comes while another waits, until [`LOCKSTEP_RETURN`] requests in
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
mod parse;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use fuzz::fuzz_h1;
pub(super) use reader::{begins_request, begins_response, may_begin_message};

use self::chunked::{Chunked, Step};
use self::exchange::{Exchange, Message};
use self::framing::Framing;
use self::parse::Parsed;
use self::reader::{HeadStep, Reader, State};
use super::{Lost, Next, Output, Reasons, StreamEnd, redact};
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

    fn head(&mut self, direction: Direction, ts: Timestamp, bytes: &[u8], out: &mut Output<'_>) -> usize {
        let mut message = self.spare.pop().unwrap_or_default();
        let max_head = out.config.max_head;
        let step = self.reader(direction).head(direction, bytes, &mut message, max_head);
        match step {
            HeadStep::More => {
                self.recycle(message);
                bytes.len()
            }
            HeadStep::Malformed => {
                self.recycle(message);
                self.malformed(direction, bytes, out)
            }
            HeadStep::Complete(used) => {
                let Some(parsed) = parse::head(direction, &mut message.head, out.config.max_fields) else {
                    self.recycle(message);
                    return self.malformed(direction, bytes, out);
                };
                self.head_done(direction, ts, message, parsed, out);
                used
            }
            HeadStep::TooLarge(used) => {
                let parsed = if memchr::memchr(b'\n', &message.head.buf).is_some() {
                    parse::lenient(direction, &mut message.head, out.config.max_fields)
                } else {
                    // The first line alone is over the limit.
                    std::mem::swap(&mut message.head.buf, &mut self.reader(direction).buf);
                    // What is left of it is no empty line.
                    self.reader(direction).buf.extend_from_slice(b"-");
                    let version = match direction {
                        Direction::ClientToServer => parse::cut_request_line(&mut message.head),
                        Direction::ServerToClient => parse::cut_status_line(&mut message.head),
                    };
                    version.map(|version| Parsed { version, cut: true })
                };
                let Some(parsed) = parsed else {
                    self.recycle(message);
                    return self.malformed(direction, bytes, out);
                };
                message.version = parsed.version;
                let reader = self.reader(direction);
                reader.partial = Some(message);
                reader.state = State::HeadRest { skipped: 0 };
                used
            }
        }
    }

    /// Reads on in a head over the limit: only fields that frame the body are still kept.
    fn head_rest(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        bytes: &[u8],
        skipped: u32,
        out: &mut Output<'_>,
    ) -> usize {
        let reader = self.reader(direction);
        let (used, complete) = reader.line(bytes, KEPT_OF_LINE);
        let skipped = skipped.saturating_add(used as u32);
        if skipped as usize > out.config.max_head.saturating_mul(HEAD_REST_FACTOR) {
            self.desync(direction, Reasons::HEAD_TOO_LARGE, out);
            return used;
        }
        reader.state = State::HeadRest { skipped };
        if !complete {
            return used;
        }
        let blank = matches!(reader.buf.as_slice(), b"\n" | b"\r\n");
        if let Some(message) = reader.partial.as_mut().filter(|_| framing::is_framing_line(&reader.buf)) {
            // A framing line that is longer than what is kept of it has no meaning.
            let whole = reader.buf.ends_with(b"\n");
            let at = message.head.append(if whole { &reader.buf } else { b"content-length: ?\n" });
            parse::field_lines(&mut message.head, at.start as usize, out.config.max_fields);
        }
        reader.clear();
        if blank && let Some(message) = reader.partial.take() {
            let parsed = Parsed { version: message.version, cut: true };
            self.head_done(direction, ts, message, parsed, out);
        }
        used
    }

    fn head_done(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        mut message: Box<Message>,
        parsed: Parsed,
        out: &mut Output<'_>,
    ) {
        message.version = parsed.version;
        message.first = self.reader(direction).start;
        message.last = ts;
        out.stats.heads_too_large += u64::from(parsed.cut);
        if out.config.redact {
            redact::head(&mut message.head, out.stats);
        }
        let reasons = if parsed.cut { Reasons::HEAD_TOO_LARGE } else { Reasons::NONE };
        match direction {
            Direction::ClientToServer => self.request(ts, message, reasons, out),
            Direction::ServerToClient => self.response(ts, message, reasons, out),
        }
    }

    /// Takes a request's head.
    fn request(&mut self, ts: Timestamp, mut message: Box<Message>, reasons: Reasons, out: &mut Output<'_>) {
        out.stats.requests += 1;
        let facts = framing::facts(Direction::ClientToServer, &message.head, false);
        message.upgrade = facts.upgrade;
        let connect = message.head.octets(message.head.method) == b"CONNECT";
        self.note_request(out);
        let mut exchange = Exchange { reasons, ..Exchange::default() };
        if facts.ambiguous {
            out.stats.lengths_ambiguous += 1;
            exchange.reasons.insert(Reasons::AMBIGUOUS_LENGTH);
        }
        exchange.request = Some(message);
        self.queue.push_back(exchange);
        self.flags.reads_request = true;
        if connect && facts.framing == Framing::None {
            self.message_done(Direction::ClientToServer, ts, out);
            self.client.state = State::Hold { octets: 0 };
        } else {
            self.body_begins(Direction::ClientToServer, ts, facts.framing, out);
        }
        if self.queue.len() > out.config.max_outstanding {
            out.stats.requests_overflowed += 1;
            self.emit_front(Reasons::OVERFLOW, out);
            // The dropped request's response may still come.
            let marker = Exchange { unknown: true, reasons: Reasons::OVERFLOW, ..Exchange::default() };
            if !self.queue.front().is_some_and(|front| front.unknown) {
                self.queue.push_front(marker);
            }
        }
    }

    /// Draws from a request's coming what it says of the ones before.
    fn note_request(&mut self, out: &mut Output<'_>) {
        let reads_response = self.flags.reads_response;
        let waiting = reads_response || self.queue.iter().any(Exchange::awaits_response);
        let alternates = self.answers == 1 && !reads_response;
        self.answers = 0;
        if !self.flags.pipelined
            && let Some(loss) = self.lost.as_mut().filter(|loss| !loss.asked_since)
        {
            // Those before it were answered within the gap.
            loss.asked_since = true;
            let reasons = loss.reasons;
            self.answered_unseen(reasons, out);
            return;
        }
        self.lockstep = if alternates { self.lockstep.saturating_add(1) } else { 0 };
        if self.flags.pipelined && self.lockstep >= LOCKSTEP_RETURN {
            // What still waits was never answered: the pairs were lost count of in a gap.
            self.flags.pipelined = false;
            self.answered_unseen(Reasons::RESPONSE_GAP, out);
        } else if !self.flags.pipelined && self.flags.apart && alternates {
            // They came in a row only because a gap held one of them back.
            self.answered_unseen(Reasons::RESPONSE_GAP, out);
            self.doubt = Some((DOUBTED, Reasons::RESPONSE_GAP));
        } else if waiting && self.lost.is_none() {
            self.flags.pipelined = true;
            if let Some((pairs, _)) = &mut self.doubt {
                *pairs = DOUBTED;
            }
        } else if !waiting && !self.flags.pipelined {
            self.answered_unseen(Reasons::NONE, out);
        }
    }

    /// Clears the queue: its responses will not come any more.
    fn answered_unseen(&mut self, why: Reasons, out: &mut Output<'_>) {
        let pairs = if self.lockstep >= LOCKSTEP_RETURN { 1 } else { DOUBTED };
        while let Some(front) = self.queue.front() {
            if front.unknown {
                self.doubt = Some((pairs, front.reasons));
            }
            self.emit_front(why, out);
        }
        self.flags.apart = false;
    }

    /// Takes a response's head.
    fn response(&mut self, ts: Timestamp, mut message: Box<Message>, reasons: Reasons, out: &mut Output<'_>) {
        let status = message.head.status;
        if (100..200).contains(&status) && status != 101 {
            out.stats.interim_responses += 1;
            self.recycle(message);
            self.server.state = State::Start;
            return;
        }
        out.stats.responses += 1;
        let certain = self.pair(reasons, out);
        let Some(front) = self.queue.front_mut() else { return };
        let request = front.request.as_deref();
        let method = request.map(|request| request.head.octets(request.head.method)).unwrap_or_default();
        let connected = method == b"CONNECT" && (200..300).contains(&status);
        let switched = connected || status == 101;
        let bodyless = switched || method == b"HEAD" || matches!(status, 204 | 304);
        let facts = framing::facts(Direction::ServerToClient, &message.head, bodyless);
        if facts.ambiguous {
            out.stats.lengths_ambiguous += 1;
            front.reasons.insert(Reasons::AMBIGUOUS_LENGTH);
        }
        message.last = ts;
        front.response = Some(message);
        self.flags.reads_response = true;
        self.flags.perhaps_bodyless = !certain;
        if switched {
            self.switch(ts, out);
            return;
        }
        if let State::Hold { octets } = self.client.state
            && !self.queue.iter().any(|exchange| exchange.awaits_response() && is_connect(exchange))
        {
            // Refused: HTTP goes on.
            self.client.state = State::Start;
            if octets > 0 {
                self.desync(Direction::ClientToServer, Reasons::REQUEST_GAP, out);
            }
        }
        self.body_begins(Direction::ServerToClient, ts, facts.framing, out);
    }

    /// Makes the front of the queue the exchange that a response belongs to: the request that it answers, or one without a
    /// request. Says whether that is certain.
    fn pair(&mut self, reasons: Reasons, out: &mut Output<'_>) -> bool {
        let outstanding = self.queue.len();
        let front_waits = self.queue.front().is_some_and(Exchange::awaits_response);
        let mut alone = Exchange { reasons, ..Exchange::default() };
        if let Some(loss) = self.lost.take() {
            if outstanding == 1 && front_waits {
                let proven = !loss.within_message && self.lockstep >= LOCKSTEP_PROOF;
                let flag = self.doubted().with(if proven { Reasons::NONE } else { loss.reasons });
                self.take_front(reasons.with(flag));
                return flag.is_empty();
            }
            self.flags.apart = outstanding > 0;
            alone.reasons.insert(loss.reasons);
        } else if self.flags.apart && outstanding == 1 && front_waits {
            // It answers one of those in the queue.
            self.flags.apart = false;
            self.take_front(reasons.with(Reasons::RESPONSE_GAP));
            return false;
        } else if !self.flags.apart && front_waits {
            let flag = self.doubted();
            self.take_front(reasons.with(flag));
            return flag.is_empty();
        }
        // It has no request, or nobody knows which.
        match self.queue.front() {
            Some(front) if front.unknown => alone.reasons.insert(front.reasons),
            Some(_) if self.flags.apart => {
                let why = alone.reasons.with(Reasons::RESPONSE_GAP);
                alone.reasons = why;
                self.emit_front(why, out);
                self.flags.apart = !self.queue.is_empty();
            }
            _ => {}
        }
        self.queue.push_front(alone);
        false
    }

    /// What a pair made now is to be flagged with.
    fn doubted(&mut self) -> Reasons {
        let Some((pairs, flag)) = self.doubt else { return Reasons::NONE };
        self.doubt = (pairs > 1).then_some((pairs - 1, flag));
        flag
    }

    fn take_front(&mut self, reasons: Reasons) {
        if let Some(front) = self.queue.front_mut() {
            front.reasons.insert(reasons);
        }
    }

    fn body_begins(&mut self, direction: Direction, ts: Timestamp, framing: Framing, out: &mut Output<'_>) {
        let reader = self.reader(direction);
        reader.state = match framing {
            Framing::None => return self.message_done(direction, ts, out),
            Framing::Length(octets) => State::Length(octets),
            Framing::Chunked => State::Chunked(Chunked::START),
            Framing::UntilClose => State::UntilClose,
            Framing::Unknown => {
                reader.state = State::UntilClose;
                return self.desync(direction, Reasons::AMBIGUOUS_LENGTH, out);
            }
        };
    }

    fn chunk(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        bytes: &[u8],
        mut chunked: Chunked,
        out: &mut Output<'_>,
    ) -> usize {
        if self.unseen_head_request(direction, bytes) {
            self.message_done(direction, ts, out);
            return 0;
        }
        let (framing, step) = chunked.step(bytes);
        self.reader(direction).state = State::Chunked(chunked);
        match step {
            Step::More => framing,
            Step::Data(len) => {
                self.body(direction, ts, &bytes[framing..framing + len], out);
                framing + len
            }
            Step::Last(len) => {
                self.reader(direction).state = State::Trailers;
                framing + len
            }
            Step::Malformed => framing + self.malformed(direction, &bytes[framing..], out),
        }
    }

    /// Reads trailer lines up to the empty one.
    fn trailer(&mut self, direction: Direction, ts: Timestamp, bytes: &[u8], out: &mut Output<'_>) -> usize {
        let max_head = out.config.max_head;
        let reader = self.reader(direction);
        let (used, complete) = reader.line(bytes, max_head);
        if !complete {
            return used;
        }
        let line = std::mem::take(&mut reader.buf);
        let blank = matches!(line.as_slice(), b"\n" | b"\r\n");
        if let Some((message, reasons)) = self.message(direction)
            && !blank
        {
            if message.head.buf.len() + line.len() > max_head {
                reasons.insert(Reasons::HEAD_TOO_LARGE);
            } else {
                let at = message.head.append(&line);
                message.head.begin_trailers();
                parse::field_lines(&mut message.head, at.start as usize, out.config.max_fields);
                if out.config.redact {
                    redact::trailers(&mut message.head, out.stats);
                }
            }
        }
        self.reader(direction).buf = line;
        self.reader(direction).clear();
        if blank {
            self.message_done(direction, ts, out);
        }
        used
    }

    /// Whether a response whose request is not known has the next response where its body should begin: it answered HEAD.
    fn unseen_head_request(&mut self, direction: Direction, bytes: &[u8]) -> bool {
        direction == Direction::ServerToClient
            && std::mem::take(&mut self.flags.perhaps_bodyless)
            && begins_response(bytes)
    }

    /// Takes body octets.
    fn body(&mut self, direction: Direction, ts: Timestamp, bytes: &[u8], out: &Output<'_>) {
        if let Some((message, _)) = self.message(direction) {
            message.size += bytes.len() as u64;
            message.last = ts;
            if out.config.body_limit > 0 {
                message.kept.extend(bytes, &message.head, out.config.body_limit);
            }
        }
    }

    /// Takes note of body octets that the framing promises and the capture lacks.
    fn body_missing(&mut self, direction: Direction, missing: u64) {
        self.flags.perhaps_bodyless &= direction == Direction::ClientToServer;
        if let Some((message, reasons)) = self.message(direction) {
            message.size = message.size.saturating_add(missing);
            message.kept.cut();
            reasons.insert(gap_reason(direction));
        }
    }

    /// The message that a direction's reader is in the body of.
    fn message(&mut self, direction: Direction) -> Option<(&mut Message, &mut Reasons)> {
        let (exchange, reading) = match direction {
            Direction::ClientToServer => (self.queue.back_mut(), self.flags.reads_request),
            Direction::ServerToClient => (self.queue.front_mut(), self.flags.reads_response),
        };
        let exchange = exchange.filter(|_| reading)?;
        let message = match direction {
            Direction::ClientToServer => exchange.request.as_deref_mut()?,
            Direction::ServerToClient => exchange.response.as_deref_mut()?,
        };
        Some((message, &mut exchange.reasons))
    }

    /// The message's last octet was seen.
    fn message_done(&mut self, direction: Direction, ts: Timestamp, out: &mut Output<'_>) {
        if let Some((message, _)) = self.message(direction) {
            message.last = ts;
            message.done = true;
        }
        self.reader(direction).state = State::Start;
        match direction {
            Direction::ClientToServer => self.flags.reads_request = false,
            Direction::ServerToClient => {
                self.flags.reads_response = false;
                self.answers = self.answers.saturating_add(1);
            }
        }
        self.emit_done(out);
    }

    /// The message ends here without having come to its end.
    fn cut(&mut self, direction: Direction, why: Reasons, out: &mut Output<'_>) {
        let reader = self.reader(direction);
        let state = reader.state;
        reader.clear();
        if let Some(message) = reader.partial.take() {
            self.recycle(message);
        }
        match state {
            State::Head | State::HeadRest { .. } => out.stats.heads_cut += 1,
            State::Length(_) | State::Chunked(_) | State::Trailers | State::UntilClose => {
                let truncated = match direction {
                    Direction::ClientToServer => Reasons::REQUEST_BODY_TRUNCATED,
                    Direction::ServerToClient => Reasons::RESPONSE_BODY_TRUNCATED,
                };
                if let Some((message, reasons)) = self.message(direction) {
                    let last = message.last;
                    message.kept.cut();
                    reasons.insert(why.with(truncated));
                    self.message_done(direction, last, out);
                }
            }
            State::Start | State::Seek | State::Hold { .. } => {}
        }
    }

    /// Loses the place in a direction: what follows begins somewhere in some message.
    fn desync(&mut self, direction: Direction, why: Reasons, out: &mut Output<'_>) {
        let reader = self.reader(direction);
        let state = reader.state;
        // A final response of which just the beginning is there answers the front of the queue.
        let final_status =
            state == State::Head && reader.buf.len() > 12 && matches!(reader.buf.get(9), Some(b'2'..=b'5'));
        self.cut(direction, why, out);
        self.reader(direction).state = State::Seek;
        match direction {
            Direction::ClientToServer => match self.queue.back_mut() {
                Some(back) if back.unknown => back.reasons.insert(why),
                _ => self.queue.push_back(Exchange { unknown: true, reasons: why, ..Exchange::default() }),
            },
            Direction::ServerToClient => {
                let front_waits = self.queue.front().is_some_and(Exchange::awaits_response);
                if final_status && front_waits && self.lost.is_none() && !self.flags.apart {
                    self.emit_front(why, out);
                }
                let within_message = !matches!(state, State::Start | State::Seek);
                let loss = self.lost.get_or_insert(Loss { reasons: why, within_message, asked_since: false });
                loss.asked_since = false;
                loss.reasons.insert(why);
                loss.within_message |= within_message;
            }
        }
    }

    /// Octets that are not HTTP: looks for the next message. Takes all of `bytes`.
    fn malformed(&mut self, direction: Direction, bytes: &[u8], out: &mut Output<'_>) -> usize {
        out.stats.malformed += 1;
        out.stats.octets_skipped += bytes.len() as u64;
        self.desync(direction, Reasons::MALFORMED, out);
        bytes.len()
    }

    /// Another protocol begins after the response at the front.
    fn switch(&mut self, ts: Timestamp, out: &mut Output<'_>) {
        out.stats.switched += 1;
        self.message_done(Direction::ServerToClient, ts, out);
        self.flags.reads_request = false;
        while !self.queue.is_empty() {
            self.emit_front(Reasons::NONE, out);
        }
        self.flags.switched = true;
        self.client.clear();
        self.server.clear();
        self.trim();
    }

    /// Emits what is complete at the front of the queue.
    fn emit_done(&mut self, out: &mut Output<'_>) {
        while self.queue.front().is_some_and(Exchange::is_done) {
            self.emit_front(Reasons::NONE, out);
        }
    }

    /// Emits the front of the queue as it is.
    fn emit_front(&mut self, reasons: Reasons, out: &mut Output<'_>) {
        let Some(mut exchange) = self.queue.pop_front() else { return };
        if self.queue.is_empty() {
            self.flags.reads_request = false;
        }
        if exchange.unknown {
            return;
        }
        exchange.reasons.insert(reasons);
        if exchange.response.as_ref().is_some_and(|response| !response.done) {
            self.flags.reads_response = false;
        }
        exchange.emit(self.emitted, out);
        self.emitted += 1;
        for message in [exchange.request, exchange.response].into_iter().flatten() {
            self.recycle(message);
        }
    }

    fn recycle(&mut self, mut message: Box<Message>) {
        message.reset();
        if self.spare.len() < MAX_SPARE {
            self.spare.push(message);
        }
    }

    fn reader(&mut self, direction: Direction) -> &mut Reader {
        match direction {
            Direction::ClientToServer => &mut self.client,
            Direction::ServerToClient => &mut self.server,
        }
    }
}

fn is_connect(exchange: &Exchange) -> bool {
    exchange.request.as_deref().is_some_and(|request| request.head.octets(request.head.method) == b"CONNECT")
}

const fn gap_reason(direction: Direction) -> Reasons {
    match direction {
        Direction::ClientToServer => Reasons::REQUEST_GAP,
        Direction::ServerToClient => Reasons::RESPONSE_GAP,
    }
}

/// Exchanges in succession without pipelining that make it sure that a connection does not pipeline.
const LOCKSTEP_PROOF: u8 = 2;
/// Pairs flagged after requests were lost, for the client may have sent the lost and the seen ones in a row.
const DOUBTED: u8 = 3;
/// The same for a connection that did.
const LOCKSTEP_RETURN: u8 = 16;
/// Messages kept for use: pipelines of some depth.
const MAX_SPARE: usize = 32;
/// Octets kept of a line in a head over the limit: enough for any field that frames a body.
const KEPT_OF_LINE: usize = 512;
/// How many times `max_head` a head may be before it is held to be none.
const HEAD_REST_FACTOR: usize = 64;
