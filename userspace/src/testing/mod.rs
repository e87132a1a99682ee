//! Traffic made in memory, for tests and benchmarks.
