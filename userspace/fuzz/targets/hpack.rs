//! Header blocks to a decoder that sees all of them and to one that misses some.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plaintap::http::h2::fuzz::fuzz_hpack(data));
