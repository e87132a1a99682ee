//! Traffic made in memory, for tests and benchmarks.

pub mod h2;
