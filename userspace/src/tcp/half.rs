//! One direction of a connection.

use super::held::Held;
use super::shared::count_gap;
use super::{SeqNumber, Side, StreamHandler, TcpFlags, TcpShared};
use crate::Timestamp;
use crate::http::StreamEnd;

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// The next octet to deliver; counts once `synced`.
    pub(super) next: SeqNumber,
    /// The highest acknowledgement that the other side sent; counts once `peer_acked`.
    pub(super) acked: SeqNumber,
    /// The sequence number of the FIN or RST, and what that segment acknowledged.
    pub(super) end: Option<(SeqNumber, SeqNumber, StreamEnd)>,
    /// The first sequence number after the SYN (or the first one seen).
    pub(super) base: SeqNumber,
    pub(super) synced: bool,
    pub(super) peer_acked: bool,
    /// A segment of this side has been seen.
    pub(super) seen: bool,
    pub(super) syn_seen: bool,
    /// The other side's first segment after its SYN was seen, and acknowledges `base`: nothing is missing before it.
    pub(super) base_acked: bool,
    pub(super) ended: bool,
    /// Since something is held, the other side has acknowledged less.
    pub(super) answered: bool,
    pub(super) gap_octets: u64,
    /// Where the stream has gone on beyond [`MAX_AHEAD`], for all that is known: as the other side has acknowledged, or, where
    /// that was never seen, as the segment before said.
    pub(super) far: Option<SeqNumber>,
    pub(super) held: Option<Box<Held>>,
}

impl Half {
    /// The stream begins at `seq`, because a SYN says so.
    pub(super) fn sync_at(&mut self, seq: SeqNumber, syn: bool) {
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
    pub(super) fn join_at(&mut self, seq: SeqNumber) {
        let from = match self.peer_acked {
            true if (1..MAX_JOIN_HOLE).contains(&seq.distance_from(self.acked)) => self.acked,
            _ => seq,
        };
        self.sync_at(from, false);
    }

    /// Takes note of a FIN or RST.
    pub(super) fn close(&mut self, seq: SeqNumber, wire_len: u32, ack: SeqNumber, flags: TcpFlags) {
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

    pub(super) fn is_waiting(&self) -> bool {
        self.held.is_some() || (self.end.is_some() && !self.ended)
    }

    /// Whether octets before `ack`, which the other side has read, are still to be delivered.
    pub(super) fn must_precede(&self, ack: SeqNumber) -> bool {
        self.synced && self.seen && !self.ended && (1..MAX_AHEAD).contains(&ack.distance_from(self.next))
    }

    pub(super) fn acknowledge(&mut self, ack: SeqNumber) {
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
    pub(super) fn first_waiting(&self, now: Timestamp) -> Option<(Timestamp, SeqNumber, SeqNumber)> {
        match (&self.held, self.end) {
            (Some(held), _) => held.pieces.front().map(|piece| (piece.ts, piece.seq, piece.ack)),
            (None, Some((end, ack, _))) if !self.ended => Some((now, end, ack)),
            _ => None,
        }
    }

    /// Delivers the first held piece, or the end, if nothing is missing before it.
    pub(super) fn deliver_next(
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
    pub(super) fn force_next(
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
        self.answered = false;
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

    /// Throws away what is held.
    pub(super) fn abandon(&mut self, shared: &mut TcpShared) {
        self.answered = false;
        if let Some(held) = self.held.take() {
            for piece in held.pieces {
                shared.stats.octets_abandoned += piece.octets.len() as u64;
                shared.recycle(piece.octets);
            }
        }
    }

    /// Declares the next `len` octets missing.
    pub(super) fn skip(
        &mut self,
        len: u32,
        side: Side,
        ts: Timestamp,
        shared: &mut TcpShared,
        handler: &mut impl StreamHandler,
    ) {
        self.answered = false;
        self.next = self.next.add(len);
        self.gap_octets += u64::from(len);
        count_gap(shared, u64::from(len));
        handler.gap(side, ts, u64::from(len));
    }
}

/// How far ahead of the expected octet a segment may be: the largest window (RFC 7323 section 2.3 allows 1 GiB; 16 MiB is more
/// than any that was met).
pub(super) const MAX_AHEAD: i32 = 16 << 20;

/// How many octets may be missing before the first segment of a stream that is joined midway.
pub(super) const MAX_JOIN_HOLE: i32 = 64 << 10;
