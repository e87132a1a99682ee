//! Segments of one connection to two ordered streams.
//!
//! ```text
//!            next (delivered so far)            what the peer has acknowledged
//!              v                                   v
//!  ------------|....hole....[held piece]...hole....[held piece]
//! ```
//!
//! A segment that continues its stream is delivered at once, without a copy. One that does not is held (copied) until
//! - the octets before it have come, and
//! - the other direction has been delivered up to what the segment acknowledges: a response is never delivered before
//!   the request that its sender had read, whatever NIC or queue brought which first.
//!
//! A hole becomes a gap when the other side has acknowledged it and the reorder window has passed, when its own timer is
//! up, or when a cap is reached. The first copy of an octet wins (RFC 9293 leaves it open; most stacks do so); overlapping
//! copies that differ are counted.

use super::half::{Half, MAX_AHEAD};
use super::held::{Incoming, PIECE_COST};
use super::shared::count_gap;
use super::{SeqNumber, Side, StreamHandler, TcpFlags, TcpShared};
use crate::Timestamp;
use crate::http::StreamEnd;
use crate::wire::Segment;

/// Both directions of one connection.
#[derive(Debug, Default)]
pub struct Reassembler {
    halves: [Half; 2],
    /// When delivery last made progress while something was held.
    blocked_since: Timestamp,
    /// A side that had closed in order then reset the connection.
    reset: bool,
}

impl Reassembler {
    /// Takes one segment that `side` sent. Whatever can be delivered goes to `handler` before this returns.
    pub fn push(
        &mut self,
        side: Side,
        segment: &mut Segment<'_>,
        shared: &mut TcpShared,
        handler: &mut impl StreamHandler,
    ) {
        let Segment { ts, mut seq, ack, flags, ref mut payload, missing, .. } = *segment;
        let stats = &mut shared.stats;
        stats.segments_in += 1;
        stats.octets_in += payload.len() as u64;
        let has_ack = flags.contains(TcpFlags::ACK);
        if flags.contains(TcpFlags::SYN) {
            seq = seq.add(1);
            self.halves[side.index()].sync_at(seq, true);
        }
        if has_ack && !flags.contains(TcpFlags::RST) {
            let half = &self.halves[side.index()];
            let opens = half.syn_seen && seq == half.base;
            let other = &mut self.halves[side.reverse().index()];
            other.base_acked |= opens && !other.peer_acked && (!other.synced || other.base == ack);
            other.acknowledge(ack);
            if let Some(first) = other.held.as_ref().and_then(|held| held.pieces.front()) {
                other.answered |= first.seq.distance_from(ack) > 0;
            }
        }
        let [half, other] = self.pair(side);
        half.seen = true;
        let wire_len = (payload.len() as u32).saturating_add(missing);
        if !half.synced && (wire_len > 0 || has_ack) {
            half.join_at(seq);
        }
        let closes = flags.contains(TcpFlags::FIN) || flags.contains(TcpFlags::RST);
        if half.ended {
            self.reset |= flags.contains(TcpFlags::RST) && seq.distance_from(half.next).abs() <= 1;
            stats.octets_dropped += payload.len() as u64;
            *match (payload.is_empty(), closes) {
                (true, false) => &mut stats.segments_bare,
                (true, true) => &mut stats.segments_control,
                (false, _) => &mut stats.segments_after_end,
            } += 1;
            return;
        }
        let ack_floor = if has_ack { ack } else { other.next };
        let was_waiting = half.is_waiting() || other.is_waiting();
        if closes {
            half.close(seq, wire_len, ack_floor, flags);
        }
        if wire_len == 0 {
            let control = closes || flags.contains(TcpFlags::SYN);
            *(if control { &mut stats.segments_control } else { &mut stats.segments_bare }) += 1;
            if closes || was_waiting {
                self.deliver_held(ts, shared, handler);
                if !was_waiting {
                    self.blocked_since = ts;
                }
            }
            return;
        }
        let ahead = seq.distance_from(half.next);
        let in_order = ahead == 0 && half.held.is_none();
        let causal = !has_ack || !other.must_precede(ack);
        if in_order && causal && half.end.is_none_or(|(end, ..)| end.distance_from(seq.add(wire_len)) >= 0) {
            // The common path: the segment continues its stream.
            stats.segments_delivered += 1;
            stats.octets_delivered += payload.len() as u64;
            half.next = seq.add(wire_len);
            half.gap_octets += u64::from(missing);
            let unblock = half.end.is_some() || other.is_waiting();
            if !payload.is_empty() {
                handler.data(side, ts, payload);
            }
            if missing > 0 {
                count_gap(shared, u64::from(missing));
                handler.gap(side, ts, u64::from(missing));
            }
            if unblock {
                self.deliver_held(ts, shared, handler);
                if !was_waiting {
                    self.blocked_since = ts;
                }
            }
            return;
        }
        self.push_slow(side, Incoming { ts, seq, ack: ack_floor, missing }, payload, shared, handler);
    }

