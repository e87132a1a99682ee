//! All secrets of one client random (or of one resumable session).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{KeySource, Label, Secret};

/// All secrets that have come for one client random, or the one master secret of a session id or ticket.
///
/// It never changes: a new line for the same random makes a new one in its place, so that a reader sees either.
#[derive(Debug)]
pub struct SessionKeys {
    /// A label stands at most once.
    secrets: Secrets,
    source: KeySource,
    generation: u64,
    /// Milliseconds of the store's clock.
    last_used_ms: AtomicU64,
}

/// One secret, as TLS 1.2 has, needs no allocation of its own.
#[derive(Debug)]
enum Secrets {
    One([(Label, Secret); 1]),
    Many(Box<[(Label, Secret)]>),
}

impl SessionKeys {
    /// The secret that `label` names.
    pub fn get(&self, label: Label) -> Option<&Secret> {
        self.secrets().iter().find(|(have, _)| *have == label).map(|(_, secret)| secret)
    }

    /// The master secret of TLS 1.2 and earlier: of the line `CLIENT_RANDOM`, or of a session id or ticket.
    pub fn master(&self) -> Option<&Secret> {
        self.get(Label::ClientRandom)
    }

    /// The labels for which there is a secret.
    pub fn labels(&self) -> impl Iterator<Item = Label> {
        self.secrets().iter().map(|(label, _)| *label)
    }

    /// Where the last of the secrets came from.
    pub const fn source(&self) -> KeySource {
        self.source
    }

    /// Rises with each change in the store: two values of one id are the same if their generations are.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn new(label: Label, secret: Secret, source: KeySource, generation: u64, now_ms: u64) -> Self {
        Self { secrets: Secrets::One([(label, secret)]), source, generation, last_used_ms: AtomicU64::new(now_ms) }
    }

    /// These keys with `secret` added, or in place of the one that `label` had.
    pub(crate) fn with(&self, label: Label, secret: Secret, source: KeySource, generation: u64, now_ms: u64) -> Self {
        let kept = self.secrets().iter().filter(|(have, _)| *have != label);
        let mut secrets = Vec::with_capacity(kept.clone().count() + 1);
        secrets.extend(kept.cloned());
        secrets.push((label, secret));
        let secrets = Secrets::Many(secrets.into_boxed_slice());
        Self { secrets, source, generation, last_used_ms: AtomicU64::new(now_ms) }
    }

    /// Whether `label` already names these very octets.
    pub(crate) fn holds(&self, label: Label, secret: &Secret) -> bool {
        self.get(label).is_some_and(|have| have.as_bytes() == secret.as_bytes())
    }

    pub(crate) fn touch(&self, now_ms: u64) {
        // Relaxed: only the age depends on it. The load keeps the cache line shared while the clock stands still.
        if self.last_used_ms.load(Ordering::Relaxed) < now_ms {
            self.last_used_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    fn secrets(&self) -> &[(Label, Secret)] {
        match &self.secrets {
            Secrets::One(secrets) => secrets,
            Secrets::Many(secrets) => secrets,
        }
    }

    pub(crate) fn last_used_ms(&self) -> u64 {
        self.last_used_ms.load(Ordering::Relaxed)
    }
}
