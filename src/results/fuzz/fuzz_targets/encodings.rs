//! Any of the formats in UTF-16.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look("junit.xml", b"\xFF\xFE", bytes));
