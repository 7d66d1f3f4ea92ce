//! The supervisor: one process per attempt, which owns the command's pipes, timers and end.
//!
//! It begins as a fork of the launcher and depends on nobody afterwards: not on the launcher, not
//! on whoever asked for the launch, not on any reader of the output. It is one thread around one
//! `poll`. `course` decides, without doing anything; `tree`, `output` and `clients` do, without
//! deciding.
//!
//! From fork to end:
//!
//! 1. own session, no directory, no standard streams, every orphan of the tree its child; then it
//!    waits for its job, and ends when the launcher does before there is one;
//! 2. a slot is taken, the directories handed over, the spool taken over, the control socket made,
//!    the launcher told;
//! 3. the command is started ([`command`]) and the first status written;
//! 4. output goes through the mask into the spool; exits, limits and orders drive the course;
//! 5. the tree is gone: what is left in the pipes is read, what the command's user still runs is
//!    killed, the directories are given back, the slot with them, the last status is written,
//!    clients are told.

mod berth;
mod clients;
mod command;
mod course;
mod hand_over;
mod output;
mod run;
mod set_up;
mod tree;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::frame::MAX_LAUNCHER_FRAME;
use crate::identity::ProcessIdentity;
use crate::launcher::{Places, Refusal, Stay};
use crate::ownership::Transferred;
use crate::request::LaunchRequest;
use crate::spool::SpoolError;

pub(crate) use run::run;

/// Largest job in bytes: a request as large as any, and what the launcher adds to it.
pub(crate) const MAX_JOB_FRAME: usize = MAX_LAUNCHER_FRAME + (64 << 10);

/// What a supervisor is to do; the launcher has found it good.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    /// Run a command to its end.
    Supervise(Box<Assignment>),
    /// Bring back what a supervisor has left that was killed.
    Reclaim(Stay),
}

/// A command to be run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) request: LaunchRequest,
    pub(crate) places: Places,
    /// The user whose orders are taken, besides the supervisor's own.
    pub(crate) client_uid: u32,
}

/// What a new supervisor tells the launcher.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SetUp {
    /// It runs and listens.
    Ready(ProcessIdentity),
    /// Directories were brought back.
    Reclaimed(Transferred),
    /// It could not; nothing was started.
    Failed(Refusal),
}

/// Something that kept a supervisor from being set up.
#[derive(Debug)]
pub(crate) enum SetUpError {
    /// There is no room, or the like.
    Refused(Refusal),
    /// A step that failed.
    Failed {
        step: String,
        source: std::io::Error,
    },
}

impl SetUpError {
    pub(crate) fn new(step: impl fmt::Display, source: impl Into<std::io::Error>) -> Self {
        Self::Failed {
            step: step.to_string(),
            source: source.into(),
        }
    }

    /// The error of a spool that could not be taken over.
    pub(crate) fn spool(error: SpoolError) -> Self {
        let step = format!("take over the spool ({error})");
        match error {
            SpoolError::System { source, .. } => Self::new(step, source),
            error => Self::new(step, std::io::Error::other(error)),
        }
    }
}

impl From<SetUpError> for Refusal {
    fn from(error: SetUpError) -> Self {
        match error {
            SetUpError::Refused(refusal) => refusal,
            SetUpError::Failed { step, source } => Self::Failed {
                step,
                errno: source.raw_os_error().unwrap_or(0),
                message: source.to_string(),
            },
        }
    }
}
