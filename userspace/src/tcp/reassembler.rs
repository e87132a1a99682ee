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

use std::collections::VecDeque;
use std::time::Duration;

use super::{SeqNumber, TcpFlags};
use crate::Timestamp;
use crate::http::StreamEnd;
use crate::wire::Segment;

/// One of the two ends of a connection, before it is known which is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that sorts first.
    A,
    /// The end that sorts second.
    B,
}

impl Side {
    /// The other end.
    pub const fn reverse(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// Takes what the reassembler delivers.
pub trait StreamHandler {
    /// The next octets that `side` sent.
    fn data(&mut self, side: Side, ts: Timestamp, octets: &mut [u8]);
    /// `len` octets that `side` sent are missing here.
    fn gap(&mut self, side: Side, ts: Timestamp, len: u64);
    /// `side` sends no more.
    fn end(&mut self, side: Side, ts: Timestamp, how: StreamEnd);
}

crate::counters! {
    /// What became of TCP segments. `segments_in` is the sum of the outcomes after it.
    pub struct TcpStats {
        /// Segments that came in.
        segments_in,
        /// Segments without payload, SYN, FIN or RST.
        segments_bare,
        /// Segments that opened, closed or reset a connection and carried no payload.
        segments_control,
        /// Segments whose payload went on at once.
        segments_delivered,
        /// Segments whose payload was held for what comes before it.
        segments_held,
        /// Segments whose payload had all come before (retransmissions, keepalives, duplicated frames).
        segments_duplicate,
        /// Segments too far from what was expected to belong to the connection.
        segments_out_of_window,
        /// Segments on a connection that is over.
        segments_after_end,
        /// Payload octets that came in.
        octets_in,
        /// Payload octets delivered.
        octets_delivered,
        /// Payload octets that had come before.
        octets_duplicate,
        /// Payload octets dropped: out of the window, after the end, or beyond a FIN.
        octets_dropped,
        /// Payload octets still held when the input ended or the connection was evicted.
        octets_abandoned,
        /// Overlapping copies whose content differs from the first.
        overlaps_conflicting,
        /// Holes given up.
        gaps,
        /// Octets in those holes.
        gap_octets,
        /// Holes given up because a cap on held octets was reached.
        gaps_forced,
    }
}

/// Limits of reassembly.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// How long an acknowledged hole may still be filled (default 100 ms): mirrors reorder across NICs and queues by
    /// some milliseconds.
    pub reorder_window: Duration,
    /// How long a hole waits that nobody has acknowledged (default 5 s): a few retransmission timeouts.
    pub hole_timeout: Duration,
    /// Octets held of one connection (default 1 MiB): the window of a fast sender.
    pub held_octets_per_flow: usize,
    /// Octets held in all (default 256 MiB).
    pub held_octets: usize,
    /// Pieces held of one direction (default 2,048).
    pub held_pieces: usize,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            reorder_window: Duration::from_millis(100),
            hole_timeout: Duration::from_secs(5),
            held_octets_per_flow: 1 << 20,
            held_octets: 256 << 20,
            held_pieces: 2_048,
        }
    }
}

/// What all connections of a worker share.
#[derive(Debug, Default)]
pub struct TcpShared {
    /// Limits.
    pub config: TcpConfig,
    /// Counters.
    pub stats: TcpStats,
    /// Octets held now, of all connections, and what it takes to hold them.
    pub(super) held: usize,
    /// Buffers that held pieces before, for the next ones.
    spare: Vec<Vec<u8>>,
    /// Lists of pieces, empty, for the next direction that holds some.
    #[expect(clippy::vec_box, reason = "boxes move between here and the connections")]
    spare_held: Vec<Box<Held>>,
}

impl TcpShared {
    /// Shared state with the given limits.
    pub fn new(config: TcpConfig) -> Self {
        Self { config, ..Self::default() }
    }

    fn copy(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(octets);
        self.held += PIECE_COST + octets.len();
        buffer
    }

