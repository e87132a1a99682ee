//! What the XDP program and the program that loads it agree on.
//!
//! [`classify`] is written once, over a [`Cursor`]: the kernel gives it the packet pointers that its verifier understands, userspace a
//! slice. So what `cargo test` and the fuzzer exercise is what runs in the kernel.
//!
//! ```text
//! frame -> Walk::step, header by header -> innermost five-tuple -> filters -> steer (worker) | pass | drop, and a reason
//! ```

#![no_std]
#![forbid(unsafe_code)]

mod config;
mod cursor;
mod hash;
mod ip;
mod link;
pub mod maps;
mod stamp;
mod tunnel;
mod verdict;
mod walk;

pub use config::{Config, flags};
pub use cursor::Cursor;
pub use hash::flow_hash;
pub use stamp::{STAMP, stamp, stamped};
pub use verdict::{Filter, Reason, Verdict, classify, counter, worker};
pub use walk::{Layer, MAX_HEADERS, MAX_STEPS, MAX_TUNNELS, Walk};
