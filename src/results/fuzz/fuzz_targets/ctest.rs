//! CTest XML.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "Test.xml",
    b"<Site Name=\"n\"><Testing><Test Status=\"failed\">",
    bytes
));
