//! Who waits for which key, with no lock: the board of interest and the readers' inboxes.
//!
//! ```text
//!  reader r                                   writer of key k
//!  1. set bit r of bucket(hash(k))            1. put k into the map
//!  2. fence                                   2. fence
//!  3. look k up in the map                    3. read the bits of bucket(hash(k))
//!     there: done                                bit r set: k into r's inbox, raise its flag
//!     absent: wait
//! ```
//!
//! The fences are sequentially consistent, so that either the reader finds the key or the writer finds the bit: no wake-up is
//! lost. A bucket holds many keys, so an inbox may get a key that its reader does not wait for; the reader, which alone
//! knows the exact set, passes over it. A full inbox raises `overflowed`: then the reader looks all its keys up again.

use std::sync::OnceLock;

use crate::KeyId;
use crate::sync::{AtomicBool, AtomicU64, Ordering, Queue, fence};

/// The bits of interest of every reader, and their inboxes.
#[derive(Debug)]
pub(crate) struct Board {
    /// `BUCKETS` groups of `words` words, a bit a reader.
    interest: Box<[AtomicU64]>,
    words: usize,
    /// By seat; filled when the seat is first taken.
    inboxes: Box<[OnceLock<Inbox>]>,
    inbox_capacity: usize,
}

impl Board {
    pub(crate) fn new(readers: usize, inbox_capacity: usize) -> Self {
        let words = readers.div_ceil(64).max(1);
        Self {
            interest: (0..BUCKETS * words).map(|_| AtomicU64::new(0)).collect(),
            words,
            inboxes: (0..readers).map(|_| OnceLock::new()).collect(),
            inbox_capacity: inbox_capacity.max(1),
        }
    }

    /// Makes `seat`'s inbox, or empties that of its last holder (whose late mail is passed over as any other's).
    pub(crate) fn open(&self, seat: usize) {
        if let Some(inbox) = self.inboxes.get(seat) {
            inbox.get_or_init(|| Inbox::new(self.inbox_capacity)).clear();
        }
    }

    pub(crate) fn inbox(&self, seat: usize) -> Option<&Inbox> {
        self.inboxes.get(seat)?.get()
    }

    /// The bucket of the key with this hash.
    pub(crate) const fn bucket(hash: u64) -> usize {
        // The high bits: the low ones choose the shard.
        (hash >> (64 - BUCKETS.trailing_zeros())) as usize
    }

    /// Says that `seat` waits for a key of `bucket`. A lookup made after this finds every key that was announced before.
    pub(crate) fn register(&self, bucket: usize, seat: usize) {
        if let Some(word) = self.interest.get(bucket * self.words + seat / 64) {
            word.fetch_or(1 << (seat % 64), Ordering::Relaxed);
        }
        fence(Ordering::SeqCst); // pairs with the fence in `announce`
    }

    /// Says that `seat` waits for no key of `bucket` any more.
    pub(crate) fn unregister(&self, bucket: usize, seat: usize) {
        if let Some(word) = self.interest.get(bucket * self.words + seat / 64) {
            word.fetch_and(!(1 << (seat % 64)), Ordering::Relaxed);
        }
    }

    /// Tells those who may wait that `id`, of `bucket`, is in the map.
    pub(crate) fn announce(&self, bucket: usize, id: KeyId) {
        fence(Ordering::SeqCst); // pairs with the fence in `register`
        let start = bucket * self.words;
        for (index, word) in self.interest.get(start..start + self.words).unwrap_or_default().iter().enumerate() {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                if let Some(inbox) = self.inbox(index * 64 + bits.trailing_zeros() as usize) {
                    inbox.post(id);
                }
                bits &= bits - 1;
            }
        }
    }
}

/// One reader's mail: many writers, one reader.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Queue,
    /// Whether there may be mail: all that an idle reader looks at.
    pending: AtomicBool,
    overflowed: AtomicBool,
}

impl Inbox {
    fn new(capacity: usize) -> Self {
        Self { queue: Queue::new(capacity), pending: AtomicBool::new(false), overflowed: AtomicBool::new(false) }
    }

    fn post(&self, id: KeyId) {
        if !self.queue.push(id) {
            self.overflowed.swap(true, Ordering::AcqRel); // pairs with the swap in `take_overflowed`
        }
        // Pairs with the swap in `open`. (A store would do: nothing may come between a swap and the value that it read. But
        // loom does not know that rule.)
        self.pending.swap(true, Ordering::AcqRel);
    }

    /// Whether there may be mail; if so, all of it is to be popped and [`Inbox::take_overflowed`] asked.
    pub(crate) fn open(&self) -> bool {
        // A swap, not a store: a flag raised before it is seen here with its mail, one raised after it stays up.
        self.pending.load(Ordering::Relaxed) && self.pending.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn pop(&self) -> Option<KeyId> {
        self.queue.pop()
    }

    /// Whether mail was thrown away since last asked.
    pub(crate) fn take_overflowed(&self) -> bool {
        self.overflowed.swap(false, Ordering::AcqRel)
    }

    fn clear(&self) {
        while self.pop().is_some() {}
    }
}

/// 128 KiB for up to 64 readers. Under loom few, as each is an object of the model.
const BUCKETS: usize = if cfg!(loom) { 2 } else { 16_384 };
