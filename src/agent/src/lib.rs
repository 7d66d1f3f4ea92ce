//! The Helix worker agent: accepts work items, runs them, judges them.
//!
//! [`Agent::start`] is the whole of it; `main.rs` adds a command line. Inside,
//! start at `core` (what is shared and decided) and `attempt` (what becomes
//! of one work item); `service` is the wire, `launcher` the way to processes.
//! The rules are not here but in `helix-model`.
#![forbid(unsafe_code)]

mod agent;
mod attempt;
mod command;
mod config;
mod controller;
mod core;
mod doctor;
mod error;
mod housekeeping;
mod installation;
mod launcher;
mod listener;
mod monitoring;
mod reboot;
mod reload;
mod results;
mod server;
mod service;
mod service_manager;
mod tls;
mod workspace;

pub use agent::{Agent, StartError};
pub use command::{command_line, main};
pub use config::{
    Advertised, Config, Connect, ControllerAddress, ControllerConfig, ControllerTls, ListenConfig,
    TlsConfig,
};
pub use launcher::{SUBCOMMAND as LAUNCHER_SUBCOMMAND, launcher_main};
pub use reload::{Change, ReloadError};

use error::error_chain;
