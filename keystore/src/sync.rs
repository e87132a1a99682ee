//! The shared-memory primitives of the store: the real ones, or, with `--cfg loom`, models of them.
//!
//! papaya and crossbeam do not run under loom. In their place the model has logs behind a lock whose *published* length is an
//! atomic: a reader may see an old length, as it may see an old slot of the real ones, unless something orders the two
//! threads. So loom checks that the waiter protocol itself brings that order.

pub(crate) use imp::{AtomicBool, AtomicU64, Map, Mutex, Ordering, Queue, fence};

#[cfg(not(loom))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
    use std::sync::{Arc, PoisonError};

    use crate::{KeyId, SessionKeys};

    /// A lock whose holder never panics half-way through a change, so that poison says nothing.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// A lock-free map, read without writing to shared memory but for the count of the value found.
    #[derive(Debug)]
    pub(crate) struct Map(papaya::HashMap<KeyId, Arc<SessionKeys>, ahash::RandomState>);

    impl Map {
        pub(crate) fn with_capacity(capacity: usize) -> Self {
            Self(papaya::HashMap::builder().capacity(capacity).hasher(ahash::RandomState::new()).build())
        }

        pub(crate) fn get(&self, id: &KeyId) -> Option<Arc<SessionKeys>> {
            self.0.pin().get(id).cloned()
        }

        /// Puts what `change` makes of the value that is there, if it makes any; whether it did.
        pub(crate) fn change(
            &self,
            id: KeyId,
            change: impl FnOnce(Option<&SessionKeys>) -> Option<Arc<SessionKeys>>,
        ) -> bool {
            let map = self.0.pin();
            let Some(keys) = change(map.get(&id).map(Arc::as_ref)) else { return false };
            map.insert(id, keys);
            true
        }

        /// Takes `id` out unless `keep` says otherwise of its value; whether it is gone.
        pub(crate) fn remove_unless(&self, id: &KeyId, mut keep: impl FnMut(&Arc<SessionKeys>) -> bool) -> bool {
            self.0.pin().remove_if(id, |_, keys| !keep(keys)).is_ok()
        }

        /// Drops what this thread has taken out and no reader looks at any more.
        pub(crate) fn flush(&self) {
            use papaya::Guard as _;
            self.0.guard().flush();
        }
    }

    /// A bounded lock-free queue.
    #[derive(Debug)]
    pub(crate) struct Queue(crossbeam_queue::ArrayQueue<KeyId>);

    impl Queue {
        pub(crate) fn new(capacity: usize) -> Self {
            Self(crossbeam_queue::ArrayQueue::new(capacity))
        }

        /// Whether there was room.
        pub(crate) fn push(&self, id: KeyId) -> bool {
            self.0.push(id).is_ok()
        }

        pub(crate) fn pop(&self) -> Option<KeyId> {
            self.0.pop()
        }
    }
}

#[cfg(loom)]
mod imp {
    use std::sync::Arc;

    use loom::sync::atomic::AtomicUsize;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

    use crate::{KeyId, SessionKeys};

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no holder panics")
        }
    }

    /// What was put and taken, in order; a reader sees a prefix. (The log itself is in a lock that loom does not see, so that
    /// taking it orders nothing.)
    #[derive(Debug)]
    pub(crate) struct Map {
        log: std::sync::Mutex<Vec<(KeyId, Option<Arc<SessionKeys>>)>>,
        published: AtomicUsize,
    }

    impl Map {
        pub(crate) fn with_capacity(_: usize) -> Self {
            Self { log: std::sync::Mutex::default(), published: AtomicUsize::new(0) }
        }

        pub(crate) fn get(&self, id: &KeyId) -> Option<Arc<SessionKeys>> {
            let seen = self.published.load(Ordering::Acquire); // Acquire: pairs with Release in put
            let log = self.log.lock().expect("no holder panics");
            log[..seen].iter().rev().find(|(have, _)| have == id).and_then(|(_, keys)| keys.clone())
        }

        pub(crate) fn change(
            &self,
            id: KeyId,
            change: impl FnOnce(Option<&SessionKeys>) -> Option<Arc<SessionKeys>>,
        ) -> bool {
            let Some(keys) = change(self.get(&id).as_deref()) else { return false };
            self.put(id, Some(keys));
            true
        }

        pub(crate) fn remove_unless(&self, id: &KeyId, mut keep: impl FnMut(&Arc<SessionKeys>) -> bool) -> bool {
            let seen = self.published.load(Ordering::Acquire);
            let kept = {
                let log = self.log.lock().expect("no holder panics");
                log[..seen]
                    .iter()
                    .rev()
                    .find(|(have, _)| have == id)
                    .and_then(|(_, keys)| keys.as_ref())
                    .is_some_and(&mut keep)
            };
            if kept {
                return false;
            }
            self.put(*id, None);
            true
        }

        pub(crate) fn flush(&self) {}

        /// Writers of one id hold the lock of its shard; the models have one shard.
        fn put(&self, id: KeyId, keys: Option<Arc<SessionKeys>>) {
            let len = {
                let mut log = self.log.lock().expect("no holder panics");
                log.push((id, keys));
                log.len()
            };
            self.published.store(len, Ordering::Release);
        }
    }

    #[derive(Debug)]
    pub(crate) struct Queue {
        capacity: usize,
        /// What was ever pushed, and how much of it was popped.
        log: std::sync::Mutex<(Vec<KeyId>, usize)>,
        published: AtomicUsize,
    }

    impl Queue {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { capacity, log: std::sync::Mutex::default(), published: AtomicUsize::new(0) }
        }

        pub(crate) fn push(&self, id: KeyId) -> bool {
            {
                let mut log = self.log.lock().expect("no holder panics");
                if log.0.len() - log.1 == self.capacity {
                    return false;
                }
                log.0.push(id);
            }
            self.published.fetch_add(1, Ordering::Release);
            true
        }

        pub(crate) fn pop(&self) -> Option<KeyId> {
            let seen = self.published.load(Ordering::Acquire); // Acquire: pairs with Release in push
            let mut log = self.log.lock().expect("no holder panics");
            if log.1 == seen {
                return None;
            }
            let id = log.0[log.1];
            log.1 += 1;
            Some(id)
        }
    }
}
