//! CTRF JSON.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "ctrf.json",
    b"{\"results\":{\"tool\":{\"name\":\"t\"},\"tests\":[{\"name\":\"n\",",
    bytes
));
