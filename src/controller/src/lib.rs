//! The Helix controller: queues, dispatch to agents, every attempt kept.
//!
//! [`start`] is the whole of it; `main.rs` adds a command line. Inside, start at `core`: the handle
//! that everything that serves somebody uses. `board` knows what waits and who has room, `scheduler`
//! brings the two together, `attempt` looks after one attempt, `agent` after the line to one agent,
//! `log` after what an attempt prints. `http` is the REST API. The rules are not here but in
//! `helix-model`, and what must not be forgotten is in `helix-store`.
#![forbid(unsafe_code)]

mod agent;
mod attempt;
mod board;
mod command;
#[cfg(test)]
mod component;
mod config;
mod controller;
mod core;
mod error;
mod ground;
mod http;
mod link;
mod log;
mod metrics;
mod scheduler;
mod signal;
#[cfg(test)]
mod simulation;
mod storage;
mod tasks;
mod world;

pub use command::{command_line, main};
pub use config::{Config, ConfigProblems};
pub use controller::{Running, StartError, start};

use error::error_chain;
