//! What frames do to streams: heads, bodies, ends, and the way out.

use std::time::Duration;

use super::block::{Block, Filled};
use super::frame::{ErrorCode, Flags, FrameHeader, StreamId};
use super::hpack::Field;
use super::placing::{Outcome, Place};
use super::state::{State, gap_reason};
use super::stream::Message;
use crate::Timestamp;
use crate::flow::Direction::{self, ClientToServer, ServerToClient};
use crate::http::h1::Upgraded;
use crate::http::transaction::Stage;
use crate::http::{Lost, Output, Reasons, websocket};

impl State {
    /// Decodes a header block of `direction` and puts it where it belongs. `cut`: its end is missing, and why.
    pub(super) fn header_block(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        block: &Block,
        octets: &[u8],
        cut: Option<Reasons>,
        out: &mut Output<'_>,
    ) {
        let id = block.promised.unwrap_or(block.stream);
        // A promise is a request that the server writes.
        let speaker = if block.promised.is_some() { ClientToServer } else { direction };
        let wanted = !self.streams.is_over(id) && (direction == ServerToClient || id.is_client_initiated());
        if wanted {
            self.make_room(id, out);
            self.note(id);
        }
        let (Some(hpack), scratch, streams) = self.decoder(direction) else { return };
        let mut unwanted = Message::default();
        let mut stream = wanted.then(|| streams.open(id));
        let mut place = stream.as_ref().map_or(Place::Nowhere, |stream| stream.place_for(block, speaker));
        let message = stream.as_mut().map_or(&mut unwanted, |stream| stream.message(speaker));
        match place {
            Place::Head => message.forget_head(),
            Place::Trailers => message.head.begin_trailers(),
            Place::Unclear | Place::Nowhere => {}
        }
        let mut filled = Filled::default();
        let take = |field: Field<'_>| {
            filled.fields += 1;
            if matches!(place, Place::Unclear) {
                place = message.place_by(&field, filled.fields);
            }
            match place {
                Place::Head | Place::Trailers => message.take_field(field, out.config, &mut filled),
                Place::Unclear => filled.unknown += u32::from(field.name.is_none()),
                Place::Nowhere => {}
            }
        };
        let decoded = match cut {
            None => hpack.decode(octets, scratch, take),
            Some(_) => Ok(hpack.decode_prefix(octets, scratch, take)),
        };
        let outcome = Outcome { decoded, filled, cut, place };
        match stream {
            None => out.stats.h2_blocks_late += 1,
            Some(stream) => {
                stream.pushed |= block.promised.is_some();
                stream.take_block(speaker, ts, block, &outcome, out);
            }
        }
        let lawless = decoded.map_or(true, |decoded| decoded.beyond_table > 0);
        out.stats.h2_blocks_malformed += u64::from(lawless);
        if wanted {
            self.account(id);
            self.after(id, out);
        }
    }

    /// The first stream answers a request that came by HTTP/1.
    pub(super) fn take_upgraded(&mut self, upgraded: Upgraded) {
        let id = StreamId(1);
        self.note(id);
        let Upgraded { head, kept, size, first, last } = upgraded;
        self.streams.open(id).request =
            Message { head, kept, size, first, last, seen: true, headed: true, done: true, ..Message::default() };
        self.account(id);
    }

    /// Takes octets of a DATA frame.
    pub(super) fn data(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        header: FrameHeader,
        octets: &[u8],
        last: bool,
        out: &mut Output<'_>,
    ) {
        let id = header.stream;
        if self.streams.is_over(id) {
            out.stats.h2_octets_late += octets.len() as u64;
            return;
        }
        if self.streams.get(id).is_none() {
            // Its head may have been missed; else nobody may send this.
            let missed = self.midstream || self.side(direction).gaps;
            if !missed || direction == ClientToServer && !id.is_client_initiated() {
                out.stats.malformed += u64::from(last);
                return;
            }
            self.make_room(id, out);
            self.note(id);
        }
        let body_limit = out.config.body_limit;
        let stream = self.streams.open(id);
        let message = stream.message(direction);
        message.begin(ts);
        message.last = ts;
        message.size += octets.len() as u64;
        if let Some(websocket) = &mut stream.websocket {
            websocket.data(direction, ts, octets, body_limit);
        } else {
            stream.message(direction).take_data(octets, body_limit);
        }
        if body_limit > 0 {
            self.account(id);
        }
        if last && header.flags.has(Flags::END_STREAM) {
            self.streams.open(id).message(direction).done = true;
            self.after(id, out);
        }
    }

    /// Takes note that octets of a DATA frame's body are missing.
    pub(super) fn body_lost(&mut self, direction: Direction, header: FrameHeader, octets: u64) {
        if let Some(stream) = self.streams.get(header.stream) {
            stream.reasons.insert(gap_reason(direction));
            if let Some(websocket) = &mut stream.websocket {
                websocket.gap(direction, if octets > 0 { Lost::Exactly(octets) } else { Lost::AtMost(u64::MAX) });
            }
            let message = stream.message(direction);
            message.size = message.size.saturating_add(octets);
            message.kept.cut();
            message.messages.lose();
        }
    }

    /// A stream is given up.
    pub(super) fn reset(
        &mut self,
        direction: Direction,
        ts: Timestamp,
        id: StreamId,
        code: ErrorCode,
        out: &mut Output<'_>,
    ) {
        out.stats.h2_resets += 1;
        let Some(stream) = self.streams.get(id) else { return };
        let message = stream.message(direction);
        message.last = message.last.max(ts);
        stream.reset.get_or_insert((direction, code));
        // A server that needs no more of a request says so when its response is whole (RFC 9113 section 8.1). What the
        // client sent before it heard of that is still under way.
        if direction == ServerToClient && code == ErrorCode::NO_ERROR && stream.response.done {
            let until = *stream.lingers_until.get_or_insert(ts.saturating_add(LINGER));
            self.look_again(until);
        } else {
            self.close(id, Reasons::STREAM_RESET, out);
        }
    }

    /// Flags every stream whose message of `direction` has not ended; emits those of which no more is to be waited for.
    pub(super) fn flag_unfinished(&mut self, direction: Direction, reason: Reasons, out: &mut Output<'_>) {
        let mut done = Vec::new();
        for stream in self.streams.iter_mut() {
            if stream.message(direction).done {
                continue;
            }
            stream.reasons.insert(reason);
            if let Some(websocket) = &mut stream.websocket {
                websocket.gap(direction, Lost::AtMost(u64::MAX));
            }
            let message = stream.message(direction);
            message.kept.cut();
            message.messages.lose();
            message.end_lost = true;
            if message.may_be_interim() {
                message.doubt_head();
            }
            if stream.is_done() {
                done.push(stream.id);
            }
        }
        for id in done {
            self.close(id, Reasons::NONE, out);
        }
    }

    /// Emits what is open: the connection is over.
    pub(super) fn close_all(&mut self, out: &mut Output<'_>) {
        while let Some(id) = self.streams.oldest() {
            self.close(id, Reasons::CLOSED_EARLY, out);
        }
    }

    /// Announces streams that have gone on for long (server-sent events, long polls, watches), and ends those that have
    /// lingered.
    pub(super) fn announce(&mut self, ts: Timestamp, out: &mut Output<'_>) {
        if self.next_announcement.is_none_or(|due| ts < due) {
            return;
        }
        self.next_announcement = None;
        let mut over = Vec::new();
        for stream in self.streams.iter_mut() {
            let Some(due) = stream.due(out) else { continue };
            if ts >= due && stream.lingers_until.is_some() {
                over.push(stream.id);
            } else if ts < due {
                self.next_announcement = Some(self.next_announcement.map_or(due, |next| next.min(due)));
            } else if stream.emit(self.emitted, Stage::Open, out) {
                stream.announced = Some(self.emitted);
                self.emitted += 1;
            }
        }
        for id in over {
            self.close(id, Reasons::REQUEST_BODY_TRUNCATED, out);
        }
    }

    /// What is to be done when a stream has changed.
    fn after(&mut self, id: StreamId, out: &mut Output<'_>) {
        let Some(stream) = self.streams.get(id) else { return };
        if stream.is_done() {
            self.close(id, Reasons::NONE, out);
        } else if stream.becomes_websocket() {
            let index = self.emitted;
            self.emitted += u64::from(stream.emit(index, Stage::Whole, out));
            let response = &stream.response;
            let extensions = response.head.headers().get("sec-websocket-extensions");
            let websocket = websocket::Connection::new(index, Some(id.0), response.last, extensions);
            stream.websocket = Some(Box::new(websocket));
        } else if let Some(due) = stream.due(out) {
            self.look_again(due);
        }
    }

    /// Sees to it that [`State::announce`] looks at the streams at `due`.
    fn look_again(&mut self, due: Timestamp) {
        self.next_announcement = Some(self.next_announcement.map_or(due, |next| next.min(due)));
    }

    /// Ends a stream and emits it.
    fn close(&mut self, id: StreamId, reason: Reasons, out: &mut Output<'_>) {
        let Some(mut stream) = self.streams.close(id) else { return };
        self.held = self.held.saturating_sub(stream.held);
        if let Some(mut websocket) = stream.websocket.take() {
            websocket.finish(out);
            self.streams.recycle(stream);
            return;
        }
        if stream.response.may_be_interim() && !stream.response.done {
            stream.response.doubt_head();
        }
        let mut reasons = stream.reasons;
        // Where all that is missing is what the server did not want, nothing went wrong with the connection.
        let reason = if stream.lingers_until.is_some() { Reasons::REQUEST_BODY_TRUNCATED } else { reason };
        if !stream.is_done() {
            reasons.insert(reason);
        }
        for (direction, truncated) in
            [(ClientToServer, Reasons::REQUEST_BODY_TRUNCATED), (ServerToClient, Reasons::RESPONSE_BODY_TRUNCATED)]
        {
            let gaps = self.side(direction).gaps;
            if stream.falls_short(direction) {
                reasons.insert(truncated);
            }
            let message = stream.message(direction);
            if message.seen && !message.done && reason != Reasons::NONE {
                message.kept.cut();
                reasons.insert(truncated);
            }
            // The head of a request always comes first: where it is missing, something was lost.
            let head_due = direction == ClientToServer || message.seen || message.size > 0;
            if head_due && !message.headed {
                reasons.insert(if gaps { gap_reason(direction) } else { Reasons::NONE });
                reasons.insert(if self.midstream { Reasons::MIDSTREAM } else { Reasons::NONE });
            }
        }
        stream.reasons = reasons;
        let (index, stage) = match stream.announced {
            Some(index) => (index, Stage::Rest),
            None => (self.emitted, Stage::Whole),
        };
        if stream.emit(index, stage, out) && stage == Stage::Whole {
            self.emitted += 1;
        }
        self.streams.recycle(stream);
    }

    /// Ends old streams where a new one would be over a limit.
    fn make_room(&mut self, id: StreamId, out: &mut Output<'_>) {
        if self.streams.get(id).is_some() {
            return;
        }
        while self.streams.len() >= out.config.max_streams || self.held > out.config.max_streams_held {
            let Some(oldest) = self.streams.oldest() else { return };
            out.stats.h2_streams_overflowed += 1;
            self.close(oldest, Reasons::OVERFLOW, out);
        }
    }

    /// Counts anew what a stream holds.
    fn account(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get(id) {
            let before = std::mem::replace(&mut stream.held, 0);
            let now = stream.footprint();
            stream.held = now;
            self.held = self.held.saturating_sub(before) + now;
        }
    }
}

/// How long a request that the server needs no more of is waited for: longer than nearly all round trips, so that what was
/// sent before the client heard of it is counted.
const LINGER: Duration = Duration::from_secs(1);
