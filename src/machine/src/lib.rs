//! What this machine has: facts, tools found by probes, pressure, free space, installations.
//!
//! The rules are in `helix-model`; here is what looks at the world for them, and what changes it:
//!
//! - [`facts`]: what the machine is, asked once;
//! - [`free`]: what it has free now, asked at each admission;
//! - [`pressure`]: how hard pressed it is now;
//! - [`probe`]: one tool, found by running a command;
//! - [`catalog`]: all of it merged into one set of capabilities, watched for changes;
//! - [`provision`]: installs what is missing, in the background;
//! - [`requirement_files`]: what a payload's own files ask for.
//!
//! Everything that is run here comes from the agent's configuration, never from a work item, and
//! runs as the agent, not as an item. That is why this room starts processes itself instead of
//! asking the launcher, whose one purpose is to run what nobody trusts as somebody else. Nothing
//! here knows a wire format, a configuration file, or the agent.
#![forbid(unsafe_code)]

pub mod facts;

pub mod free;

pub mod pressure;

pub mod command;

pub mod probe;

pub mod catalog;

pub mod provision;

pub mod requirement_files;

mod process;

#[cfg(test)]
mod testing;
