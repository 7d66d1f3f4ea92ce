//! What goes wrong between here and a server.

use std::time::Duration;

use super::Kind;

/// What went wrong in one download.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpProblem {
    /// The server answered with a status that is no success.
    #[error("the server answered {code}{}", reason(*code))]
    Status {
        /// The HTTP status code.
        code: u16,
        /// The pause the server asked for, if it did.
        retry_after: Option<Duration>,
    },
    /// No connection came about (name, route, refusal, protocol).
    #[error("no connection: {detail}")]
    Connect {
        /// The chain of causes, without the address.
        detail: String,
    },
    /// The server's certificate is not trusted.
    #[error("the server's certificate is not trusted: {detail}")]
    Certificate {
        /// The chain of causes, without the address.
        detail: String,
    },
    /// Nothing arrived for too long.
    #[error("nothing arrived for {} s", .after.as_secs_f32())]
    Stalled {
        /// How long the silence was.
        after: Duration,
    },
    /// The connection broke before the end of the content.
    #[error("the connection broke after {bytes} bytes: {detail}")]
    Interrupted {
        /// Bytes of the archive on this machine by then.
        bytes: u64,
        /// The chain of causes, without the address.
        detail: String,
    },
    /// A redirect that is not followed.
    #[error("the redirect is not followed: {reason}")]
    Redirect {
        /// Why.
        reason: &'static str,
    },
    /// The answer contradicts itself or the request.
    #[error("the answer makes no sense: {reason}")]
    Nonsense {
        /// In what way.
        reason: &'static str,
    },
    /// The request could not be made.
    #[error("the request is impossible: {detail}")]
    Request {
        /// The chain of causes, without the address.
        detail: String,
    },
}

impl HttpProblem {
    /// What a caller may do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Status {
                code: 408 | 425 | 429 | 500 | 502 | 503 | 504,
                ..
            } => Kind::Transient,
            Self::Status { .. }
            | Self::Certificate { .. }
            | Self::Redirect { .. }
            | Self::Nonsense { .. }
            | Self::Request { .. } => Kind::Permanent,
            Self::Connect { .. } | Self::Stalled { .. } | Self::Interrupted { .. } => {
                Kind::Transient
            }
        }
    }

    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Status {
                code: 401 | 403, ..
            } => Some("the address may have expired; send the job again with a fresh one"),
            Self::Status {
                code: 404 | 410, ..
            } => Some("the archive is gone; send the job again"),
            Self::Certificate { .. } => {
                Some("add the authority to the machine's trust store, and check the clock")
            }
            Self::Connect { .. } => Some("check name resolution, routes, firewall and proxy"),
            Self::Status { .. }
            | Self::Stalled { .. }
            | Self::Interrupted { .. }
            | Self::Redirect { .. }
            | Self::Nonsense { .. }
            | Self::Request { .. } => None,
        }
    }
}

fn reason(code: u16) -> String {
    reqwest::StatusCode::from_u16(code)
        .ok()
        .and_then(|status| status.canonical_reason())
        .map(|reason| format!(" {reason}"))
        .unwrap_or_default()
}
