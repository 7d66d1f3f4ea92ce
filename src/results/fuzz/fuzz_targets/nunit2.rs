//! NUnit 2 XML.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "nunit.xml",
    b"<test-results name=\"a.dll\"><test-suite><results>",
    bytes
));
