//! The dynamic table (RFC 7541 section 2.3.2) of someone who may not have seen all of it.
//!
//! ```text
//! index  1 ..= 61      62        63       ...          62 + known ...
//!       +---------+---------+---------+-----+--------+- - - - - - - - -+
//!       | static  | newest  |         | ... | oldest |  unknown_below:  |
//!       | table   |  known  |  known  |     | known  |  unseen, or none |
//!       +---------+---------+---------+-----+--------+- - - - - - - - -+
//!                    ^ insert                    ^ evict
//! ```
//!
//! Indices count from the newest entry, and eviction takes the oldest. So once every header block since an insert has
//! been seen, the position of that entry is certain, whatever lies below it:
//!
//! - An entry that its encoder has evicted and we have not (its table is smaller than we think) is never referred to.
//! - An insert that its encoder could not keep (larger than its whole table) empties the encoder's table (section 4.4):
//!   then nothing at or below that position is ever referred to.
//! - An entry that we have evicted and its encoder has not (our limit; its table is larger than we think) is below
//!   the known ones: `unknown_below` says that there may be such, and looking it up gives an unknown one.
//! - An entry whose name was given by an unknown one has a value and no name. Its size is then counted without the name,
//!   so that sizes are lower bounds, and what exceeds the maximum by them certainly does.
//!
//! What must hold is that *no block in between was missed*. Where one may have been, [`Table::forget`] makes all of it
//! unknown: positions have moved by nobody knows how much.
//!
//! The octets of entries stand in one buffer, oldest first, that grows at the end, is consumed at the front and is
//! compacted when more than half is dead: inserting does not allocate in the steady state.

use std::collections::VecDeque;

use super::static_table;

/// A dynamic table together with the static one.
#[derive(Debug)]
pub struct Table {
    /// Names and values, each value behind its name; those of `entries` are `bytes[start..]`.
    bytes: Vec<u8>,
    start: usize,
    /// Oldest first.
    entries: VecDeque<Slot>,
    /// Sum of the entries' sizes: at most `max_size` and at most `limit`.
    size: usize,
    /// The encoder's maximum (section 4.2), if it is known.
    max_size: Option<usize>,
    /// The encoder may have entries older than the oldest of `entries`.
    unknown_below: bool,
    /// Octets that we keep at most.
    limit: usize,
}

/// An entry, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name.
    pub name: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

