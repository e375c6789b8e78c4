//! The target `log_header` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (pagemark_fuzz::target("log_header").expect("it is there").run)(data));
