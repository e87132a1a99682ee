//! plaintap: a passive TLS-decryption pipeline.
//!
//! Mirrored frames and session keys go in, HTTP transactions come out. The folders are the stages, in the order in which
//! a byte meets them:
//!
//! ```text
//! source -> wire -> flow -> tcp -> tls -> http -> sink
//! frame    segment  flow   stream record message transaction
//! ```
//!
//! Nothing below `source` and `sink` does I/O, starts a thread or reads a clock.

#![deny(unsafe_code)]

pub mod config;
pub mod flow;
pub mod http;
#[cfg(feature = "live")]
pub mod observe;
pub mod pipeline;
#[cfg(feature = "live")]
pub mod runtime;
pub mod sink;
pub mod source;
pub mod stats;
pub mod tcp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod tls;
pub mod wire;
#[cfg(feature = "live")]
pub mod worker;

pub use time::Timestamp;
