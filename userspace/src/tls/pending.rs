//! Ciphertext that waits for its key, in capture order.
//!
//! Keys and mirror race on every handshake: the iRule's connection is made after the handshake that it reports. What
//! arrives in between is kept here, both directions in one queue, and goes through the same code when the key lands.

use crate::Timestamp;
use crate::flow::Direction;
use crate::http::StreamEnd;

/// What waits, oldest first.
#[derive(Debug, Default)]
pub(super) struct Parked {
    pub(super) items: Vec<Item>,
    /// Where each direction's last item stands.
    last: [Option<usize>; 2],
    /// The octets of all `Data` items, in order.
    pub(super) octets: Vec<u8>,
}

/// One thing that happened while the connection waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) direction: Direction,
    pub(super) ts: Timestamp,
    pub(super) what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// This many octets came.
    Data(usize),
    /// This many octets are missing.
    Gap(u64),
    /// The direction ended.
    End(StreamEnd),
}

impl Parked {
    pub(super) fn push_data(&mut self, direction: Direction, ts: Timestamp, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
        self.push(Item { direction, ts, what: What::Data(octets.len()) });
    }

    pub(super) fn push_end(&mut self, direction: Direction, ts: Timestamp, how: StreamEnd) {
        self.push(Item { direction, ts, what: What::End(how) });
    }

    /// Notes a gap; one that follows another of the same direction widens it.
    pub(super) fn push_gap(&mut self, direction: Direction, ts: Timestamp, len: u64) {
        let last = self.last[direction as usize].and_then(|index| self.items.get_mut(index));
        if let Some(Item { what: What::Gap(before), .. }) = last {
            *before += len;
            return;
        }
        self.push(Item { direction, ts, what: What::Gap(len) });
    }

    fn push(&mut self, item: Item) {
        self.last[item.direction as usize] = Some(self.items.len());
        self.items.push(item);
    }

    /// Bytes of memory that one more item of `len` octets takes.
    pub(super) const fn cost(len: usize) -> usize {
        len + size_of::<Item>()
    }

    /// The items and the octets of their data, end to end.
    pub(super) fn into_parts(self) -> (Vec<Item>, Vec<u8>) {
        (self.items, self.octets)
    }
}
