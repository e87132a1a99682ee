#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| plaintap::pipeline::fuzz::fuzz_pipeline(data));
