//! What the store counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{KeySource, Label};

/// Upper bounds, in milliseconds, of the histogram of waits; a last bucket takes the longer ones.
pub const WAIT_BUCKETS_MS: [u64; 15] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

/// The counters of a store at one time.
///
/// Of every secret inserted exactly one of `stored`, `repeated` and `unneeded` counts. Of every entry made, one of `expired`
/// and `evicted` when it goes; `entries` are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Secrets that were new or replaced another, by `KeySource::ALL` and `Label::ALL`. Those of sessions and tickets count
    /// under `sessions`.
    pub stored: [[u64; Label::ALL.len()]; KeySource::ALL.len()],
    /// Master secrets stored by session id or ticket.
    pub sessions: u64,
    /// Secrets that were there already, octet by octet.
    pub repeated: u64,
    /// Secrets that protect no record: not kept.
    pub unneeded: u64,
    /// Of those stored, how many took the place of a different one with the same label.
    pub replaced: u64,
    /// Client randoms, session ids and tickets in the store.
    pub entries: u64,
    /// Entries removed because their time was over.
    pub expired: u64,
    /// Entries removed because the store was full.
    pub evicted: u64,
    /// Look-ups that found an entry.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Waits begun.
    pub waits: u64,
    /// Waits refused at the reader's cap.
    pub waits_refused: u64,
    /// Wake-ups given to readers.
    pub wakes: u64,
    /// Keys put into the inbox of a reader that waits for another in the same bucket.
    pub false_alarms: u64,
    /// Inboxes that ran over, so that the reader looked all its keys up.
    pub inbox_overflows: u64,
    /// Waits that ended with a wake-up, by `WAIT_BUCKETS_MS`, as fine as the store's clock is ticked.
    pub wait_ms: [u64; WAIT_BUCKETS_MS.len() + 1],
    /// Their sum in milliseconds.
    pub wait_ms_sum: u64,
}

impl StoreStats {
    /// Secrets stored for a random, of all sources and labels.
    pub fn stored_total(&self) -> u64 {
        self.stored.iter().flatten().sum()
    }
}

/// The writers' side of [`StoreStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) stored: [[AtomicU64; Label::ALL.len()]; KeySource::ALL.len()],
    pub(crate) sessions: AtomicU64,
    pub(crate) repeated: AtomicU64,
    pub(crate) unneeded: AtomicU64,
    pub(crate) replaced: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) evicted: AtomicU64,
}

impl Counters {
    /// What the writers counted; the readers' fields are zero.
    pub(crate) fn snapshot(&self) -> StoreStats {
        StoreStats {
            stored: std::array::from_fn(|source| std::array::from_fn(|label| read(&self.stored[source][label]))),
            sessions: read(&self.sessions),
            repeated: read(&self.repeated),
            unneeded: read(&self.unneeded),
            replaced: read(&self.replaced),
            entries: read(&self.entries),
            expired: read(&self.expired),
            evicted: read(&self.evicted),
            ..StoreStats::default()
        }
    }
}

/// One reader's share of [`StoreStats`]: written by that reader alone.
#[derive(Debug, Default)]
pub(crate) struct ReaderCounters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) waits_refused: AtomicU64,
    pub(crate) wakes: AtomicU64,
    pub(crate) false_alarms: AtomicU64,
    pub(crate) inbox_overflows: AtomicU64,
    pub(crate) wait_ms: [AtomicU64; WAIT_BUCKETS_MS.len() + 1],
    pub(crate) wait_ms_sum: AtomicU64,
}

impl ReaderCounters {
    pub(crate) fn add_to(&self, stats: &mut StoreStats) {
        stats.hits += read(&self.hits);
        stats.misses += read(&self.misses);
        stats.waits += read(&self.waits);
        stats.waits_refused += read(&self.waits_refused);
        stats.wakes += read(&self.wakes);
        stats.false_alarms += read(&self.false_alarms);
        stats.inbox_overflows += read(&self.inbox_overflows);
        for (sum, count) in stats.wait_ms.iter_mut().zip(&self.wait_ms) {
            *sum += read(count);
        }
        stats.wait_ms_sum += read(&self.wait_ms_sum);
    }

    pub(crate) fn waited(&self, ms: u64) {
        let bucket = WAIT_BUCKETS_MS.partition_point(|bound| *bound < ms);
        if let Some(count) = self.wait_ms.get(bucket) {
            bump(count, 1);
        }
        bump(&self.wait_ms_sum, ms);
    }
}

/// Adds to a counter that only this thread writes: no locked instruction.
pub(crate) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// Adds to a counter that any thread may write.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// The reverse of [`count`], for what is there now.
pub(crate) fn uncount(counter: &AtomicU64, by: u64) {
    counter.fetch_sub(by, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
