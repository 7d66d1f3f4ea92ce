//! Generates messages and services from `proto/`, without protoc.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let files = protox::Compiler::new([&root])?
        .include_source_info(true)
        .include_imports(true)
        .open_file("helix/agent/v1/agent_service.proto")?
        .file_descriptor_set();
    let descriptor = PathBuf::from(std::env::var("OUT_DIR")?).join("helix_agent_v1.bin");
    // Reflection needs no comments; the generated code has them as its documentation.
    let mut without_comments = files.clone();
    for file in &mut without_comments.file {
        file.source_code_info = None;
    }
    std::fs::write(&descriptor, without_comments.encode_to_vec())?;
    tonic_prost_build::configure()
        // Console chunks are handed through without another copy.
        .bytes(".helix.agent.v1.ConsoleChunk.data")
        // What may hold a secret gets a Debug by hand, in src/redaction.rs.
        .skip_debug([
            ".helix.agent.v1.WorkItem",
            ".helix.agent.v1.Command",
            ".helix.agent.v1.Argv",
            ".helix.agent.v1.EnvironmentVariable",
            ".helix.agent.v1.Payload",
            ".helix.agent.v1.GitSource",
        ])
        .compile_fds(files)?;
    Ok(())
}
