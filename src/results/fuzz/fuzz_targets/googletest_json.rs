//! GoogleTest JSON.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "out.json",
    b"{\"tests\":1,\"name\":\"AllTests\",\"testsuites\":[{\"name\":\"s\",\"testsuite\":[{",
    bytes
));
