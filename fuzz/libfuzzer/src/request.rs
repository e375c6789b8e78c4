//! The target `request` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (pagemark_fuzz::target("request").expect("it is there").run)(data));
