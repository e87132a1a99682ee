//! The store: secrets by client random, session id and ticket.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::reader::Reader;
use crate::stats::{Counters, ReaderCounters, StoreStats, count, uncount};
use crate::sync::{AtomicU64, Map, Mutex, Ordering};
use crate::wake::Board;
use crate::{ClientRandom, KeyId, KeySource, Label, Secret, SessionKeys};

/// A handle to the store: cheap to clone, for any thread.
///
/// A secret is wiped when its entry goes and no flow holds it: what [`Store::expire`] removes at once, but for what a reader
/// looks at that very moment; what inserts replace or evict in batches of a few dozen, by the thread that inserts.
///
/// Time is the caller's: any monotonic clock's reading since any fixed start. The store remembers the latest that it was
/// told, by [`Store::tick`] or with an insert, and readers use that one.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// The caps of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// An entry is removed this long after its last insert, look-up or use. 10 minutes: far longer than a mirror or a key
    /// lags, and as long as most servers offer resumption of TLS 1.2 sessions.
    pub ttl: Duration,
    /// Client randoms at most: 1,048,576, some 0.6 GB with TLS 1.3 secrets, 16 s of 64,000 handshakes a second. Past it the
    /// least recently used goes.
    pub capacity: usize,
    /// Session ids and tickets at most, in all.
    pub resumption_capacity: usize,
    /// Readers at a time: a bit each in the board of interest.
    pub max_readers: usize,
    /// Keys in a reader's inbox before it has to look up all it waits for (48 octets each).
    pub inbox_capacity: usize,
    /// Waits of one reader (about 100 octets each); more are refused.
    pub max_waits: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(600),
            capacity: 1 << 20,
            resumption_capacity: 1 << 20,
            max_readers: 64,
            inbox_capacity: 16_384,
            max_waits: 1 << 18,
        }
    }
}

/// All readers that [`StoreConfig::max_readers`] allows are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key store has {max_readers} readers already; raise max_readers")]
pub struct TooManyReaders {
    /// The cap.
    pub max_readers: usize,
}

impl Store {
    /// For those who insert and have no clock: the latest time that the store was told.
    pub const PRESENT: Duration = Duration::ZERO;

    /// An empty store, at time zero.
    pub fn new(config: StoreConfig) -> Self {
        let readers = config.max_readers.max(1);
        Self(Arc::new(Inner {
            config,
            randoms: Table::new(config.capacity),
            resumption: Table::new(config.resumption_capacity),
            board: Board::new(readers, config.inbox_capacity),
            clock_ms: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            hasher: hasher(),
            counters: Counters::default(),
            reader_counters: (0..readers).map(|_| ReaderCounters::default()).collect(),
            free_seats: Mutex::new((0..readers).rev().collect()),
        }))
    }

    /// Files `secret` under `random` and `label`, in place of any that was there: the last wins. Wakes who waits for it.
    pub fn insert(&self, random: &ClientRandom, label: Label, secret: Secret, source: KeySource, now: Duration) {
        self.0.insert(KeyId::random(random), label, secret, source, now);
    }

    /// Files the master secret of a session under its id: from an `RSA Session-ID` line, or learnt from a handshake that was
    /// decrypted. An id that is empty or longer than 32 octets is not kept.
    pub fn insert_session(&self, session_id: &[u8], master: Secret, source: KeySource, now: Duration) {
        if let Some(id) = KeyId::session(session_id) {
            self.0.insert(id, Label::ClientRandom, master, source, now);
        }
    }

    /// Files the master secret of a session under the hash of a ticket for it.
    pub fn insert_ticket(&self, ticket_hash: &[u8; 32], master: Secret, source: KeySource, now: Duration) {
        self.0.insert(KeyId::ticket(ticket_hash), Label::ClientRandom, master, source, now);
    }

    pub(crate) fn insert_id(&self, id: KeyId, master: Secret, source: KeySource, now: Duration) {
        self.0.insert(id, Label::ClientRandom, master, source, now);
    }

    /// A reader for one worker.
    pub fn reader(&self) -> Result<Reader, TooManyReaders> {
        let seat = self.0.free_seats.lock().pop();
        let seat = seat.ok_or(TooManyReaders { max_readers: self.0.config.max_readers })?;
        Ok(Reader::new(Arc::clone(&self.0), seat))
    }

