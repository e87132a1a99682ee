#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| plaintap::wire::fuzz::fuzz_wire(data));
