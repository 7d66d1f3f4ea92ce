//! The report of the reporter script.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "__test_report_v2.json",
    b"{\"schema_version\":1,\"results\":[{",
    bytes
));
