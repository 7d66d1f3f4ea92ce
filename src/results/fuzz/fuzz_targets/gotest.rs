//! The output of `go test -json`.
#![no_main]

mod scene;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scene::read_and_look(
    "go.json",
    b"{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"t\"}\n",
    bytes
));
