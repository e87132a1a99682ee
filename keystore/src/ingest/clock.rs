//! The store's clock, and the thread that ticks it.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use super::Alive;
use crate::Store;

/// A monotonic clock for the store: time since it was made. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock at zero.
    #[expect(clippy::disallowed_methods, reason = "the edge of the store: everything within takes time as an argument")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn now(self) -> Duration {
        self.0.elapsed()
    }
}

/// A thread that ticks a store's clock and expires its entries; it ends when this is dropped.
#[derive(Debug)]
pub struct Upkeep {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    alive: Alive,
}

impl Upkeep {
    /// Starts the thread `key-upkeep`. Errors: the system has no thread left.
    pub fn start(store: Store, clock: Clock) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let (life, alive) = Alive::pair();
        let thread = thread::Builder::new().name("key-upkeep".into()).spawn(move || {
            let _life = life;
            let mut expired_at = clock.now();
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let now = clock.now();
                store.tick(now);
                if now.saturating_sub(expired_at) >= EXPIRE {
                    store.expire(now);
                    expired_at = now;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), alive })
    }

    /// Whether the thread runs.
    pub fn alive(&self) -> Alive {
        self.alive.clone()
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How fine ages and waits are measured.
const TICK: Duration = Duration::from_millis(10);
/// How long past its time a secret may stay.
const EXPIRE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientRandom, KeySource, Label, Secret, StoreConfig};

    #[test]
    fn upkeep_expires_what_is_due_and_ends_when_dropped() {
        let store = Store::new(StoreConfig { ttl: Duration::from_millis(1), ..StoreConfig::default() });
        let clock = Clock::start();
        let secret = Secret::new(&[1; 48]).unwrap();
        store.insert(&ClientRandom([1; 32]), Label::ClientRandom, secret, KeySource::File, clock.now());
        let upkeep = Upkeep::start(store.clone(), clock).unwrap();
        while store.stats().entries > 0 {
            assert!(clock.now() < Duration::from_secs(60), "it did not expire within a minute");
            thread::park_timeout(TICK);
        }
        drop(upkeep);
        assert_eq!(store.stats().expired, 1);
    }
}
