//! Any bytes at all, unpacked.
#![no_main]

#[path = "scene.rs"]
mod scene;

libfuzzer_sys::fuzz_target!(|archive: &[u8]| scene::unpack_and_look(archive));
