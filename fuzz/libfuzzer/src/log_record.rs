//! The target `log_record` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (pagemark_fuzz::target("log_record").expect("it is there").run)(data));
