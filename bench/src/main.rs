//! Benchmarks of plaintap: one question each, answered by a table that says on what host, of which commit, by which command.

#![forbid(unsafe_code)]

mod bulk;
mod engine;
mod generate;
mod keylog;
#[cfg(feature = "live")]
mod live;
mod memory;
mod peers;
mod report;
mod small;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use plaintap::testing::allocations::Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[derive(Parser)]
#[command(about = "Benchmarks of plaintap, and the traffic that they need")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a capture and its key log.
    Generate(generate::Arguments),
    /// How fast is bulk decryption, beside ring alone?
    Bulk {
        /// Plaintext octets of the transfer: more than the caches hold.
        #[arg(long, default_value_t = 256 << 20)]
        bytes: u64,
        #[command(flatten)]
        rounds: report::Rounds,
    },
    /// How many small HTTPS transactions a second does one core read?
    Small {
        /// Transactions in all.
        #[arg(long, default_value_t = 400_000)]
        transactions: usize,
        /// Connections that they are spread over.
        #[arg(long, default_value_t = 100)]
        connections: usize,
        #[command(flatten)]
        rounds: report::Rounds,
    },
    /// How many key-log lines a second does one core take?
    Keylog {
        /// Lines a round.
        #[arg(long, default_value_t = 1_000_000)]
        lines: usize,
        #[command(flatten)]
        rounds: report::Rounds,
    },
    /// How much memory does an idle HTTPS flow take?
    Memory {
        /// Flows that are open at the same time.
        #[arg(long, default_value_t = 100_000)]
        flows: u32,
    },
    /// What share of the lossless rate of a bare AF_XDP receive loop does the whole pipeline keep? Needs root.
    #[cfg(feature = "live")]
    Live(live::Arguments),
    /// Live capture: not in this build.
    #[cfg(not(feature = "live"))]
    #[command(hide = true)]
    Live,
    /// How long do other tools take for the same capture?
    Peers {
        /// The capture.
        capture: PathBuf,
        /// Its key log.
        keys: PathBuf,
        #[command(flatten)]
        rounds: report::Rounds,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Bulk { bytes, rounds } => bulk::run(bytes, rounds),
        Command::Small { transactions, connections, rounds } => small::run(transactions, connections, rounds),
        Command::Keylog { lines, rounds } => keylog::run(lines, rounds),
        #[cfg(feature = "live")]
        Command::Live(arguments) => live::run(&arguments),
        #[cfg(not(feature = "live"))]
        Command::Live => {
            println!("skipped: built without live capture (--features live)");
            Ok(())
        }
        Command::Memory { flows } => memory::run(flows),
        Command::Peers { capture, keys, rounds } => peers::run(&capture, &keys, rounds),
    }
}
