//! xUnit.net XML of version 2 and 3.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "xunit.xml",
    b"<assemblies><assembly name=\"a.dll\"><collection>",
    bytes
));
