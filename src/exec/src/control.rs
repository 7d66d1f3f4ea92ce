//! What a running supervisor tells and takes on the socket `ctl` of its spool.
//!
//! Any number of clients may be connected. Each first gets a [`Notice::Progress`] with the state
//! of things, then one whenever there is more (several changes in quick succession become one;
//! a notice tells all, so a client that is slow to read misses nothing but intermediate sizes), at
//! last [`Notice::Ended`], and the connection closes. A connection that closes without `Ended`,
//! or that cannot be made, says nothing: [`crate::SpoolReader::status`] and
//! [`crate::ProcessIdentity::liveness`] do.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spool::layout;
use crate::sys;

/// From the supervisor to a client; frames of at most [`crate::frame::MAX_CONTROL_FRAME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// The console has grown to `console_bytes` (an offset of the spool), or it is the first
    /// notice of a connection.
    Progress {
        /// Bytes of the console produced so far, kept or not.
        console_bytes: u64,
    },
    /// The tree is gone, the final status is written, and the supervisor is done with the spool.
    Ended,
}

/// From a client to the supervisor; frames of at most [`crate::frame::MAX_CONTROL_FRAME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// End the tree: SIGTERM now, SIGKILL after `grace`. Of several the earliest kill counts, and
    /// the first reason. It may cross with the command's own exit; the status says what was first.
    Stop {
        /// What the ending is to say.
        reason: StopReason,
        /// Time between SIGTERM and SIGKILL; zero kills at once.
        grace: Duration,
    },
}

/// Why a client has a command stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Somebody does not want the command's result any more.
    Cancel,
    /// The machine needs the command gone; nothing is said about the command itself.
    Interrupt,
}

/// Connects to the supervisor of the spool at `spool`.
///
/// `NotFound` or `ConnectionRefused`: no supervisor is there, or not any more. On Linux the path
/// may be of any length; elsewhere one that does not fit a socket address is `InvalidInput`.
pub fn connect(spool: &Path) -> io::Result<UnixStream> {
    sys::connect_socket(spool, layout::CONTROL_SOCKET)
}
