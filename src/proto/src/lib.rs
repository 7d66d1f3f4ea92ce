//! The gRPC contracts of agent and controller, and their conversions to and from the model.
//!
//! The messages are generated from `proto/`, whose comments are the contract: start with
//! `agent_service.proto`, then `work_item.proto` for what is asked and `event.proto` for what is
//! answered; `controller_service.proto` is how agent and controller find each other. Of the
//! conversions, [`work_item`](mod@work_item) goes into the model, refuses bad input and names every
//! wrong field by its path; the others come out of it and cannot fail.
//!
//! This room does no I/O and knows no program. What may hold a secret prints without it.

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

        /// The contract as an encoded `google.protobuf.FileDescriptorSet` with everything it
        /// imports, for server reflection. Without comments, which are half its size.
        pub const FILE_DESCRIPTOR_SET: &[u8] =
            include_bytes!(concat!(env!("OUT_DIR"), "/helix_agent_v1.bin"));
    }
}

/// Messages and services of `helix.controller.v1`.
pub mod controller {
    /// Version 1.
    #[allow(
        missing_debug_implementations,
        missing_docs,
        unreachable_pub,
        clippy::all,
        reason = "generated code; the comments of the .proto files are the documentation"
    )]
    pub mod v1 {
        tonic::include_proto!("helix.controller.v1");

        /// The contract as an encoded `google.protobuf.FileDescriptorSet` with everything it
        /// imports, for server reflection. Without comments, which are half its size.
        pub const FILE_DESCRIPTOR_SET: &[u8] =
            include_bytes!(concat!(env!("OUT_DIR"), "/helix_controller_v1.bin"));
    }
}

pub mod work_item;

pub mod refusal;

pub mod outcome;

pub mod capacity;

pub mod time;

mod redaction;
#[cfg(test)]
mod tests;
