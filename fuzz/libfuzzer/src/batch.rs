//! The target `batch` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (pagemark_fuzz::target("batch").expect("it is there").run)(data));