    /// Begins `side`'s stream at `seq`: its SYN was seen before this flow was known to be a new one.
    pub fn open(&mut self, side: Side, seq: SeqNumber) {
        let half = &mut self.halves[side.index()];
        half.sync_at(seq, true);
        half.seen = true;
    }

    /// Gives up what has waited too long. True while something still waits: call again after the reorder window.
    pub fn expire(&mut self, now: Timestamp, shared: &mut TcpShared, handler: &mut impl StreamHandler) -> bool {
        while self.is_blocked() {
            let waited = now.saturating_since(self.blocked_since);
            if waited < shared.config.reorder_window {
                return true;
            }
            let patience = match waited < shared.config.hole_timeout {
                true => Patience::Acknowledged,
                false if self.discard_unaccepted(now, shared, handler) => continue,
                false => Patience::None,
            };
            if !self.give_up(patience, now, shared, handler) {
                return true;
            }
        }
        false
    }

    /// Delivers all that is held, holes as gaps, and ends both directions: the connection is over or the input ends.
    pub fn finish(&mut self, now: Timestamp, shared: &mut TcpShared, handler: &mut impl StreamHandler) {
        while self.is_blocked() && self.give_up(Patience::None, now, shared, handler) {}
        for side in [Side::A, Side::B] {
            let half = &mut self.halves[side.index()];
            let lost = half.acked.distance_from(half.next);
            if half.seen && half.synced && half.peer_acked && !half.ended && lost > 1 {
                // A single octet is rather a FIN that was lost.
                half.skip(lost as u32, side, now, shared, handler);
            }
            let half = &mut self.halves[side.index()];
            half.abandon(shared);
            if !half.ended {
                half.ended = true;
                let how = half.end.map_or(StreamEnd::Cut, |(_, _, how)| how);
                handler.end(side, now, how);
            }
        }
    }

    /// Something waits for octets that may still come.
    pub fn is_blocked(&self) -> bool {
        self.halves.iter().any(Half::is_waiting)
    }

    /// Both directions have ended, or one has been reset.
    pub fn is_over(&self) -> bool {
        self.halves.iter().all(|half| half.ended) || self.is_reset()
    }

    /// One side has reset the connection.
    pub fn is_reset(&self) -> bool {
        self.reset || self.halves.iter().any(|half| half.ended && matches!(half.end, Some((_, _, StreamEnd::Reset))))
    }

    /// A FIN or RST was seen from either side.
    pub fn is_closing(&self) -> bool {
        self.halves.iter().any(|half| half.end.is_some())
    }

    /// Whether `side`'s SYN was seen.
    pub fn syn_seen(&self, side: Side) -> bool {
        self.halves[side.index()].syn_seen
    }

    /// Whether octets of `side` may be missing before the first that was seen: its SYN was not, nor how the other side
    /// answered it.
    pub fn is_start_missing(&self, side: Side) -> bool {
        let half = &self.halves[side.index()];
        half.synced && !half.syn_seen && !half.base_acked
    }

    /// The first sequence number of `side`'s stream, once known.
    pub fn base(&self, side: Side) -> Option<SeqNumber> {
        let half = &self.halves[side.index()];
        half.synced.then_some(half.base)
    }

    /// Octets of `side`'s stream that never came.
    pub fn gap_octets(&self, side: Side) -> u64 {
        let half = &self.halves[side.index()];
        // A side that was never seen has lost all that the other acknowledged.
        let unseen = if half.seen || !half.peer_acked { 0 } else { half.acked.distance_from(half.base).max(0) as u64 };
        half.gap_octets + unseen
    }