    /// Sets the store's clock. It never goes back.
    pub fn tick(&self, now: Duration) {
        self.0.advance(now);
    }

    /// Sets the clock and removes what has expired: about once a second, by one thread that is no worker.
    pub fn expire(&self, now: Duration) {
        let now_ms = self.0.advance(now);
        for table in [&self.0.randoms, &self.0.resumption] {
            table.expire(now_ms, self.0.ttl_ms(), &self.0.counters);
        }
    }

    /// What was counted so far.
    pub fn stats(&self) -> StoreStats {
        let mut stats = self.0.counters.snapshot();
        for reader in &self.0.reader_counters {
            reader.add_to(&mut stats);
        }
        stats
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new(StoreConfig::default())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// What the handles and the readers share.
pub(crate) struct Inner {
    pub(crate) config: StoreConfig,
    randoms: Table,
    resumption: Table,
    pub(crate) board: Board,
    clock_ms: AtomicU64,
    generation: AtomicU64,
    hasher: ahash::RandomState,
    counters: Counters,
    /// By seat.
    pub(crate) reader_counters: Box<[ReaderCounters]>,
    free_seats: Mutex<Vec<usize>>,
}

impl Inner {
    /// Looks `id` up and marks it as used.
    pub(crate) fn lookup(&self, id: &KeyId) -> Option<Arc<SessionKeys>> {
        let keys = self.table(id).map.get(id)?;
        keys.touch(self.now_ms());
        Some(keys)
    }

    pub(crate) fn hash(&self, id: &KeyId) -> u64 {
        self.hasher.hash_one(id)
    }

    /// Milliseconds of the store's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock_ms.load(Ordering::Relaxed) // Relaxed: it orders nothing
    }

    pub(crate) fn return_seat(&self, seat: usize) {
        self.free_seats.lock().push(seat);
    }

    fn insert(&self, id: KeyId, label: Label, secret: Secret, source: KeySource, now: Duration) {
        if !label.is_needed() {
            return count(&self.counters.unneeded, 1);
        }
        let now_ms = self.advance(now);
        let hash = self.hash(&id);
        let table = self.table(&id);
        let changed = {
            let mut shard = table.shard(hash).lock();
            table.map.change(id, |keys| {
                // Drawn under the lock, so that the generations of one id rise.
                let generation = || self.generation.fetch_add(1, Ordering::Relaxed) + 1;
                Some(Arc::new(match keys {
                    Some(keys) if keys.holds(label, &secret) => {
                        keys.touch(now_ms);
                        return None;
                    }
                    Some(keys) => {
                        count(&self.counters.replaced, u64::from(keys.get(label).is_some()));
                        keys.with(label, secret, source, generation(), now_ms)
                    }
                    None => {
                        table.make_room(&mut shard, self.ttl_ms(), &self.counters);
                        shard.push_new(now_ms.saturating_add(self.ttl_ms()), id);
                        count(&self.counters.entries, 1);
                        SessionKeys::new(label, secret, source, generation(), now_ms)
                    }
                }))
            })
        };
        if !changed {
            return count(&self.counters.repeated, 1);
        }
        if id.is_random() {
            count(&self.counters.stored[source as usize][label as usize], 1);
        } else {
            count(&self.counters.sessions, 1);
        }
        self.board.announce(Board::bucket(hash), id);
    }

    /// Sets the clock to `now` unless it is later already, and returns it in milliseconds.
    fn advance(&self, now: Duration) -> u64 {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let clock_ms = self.now_ms();
        if now_ms <= clock_ms { clock_ms } else { self.clock_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms) }
    }

    fn ttl_ms(&self) -> u64 {
        u64::try_from(self.config.ttl.as_millis()).unwrap_or(u64::MAX)
    }

    const fn table(&self, id: &KeyId) -> &Table {
        if id.is_random() { &self.randoms } else { &self.resumption }
    }
}

/// A map that readers read without a lock, and, for its writers, the order in which its entries expire.
struct Table {
    map: Map,
    /// A power of two of them; an entry belongs to the one that its hash names, and changes only under that lock.
    shards: Box<[Mutex<Shard>]>,
    shard_capacity: usize,
}

