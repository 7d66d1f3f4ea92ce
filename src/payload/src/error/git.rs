//! What goes wrong with a git commit.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Kind, Limit};

/// Why a commit was not checked out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitProblem {
    /// The program could not be started.
    #[error("the program `{}` cannot be started", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The configuration does not allow this way to reach a repository.
    #[error("the transport `{scheme}` is not allowed")]
    TransportRefused {
        /// The scheme of the address.
        scheme: String,
    },
    /// A step failed.
    #[error("`git {step}` {outcome}: {message}")]
    Failed {
        /// The subcommand.
        step: &'static str,
        /// How it ended, such as "exited with 128".
        outcome: String,
        /// The end of what it said, without secrets.
        message: String,
        /// Whether the message is that of a network or server in trouble.
        transient: bool,
    },
    /// The time allowed ran out.
    #[error("it took longer than {} s", .allowed.as_secs())]
    Deadline {
        /// The time that was allowed.
        allowed: Duration,
    },
    /// Something else than the commit asked for was checked out.
    #[error("the commit checked out is `{found}`, not the one asked for")]
    WrongCommit {
        /// What git calls the commit.
        found: String,
    },
    /// The destination holds something already.
    #[error("the destination `{}` is not empty", .path.display())]
    DestinationNotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// The repository or the tree is too large.
    #[error("{0}")]
    Limit(Limit),
}

impl GitProblem {
    /// What a caller may do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Start { .. } => Kind::Local,
            Self::Failed {
                transient: true, ..
            }
            | Self::Deadline { .. } => Kind::Transient,
            Self::Failed {
                transient: false, ..
            }
            | Self::TransportRefused { .. }
            | Self::WrongCommit { .. }
            | Self::DestinationNotEmpty { .. }
            | Self::Limit(_) => Kind::Permanent,
        }
    }

    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start { .. } => Some("install git on this machine"),
            Self::TransportRefused { .. } => Some("allow the transport in the configuration"),
            Self::Deadline { .. } => Some("raise the deadline"),
            Self::Limit(_) => Some("raise the limit"),
            Self::Failed { .. } | Self::WrongCommit { .. } | Self::DestinationNotEmpty { .. } => {
                None
            }
        }
    }
}