    /// Octets held now.
    pub fn held_octets(&self) -> usize {
        self.halves.iter().filter_map(|half| half.held.as_ref()).map(|held| held.octets).sum()
    }

    /// What they cost, as the cap on all connections counts it.
    pub(super) fn held_cost(&self) -> usize {
        let held = self.halves.iter().filter_map(|half| half.held.as_ref());
        held.map(|held| held.octets + held.pieces.len() * PIECE_COST).sum()
    }

    fn pair(&mut self, side: Side) -> [&mut Half; 2] {
        let [a, b] = &mut self.halves;
        match side {
            Side::A => [a, b],
            Side::B => [b, a],
        }
    }

    fn push_slow(
        &mut self,
        side: Side,
        incoming: Incoming,
        payload: &mut [u8],
        shared: &mut TcpShared,
        handler: &mut impl StreamHandler,
    ) {
        let Incoming { ts, mut seq, ack, mut missing } = incoming;
        let was_waiting = self.is_blocked();
        let half = &mut self.halves[side.index()];
        let mut octets: &[u8] = payload;
        let behind = half.next.distance_from(seq);
        if behind > 0 {
            // What was delivered is gone: the first copy has won.
            let known = (behind as usize).min(octets.len());
            shared.stats.octets_duplicate += known as u64;
            octets = octets.get(known..).unwrap_or_default();
            let rest = behind as u32 - known as u32;
            missing = missing.saturating_sub(rest);
            if octets.is_empty() && missing == 0 {
                shared.stats.segments_duplicate += 1;
                return;
            }
            seq = half.next;
        } else if -behind > MAX_AHEAD && !(half.peer_acked && half.acked.distance_from(seq).abs() < MAX_AHEAD) {
            let far = half.far.filter(|far| far.distance_from(seq).abs() < MAX_AHEAD);
            if !half.peer_acked {
                half.far = Some(seq);
            }
            let Some(far) = far else {
                shared.stats.segments_out_of_window += 1;
                shared.stats.octets_dropped += octets.len() as u64;
                return;
            };
            // The capture lacks more than a window, and both sides have gone on.
            half.acked = far;
        }
        if let Some((end, _, _)) = half.end {
            let beyond = seq.add(octets.len() as u32).distance_from(end);
            if beyond > 0 {
                let kept = octets.len().saturating_sub(beyond as usize);
                shared.stats.octets_dropped += (octets.len() - kept) as u64;
                octets = &octets[..kept];
                missing = 0;
                if octets.is_empty() {
                    shared.stats.segments_out_of_window += 1;
                    return;
                }
            }
        }
        let piece = Incoming { ts, seq, ack, missing };
        let held = half.held.get_or_insert_with(|| shared.held());
        match held.insert(&piece, octets, shared) {
            true => shared.stats.segments_held += 1,
            false => shared.stats.segments_duplicate += 1,
        }
        if half.held.as_ref().is_some_and(|held| held.pieces.is_empty()) {
            shared.recycle_held(half.held.take());
        }
        if !was_waiting {
            self.blocked_since = ts;
        }
        self.deliver_held(ts, shared, handler);
        while self.over_cap(shared) {
            shared.stats.gaps_forced += 1;
            if !self.give_up(Patience::None, ts, shared, handler) {
                break;
            }
        }
    }

    fn over_cap(&self, shared: &TcpShared) -> bool {
        let config = &shared.config;
        let pieces = |half: &Half| half.held.as_ref().map_or(0, |held| held.pieces.len());
        self.halves.iter().any(|half| half.held.is_some())
            && (self.held_octets() > config.held_octets_per_flow
                || shared.held > config.held_octets
                || self.halves.iter().any(|half| pieces(half) > config.held_pieces))
    }

    /// Delivers what has become deliverable, of both directions.
    fn deliver_held(&mut self, now: Timestamp, shared: &mut TcpShared, handler: &mut impl StreamHandler) {
        let mut idle = 0;
        let mut side = Side::A;
        while idle < 2 {
            let [half, other] = self.pair(side);
            if half.deliver_next(other, side, now, shared, handler) {
                self.blocked_since = now;
                idle = 0;
            } else {
                idle += 1;
                side = side.reverse();
            }
        }
    }

