//! Which response answers which request. The rules stand at the head of the parent module.

use super::exchange::{Exchange, Message};
use super::framing::{self, Framing};
use super::reader::State;
use super::{Agreed, Connection, Upgraded};
use crate::Timestamp;
use crate::flow::Direction;
use crate::http::{Output, Reasons, Stage, websocket};

impl Connection {
    /// Takes a request's head.
    pub(super) fn request(&mut self, ts: Timestamp, mut message: Box<Message>, reasons: Reasons, out: &mut Output<'_>) {
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
    pub(super) fn note_request(&mut self, out: &mut Output<'_>) {
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
    pub(super) fn answered_unseen(&mut self, why: Reasons, out: &mut Output<'_>) {
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
    pub(super) fn response(
        &mut self,
        ts: Timestamp,
        mut message: Box<Message>,
        reasons: Reasons,
        out: &mut Output<'_>,
    ) {
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
            self.agreed = if status == 101 { self.agree(out) } else { None };
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
    pub(super) fn pair(&mut self, reasons: Reasons, out: &mut Output<'_>) -> bool {
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
    pub(super) fn doubted(&mut self) -> Reasons {
        let Some((pairs, flag)) = self.doubt else { return Reasons::NONE };
        self.doubt = (pairs > 1).then_some((pairs - 1, flag));
        flag
    }

    pub(super) fn take_front(&mut self, reasons: Reasons) {
        if let Some(front) = self.queue.front_mut() {
            front.reasons.insert(reasons);
        }
    }

    /// What the response at the front agrees on, if that is read too. A request that HTTP/2 answers leaves the queue.
    fn agree(&mut self, out: &mut Output<'_>) -> Option<Agreed> {
        let front = self.queue.front()?;
        let response = front.response.as_deref()?;
        let headers = response.head.headers();
        let protocol = headers.get("upgrade")?;
        if protocol.eq_ignore_ascii_case(b"websocket") {
            let extensions = headers.get("sec-websocket-extensions");
            let websocket = websocket::Connection::new(self.emitted, None, response.last, extensions);
            return Some(Agreed::WebSocket(Box::new(websocket)));
        }
        if !protocol.eq_ignore_ascii_case(b"h2c") {
            return None;
        }
        // Whatever else was lost, it answers the request that asked for it.
        let asks = |exchange: &Exchange| exchange.request.as_deref().is_some_and(|request| request.upgrade);
        let at = self.queue.iter().position(asks)?;
        let mut request = self.queue.remove(at)?.request?;
        if at > 0 {
            self.queue.pop_front_if(|front| front.request.is_none());
        }
        // The response was interim.
        out.stats.responses -= 1;
        out.stats.interim_responses += 1;
        self.flags.reads_response = false;
        Some(Agreed::Http2(Box::new(Upgraded {
            head: std::mem::take(&mut request.head),
            kept: std::mem::take(&mut request.kept),
            size: request.size,
            first: request.first,
            last: request.last,
        })))
    }

    /// Another protocol begins after the response at the front.
    pub(super) fn switch(&mut self, ts: Timestamp, out: &mut Output<'_>) {
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
    pub(super) fn emit_done(&mut self, out: &mut Output<'_>) {
        while self.queue.front().is_some_and(Exchange::is_done) {
            self.emit_front(Reasons::NONE, out);
        }
    }

    /// Emits the front of the queue as it is.
    pub(super) fn emit_front(&mut self, reasons: Reasons, out: &mut Output<'_>) {
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
        match exchange.announced {
            Some(index) => exchange.emit(index, Stage::Rest, out),
            None => {
                exchange.emit(self.emitted, Stage::Whole, out);
                self.emitted += 1;
            }
        }
        for message in [exchange.request, exchange.response].into_iter().flatten() {
            self.recycle(message);
        }
    }
}

fn is_connect(exchange: &Exchange) -> bool {
    exchange.request.as_deref().is_some_and(|request| request.head.octets(request.head.method) == b"CONNECT")
}

/// Requests in succession, each after one response, that make it sure that a connection does not pipeline.
const LOCKSTEP_PROOF: u8 = 2;
/// The same for a connection that once did.
pub(super) const LOCKSTEP_RETURN: u8 = 16;
/// Pairs flagged after requests were lost, for the client may have sent the lost and the seen ones in a row.
pub(super) const DOUBTED: u8 = 3;
