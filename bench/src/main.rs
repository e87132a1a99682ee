//! Benchmarks of plaintap.
fn main() {}
