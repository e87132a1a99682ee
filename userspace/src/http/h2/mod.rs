//! HTTP/2 (RFC 9113).

pub mod fuzz;
pub mod hpack;
