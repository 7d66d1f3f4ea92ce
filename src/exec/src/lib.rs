//! Runs one command as a supervised process tree and keeps its output on disk.
//!
//! Three parties share this room:
//!
//! - the **launcher** ([`launcher`]), one small single-threaded process per machine. It obeys one
//!   user over a unix socket, checks each request against its own configuration and forks;
//! - the **supervisor** (`supervisor`), one process per attempt. It owns the pipes, the timers
//!   and the kill, and outlives both the launcher and whoever asked for the launch;
//! - the **spool** ([`spool`]), one directory per attempt, the only thing that has to survive: the
//!   console bytes, an index of (offset, time, stream), and the status. Whoever wants the output
//!   reads it there, at its own pace, and slows nobody.
//!
//! The messages between them are length-prefixed JSON ([`frame`]): [`request`] is what a launch
//! says, [`launcher::message`] how the launcher answers, [`control`] what a running supervisor
//! tells and takes, [`spool::status`] how it ended.
//!
//! Nothing here knows an async runtime, a network, a configuration file format or a verdict. The
//! kernel is reached through `nix`; what `nix` cannot do safely is in the module `sys`, the only
//! place in the workspace where `unsafe` is allowed. What is done with the rights of root, in which
//! order and within which bounds, is listed in `PRIVILEGES.md`.

pub mod control;
#[cfg(target_os = "linux")]
mod control_group;
#[cfg(not(target_os = "linux"))]
#[path = "no_control_group.rs"]
mod control_group;
pub mod fault;
pub mod frame;
pub mod identity;
pub mod launcher;
mod mask;
pub mod os_text;
pub mod ownership;
pub mod request;
pub mod spool;
mod supervisor;
mod sys;

pub use identity::{Liveness, ProcessId, ProcessIdentity};
pub use os_text::OsText;
pub use request::{
    Directories, LaunchRequest, Limits, Needles, Network, OutputStreams, ResourceLimits,
};
pub use spool::{SpoolReader, SpoolWriter};

/// Says that the calling test is skipped, and why.
#[cfg(test)]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
