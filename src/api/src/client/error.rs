//! What can go wrong between a client and a controller.

use std::time::Duration;

use crate::Problem;

/// Why a client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address is none.
    #[error("`{url}` is no address of a controller: {reason}")]
    Address {
        /// As it was given, without a password.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A token is not sent where others can read it.
    #[error("the token would travel to `{url}` in the clear")]
    TokenInTheClear {
        /// Where.
        url: String,
    },
    /// A token that no header can carry.
    #[error("the token has characters that no token has")]
    Token,
    /// The certificates cannot be used.
    #[error("the certificates cannot be used: {reason}")]
    Certificates {
        /// Why not.
        reason: String,
    },
    /// The library cannot be set up.
    #[error("the connection cannot be set up")]
    Library(#[source] reqwest::Error),
}

/// Why a call did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers, or not in time; what may be repeated was, until patience was spent.
    #[error("cannot reach the controller at `{url}`")]
    Unreachable {
        /// Where.
        url: String,
        /// Why the last time.
        #[source]
        source: reqwest::Error,
    },
    /// The controller fell silent in the middle of an answer.
    #[error("the controller at `{url}` said nothing for {} s", after.as_secs())]
    Silent {
        /// Where.
        url: String,
        /// For how long.
        after: Duration,
    },
    /// The controller says no.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// What answers is not a controller, or of another kind than this client knows.
    #[error("`{url}` answered with status {status} and something that is not the API's")]
    Foreign {
        /// Where.
        url: String,
        /// The status.
        status: u16,
    },
    /// An answer cannot be understood.
    #[error("the answer cannot be understood")]
    Answer(#[source] serde_json::Error),
    /// A request cannot be written down.
    #[error("the request cannot be written down")]
    Request(#[source] serde_json::Error),
    /// A file that was to be sent cannot be read.
    #[error("what was to be sent cannot be read")]
    Content(#[source] std::io::Error),
}

impl ClientError {
    /// The controller's own no, if that is what it was.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Foreign { .. }
            | Self::Answer(_)
            | Self::Request(_)
            | Self::Content(_) => None,
        }
    }
}
