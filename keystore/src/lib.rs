//! TLS secrets and their intake; knows nothing of packets.
//!
//! ```text
//!  key-log line --keylog::parse_line--> Line --Store::insert--> SessionKeys <--Reader::lookup-- worker
//!  (file, TLS connection, DSB)                      |                              ^
//!                                                   +-- inbox of each waiting reader --+  Reader::poll_wake
//! ```
//!
//! Any thread may write ([`Store`]); each worker reads through a [`Reader`] of its own, which takes no lock. Secrets are
//! kept in memory only, wiped when the last holder lets go of them, and print as `<redacted>`.
#![forbid(unsafe_code)]

#[cfg(all(feature = "ingest", not(loom)))]
pub mod ingest;
pub mod keylog;
mod process;
mod reader;
mod secret;
mod session_keys;
mod stats;
mod store;
mod sync;
mod waits;
mod wake;

pub use process::{Hardening, LockOutcome, harden_process, raise_open_files};
pub use reader::{Reader, WaitError};
pub use secret::{ClientRandom, KeyId, Label, Secret};
pub use session_keys::SessionKeys;
pub use stats::{StoreStats, WAIT_BUCKETS_MS};
pub use store::{Store, StoreConfig, TooManyReaders};

/// Where a key came from: `plaintap.key.source` of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// A key-log file.
    File,
    /// An iRule, over the TLS intake.
    Irule,
    /// An F5 Ethernet trailer on a captured frame.
    F5Trailer,
    /// A pcapng Decryption Secrets Block.
    Dsb,
    /// Another node.
    Peer,
}

impl KeySource {
    /// Every source, in the order of their indices in the statistics.
    pub const ALL: [Self; 5] = [Self::File, Self::Irule, Self::F5Trailer, Self::Dsb, Self::Peer];

    /// The name in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Irule => "irule",
            Self::F5Trailer => "f5trailer",
            Self::Dsb => "dsb",
            Self::Peer => "peer",
        }
    }
}
