//! Test Anything Protocol.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "out.tap",
    b"TAP version 14\n",
    bytes
));
