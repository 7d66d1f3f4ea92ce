//! xUnit.net XML of version 1.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "xunit.xml",
    b"<assembly name=\"a.dll\" configFile=\"c\"><class name=\"c\">",
    bytes
));
