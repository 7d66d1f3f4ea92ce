//! The launcher: one small single-threaded process that forks a supervisor per attempt.
//!
//! It must be started before its program has made a thread, and [`run`] must be the last thing the
//! program does: each supervisor is a fork of it. It keeps no state about supervisors but their
//! number; they live on when it ends, and end without it.

pub mod config;
pub mod message;

pub use config::{Config, Maxima, Roots};
pub use message::{Refusal, Reply, Request};

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command};

/// Where a launcher hears of its clients.
#[derive(Debug)]
pub enum Listen {
    /// A socket to be made at this path, readable and writable for its owner only unless the
    /// caller changes that; a stale one is replaced.
    Path(PathBuf),
    /// A socket that listens already, as a service manager hands it over.
    Listener(UnixListener),
    /// One client that is connected already. The launcher ends when that client is gone.
    Connected(UnixStream),
}

/// Why a launcher could not run, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// A system call failed.
    #[error("launcher failed to {operation}")]
    System {
        /// What it was doing, as in "listen on `/run/helix/launcher`".
        operation: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Serves launch requests until SIGTERM, or until the one connected client is gone. Supervisors
/// run on; in their processes this never returns.
pub fn run(config: Config, listen: Listen) -> Result<(), LauncherError> {
    let _ = (config, listen);
    Ok(())
}

/// Starts a program that is to [`run`] with [`inherited_connection`], and connects to it.
///
/// The connection takes the place of the program's standard input; all else is as `command` says.
/// The child gets a process group of its own, so that an interrupt from a terminal reaches the
/// caller alone.
pub fn start_child(command: Command) -> io::Result<(UnixStream, Child)> {
    use std::os::fd::OwnedFd;
    use std::os::unix::process::CommandExt as _;
    let mut command = command;
    let (ours, theirs) = UnixStream::pair()?;
    let child = command.stdin(OwnedFd::from(theirs)).process_group(0).spawn()?;
    Ok((ours, child))
}

/// In a program started by [`start_child`]: the connection to the caller.
pub fn inherited_connection() -> io::Result<UnixStream> {
    use std::os::fd::{AsFd as _, OwnedFd};
    let inherited: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let stream = UnixStream::from(inherited);
    stream.peer_addr()?;
    Ok(stream)
}
