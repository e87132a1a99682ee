//! Finds the next record of a stream after a gap.
//!
//! ```text
//!   ...record | record cut by the gap ~~~~~ lost ~~~~~ | rest of a record | record | record
//!                                                      ^ buffer            ^ candidate: plausible header, whole record
//! ```
//!
//! A gap that ends inside the record that it began in leaves the bounds known: `skip` octets on, the next record begins. Any
//! other is searched octet by octet. What decides in the end is whether the candidate opens.

use super::record::{HEADER_LEN, RecordHeader};

/// The search of one direction.
#[derive(Debug)]
pub(super) struct Resync {
    /// Octets of a cut record that are still to come; then `buffer` begins with a record.
    pub(super) skip: usize,
    /// The next candidate stands where a record must begin.
    pub(super) aligned: bool,
    /// What came after the gap.
    pub(super) buffer: Vec<u8>,
    /// Where in `buffer` the search stands.
    pub(super) position: usize,
    /// The last octets passed over: the IV of a chained CBC record.
    pub(super) tail: Vec<u8>,
    /// Octets lost, cut or searched since the last record: how many records there may have been.
    pub(super) octets: u64,
    /// Octets that may still be spent on trials.
    pub(super) budget: u64,
    /// The fragment of the record that was cut, where its bounds are known.
    pub(super) cut_fragment: Option<usize>,
    /// Octets passed over that the application has not been told of.
    pub(super) untold: u64,
}

impl Resync {
    /// The next place where a whole record may stand, at or after `position`. `None`: more octets are needed; with `at_end`
    /// none will come, and a candidate that is not whole is no candidate.
    pub(super) fn candidate(
        &mut self,
        at_end: bool,
        plausible: impl Fn(RecordHeader) -> bool,
    ) -> Option<(usize, usize)> {
        while let Some(header) = self.buffer.get(self.position..).and_then(|rest| rest.first_chunk()) {
            let header = RecordHeader::read(header);
            if header.is_plausible() && plausible(header) {
                let end = self.position + header.record_len();
                if end <= self.buffer.len() {
                    return Some((self.position, end));
                }
                if !at_end {
                    return None;
                }
            }
            self.reject();
        }
        None
    }

    /// The candidate was none: searches on behind its first octet.
    pub(super) fn reject(&mut self) {
        self.position += 1;
        self.aligned = false;
        self.cut_fragment = None;
        self.tail.clear();
    }

    /// Takes note of octets passed over before an aligned record.
    pub(super) fn pass(&mut self, octets: &[u8]) {
        let kept = &octets[octets.len().saturating_sub(MAX_BLOCK)..];
        self.tail.extend_from_slice(kept);
        let surplus = self.tail.len().saturating_sub(MAX_BLOCK);
        self.tail.drain(..surplus);
    }

    /// Whether what follows the record that ends at `end` looks like a record, as far as it is there.
    pub(super) fn is_followed(&self, end: usize) -> bool {
        let rest = self.buffer.get(end..).unwrap_or_default();
        match rest.first_chunk::<HEADER_LEN>() {
            Some(header) => RecordHeader::read(header).is_plausible(),
            None => rest.first().is_none_or(|first| (20..=24).contains(first)),
        }
    }
}

/// Octets of the longest cipher block.
const MAX_BLOCK: usize = 16;
