//! The gRPC contract of the agent, and its conversions to and from the model.
//!
//! The messages are generated from `proto/`, whose comments are the contract.
//! Conversions into the model refuse bad input and name the field by its path.
//! This room does no I/O and knows no program.

/// Messages and services of `helix.agent.v1`.
pub mod agent {
    /// Version 1.
    #[allow(
        missing_debug_implementations,
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::cast_possible_truncation,
        reason = "generated code; the comments of the .proto files are the documentation"
    )]
    pub mod v1 {
        tonic::include_proto!("helix.agent.v1");

        /// The descriptors of the contract, for server reflection.
        pub const FILE_DESCRIPTOR_SET: &[u8] =
            include_bytes!(concat!(env!("OUT_DIR"), "/helix_agent_v1.bin"));
    }
}

pub mod capacity;
pub mod outcome;
mod redaction;
pub mod refusal;
pub mod work_item;