    /// Throws away what stands beyond a hole when the receiver has since acknowledged less, and for so long that it is no delay: it
    /// has not taken it. So a segment beyond its window, which anyone can send, makes no gap of octets that are still to come.
    fn discard_unaccepted(&mut self, now: Timestamp, shared: &mut TcpShared, handler: &mut impl StreamHandler) -> bool {
        let mut discarded = false;
        for half in &mut self.halves {
            let unaccepted = |start: SeqNumber| half.peer_acked && start.distance_from(half.acked) > 0;
            let first = half.held.as_ref().and_then(|held| held.pieces.front()).map(|piece| piece.seq);
            if half.answered && first.is_some_and(|start| start.distance_from(half.next) > 0 && unaccepted(start)) {
                half.abandon(shared);
                discarded = true;
            }
        }
        if discarded {
            self.deliver_held(now, shared, handler);
            self.blocked_since = self.first_waiting_since(now).unwrap_or(now);
        }
        discarded
    }

    /// Turns the oldest wait into a gap. False when it may still be filled, or there is none.
    fn give_up(
        &mut self,
        patience: Patience,
        now: Timestamp,
        shared: &mut TcpShared,
        handler: &mut impl StreamHandler,
    ) -> bool {
        // Each waiting direction: how old its first piece (or its end) is, and what it lacks.
        let mut best: Option<(Timestamp, Side, Side, u32)> = None;
        for side in [Side::A, Side::B] {
            let half = &self.halves[side.index()];
            let other = &self.halves[side.reverse().index()];
            let Some((ts, start, ack)) = half.first_waiting(now) else { continue };
            let hole = start.distance_from(half.next);
            let (lacking, len) = if hole > 0 {
                if patience == Patience::Acknowledged && !(half.peer_acked && half.acked.distance_from(start) >= 0) {
                    continue;
                }
                (side, hole)
            } else {
                // The other direction lacks what this piece acknowledges, up to its own first piece.
                let until = match other.first_waiting(now) {
                    Some((_, first, _)) if first.distance_from(ack) < 0 => first,
                    _ => ack,
                };
                (side.reverse(), if other.ended { 0 } else { until.distance_from(other.next) })
            };
            if len > 0 && best.is_none_or(|(oldest, ..)| ts < oldest) {
                best = Some((ts, side, lacking, len as u32));
            }
        }
        let Some((_, _, lacking, len)) = best else {
            return patience == Patience::None && self.break_deadlock(now, shared, handler);
        };
        let half = &mut self.halves[lacking.index()];
        match len {
            // One octet that was acknowledged and nothing after it, unless a RST: rather a FIN that was lost.
            1 if half.held.is_none() && half.end.is_none_or(|(_, _, how)| how == StreamEnd::Reset) => {
                self.reset |= half.end.is_some();
                half.end = Some((half.next, half.next, StreamEnd::Closed));
                half.force_next(lacking, now, shared, handler);
            }
            _ => half.skip(len, lacking, now, shared, handler),
        }
        self.blocked_since = now.min(self.blocked_since);
        let since = self.blocked_since;
        self.deliver_held(now, shared, handler);
        if self.is_blocked() {
            self.blocked_since = self.first_waiting_since(now).unwrap_or(since);
        }
        true
    }

    /// Two pieces that each acknowledge what comes after the other: no honest sender makes them. The order of capture
    /// decides.
    fn break_deadlock(&mut self, now: Timestamp, shared: &mut TcpShared, handler: &mut impl StreamHandler) -> bool {
        for side in [Side::A, Side::B] {
            let [half, _] = self.pair(side);
            if half.force_next(side, now, shared, handler) {
                self.deliver_held(now, shared, handler);
                return true;
            }
        }
        false
    }

    fn first_waiting_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.halves.iter().filter_map(|half| half.first_waiting(now)).map(|(ts, ..)| ts).min()
    }
}

/// Which holes are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Those that the other side has acknowledged: their octets were sent and have come.
    Acknowledged,
    /// All.
    None,
}

#[cfg(test)]
mod tests;
