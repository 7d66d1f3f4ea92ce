//! Log set-up and build version of the Helix programs.
//!
//! A program calls [`init()`] once, first thing, with what its command line says about the log; from
//! then on it logs through `tracing`. The rules of the house for what is logged: a constant
//! message, data in dotted lower-case fields (`work_item.id`, `attempt.id`, `elapsed_ms`), spans
//! that are nouns of the system.
//!
//! This room knows no other room, and nothing of what the programs do.
#![forbid(unsafe_code)]

mod init;
mod line;
mod stream;
mod target;
mod version;

pub use init::{InitError, Installed, init};
pub use target::{FILTER_VARIABLE, LogFormat, LogFormatError, LogTarget};
pub use version::VERSION;
