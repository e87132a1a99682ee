//! Traffic made in memory, for tests and benchmarks: what was said, the frames that carry it, the keys that open it.
//!
//! ```text
//! stream::Dialogue      session::Peers            net::Trace                   OwnedFrame...
//! messages + model ---> TLS records + key log ---> segments, ACKs, faults ---> Pipeline, pcap file
//!           '----------- (HTTP in clear) ----------^
//! ```
//!
//! Everything follows from a seed: the same seed makes the same octets, on every machine and in every run. Compiled for
//! tests and with the feature `testing` only.

pub mod allocations;
pub mod collect;
pub mod exposition;
pub mod f5;
mod faults;
pub mod h2;
pub mod nest;
pub mod net;
mod provider;
pub mod session;
pub mod stream;

pub use faults::Wrap;

/// A small seeded generator (SplitMix64, Steele et al. 2014): good enough to choose sizes and orders, and the same for ever.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that gives the sequence of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for one of several purposes under the same seed.
    pub const fn fork(seed: u64, purpose: u64) -> Self {
        Self(mix(seed ^ mix(purpose)))
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; zero where `bound` is zero.
    pub const fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next_u64() % bound as u64) as usize }
    }

    /// A number from `low` to `high`, both included.
    pub const fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Whether an event of that many in a thousand happens.
    pub const fn per_mille(&mut self, chance: u32) -> bool {
        self.next_u64() % 1_000 < chance as u64
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Fills `buf`.
    pub fn fill(&mut self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
