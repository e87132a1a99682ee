//! The `plaintap` command.
fn main() {}
