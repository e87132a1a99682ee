//! One worker's view of the store: look-ups, and the keys that it waits for.

use std::fmt;
use std::sync::Arc;

use crate::stats::{ReaderCounters, bump};
use crate::store::Inner;
use crate::waits::Waits;
use crate::wake::Board;
use crate::{ClientRandom, KeyId, SessionKeys};

/// A worker's access to the store. It takes no lock, and wakes it for no key but those it waits for.
///
/// ```
/// use plaintap_keystore::{ClientRandom, KeySource, Label, Secret, Store};
///
/// let store = Store::default();
/// let mut reader = store.reader()?;
/// let random = ClientRandom([1; 32]);
/// assert!(reader.lookup(&random).is_none());
/// assert!(reader.wait_for(random.into(), 7)?.is_none()); // still not there: 7 is now waiting
/// store.insert(&random, Label::ClientRandom, Secret::new(&[2; 48]).ok_or("length")?, KeySource::File, Default::default());
/// assert_eq!(reader.poll_wake(), Some(7));
/// assert_eq!(reader.poll_wake(), None);
/// let keys = reader.lookup(&random).ok_or("landed")?;
/// assert_eq!(keys.master().map(|secret| secret.as_bytes()), Some(&[2; 48][..]));
/// reader.forget(7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reader {
    store: Arc<Inner>,
    seat: usize,
    waits: Waits,
    /// Tokens to hand out; those forgotten since are passed over.
    ready: Vec<u64>,
}

/// Why a wait was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The reader waits for as many keys as `StoreConfig::max_waits` allows.
    #[error("too many waits")]
    TooManyWaits,
}

impl Reader {
    /// The secrets of the connection whose ClientHello carried `random`. Marks them as used.
    pub fn lookup(&self, random: &ClientRandom) -> Option<Arc<SessionKeys>> {
        self.lookup_id(&KeyId::random(random))
    }

    /// The master secret (`SessionKeys::master`) of the session that `session_id` resumes.
    pub fn lookup_session(&self, session_id: &[u8]) -> Option<Arc<SessionKeys>> {
        self.lookup_id(&KeyId::session(session_id)?)
    }

    /// The master secret (`SessionKeys::master`) of the session that the ticket with this hash resumes.
    pub fn lookup_ticket(&self, ticket_hash: &[u8; 32]) -> Option<Arc<SessionKeys>> {
        self.lookup_id(&KeyId::ticket(ticket_hash))
    }

    /// The same by id.
    pub fn lookup_id(&self, id: &KeyId) -> Option<Arc<SessionKeys>> {
        let keys = self.store.lookup(id);
        let counters = self.counters();
        bump(if keys.is_some() { &counters.hits } else { &counters.misses }, 1);
        keys
    }

    /// Waits for `id` in the name of `token`, and returns what is there at that moment.
    ///
    /// From then on each change of `id` (a TLS 1.3 session comes as several lines) makes [`Reader::poll_wake`] give `token`
    /// once, until [`Reader::forget`]; changes that come before a poll count as one. A key that lands while this is called
    /// is returned, or wakes, or both: none is lost. One token may wait for several ids, and many tokens for one id.
    ///
    /// Errors: `TooManyWaits` leaves everything as it was.
    pub fn wait_for(&mut self, id: KeyId, token: u64) -> Result<Option<Arc<SessionKeys>>, WaitError> {
        let keys = self.begin_wait(id, token)?;
        if let Some(keys) = &keys {
            self.waits.saw(&id, token, keys.generation());
        }
        Ok(keys)
    }

    /// The same for those who looked `id` up before, and found nothing or not what they need: what is there wakes, too, unless it
    /// has woken `token` before. So a key that lands between look-up and wait is not lost.
    pub fn wait_on(&mut self, id: KeyId, token: u64) -> Result<(), WaitError> {
        if let Some(keys) = self.begin_wait(id, token)? {
            self.waits.wake_token(&id, token, keys.generation(), &mut self.ready);
        }
        Ok(())
    }

    fn begin_wait(&mut self, id: KeyId, token: u64) -> Result<Option<Arc<SessionKeys>>, WaitError> {
        if !self.waits.contains(&id, token) {
            if self.waits.len() >= self.store.config.max_waits {
                bump(&self.counters().waits_refused, 1);
                return Err(WaitError::TooManyWaits);
            }
            let bucket = Board::bucket(self.store.hash(&id));
            self.store.board.register(bucket, self.seat);
            self.waits.insert(id, token, bucket, self.store.now_ms());
            bump(&self.counters().waits, 1);
        }
        Ok(self.store.lookup(&id))
    }

    /// The next token of which a key has landed. One atomic load when there is none.
    #[inline]
    pub fn poll_wake(&mut self) -> Option<u64> {
        if self.ready.is_empty() && !self.store.board.inbox(self.seat)?.open() {
            return None;
        }
        self.next_wake()
    }

    /// Ends all waits of `token`. It is not given by [`Reader::poll_wake`] any more.
    pub fn forget(&mut self, token: u64) {
        let Self { store, seat, waits, .. } = self;
        waits.remove(token, |bucket| store.board.unregister(bucket, *seat));
    }

    /// How many waits there are.
    pub fn waits(&self) -> usize {
        self.waits.len()
    }

    pub(crate) fn new(store: Arc<Inner>, seat: usize) -> Self {
        store.board.open(seat);
        Self { store, seat, waits: Waits::default(), ready: Vec::new() }
    }

    fn next_wake(&mut self) -> Option<u64> {
        if self.ready.is_empty() {
            self.read_mail();
        }
        let now_ms = self.store.now_ms();
        let counters = &self.store.reader_counters[self.seat];
        while let Some(token) = self.ready.pop() {
            if self.waits.take_wake(token, now_ms, |ms| counters.waited(ms)) {
                bump(&counters.wakes, 1);
                return Some(token);
            }
        }
        None
    }

    fn read_mail(&mut self) {
        let Some(inbox) = self.store.board.inbox(self.seat) else { return };
        let counters = &self.store.reader_counters[self.seat];
        let generation = |id: &KeyId| self.store.lookup(id).map(|keys| keys.generation());
        // All that was there when the flag was taken down, which may be a full inbox; what is posted meanwhile raises it again.
        for _ in 0..self.store.config.inbox_capacity.max(1) {
            let Some(id) = inbox.pop() else { break };
            if !self.waits.waits_for(&id) {
                bump(&counters.false_alarms, 1);
            } else if let Some(generation) = generation(&id) {
                self.waits.wake(&id, generation, &mut self.ready);
            }
        }
        if inbox.take_overflowed() {
            bump(&counters.inbox_overflows, 1);
            self.waits.wake_changed(generation, &mut self.ready);
        }
        self.ready.reverse(); // the first is popped first
    }

    fn counters(&self) -> &ReaderCounters {
        &self.store.reader_counters[self.seat]
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Self { store, seat, waits, .. } = self;
        waits.clear(|bucket| store.board.unregister(bucket, *seat));
        store.return_seat(*seat);
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("seat", &self.seat).field("waits", &self.waits.len()).finish_non_exhaustive()
    }
}
