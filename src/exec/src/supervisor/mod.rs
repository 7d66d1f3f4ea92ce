//! The supervisor: one process per attempt, which owns the command's pipes, timers and end.
//!
//! It begins as a fork of the launcher and depends on nobody afterwards: not on the launcher, not
//! on whoever asked for the launch, not on any reader of the output. It is one thread around one
//! `poll`. `course` decides, without doing anything; `tree`, `output` and `clients` do, without
//! deciding.
//!
//! From fork to end:
//!
//! 1. own session, no directory, no standard streams, every orphan of the tree its child;
//! 2. the spool is taken over, the control socket made, the launcher told;
//! 3. the command is started ([`command`]) and the first status written;
//! 4. output goes through the mask into the spool; exits, limits and orders drive the course;
//! 5. the tree is gone: what is left in the pipes is read, the last status written, clients told.

mod clients;
mod command;
mod course;
mod output;
mod run;
mod set_up;
mod tree;

use std::fmt;
use std::io::PipeWriter;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::identity::ProcessIdentity;
use crate::launcher::{Place, Refusal};
use crate::request::LaunchRequest;
use crate::spool::{Directory, SpoolError};

pub(crate) use run::run;

/// All that a supervisor starts from.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: LaunchRequest,
    /// The request's working directory, still to be opened.
    pub(crate) work: Place,
    pub(crate) spool: Directory,
    pub(crate) spool_path: PathBuf,
    /// The user whose orders are taken, besides the supervisor's own.
    pub(crate) client_uid: u32,
    /// Where the launcher waits for one [`SetUp`].
    pub(crate) launcher: PipeWriter,
}

/// What a new supervisor tells the launcher.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SetUp {
    /// It runs and listens.
    Ready(ProcessIdentity),
    /// It could not; nothing was started.
    Failed(Refusal),
}

/// Something that kept a supervisor from being set up.
#[derive(Debug)]
pub(crate) struct SetUpError {
    step: String,
    source: std::io::Error,
}

impl SetUpError {
    pub(crate) fn new(step: impl fmt::Display, source: impl Into<std::io::Error>) -> Self {
        Self { step: step.to_string(), source: source.into() }
    }

    /// The error of a spool that could not be taken over.
    pub(crate) fn spool(error: SpoolError) -> Self {
        let step = format!("take over the spool ({error})");
        match error {
            SpoolError::System { source, .. } => Self { step, source },
            error => Self { step, source: std::io::Error::other(error) },
        }
    }
}

impl From<SetUpError> for Refusal {
    fn from(error: SetUpError) -> Self {
        Self::Failed {
            step: error.step,
            errno: error.source.raw_os_error().unwrap_or(0),
            message: error.source.to_string(),
        }
    }
}
