//! What an agent answers when it does not answer OK.
//!
//! A status with an `ErrorInfo` of the agent's domain is the agent's own word. A
//! status without one comes from the machinery in between, and its code tells
//! whether asking again can help.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use helix_proto::agent::v1 as wire;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The domain of the agent's `ErrorInfo`.
const DOMAIN: &str = "agent.helix";

/// The reasons that this program acts upon; the others are only shown.
pub(crate) mod reason {
    pub(crate) const DUPLICATE_ATTEMPT: &str = "DUPLICATE_ATTEMPT";
    pub(crate) const UNKNOWN_ATTEMPT: &str = "UNKNOWN_ATTEMPT";
}

/// An answer other than OK.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Answer {
    /// The agent itself said no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The connection broke, or somebody between failed for the moment.
    #[error("{0}")]
    Broken(Broken),
    /// Somebody between, or the agent's transport, said no for good.
    #[error("{message} ({code:?})")]
    Rejected { code: Code, message: String },
}

/// The agent's own no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The class of refusal.
    pub(crate) code: Code,
    /// The reason in capitals, such as `SLOTS_FULL`.
    pub(crate) reason: String,
    /// A sentence.
    pub(crate) message: String,
    /// The values behind it.
    pub(crate) metadata: BTreeMap<String, String>,
    /// When to come back to this agent, if that is known.
    pub(crate) retry_after: Option<Duration>,
    /// The wrong fields of a bad request, or what the machine lacks: where, and
    /// what is the matter.
    pub(crate) details: Vec<(String, String)>,
}

/// How the connection broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    message: String,
}

impl Refusal {
    /// Whether the same agent may take the same work item later by itself.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.code, Code::ResourceExhausted | Code::Unavailable)
    }

    /// What the person can do about it.
    pub(crate) fn hint(&self) -> String {
        if self.reason == reason::UNKNOWN_ATTEMPT {
            return "`helix ps --all` lists the attempts that the agent knows".to_owned();
        }
        if self.reason == reason::DUPLICATE_ATTEMPT {
            return "an attempt runs only once; `helix attach` follows it".to_owned();
        }
        match (self.code, self.retry_after) {
            (_, Some(delay)) => {
                let delay = crate::render::units::duration(delay);
                format!("come back in {delay}, or let `helix run --wait 10m` do it")
            }
            (Code::ResourceExhausted | Code::Unavailable, None) => {
                "come back later, or let `helix run --wait 10m` do it".to_owned()
            }
            (Code::InvalidArgument, None) => "correct what is named above".to_owned(),
            _ => "this agent will not take it before its configuration or its tools change; \
                  `helix capacity` shows what it has"
                .to_owned(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.message)?;
        for (place, problem) in &self.details {
            // The sentence often names the only problem already.
            if !self.message.contains(problem.as_str()) {
                write!(formatter, "; `{place}`: {problem}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Broken {
    /// The stream ended in order, but before the terminal event.
    pub(crate) fn ended_early() -> Self {
        Self {
            message: "the stream ended before the attempt did".to_owned(),
        }
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        if let Some(info) = status.get_details_error_info()
            && info.domain == DOMAIN
        {
            return Self::Refused(Box::new(refusal(&status, info)));
        }
        let message = message(&status);
        match status.code() {
            Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Broken(Broken { message }),
            code @ (Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated) => Self::Rejected { code, message },
        }
    }
}

impl From<wire::Refusal> for Refusal {
    fn from(refusal: wire::Refusal) -> Self {
        let code = i32::try_from(refusal.grpc_code).map_or(Code::Unknown, Code::from_i32);
        let details = refusal
            .missing
            .into_iter()
            .map(|missing| {
                let present = match missing.present.as_slice() {
                    [] => "nothing".to_owned(),
                    present => present.join(", "),
                };
                let asked_by = match missing.asked_by.as_str() {
                    "" => String::new(),
                    file => format!(" (asked for by `{file}`)"),
                };
                let wanted = missing.wanted;
                (
                    missing.name,
                    format!("wanted {wanted}, present {present}{asked_by}"),
                )
            })
            .collect();
        Self {
            code,
            reason: refusal.reason,
            message: refusal.message,
            metadata: refusal.metadata.into_iter().collect(),
            retry_after: refusal
                .retry_after
                .and_then(|delay| Duration::try_from(delay).ok()),
            details,
        }
    }
}

fn refusal(status: &Status, info: tonic_types::ErrorInfo) -> Refusal {
    let fields = status
        .get_details_bad_request()
        .into_iter()
        .flat_map(|request| request.field_violations)
        .map(|violation| (violation.field, violation.description));
    let missing = status
        .get_details_precondition_failure()
        .into_iter()
        .flat_map(|failure| failure.violations)
        .map(|violation| (violation.subject, violation.description));
    Refusal {
        code: status.code(),
        reason: info.reason,
        message: status.message().to_owned(),
        metadata: info.metadata.into_iter().collect(),
        retry_after: status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay),
        details: fields.chain(missing).collect(),
    }
}

/// The innermost cause says most: "transport error" alone helps nobody.
fn message(status: &Status) -> String {
    let mut source = std::error::Error::source(status);
    let mut innermost = None;
    while let Some(error) = source {
        innermost = Some(error.to_string());
        source = error.source();
    }
    match innermost {
        Some(cause) => cause,
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn the_word_of_the_agent_is_told_from_a_proxy_that_is_down() {
        let details = ErrorDetails::with_error_info(
            "DRAINING",
            DOMAIN,
            HashMap::from([("since".to_owned(), "noon".to_owned())]),
        )
        .set_retry_info(Some(Duration::from_secs(3)))
        .clone();
        let status = Status::with_error_details(Code::Unavailable, "It drains.", details);
        let Answer::Refused(refusal) = Answer::from(status) else {
            panic!("not a refusal")
        };
        assert!(refusal.is_temporary());
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(3)));
        assert_eq!(refusal.metadata["since"], "noon");

        let status = Status::unavailable("no healthy upstream");
        assert!(matches!(Answer::from(status), Answer::Broken(_)));
        let details = ErrorDetails::with_error_info("DRAINING", "proxy.example", HashMap::new());
        let status = Status::with_error_details(Code::Unavailable, "Go away.", details);
        assert!(matches!(Answer::from(status), Answer::Broken(_)));
    }

    #[test]
    fn every_wrong_field_is_shown() {
        let mut details = ErrorDetails::with_error_info("BAD_REQUEST", DOMAIN, HashMap::new());
        details.add_bad_request_violation("work_item.queue", "has a space");
        details.add_bad_request_violation("work_item.job_id", "is empty");
        let status =
            Status::with_error_details(Code::InvalidArgument, "2 fields are wrong", details);
        let text = Answer::from(status).to_string();
        insta::assert_snapshot!(
            text,
            @"BAD_REQUEST: 2 fields are wrong; `work_item.queue`: has a space; `work_item.job_id`: is empty"
        );
    }

    #[test]
    fn what_asking_again_cannot_change_is_not_asked_again() {
        for code in [Code::Unauthenticated, Code::Unimplemented, Code::OutOfRange] {
            let answer = Answer::from(Status::new(code, "no"));
            assert!(matches!(answer, Answer::Rejected { .. }), "{code:?}");
        }
    }
}
