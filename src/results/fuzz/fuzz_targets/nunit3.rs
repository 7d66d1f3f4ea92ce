//! NUnit 3 XML.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "nunit.xml",
    b"<test-run><test-suite type=\"Assembly\" name=\"a.dll\">",
    bytes
));
