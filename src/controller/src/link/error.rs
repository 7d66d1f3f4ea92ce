//! Why a call to an agent failed, as far as it decides what comes next.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// An agent's no to an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The reason in capitals.
    pub(crate) reason: String,
    /// A sentence.
    pub(crate) message: String,
    /// When asking again may be of use, if it said so.
    pub(crate) retry_after: Option<Duration>,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The agent did not take the item, nor will it for this call.
    #[error("refused: {}", .0.message)]
    Refused(Refused),
    /// The agent has taken this very attempt before.
    #[error("the agent has the attempt already")]
    Duplicate,
    /// The agent does not know the attempt.
    #[error("the agent does not know the attempt")]
    Unknown,
    /// More of the attempt has been seen than the agent has.
    #[error("the agent has less of the attempt than was seen")]
    BeyondEnd,
    /// The agent cannot read the attempt's history.
    #[error("the agent cannot read the attempt's history: {0}")]
    Unreadable(String),
    /// Something else, after which it is open whether the call was heard.
    #[error("{0}")]
    Open(String),
}

impl CallError {
    /// From the status of a call.
    pub(crate) fn from_status(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let own = info
            .as_ref()
            .filter(|info| info.domain == helix_proto::refusal::DOMAIN);
        let Some(info) = own else {
            return Self::Open(shown(status));
        };
        match info.reason.as_str() {
            "DUPLICATE_ATTEMPT" => Self::Duplicate,
            "UNKNOWN_ATTEMPT" => Self::Unknown,
            "BEYOND_END" => Self::BeyondEnd,
            "HISTORY_UNREADABLE" => Self::Unreadable(status.message().to_owned()),
            reason => Self::Refused(Refused {
                reason: reason.to_owned(),
                message: status.message().to_owned(),
                retry_after: status
                    .get_details_retry_info()
                    .and_then(|info| info.retry_delay),
            }),
        }
    }
}

/// What a status without details says.
fn shown(status: &Status) -> String {
    let mut text = match status.code() {
        Code::Unknown => status.message().to_owned(),
        code => format!("{code:?}: {}", status.message()),
    };
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn status(domain: &str, reason: &str, wait: Option<Duration>) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, domain, HashMap::<String, String>::new());
        if wait.is_some() {
            details.set_retry_info(wait);
        }
        Status::with_error_details(Code::Unavailable, "a sentence", details)
    }

    #[test]
    fn reasons_of_the_agent_decide_and_nothing_else() {
        let read = |status: Status| CallError::from_status(&status);
        let agent = helix_proto::refusal::DOMAIN;
        assert_eq!(
            read(status(agent, "UNKNOWN_ATTEMPT", None)),
            CallError::Unknown
        );
        assert_eq!(
            read(status(agent, "DUPLICATE_ATTEMPT", None)),
            CallError::Duplicate
        );
        assert_eq!(
            read(status(agent, "BEYOND_END", None)),
            CallError::BeyondEnd
        );
        let wait = Some(Duration::from_secs(7));
        let refused = Refused {
            reason: "PROVISIONING".to_owned(),
            message: "a sentence".to_owned(),
            retry_after: wait,
        };
        assert_eq!(
            read(status(agent, "PROVISIONING", wait)),
            CallError::Refused(refused)
        );
        for other in [
            status("somebody.else", "UNKNOWN_ATTEMPT", None),
            Status::not_found("no such service"),
            Status::unavailable("connection refused"),
        ] {
            assert!(matches!(read(other), CallError::Open(_)));
        }
    }
}
