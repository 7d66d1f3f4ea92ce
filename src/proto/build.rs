//! Generates messages and services from `proto/`, without protoc.

use std::path::PathBuf;

use prost::Message;

const AGENT: &str = "helix/agent/v1/agent_service.proto";
const CONTROLLER: &str = "helix/controller/v1/controller_service.proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    for (service, descriptor) in [
        (AGENT, "helix_agent_v1.bin"),
        (CONTROLLER, "helix_controller_v1.bin"),
    ] {
        // Reflection needs no comments; the generated code has them as its documentation.
        let mut without_comments = protox::Compiler::new([&root])?
            .include_imports(true)
            .open_file(service)?
            .file_descriptor_set();
        for file in &mut without_comments.file {
            file.source_code_info = None;
        }
        std::fs::write(out.join(descriptor), without_comments.encode_to_vec())?;
    }
    let files = protox::Compiler::new([&root])?
        .include_source_info(true)
        .include_imports(true)
        .open_files([AGENT, CONTROLLER])?
        .file_descriptor_set();
    tonic_prost_build::configure()
        // Console chunks and what goes through tunnels are handed on without another copy.
        .bytes(".helix.agent.v1.ConsoleChunk.data")
        .bytes(".helix.controller.v1.TunnelRequest.data")
        .bytes(".helix.controller.v1.TunnelResponse.data")
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
