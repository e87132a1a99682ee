//! What a worker lets others see of its counters while it works.
//!
//! ```text
//! worker: counts in plain integers --publish, if nobody reads just then--> Slot --read--> whoever asks (metrics, health)
//! ```
//!
//! A copy is of one moment between two frames, so that its sums come out. The worker never waits: where a reader holds the slot, the
//! copy is published a moment later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use crate::source::InterfaceId;
use crate::source::af_xdp::{KernelStats, RingStats};
use crate::stats::{Gauges, Stats};

/// What a worker had counted at one moment.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// That moment, in nanoseconds of `CLOCK_MONOTONIC`; 0: the worker has not begun.
    pub at: u64,
    /// Nanoseconds that the worker's thread has had a processor, as of some 100 ms before at most.
    pub cpu: u64,
    /// What became of the frames.
    pub stats: Stats,
    /// What had not become anything yet.
    pub gauges: Gauges,
    /// By ring: interface, frames received, and what the kernel had counted some 100 ms before at most.
    pub rings: Vec<(InterfaceId, RingStats, KernelStats)>,
}

/// Where a worker publishes.
#[derive(Debug, Default)]
pub struct Slot {
    published: Mutex<Published>,
    ended: AtomicBool,
}

impl Slot {
    /// The last copy.
    pub fn read(&self) -> Published {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the worker's thread has ended, in order or not.
    pub fn has_ended(&self) -> bool {
        // Acquire: pairs with Release in Ended::drop.
        self.ended.load(Ordering::Acquire)
    }

    /// Changes the copy. False: somebody reads it just now.
    pub(super) fn try_write(&self, change: impl FnOnce(&mut Published)) -> bool {
        match self.published.try_lock() {
            Ok(mut published) => change(&mut published),
            Err(TryLockError::Poisoned(published)) => change(&mut published.into_inner()),
            Err(TryLockError::WouldBlock) => return false,
        }
        true
    }

    /// Changes the copy, for the last time.
    pub(super) fn write(&self, change: impl FnOnce(&mut Published)) {
        change(&mut self.published.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Says, when it is dropped, that the worker has ended: by a panic too.
pub(super) struct Ended<'a>(pub(super) &'a Slot);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        // Release: pairs with Acquire in Slot::has_ended. Whoever sees it sees the last copy.
        self.0.ended.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_does_not_wait_for_a_reader() {
        let slot = Slot::default();
        let reading = slot.published.lock().unwrap();
        assert!(!slot.try_write(|published| published.at = 1));
        drop(reading);
        assert!(slot.try_write(|published| published.at = 2));
        assert_eq!(slot.read().at, 2);
    }

    #[test]
    fn a_panic_is_an_end() {
        let slot = Slot::default();
        let panicked = std::panic::catch_unwind(|| {
            let _ended = Ended(&slot);
            assert!(!slot.has_ended());
            panic!("as a test");
        });
        assert!(panicked.is_err() && slot.has_ended());
    }
}