impl Table {
    fn new(capacity: usize) -> Self {
        // Small stores have one shard, so that their capacity is exact; with 64 an uneven spread costs 1 or 2 % of it.
        let shards = if capacity < 65_536 { 1 } else { 64 };
        Self {
            map: Map::with_capacity(capacity.min(65_536)),
            shards: (0..shards).map(|_| Mutex::new(Shard::default())).collect(),
            shard_capacity: capacity.div_ceil(shards).max(1),
        }
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[hash as usize & (self.shards.len() - 1)]
    }

    /// Evicts until one more entry fits into `shard`.
    fn make_room(&self, shard: &mut Shard, ttl_ms: u64, counters: &Counters) {
        let mut looked_at = 0;
        while shard.len() >= self.shard_capacity {
            let Some((due, id)) = shard.pop() else { return };
            looked_at += 1;
            // Used since it was queued: its place is further back. So what goes is the least recently used, unless finding
            // it would hold the lock for too long.
            let mut place = due;
            let gone = self.map.remove_unless(&id, |keys| {
                place = keys.last_used_ms().saturating_add(ttl_ms);
                place > due && looked_at < MAX_LOOKED_AT
            });
            if gone {
                count(&counters.evicted, 1);
                uncount(&counters.entries, 1);
            } else {
                shard.push_used(place, id);
            }
        }
    }

    fn expire(&self, now_ms: u64, ttl_ms: u64, counters: &Counters) {
        for shard in &self.shards {
            // The lock is let go after each batch: an insert never waits for more than one.
            while self.expire_batch(&mut shard.lock(), now_ms, ttl_ms, counters) {}
        }
        self.map.flush();
    }

    /// Whether more may be due.
    fn expire_batch(&self, shard: &mut Shard, now_ms: u64, ttl_ms: u64, counters: &Counters) -> bool {
        for _ in 0..EXPIRE_BATCH {
            let Some(id) = shard.pop_due(now_ms) else { return false };
            let mut due = now_ms;
            let gone = self.map.remove_unless(&id, |keys| {
                // The map's count; any other is a flow's.
                if Arc::strong_count(keys) > 1 {
                    keys.touch(now_ms);
                }
                due = keys.last_used_ms().saturating_add(ttl_ms);
                due > now_ms
            });
            if gone {
                count(&counters.expired, 1);
                uncount(&counters.entries, 1);
            } else {
                shard.push_used(due, id);
            }
        }
        true
    }
}

/// The entries of one shard by when they expire. Each stands once; uses since then are applied when it comes up.
#[derive(Default)]
struct Shard {
    /// Those not yet looked at again, the oldest first: the clock does not go back, so nothing needs sorting.
    new: VecDeque<Due>,
    /// Those that were found to have been used.
    used: BinaryHeap<Reverse<Due>>,
}

impl Shard {
    fn push_new(&mut self, due_ms: u64, id: KeyId) {
        self.new.push_back(Due { due_ms, id });
    }

    fn push_used(&mut self, due_ms: u64, id: KeyId) {
        self.used.push(Reverse(Due { due_ms, id }));
    }

    fn pop(&mut self) -> Option<(u64, KeyId)> {
        let used_first = match (self.new.front(), self.used.peek()) {
            (Some(new), Some(Reverse(used))) => used < new,
            (new, _) => new.is_none(),
        };
        let due = if used_first { self.used.pop().map(|Reverse(due)| due) } else { self.new.pop_front() };
        due.map(|due| (due.due_ms, due.id))
    }

    fn pop_due(&mut self, now_ms: u64) -> Option<KeyId> {
        let is_due = |due: &Due| due.due_ms <= now_ms;
        if self.new.front().is_some_and(is_due) || self.used.peek().is_some_and(|Reverse(due)| is_due(due)) {
            return self.pop().map(|(_, id)| id);
        }
        None
    }

    fn len(&self) -> usize {
        self.new.len() + self.used.len()
    }
}

/// Ordered by time alone.
struct Due {
    due_ms: u64,
    id: KeyId,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due_ms.cmp(&other.due_ms)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.due_ms == other.due_ms
    }
}

impl Eq for Due {}

/// Under loom a fixed one, so that each run of a model does the same.
fn hasher() -> ahash::RandomState {
    if cfg!(loom) { ahash::RandomState::with_seeds(1, 2, 3, 4) } else { ahash::RandomState::new() }
}

const EXPIRE_BATCH: usize = 256;
const MAX_LOOKED_AT: usize = 1_024;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
