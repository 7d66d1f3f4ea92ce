//! JSON lines of libtest and nextest.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "libtest.json",
    b"{\"type\":\"suite\",\"event\":\"started\",\"test_count\":2}\n",
    bytes
));
