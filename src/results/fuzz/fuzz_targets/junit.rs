//! JUnit XML.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "junit.xml",
    b"<testsuites><testsuite name=\"s\"><testcase name=\"t\">",
    bytes
));
