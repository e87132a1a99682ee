#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| plaintap::tls::fuzz::fuzz_handshake(data));
