//! Where a work item runs and what it finds there: its directories, its
//! variables, the package that it can talk to the agent with, the first and the
//! last line of its log, and the texts that are masked in it.
//!
//! Everything here is synchronous and small. It knows no process, no network
//! and no payload; who calls it decides when.

pub(crate) mod console;
pub(crate) mod environment;
pub(crate) mod layout;
pub(crate) mod modes;
pub(crate) mod requests;
pub(crate) mod scripts;
mod secrets;

pub(crate) use secrets::needles;
