//! How keys get into the store while it is in use: over TLS, and from files that grow.
//!
//! ```text
//!  F5 iRule --TLS--> Intake (its own threads, tokio) --+
//!  key log file, FIFO --> Follower (its own thread) ---+--> Store
//!                         Upkeep (its own thread): clock, expiry
//! ```
//!
//! None of it runs on a worker's thread, and a worker never waits for any of it.

mod alive;
mod allow_list;
mod clock;
mod config;
mod connection;
mod file;
mod http;
mod identity;
mod stats;
mod tls;

pub use alive::{Alive, Life};
pub use allow_list::{AllowList, BadNetwork};
pub use clock::{Clock, Upkeep};
pub use config::{FileRole, IntakeConfig, IntakeError, Limits, ServerIdentity};
pub use file::{FollowError, FollowStats, Follower, FollowerWatch};
pub use identity::Fingerprint;
pub use stats::{IntakeStats, Outcome};
pub use tls::{FreshIdentity, Intake, IntakeWatch};
