//! The target `consumer_offsets` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (pagemark_fuzz::target("consumer_offsets").expect("it is there").run)(data));
