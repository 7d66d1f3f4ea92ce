//! The launcher: one small single-threaded process that forks a supervisor per attempt.
//!
//! It must be started before its program has made a thread, and [`run`] must be the last thing the
//! program does: each supervisor is a fork of it. It keeps no state about supervisors but their
//! number; they live on when it ends, and end without it.

pub mod config;
mod ground;
pub mod isolation;
pub mod message;
mod nursery;
mod place;
mod policy;
pub mod program;
mod serve;
mod slots;
mod stay;
mod users;

pub use config::{Config, ControlGroups, Maxima, Pool, Roots, Users, View, Weights};
pub(crate) use ground::Ground;
pub use isolation::{Isolation, Measure, Missing};
pub use message::{Refusal, Reply, Request};
pub(crate) use place::Place;
pub(crate) use policy::Places;
pub(crate) use slots::{Slot, Vacancy};
pub(crate) use stay::{OpenStay, Stay, owned_by};
pub(crate) use users::SlotUser;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, dup2_stdin, geteuid};

use crate::supervisor;
use crate::sys;
use serve::Outcome;

/// Where a launcher hears of its clients.
#[derive(Debug)]
pub enum Listen {
    /// A socket to be made at this path, owned by and open to [`Config::client_uid`] alone. One
    /// that nobody listens on any more is replaced.
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
    #[error("{operation}")]
    System {
        /// What was to be done, as in "listen on `/run/helix/launcher`".
        operation: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LauncherError {
    fn new(operation: impl Into<String>, source: io::Error) -> Self {
        Self::System {
            operation: operation.into(),
            source,
        }
    }
}

/// A socket, ready to be served.
enum Socket {
    Listening(UnixListener),
    Connected(UnixStream),
}

/// Serves launch requests until SIGTERM or SIGINT, or until the one connected client is gone.
/// Supervisors run on; in their processes this never returns.
///
/// From here on this process makes files that only its user can read, holds back all signals, and
/// keeps every descriptor it was started with from the commands.
pub fn run(config: &Config, listen: Listen) -> Result<(), LauncherError> {
    sys::mark_close_on_exec(3)
        .map_err(|error| LauncherError::new("keep its descriptors to itself", error))?;
    umask(Mode::from_bits_truncate(0o077));
    let ground = Ground::prepare(config)?;
    // Known before the first fork, both are known to every supervisor.
    sys::boot_id().map_err(|error| LauncherError::new("learn the name of this boot", error))?;
    sys::ignored_signals();
    // What a supervisor that is killed leaves behind comes to this process.
    sys::adopt_orphans().map_err(|error| LauncherError::new("adopt orphans", error))?;
    let (socket, made) = match listen {
        Listen::Path(path) => (
            Socket::Listening(make_socket(&path, config.client_uid)?),
            Some(path),
        ),
        Listen::Listener(listener) => (Socket::Listening(listener), None),
        Listen::Connected(stream) => (Socket::Connected(stream), None),
    };
    if let Socket::Listening(listener) = &socket {
        listener
            .set_nonblocking(true)
            .map_err(|error| LauncherError::new("set up its socket", error))?;
    }
    match serve::serve(config, &ground, socket)? {
        Outcome::Supervise(channel) => supervisor::run(channel, &ground),
        Outcome::Stop => {
            if let Some(path) = made {
                // The next launcher replaces it anyway.
                let _ = std::fs::remove_file(path);
            }
            Ok(())
        }
    }
}

/// Starts a program that is to [`run`] with [`inherited_connection`], and connects to it.
///
/// The connection takes the place of the program's standard input; all else is as `command` says.
/// The child gets a process group of its own, so that an interrupt from a terminal reaches the
/// caller alone.
pub fn start_child(mut command: Command) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = command
        .stdin(OwnedFd::from(theirs))
        .process_group(0)
        .spawn()?;
    Ok((ours, child))
}

/// In a program started by [`start_child`]: the connection to the caller. Standard input is
/// `/dev/null` afterwards, so this can be called once.
pub fn inherited_connection() -> io::Result<UnixStream> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.peer_addr()?;
    dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(stream)
}

fn make_socket(path: &Path, client_uid: u32) -> Result<UnixListener, LauncherError> {
    let at = |source| LauncherError::new(format!("listen on `{}`", path.display()), source);
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path).and_then(|()| UnixListener::bind(path))
        }
        result => result,
    }
    .map_err(at)?;
    if geteuid().as_raw() != client_uid {
        sys::give_socket(path, Uid::from_raw(client_uid)).map_err(at)?;
    }
    Ok(listener)
}

/// Whether there is a socket that nobody listens on.
fn is_stale(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|metadata| metadata.file_type().is_socket())
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
