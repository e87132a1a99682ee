//! What all connections of a worker share: limits, counters, and buffers for what is held.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::held::{Held, PIECE_COST};

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
        /// Payload octets still held when the input ended or the connection was evicted, or that the receiver has not taken.
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
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcpConfig {
    /// How long an acknowledged hole may still be filled (default 100 ms): mirrors reorder across NICs and queues by
    /// some milliseconds.
    #[serde(with = "crate::config::seconds")]
    pub reorder_window: Duration,
    /// How long a hole waits that nobody has acknowledged (default 5 s): a few retransmission timeouts. What stands beyond one that the
    /// receiver says is still open was out of its window, and is thrown away.
    #[serde(with = "crate::config::seconds")]
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
    /// Pieces held now, of all connections.
    pieces: usize,
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

    /// Payload octets held now, and in how many pieces.
    pub fn held_now(&self) -> (usize, usize) {
        (self.held - self.pieces * PIECE_COST, self.pieces)
    }

    pub(super) fn copy(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(octets);
        self.held += PIECE_COST + octets.len();
        self.pieces += 1;
        buffer
    }

    /// An empty list of pieces.
    pub(super) fn held(&mut self) -> Box<Held> {
        self.spare_held.pop().unwrap_or_default()
    }

    pub(super) fn recycle_held(&mut self, held: Option<Box<Held>>) {
        if let Some(held) = held.filter(|held| held.pieces.is_empty() && self.spare_held.len() < MAX_SPARE_HELD) {
            self.spare_held.push(held);
        }
    }

    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        self.held -= PIECE_COST + buffer.len();
        self.pieces -= 1;
        if self.spare.len() < MAX_SPARE && buffer.capacity() <= MAX_SPARE_CAPACITY {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

pub(super) fn count_gap(shared: &mut TcpShared, len: u64) {
    shared.stats.gaps += 1;
    shared.stats.gap_octets += len;
}

/// Buffers kept for the next held pieces, and the largest one kept.
const MAX_SPARE: usize = 256;
/// Empty lists of pieces kept for use: directions with a hole at the same time.
const MAX_SPARE_HELD: usize = 64;
const MAX_SPARE_CAPACITY: usize = 16 << 10;
