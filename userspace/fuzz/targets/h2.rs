//! HTTP/2 of both directions, gaps and ends; what comes out is JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for line in plaintap::http::h2::fuzz::fuzz_h2(data).split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(line).expect("a JSON object");
    }
});
