#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| plaintap::tcp::fuzz::fuzz_reassembler(data));