    fn recycle_held(&mut self, held: Option<Box<Held>>) {
        if let Some(held) = held.filter(|held| held.pieces.is_empty() && self.spare_held.len() < MAX_SPARE_HELD) {
            self.spare_held.push(held);
        }
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        self.held -= PIECE_COST + buffer.len();
        if self.spare.len() < MAX_SPARE && buffer.capacity() <= MAX_SPARE_CAPACITY {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

/// Both directions of one connection.
#[derive(Debug, Default)]
pub struct Reassembler {
    halves: [Half; 2],
    /// When delivery last made progress while something was held.
    blocked_since: Timestamp,
    /// A side that had closed in order then reset the connection.
    reset: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// The next octet to deliver; counts once `synced`.
    next: SeqNumber,
    /// The highest acknowledgement that the other side sent; counts once `peer_acked`.
    acked: SeqNumber,
    /// The sequence number of the FIN or RST, and what that segment acknowledged.
    end: Option<(SeqNumber, SeqNumber, StreamEnd)>,
    /// The first sequence number after the SYN (or the first one seen).
    base: SeqNumber,
    synced: bool,
    peer_acked: bool,
    /// A segment of this side has been seen.
    seen: bool,
    syn_seen: bool,
    /// The other side's first segment after its SYN was seen, and acknowledges `base`: nothing is missing before it.
    base_acked: bool,
    ended: bool,
    gap_octets: u64,
    /// Where the stream has gone on beyond [`MAX_AHEAD`], for all that is known: as the other side has acknowledged, or, where
    /// that was never seen, as the segment before said.
    far: Option<SeqNumber>,
    held: Option<Box<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    /// In stream order, without overlaps.
    pieces: VecDeque<Piece>,
    octets: usize,
}

#[derive(Debug)]
struct Piece {
    ts: Timestamp,
    seq: SeqNumber,
    ack: SeqNumber,
    /// Octets after `octets` that the capture cut off.
    missing: u32,
    octets: Vec<u8>,
}

impl Piece {
    fn end(&self) -> SeqNumber {
        self.seq.add(self.octets.len() as u32).add(self.missing)
    }
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
            let patient = waited < shared.config.hole_timeout;
            if !self.give_up(patient, now, shared, handler) {
                return true;
            }
        }
        false
    }

    /// Delivers all that is held, holes as gaps, and ends both directions: the connection is over or the input ends.
    pub fn finish(&mut self, now: Timestamp, shared: &mut TcpShared, handler: &mut impl StreamHandler) {
        while self.is_blocked() && self.give_up(false, now, shared, handler) {}
        for side in [Side::A, Side::B] {
            let half = &mut self.halves[side.index()];
            let lost = half.acked.distance_from(half.next);
            if half.seen && half.synced && half.peer_acked && !half.ended && lost > 1 {
                // A single octet is rather a FIN that was lost.
                half.skip(lost as u32, side, now, shared, handler);
            }
            if let Some(held) = self.halves[side.index()].held.take() {
                for piece in held.pieces {
                    shared.stats.octets_abandoned += piece.octets.len() as u64;
                    shared.recycle(piece.octets);
                }
            }
            let half = &mut self.halves[side.index()];
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
        let held = half.held.get_or_insert_with(|| shared.spare_held.pop().unwrap_or_default());
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
            if !self.give_up(false, ts, shared, handler) {
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

    /// Turns the oldest wait into a gap. False when it may still be filled (`patient`) or there is none.
    fn give_up(
        &mut self,
        patient: bool,
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
                if patient && !(half.peer_acked && half.acked.distance_from(start) >= 0) {
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
            return !patient && self.break_deadlock(now, shared, handler);
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

/// A segment's payload on its way into [`Held`].
struct Incoming {
    ts: Timestamp,
    seq: SeqNumber,
    ack: SeqNumber,
    missing: u32,
}

impl Half {
    /// The stream begins at `seq`, because a SYN says so.
    fn sync_at(&mut self, seq: SeqNumber, syn: bool) {
        if !self.synced {
            self.synced = true;
            self.next = seq;
            self.base = seq;
        } else if syn
            && !self.syn_seen
            && self.next == self.base
            && (1..MAX_JOIN_HOLE).contains(&self.base.distance_from(seq))
        {
            // A SYN that comes after data, none of which has been delivered: the stream begins here after all.
            self.next = seq;
            self.base = seq;
        }
        self.syn_seen |= syn && self.base == seq;
    }

    /// The capture joins the stream at `seq`, or a little before it where the peer still expects octets.
    fn join_at(&mut self, seq: SeqNumber) {
        let from = match self.peer_acked {
            true if (1..MAX_JOIN_HOLE).contains(&seq.distance_from(self.acked)) => self.acked,
            _ => seq,
        };
        self.sync_at(from, false);
    }

    /// Takes note of a FIN or RST.
    fn close(&mut self, seq: SeqNumber, wire_len: u32, ack: SeqNumber, flags: TcpFlags) {
        if self.end.is_some() {
            return;
        }
        if !self.synced {
            self.sync_at(seq, false);
        }
        let (at, how) = match flags.contains(TcpFlags::RST) {
            true => (seq, StreamEnd::Reset),
            false => (seq.add(wire_len), StreamEnd::Closed),
        };
        let ahead = at.distance_from(self.next);
        // A RST must stand exactly where its stream does (RFC 9293 section 3.10.7.4), as far as the capture can tell: anyone
        // can forge one that does not.
        let expected = match how {
            StreamEnd::Reset => {
                ahead == 0
                    || (ahead > 0 && self.peer_acked && self.acked.distance_from(at) >= 0)
                    || self.held.as_ref().and_then(|held| held.pieces.back()).is_some_and(|last| last.end() == at)
            }
            // Nothing comes after a FIN.
            _ => {
                let last = self.held.as_ref().and_then(|held| held.pieces.back());
                (0..MAX_AHEAD).contains(&ahead) && last.is_none_or(|last| last.end().distance_from(at) <= 0)
            }
        };
        if expected {
            self.end = Some((at, ack, how));
        }
    }

    fn is_waiting(&self) -> bool {
        self.held.is_some() || (self.end.is_some() && !self.ended)
    }

    /// Whether octets before `ack`, which the other side has read, are still to be delivered.
    fn must_precede(&self, ack: SeqNumber) -> bool {
        self.synced && self.seen && !self.ended && (1..MAX_AHEAD).contains(&ack.distance_from(self.next))
    }

    fn acknowledge(&mut self, ack: SeqNumber) {
        if !self.peer_acked {
            self.peer_acked = true;
            self.acked = ack;
            if !self.synced && !self.seen {
                self.base = ack;
            }
        } else if ack.distance_from(self.acked) > 0 {
            match !self.synced || ack.distance_from(self.next) < MAX_AHEAD {
                true => self.acked = ack,
                false => self.far = Some(ack),
            }
        }
    }

    /// What waits first: since when, where it starts, what it acknowledges.
    fn first_waiting(&self, now: Timestamp) -> Option<(Timestamp, SeqNumber, SeqNumber)> {
        match (&self.held, self.end) {
            (Some(held), _) => held.pieces.front().map(|piece| (piece.ts, piece.seq, piece.ack)),
            (None, Some((end, ack, _))) if !self.ended => Some((now, end, ack)),
            _ => None,
        }
    }

    /// Delivers the first held piece, or the end, if nothing is missing before it.
    fn deliver_next(
        &mut self,
        other: &Half,
        side: Side,
        now: Timestamp,
        shared: &mut TcpShared,
        handler: &mut impl StreamHandler,
    ) -> bool {
        match self.first_waiting(now) {
            Some((_, start, ack)) if start.distance_from(self.next) <= 0 && !other.must_precede(ack) => {
                self.force_next(side, now, shared, handler)
            }
            _ => false,
        }
    }

    /// Delivers the first held piece, or the end, whatever the other direction lacks.
    fn force_next(
        &mut self,
        side: Side,
        now: Timestamp,
        shared: &mut TcpShared,
        handler: &mut impl StreamHandler,
    ) -> bool {
        let Some(held) = &mut self.held else {
            let Some((end, _, how)) = self.end.filter(|_| !self.ended) else { return false };
            if end != self.next {
                return false;
            }
            self.ended = true;
            if how == StreamEnd::Closed {
                self.next = self.next.add(1);
            }
            handler.end(side, now, how);
            return true;
        };
        if held.pieces.front().is_none_or(|piece| piece.seq.distance_from(self.next) > 0) {
            return false;
        }
        let Some(mut piece) = held.pieces.pop_front() else { return false };
        held.octets -= piece.octets.len();
        if held.pieces.is_empty() {
            shared.recycle_held(self.held.take());
        }
        // A gap may have been declared over what came in the meantime.
        let known = (self.next.distance_from(piece.seq).max(0) as usize).min(piece.octets.len());
        shared.stats.octets_duplicate += known as u64;
        let fresh = &mut piece.octets[known..];
        shared.stats.octets_delivered += fresh.len() as u64;
        let end = piece.seq.add((known + fresh.len()) as u32);
        if end.distance_from(self.next) > 0 {
            self.next = end;
        }
        if !fresh.is_empty() {
            handler.data(side, piece.ts, fresh);
        }
        let ts = piece.ts;
        let missing = piece.end().distance_from(self.next).max(0) as u32;
        shared.recycle(piece.octets);
        if missing > 0 {
            self.skip(missing, side, ts, shared, handler);
        }
        true
    }

    /// Declares the next `len` octets missing.
    fn skip(&mut self, len: u32, side: Side, ts: Timestamp, shared: &mut TcpShared, handler: &mut impl StreamHandler) {
        self.next = self.next.add(len);
        self.gap_octets += u64::from(len);
        count_gap(shared, u64::from(len));
        handler.gap(side, ts, u64::from(len));
    }
}

impl Held {
    /// Copies in what no earlier piece covers. False when all of it was covered.
    fn insert(&mut self, incoming: &Incoming, octets: &[u8], shared: &mut TcpShared) -> bool {
        let mut start = incoming.seq;
        let mut rest = octets;
        let mut index = self.pieces.partition_point(|piece| piece.end().distance_from(start) <= 0);
        let mut inserted = false;
        loop {
            let next = self.pieces.get(index);
            let room = next.map_or(i32::MAX, |piece| piece.seq.distance_from(start));
            let fresh = rest.len().min(room.max(0) as usize);
            let missing = match next {
                None => incoming.missing,
                Some(piece) => {
                    let hole = piece.seq.distance_from(start.add(fresh as u32)).max(0) as u32;
                    if fresh == rest.len() { incoming.missing.min(hole) } else { 0 }
                }
            };
            if fresh > 0 || (missing > 0 && rest.is_empty()) {
                let octets = shared.copy(&rest[..fresh]);
                self.octets += fresh;
                let piece = Piece { ts: incoming.ts, seq: start, ack: incoming.ack, missing, octets };
                self.pieces.insert(index, piece);
                index += 1;
                inserted = true;
            }
            rest = &rest[fresh..];
            start = start.add(fresh as u32);
            let Some(piece) = self.pieces.get(index).filter(|_| !rest.is_empty()) else { return inserted };
            // What the earlier piece covers: its own octets were first. `start` lies in it.
            let offset = start.distance_from(piece.seq).max(0) as usize;
            let covered = (piece.end().distance_from(start).max(0) as usize).min(rest.len());
            let held = piece.octets.get(offset..).unwrap_or_default();
            let common = held.len().min(covered);
            if held[..common] != rest[..common] {
                shared.stats.overlaps_conflicting += 1;
            }
            shared.stats.octets_duplicate += covered as u64;
            rest = &rest[covered..];
            start = start.add(covered as u32);
            index += 1;
            if rest.is_empty() {
                return inserted;
            }
        }
    }
}

fn count_gap(shared: &mut TcpShared, len: u64) {
    shared.stats.gaps += 1;
    shared.stats.gap_octets += len;
}

/// How far ahead of the expected octet a segment may be: the largest window (RFC 7323 section 2.3 allows 1 GiB; 16 MiB is more
/// than any that was met).
const MAX_AHEAD: i32 = 16 << 20;

/// How many octets may be missing before the first segment of a stream that is joined midway.
const MAX_JOIN_HOLE: i32 = 64 << 10;

/// Octets that a piece takes beside its own, about: many small ones must not cost more than their sum.
const PIECE_COST: usize = size_of::<Piece>() + 16;

/// Buffers kept for the next held pieces, and the largest one kept.
const MAX_SPARE: usize = 256;
/// Empty lists of pieces kept for use: directions with a hole at the same time.
const MAX_SPARE_HELD: usize = 64;
const MAX_SPARE_CAPACITY: usize = 16 << 10;

#[cfg(test)]
mod tests;