impl Table {
    /// An empty table, all of which is known.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            entries: VecDeque::new(),
            size: 0,
            max_size: Some(INITIAL_MAX_SIZE),
            unknown_below: false,
            limit,
        }
    }

    /// Drops what is known: header blocks may have been missed.
    pub fn forget(&mut self) {
        self.clear();
        self.max_size = None;
        self.unknown_below = true;
    }

    /// Inserts an entry; the name is `None` when it is not known.
    pub fn insert(&mut self, name: Option<&[u8]>, value: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(name.unwrap_or_default());
        self.push(at, name.map(<[u8]>::len), value);
    }

    /// Inserts an entry that has the name of the entry with this index.
    pub fn insert_named_by(&mut self, index: u32, value: &[u8]) {
        let at = self.bytes.len();
        let name_len = match dynamic_position(index) {
            None => {
                let name = static_table::entry(index).map(|(name, _)| name);
                self.bytes.extend_from_slice(name.unwrap_or_default());
                name.map(<[u8]>::len)
            }
            // Copied before anything is evicted: it may be what this insert evicts (section 4.4).
            Some(position) => self.slot(position).and_then(|slot| {
                let len = slot.name_len?.get();
                self.bytes.extend_from_within(slot.at..slot.at + len);
                Some(len)
            }),
        };
        self.push(at, name_len, value);
    }

    /// Applies a dynamic table size update (section 6.3).
    pub fn set_max_size(&mut self, max_size: u32) {
        self.max_size = usize::try_from(max_size).ok();
        self.evict();
    }

    /// Gives spare memory back.
    pub fn trim(&mut self) {
        self.compact();
        self.bytes.shrink_to(self.bytes.len().next_multiple_of(64));
        self.entries.shrink_to_fit();
    }

    /// The entry with this index, 1 being the first of the static table; unknown when it is not there.
    pub fn entry(&self, index: u32) -> Entry<'_> {
        let Some(position) = dynamic_position(index) else {
            let entry = static_table::entry(index);
            return Entry { name: entry.map(|entry| entry.0), value: entry.map(|entry| entry.1) };
        };
        let Some(slot) = self.slot(position) else {
            return Entry { name: None, value: None };
        };
        let name_len = slot.name_len.map_or(0, NameLen::get);
        let (name, rest) = self.bytes[slot.at..].split_at(name_len);
        Entry { name: slot.name_len.map(|_| name), value: Some(&rest[..slot.value_len]) }
    }

    /// Whether the encoder certainly has no entry with this index.
    pub fn lacks(&self, index: u32) -> bool {
        !self.unknown_below && dynamic_position(index).is_some_and(|position| position >= self.entries.len())
    }

    /// How many dynamic entries are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no dynamic entry is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The known entries' size in octets, as section 4.1 counts it (names that are not known count nothing).
    pub fn size(&self) -> usize {
        self.size
    }

    /// The encoder's maximum size, if it is known.
    pub fn max_size(&self) -> Option<usize> {
        self.max_size
    }

    /// Whether every entry that the encoder has is known.
    pub fn is_complete(&self) -> bool {
        !self.unknown_below
    }

    /// Octets of memory in use.
    pub fn footprint(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Slot>()
    }

    /// Makes an entry of the octets from `at` on, which are its name, and `value`.
    fn push(&mut self, at: usize, name_len: Option<usize>, value: &[u8]) {
        let name_octets = name_len.unwrap_or(0);
        let size = name_octets + value.len() + ENTRY_OVERHEAD;
        if self.max_size.is_some_and(|max_size| size > max_size) {
            // Not an error: it empties the table (section 4.4).
            self.clear();
            self.unknown_below = false;
            return;
        }
        if size > self.limit {
            self.clear();
            self.unknown_below = true;
            return;
        }
        self.bytes.extend_from_slice(value);
        self.entries.push_back(Slot { at, name_len: name_len.map(NameLen::new), value_len: value.len() });
        self.size += size;
        self.evict();
    }

    /// Evicts what exceeds the encoder's maximum, then what exceeds our limit.
    fn evict(&mut self) {
        if let Some(max_size) = self.max_size {
            while self.size > max_size && self.pop() {}
            // The smallest entry has ENTRY_OVERHEAD octets: where there is no room for one, there is none. (An entry
            // evicted above was younger than every unknown one and leaves no room for them either.)
            self.unknown_below &= self.size + ENTRY_OVERHEAD <= max_size;
        }
        while self.size > self.limit && self.pop() {
            self.unknown_below = true;
        }
        if self.start > self.bytes.len() / 2 && self.start >= COMPACT_AT {
            self.compact();
        }
        self.invariants();
    }

    fn pop(&mut self) -> bool {
        let Some(slot) = self.entries.pop_front() else {
            return false;
        };
        let octets = slot.name_len.map_or(0, NameLen::get) + slot.value_len;
        self.size -= octets + ENTRY_OVERHEAD;
        self.start = slot.at + octets;
        true
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.entries.clear();
        self.size = 0;
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.start);
        for slot in &mut self.entries {
            slot.at -= self.start;
        }
        self.start = 0;
    }

    /// The entry at `position`, 0 being the newest.
    fn slot(&self, position: usize) -> Option<Slot> {
        let from_oldest = self.entries.len().checked_sub(position.checked_add(1)?)?;
        self.entries.get(from_oldest).copied()
    }

    fn invariants(&self) {
        if cfg!(debug_assertions) {
            let mut at = self.start;
            let mut size = 0;
            for slot in &self.entries {
                assert_eq!(slot.at, at);
                at += slot.name_len.map_or(0, NameLen::get) + slot.value_len;
                size += slot.name_len.map_or(0, NameLen::get) + slot.value_len + ENTRY_OVERHEAD;
            }
            assert_eq!((at, size), (self.bytes.len(), self.size));
            assert!(size <= self.limit && self.max_size.is_none_or(|max_size| size <= max_size));
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Where its name begins in `bytes`.
    at: usize,
    name_len: Option<NameLen>,
    value_len: usize,
}

/// A name's length plus one, so that an `Option` of it takes no more room.
#[derive(Clone, Copy, Debug)]
struct NameLen(std::num::NonZeroUsize);

impl NameLen {
    fn new(len: usize) -> Self {
        Self(std::num::NonZeroUsize::MIN.saturating_add(len))
    }

    fn get(self) -> usize {
        self.0.get() - 1
    }
}

/// The position in the dynamic table, 0 being the newest; `None` for the static table's indices.
fn dynamic_position(index: u32) -> Option<usize> {
    usize::try_from(index).ok()?.checked_sub(static_table::LEN + 1)
}

/// SETTINGS_HEADER_TABLE_SIZE before anyone has set it (RFC 9113 section 6.5.2).
const INITIAL_MAX_SIZE: usize = 4_096;

/// What an entry counts besides its octets (RFC 7541 section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// Dead octets in front that are worth moving the rest for.
const COMPACT_AT: usize = 1_024;
