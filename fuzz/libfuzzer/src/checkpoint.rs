//! The target `checkpoint` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (pagemark_fuzz::target("checkpoint").expect("it is there").run)(data));
