//! The target `consumer_protocol` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (pagemark_fuzz::target("consumer_protocol").expect("it is there").run)(data));
