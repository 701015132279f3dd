//! Any bytes as the head of a request: the lane and actix-web must read them alike. See `stampede::http::lane::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stampede::http::lane::fuzz::check(bytes));
