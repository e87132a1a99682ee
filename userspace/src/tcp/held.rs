//! Pieces of one direction that wait for what comes before them, or for what the other direction lacks.

use std::collections::VecDeque;

use super::{SeqNumber, TcpShared};
use crate::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Held {
    /// In stream order, without overlaps.
    pub(super) pieces: VecDeque<Piece>,
    pub(super) octets: usize,
}

#[derive(Debug)]
pub(super) struct Piece {
    pub(super) ts: Timestamp,
    pub(super) seq: SeqNumber,
    pub(super) ack: SeqNumber,
    /// Octets after `octets` that the capture cut off.
    pub(super) missing: u32,
    pub(super) octets: Vec<u8>,
}

impl Piece {
    pub(super) fn end(&self) -> SeqNumber {
        self.seq.add(self.octets.len() as u32).add(self.missing)
    }
}

/// A segment's payload on its way into [`Held`].
pub(super) struct Incoming {
    pub(super) ts: Timestamp,
    pub(super) seq: SeqNumber,
    pub(super) ack: SeqNumber,
    pub(super) missing: u32,
}

impl Held {
    /// Copies in what no earlier piece covers. False when all of it was covered.
    pub(super) fn insert(&mut self, incoming: &Incoming, octets: &[u8], shared: &mut TcpShared) -> bool {
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

/// Octets that a piece takes beside its own, about: many small ones must not cost more than their sum.
pub(super) const PIECE_COST: usize = size_of::<Piece>() + 16;
