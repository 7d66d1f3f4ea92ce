//! A fork of the launcher becomes a supervisor: on its own, the spool taken over, ready to listen.

use std::ffi::CStr;
use std::fs::File;
use std::os::unix::net::UnixListener;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::{Assignment, SetUpError};
use crate::identity::ProcessIdentity;
use crate::launcher::owned_by;
use crate::spool::{Directory, SpoolWriter, layout};
use crate::sys::{self, Signals};

/// What process tables show.
const NAME: &CStr = c"helix-supervise";

/// What a supervisor has before it knows its job.
pub(super) struct Spare {
    pub(super) identity: ProcessIdentity,
    pub(super) signals: Signals,
}

/// What a supervisor has before it starts its command.
pub(super) struct Post {
    pub(super) spool: SpoolWriter,
    /// Listens, and does not block.
    pub(super) listener: UnixListener,
}

/// Cuts this process loose from the launcher.
pub(super) fn cut_loose() -> Result<Spare, SetUpError> {
    let at = |step| move |errno: nix::Error| SetUpError::new(step, errno);
    let signals = Signals::new().map_err(|error| SetUpError::new("catch signals", error))?;
    setsid().map_err(at("make its own session"))?;
    chdir(c"/").map_err(at("leave the launcher's directory"))?;
    umask(Mode::from_bits_truncate(0o077));
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| SetUpError::new("open /dev/null", error))?;
    dup2_stdin(&null).map_err(at("give up the launcher's streams"))?;
    dup2_stdout(&null).map_err(at("give up the launcher's streams"))?;
    dup2_stderr(&null).map_err(at("give up the launcher's streams"))?;
    sys::name_process(NAME);
    // A command shares this memory until it executes its program, as another user already.
    sys::hide_memory();
    sys::adopt_orphans().map_err(|error| SetUpError::new("adopt orphans", error))?;
    let identity =
        ProcessIdentity::of_self().map_err(|error| SetUpError::new("look itself up", error))?;
    Ok(Spare { identity, signals })
}

/// Takes the spool over and makes the control socket.
pub(super) fn take_post(assignment: &Assignment) -> Result<Post, SetUpError> {
    let request = &assignment.request;
    let spool = assignment
        .places
        .spool
        .open()
        .and_then(|spool| {
            // A root that the client could put a link in the place of leads anywhere, but what is
            // written is written only to what is the client's.
            owned_by(&spool, Uid::from_raw(assignment.client_uid))?;
            Directory::from_descriptor(spool)
        })
        .map_err(|error| SetUpError::new("open the spool", error))?;
    let spool = SpoolWriter::take_over(spool, request.spool_limits).map_err(SetUpError::spool)?;
    let directory = spool.directory();
    let path = request.spool.as_path();
    // The socket is the lock: a second supervisor finds the name taken.
    let listener = directory
        .bind_socket(path, layout::CONTROL_SOCKET)
        .map_err(|error| SetUpError::new("make the control socket", error))?;
    listener
        .set_nonblocking(true)
        .map_err(|error| SetUpError::new("set up the control socket", error))?;
    Ok(Post { spool, listener })
}
