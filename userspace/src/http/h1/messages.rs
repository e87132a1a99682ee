//! Heads and bodies of either direction: octets to a message's parts, and what becomes of a message that is cut.

use super::chunked::{Chunked, Step};
use super::exchange::{Exchange, Message};
use super::framing::{self, Framing};
use super::parse::{self, Parsed};
use super::reader::{HeadStep, State};
use super::{Connection, Loss, begins_response, gap_reason};
use crate::Timestamp;
use crate::flow::Direction;
use crate::http::{Output, Reasons, Stage, redact};

impl Connection {
    pub(super) fn head(&mut self, direction: Direction, ts: Timestamp, bytes: &[u8], out: &mut Output<'_>) -> usize {
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
    pub(super) fn head_rest(
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

    pub(super) fn head_done(
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

    pub(super) fn body_begins(&mut self, direction: Direction, ts: Timestamp, framing: Framing, out: &mut Output<'_>) {
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

    pub(super) fn chunk(
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
    pub(super) fn trailer(&mut self, direction: Direction, ts: Timestamp, bytes: &[u8], out: &mut Output<'_>) -> usize {
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
    pub(super) fn unseen_head_request(&mut self, direction: Direction, bytes: &[u8]) -> bool {
        direction == Direction::ServerToClient
            && std::mem::take(&mut self.flags.perhaps_bodyless)
            && begins_response(bytes)
    }

    /// Takes body octets.
    pub(super) fn body(&mut self, direction: Direction, ts: Timestamp, bytes: &[u8], out: &mut Output<'_>) {
        let mut long = false;
        if let Some((message, _)) = self.message(direction) {
            long = ts >= message.first.saturating_add(out.config.stream_after);
            message.size += bytes.len() as u64;
            message.last = ts;
            message.calls.feed(bytes, &message.head);
            if out.config.body_limit > 0 {
                message.kept.extend(bytes, &message.head, out.config.body_limit);
            }
        }
        if long && direction == Direction::ServerToClient {
            self.announce(out);
        }
    }

    /// Emits what there is of a transaction whose response goes on for long (server-sent events, long downloads).
    #[cold]
    fn announce(&mut self, out: &mut Output<'_>) {
        if let Some(front) = self.queue.front_mut().filter(|front| front.announced.is_none()) {
            front.emit(self.emitted, Stage::Open, out);
            front.announced = Some(self.emitted);
            self.emitted += 1;
        }
    }

    /// Takes note of body octets that the framing promises and the capture lacks.
    pub(super) fn body_missing(&mut self, direction: Direction, missing: u64) {
        self.flags.perhaps_bodyless &= direction == Direction::ClientToServer;
        if let Some((message, reasons)) = self.message(direction) {
            message.size = message.size.saturating_add(missing);
            message.kept.cut();
            message.calls.lose();
            reasons.insert(gap_reason(direction));
        }
    }

    /// The message that a direction's reader is in the body of.
    pub(super) fn message(&mut self, direction: Direction) -> Option<(&mut Message, &mut Reasons)> {
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
    pub(super) fn message_done(&mut self, direction: Direction, ts: Timestamp, out: &mut Output<'_>) {
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
    pub(super) fn cut(&mut self, direction: Direction, why: Reasons, out: &mut Output<'_>) {
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
                    message.calls.lose();
                    reasons.insert(why.with(truncated));
                    self.message_done(direction, last, out);
                }
            }
            State::Start | State::Seek | State::Hold { .. } => {}
        }
    }

    /// Loses the place in a direction: what follows begins somewhere in some message.
    pub(super) fn desync(&mut self, direction: Direction, why: Reasons, out: &mut Output<'_>) {
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
    pub(super) fn malformed(&mut self, direction: Direction, bytes: &[u8], out: &mut Output<'_>) -> usize {
        out.stats.malformed += 1;
        out.stats.octets_skipped += bytes.len() as u64;
        self.desync(direction, Reasons::MALFORMED, out);
        bytes.len()
    }
}

/// Octets kept of a line in a head over the limit: enough for any field that frames a body.
const KEPT_OF_LINE: usize = 512;
/// How many times `max_head` a head may be before it is held to be none.
const HEAD_REST_FACTOR: usize = 64;
