//! Every endpoint there is: one list, from which the server's router, the document and the tests are
//! made, so that they cannot disagree.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What every path begins with.
pub const PREFIX: &str = "/api/v1";

/// A method of HTTP, as far as the API uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Reads, changes nothing.
    Get,
    /// As `Get`, without the content.
    Head,
    /// Asks for something to be done.
    Post,
    /// Puts something in its place; the second time changes nothing more.
    Put,
    /// Takes something away; the second time changes nothing more.
    Delete,
}

/// What a token may be good for. None includes another, save that `Admin` includes all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Look at everything.
    Read,
    /// Submit jobs to open queues, and cancel and retry one's own.
    Submit,
    /// Submit jobs to internal queues as well.
    SubmitInternal,
    /// Drain and resume agents, cancel and retry other people's jobs.
    Operate,
    /// Everything, and make and remove queues.
    Admin,
}

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anybody.
    Public,
    /// Who has a token with this scope, or one that includes it.
    Token(Scope),
    /// The same, or who has a signed address that is still good.
    TokenOrSignature(Scope),
}

/// An endpoint of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Submits a job.
    SubmitJob,
    /// Lists jobs.
    ListJobs,
    /// Shows a job.
    GetJob,
    /// Cancels a job.
    CancelJob,
    /// Makes a new job of what did not pass.
    RetryJob,
    /// Tells what happened in a job.
    JobEvents,
    /// Lists the work items of a job.
    ListItems,
    /// Shows a work item and all its attempts.
    GetItem,
    /// Cancels a work item.
    CancelItem,
    /// Says why a work item does not run.
    ExplainItem,
    /// Lists the attempts of a work item.
    ListAttempts,
    /// Shows an attempt.
    GetAttempt,
    /// Reads the log of an attempt.
    AttemptLog,
    /// Reads a file that an attempt left.
    AttemptFile,
    /// Lists queues.
    ListQueues,
    /// Shows a queue.
    GetQueue,
    /// Makes or changes a queue.
    PutQueue,
    /// Removes a queue.
    DeleteQueue,
    /// Lists agents.
    ListAgents,
    /// Shows an agent.
    GetAgent,
    /// Lets an agent take nothing new.
    DrainAgent,
    /// Lets a drained agent take work again.
    ResumeAgent,
    /// Lists tests that passed only on a retry.
    Flaky,
    /// Stores a payload.
    PutPayload,
    /// Says whether a payload is stored.
    HasPayload,
    /// Reads a payload.
    GetPayload,
    /// This document.
    OpenApi,
}

impl Endpoint {
    /// All of them, in the order of the document.
    pub const ALL: [Self; 27] = [
        Self::SubmitJob,
        Self::ListJobs,
        Self::GetJob,
        Self::CancelJob,
        Self::RetryJob,
        Self::JobEvents,
        Self::ListItems,
        Self::GetItem,
        Self::CancelItem,
        Self::ExplainItem,
        Self::ListAttempts,
        Self::GetAttempt,
        Self::AttemptLog,
        Self::AttemptFile,
        Self::ListQueues,
        Self::GetQueue,
        Self::PutQueue,
        Self::DeleteQueue,
        Self::ListAgents,
        Self::GetAgent,
        Self::DrainAgent,
        Self::ResumeAgent,
        Self::Flaky,
        Self::PutPayload,
        Self::HasPayload,
        Self::GetPayload,
        Self::OpenApi,
    ];

    /// Its method.
    #[must_use]
    pub fn method(self) -> Method {
        match self {
            Self::ListJobs
            | Self::GetJob
            | Self::JobEvents
            | Self::ListItems
            | Self::GetItem
            | Self::ExplainItem
            | Self::ListAttempts
            | Self::GetAttempt
            | Self::AttemptLog
            | Self::AttemptFile
            | Self::ListQueues
            | Self::GetQueue
            | Self::ListAgents
            | Self::GetAgent
            | Self::Flaky
            | Self::GetPayload
            | Self::OpenApi => Method::Get,
            Self::HasPayload => Method::Head,
            Self::SubmitJob
            | Self::CancelJob
            | Self::RetryJob
            | Self::CancelItem
            | Self::DrainAgent
            | Self::ResumeAgent => Method::Post,
            Self::PutQueue | Self::PutPayload => Method::Put,
            Self::DeleteQueue => Method::Delete,
        }
    }

