//! What the intake counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::keylog::Report;
use crate::stats::{count, read};
use crate::sync::Mutex;

/// How a connection ended: exactly one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It gave at least one key.
    Keys,
    /// It gave lines, and none with a key.
    NoKeys,
    /// A handshake and no data.
    NoData,
    /// It closed before it sent anything: a load balancer's TCP monitor.
    ConnectOnly,
    /// `GET /healthz`, answered.
    Health,
    /// Any other HTTP request, answered with 404 or 405.
    Http,
    /// No TLS on the TLS port: HTTP in clear (answered with 400), or anything else.
    NotTls,
    /// The peers did not agree, or the client has no certificate that it must have.
    HandshakeFailed,
    /// The handshake took too long.
    HandshakeTimeout,
    /// No complete line came in time.
    IdleTimeout,
    /// It sent more than a connection may.
    TooManyBytes,
    /// The source is not in the allow-list.
    RefusedSource,
    /// All connections are taken.
    RefusedTotal,
    /// The source has its share of connections.
    RefusedPerSource,
    /// The connection failed before it gave a key.
    Failed,
    /// The intake was shut down meanwhile.
    Shutdown,
}

impl Outcome {
    /// Every outcome, in the order of their indices in [`IntakeStats::outcomes`].
    pub const ALL: [Self; 16] = [
        Self::Keys,
        Self::NoKeys,
        Self::NoData,
        Self::ConnectOnly,
        Self::Health,
        Self::Http,
        Self::NotTls,
        Self::HandshakeFailed,
        Self::HandshakeTimeout,
        Self::IdleTimeout,
        Self::TooManyBytes,
        Self::RefusedSource,
        Self::RefusedTotal,
        Self::RefusedPerSource,
        Self::Failed,
        Self::Shutdown,
    ];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::NoKeys => "no_keys",
            Self::NoData => "no_data",
            Self::ConnectOnly => "connect_only",
            Self::Health => "health",
            Self::Http => "http",
            Self::NotTls => "not_tls",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::TooManyBytes => "too_many_bytes",
            Self::RefusedSource => "refused_source",
            Self::RefusedTotal => "refused_total",
            Self::RefusedPerSource => "refused_per_source",
            Self::Failed => "failed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The intake's counters at one time. `accepted` is `open` plus the sum of `outcomes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntakeStats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that have not ended.
    pub open: u64,
    /// Connections that have, by `Outcome::ALL`.
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Handshakes that were made in full.
    pub full_handshakes: u64,
    /// Handshakes that resumed a session.
    pub resumed_handshakes: u64,
    /// Times that the system refused a connection to us (no file descriptor left).
    pub accept_errors: u64,
    /// Octets of key-log text.
    pub bytes: u64,
    /// What became of the lines. Its `errors` are empty: line numbers mean nothing here.
    pub lines: Report,
}

impl IntakeStats {
    /// Connections that ended so.
    pub const fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }
}

#[derive(Debug)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    pub(super) full_handshakes: AtomicU64,
    pub(super) resumed_handshakes: AtomicU64,
    pub(super) accept_errors: AtomicU64,
    pub(super) bytes: AtomicU64,
    lines: Mutex<Report>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            accepted: AtomicU64::default(),
            outcomes: Default::default(),
            full_handshakes: AtomicU64::default(),
            resumed_handshakes: AtomicU64::default(),
            accept_errors: AtomicU64::default(),
            bytes: AtomicU64::default(),
            lines: Mutex::new(Report::default()),
        }
    }
}

impl Counters {
    pub(super) fn ended(&self, outcome: Outcome) {
        // Release: pairs with Acquire in `snapshot`, so that no outcome is counted before its lines.
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Release);
    }

    pub(super) fn lines(&self, bytes: u64, report: &Report) {
        count(&self.bytes, bytes);
        let mut lines = self.lines.lock();
        lines.add(report);
        lines.errors.clear();
    }

    pub(super) fn snapshot(&self) -> IntakeStats {
        // The outcomes first: what has ended by then was accepted before.
        let outcomes: [u64; Outcome::ALL.len()] =
            std::array::from_fn(|index| self.outcomes[index].load(Ordering::Acquire));
        let accepted = read(&self.accepted);
        IntakeStats {
            accepted,
            open: accepted.saturating_sub(outcomes.iter().sum()),
            outcomes,
            full_handshakes: read(&self.full_handshakes),
            resumed_handshakes: read(&self.resumed_handshakes),
            accept_errors: read(&self.accept_errors),
            bytes: read(&self.bytes),
            lines: self.lines.lock().clone(),
        }
    }
}
