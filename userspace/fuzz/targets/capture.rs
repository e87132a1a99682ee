#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| plaintap::source::pcap::fuzz::fuzz_capture(data));
