//! HTTP/2 (RFC 9113).

pub mod frame;
pub mod fuzz;
pub mod hpack;
pub mod reader;
pub mod resync;

#[cfg(test)]
mod tests;
