#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| plaintap::source::steer::fuzz::fuzz_classify(data));
