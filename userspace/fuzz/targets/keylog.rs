//! Key-log lines, however they are cut, into a store.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plaintap_keystore::keylog::fuzz_keylog(data));
