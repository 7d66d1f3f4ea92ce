//! What is said on the launcher's socket; frames of at most
//! [`MAX_LAUNCHER_FRAME`](crate::frame::MAX_LAUNCHER_FRAME).
//!
//! A client may send further requests before the first is answered. Each request gets exactly one
//! reply, with its number, in no particular order; a connection that closes first says nothing
//! about the requests still open: their spools do.

use serde::{Deserialize, Serialize};

use super::isolation::Isolation;
use crate::identity::ProcessIdentity;
use crate::ownership::Transferred;
use crate::request::{Directories, LaunchRequest};

/// From the client to the launcher.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Start a supervisor that runs the command.
    Launch {
        /// Chosen by the client; comes back in the reply.
        number: u64,
        /// The command and all about it.
        launch: Box<LaunchRequest>,
    },
    /// Say what stands between a command and the rest of the machine.
    Describe {
        /// Chosen by the client; comes back in the reply.
        number: u64,
    },
    /// Give back what a command left behind whose supervisor was killed: end what still runs as
    /// the user that has the directories, and make them the client's again. Refused with
    /// [`Refusal::InUse`] while a supervisor holds that user's slot.
    Reclaim {
        /// Chosen by the client; comes back in the reply.
        number: u64,
        /// The directories as they were handed over.
        directories: Directories,
    },
}

/// From the launcher to the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The supervisor runs and listens on its control socket; what becomes of the command stands
    /// in the spool, even if the launcher or the client is gone by then.
    Launched {
        /// Number of the request.
        number: u64,
        /// The supervisor's process.
        supervisor: ProcessIdentity,
    },
    /// What isolation there is.
    Described {
        /// Number of the request.
        number: u64,
        /// What is in force and what is missing.
        isolation: Isolation,
    },
    /// The directories are the client's again, as far as it says.
    Reclaimed {
        /// Number of the request.
        number: u64,
        /// What was found.
        transferred: Transferred,
    },
    /// No supervisor runs and nothing was started.
    Refused {
        /// Number of the request.
        number: u64,
        /// Why.
        refusal: Refusal,
    },
}

/// Why the launcher does not launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Refusal {
    /// The request makes no sense, whatever the configuration.
    #[error("`{field}` {problem}")]
    Invalid {
        /// Path of the field, such as `command[1]`.
        field: String,
        /// What is wrong with it, as in "is empty".
        problem: String,
    },
    /// The launcher's configuration does not allow it.
    #[error("`{field}` {problem}")]
    Forbidden {
        /// Path of the field, such as `limits.wall`.
        field: String,
        /// What it may be, as in "is not within the work roots".
        problem: String,
    },
    /// As many supervisors run as the configuration allows.
    #[error("{running} supervisors run, the limit is {limit}")]
    Full {
        /// Supervisors running.
        running: usize,
        /// Supervisors allowed.
        limit: usize,
    },
    /// Directories that are to be given back belong to the user of a slot that a supervisor holds:
    /// that of their own command, or one that has the slot now.
    #[error("the user of slot {slot} has the directories, and a supervisor that lives")]
    InUse {
        /// Place in the launcher's pool, from 0.
        slot: u32,
    },
    /// The supervisor could not be set up.
    #[error("supervisor failed to {step}: {message}")]
    Failed {
        /// What it was doing, as in "open the spool".
        step: String,
        /// The system's error number; zero when the supervisor ended without a word.
        errno: i32,
        /// What the system says about it.
        message: String,
    },
}