    /// Its path after [`PREFIX`]. Parts in braces are parameters; one that begins with `*` stands for
    /// the rest of the path, slashes included.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::SubmitJob | Self::ListJobs => "/jobs",
            Self::GetJob => "/jobs/{job}",
            Self::CancelJob => "/jobs/{job}/cancel",
            Self::RetryJob => "/jobs/{job}/retry",
            Self::JobEvents => "/jobs/{job}/events",
            Self::ListItems => "/jobs/{job}/items",
            Self::GetItem => "/jobs/{job}/items/{item}",
            Self::CancelItem => "/jobs/{job}/items/{item}/cancel",
            Self::ExplainItem => "/jobs/{job}/items/{item}/explain",
            Self::ListAttempts => "/jobs/{job}/items/{item}/attempts",
            Self::GetAttempt => "/jobs/{job}/items/{item}/attempts/{attempt}",
            Self::AttemptLog => "/jobs/{job}/items/{item}/attempts/{attempt}/log",
            Self::AttemptFile => "/jobs/{job}/items/{item}/attempts/{attempt}/files/{*file}",
            Self::ListQueues => "/queues",
            Self::GetQueue | Self::PutQueue | Self::DeleteQueue => "/queues/{queue}",
            Self::ListAgents => "/agents",
            Self::GetAgent => "/agents/{agent}",
            Self::DrainAgent => "/agents/{agent}/drain",
            Self::ResumeAgent => "/agents/{agent}/resume",
            Self::Flaky => "/flaky",
            Self::PutPayload | Self::HasPayload | Self::GetPayload => "/payloads/{sha256}",
            Self::OpenApi => "/openapi.json",
        }
    }

    /// Who may call it.
    #[must_use]
    pub fn access(self) -> Access {
        match self {
            Self::ListJobs
            | Self::GetJob
            | Self::JobEvents
            | Self::ListItems
            | Self::GetItem
            | Self::ExplainItem
            | Self::ListAttempts
            | Self::GetAttempt
            | Self::AttemptLog
            | Self::AttemptFile
            | Self::ListQueues
            | Self::GetQueue
            | Self::ListAgents
            | Self::GetAgent
            | Self::Flaky => Access::Token(Scope::Read),
            Self::SubmitJob
            | Self::CancelJob
            | Self::RetryJob
            | Self::CancelItem
            | Self::PutPayload
            | Self::HasPayload => Access::Token(Scope::Submit),
            Self::DrainAgent | Self::ResumeAgent => Access::Token(Scope::Operate),
            Self::PutQueue | Self::DeleteQueue => Access::Token(Scope::Admin),
            Self::GetPayload => Access::TokenOrSignature(Scope::Read),
            Self::OpenApi => Access::Public,
        }
    }

    /// The path with its parameters filled in, each made safe. What is missing at the end of `values`
    /// is left empty.
    #[must_use]
    pub fn fill(self, values: &[&str]) -> String {
        let mut filled = String::from(PREFIX);
        let mut values = values.iter();
        for part in self.path().split('/').skip(1) {
            if let Some(name) = part.strip_prefix('{') {
                let value = values.next().copied().unwrap_or_default();
                if name.starts_with('*') {
                    for piece in value.split('/') {
                        filled.push('/');
                        encode(piece, &mut filled);
                    }
                    continue;
                }
                filled.push('/');
                encode(value, &mut filled);
            } else {
                filled.push('/');
                filled.push_str(part);
            }
        }
        filled
    }
}

/// Appends one component of a path, percent-encoded where it must be.
fn encode(text: &str, into: &mut String) {
    // A component of dots alone would be resolved away before the server sees it, encoded or not;
    // no name of the API is one, so it may as well go out broken.
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            let digits = b"0123456789ABCDEF";
            into.push('%');
            into.push(char::from(digits[usize::from(byte >> 4)]));
            into.push(char::from(digits[usize::from(byte & 15)]));
        }
    }
}

impl Method {
    /// In capitals, as HTTP writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Submit,
        Self::SubmitInternal,
        Self::Operate,
        Self::Admin,
    ];

    /// Whether who has this one may do what `other` is asked for.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Read | Self::Submit | Self::SubmitInternal | Self::Operate => self == other,
        }
    }

    /// As configuration files write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::SubmitInternal => "submit-internal",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A text that is no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scopes are `read`, `submit`, `submit-internal`, `operate` and `admin`")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or(UnknownScope)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_endpoint_is_in_the_list_once_and_no_two_are_the_same() {
        let all: BTreeSet<_> = Endpoint::ALL.into_iter().collect();
        assert_eq!(all.len(), Endpoint::ALL.len());
        let calls: BTreeSet<_> = all.iter().map(|one| (one.method(), one.path())).collect();
        assert_eq!(calls.len(), all.len());
    }

    #[test]
    fn parameters_cannot_leave_their_place() {
        assert_eq!(
            Endpoint::GetItem.fill(&["j", "a/../b ü?#"]),
            "/api/v1/jobs/j/items/a%2F..%2Fb%20%C3%BC%3F%23"
        );
        assert_eq!(
            Endpoint::AttemptFile.fill(&["j", "i", "2", "a b/c"]),
            "/api/v1/jobs/j/items/i/attempts/2/files/a%20b/c"
        );
        assert_eq!(Endpoint::ListJobs.fill(&[]), "/api/v1/jobs");
    }

    #[test]
    fn scopes_are_written_as_they_are_read() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
            assert!(scope.includes(scope));
            assert!(Scope::Admin.includes(scope));
        }
        assert!(!Scope::SubmitInternal.includes(Scope::Submit));
        assert!(!Scope::Submit.includes(Scope::Read));
        assert!(!Scope::Operate.includes(Scope::Admin));
    }
}
