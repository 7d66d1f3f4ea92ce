//! What went wrong, as RFC 9457 writes it.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not fulfilled (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is, for programs.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// The kind in words, always the same for a kind.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What happened this time, a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Finds the request in the server's log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Every field that is wrong, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Which: a JSONPath (RFC 9535) such as `$.items[2].command.argv`.
    pub path: String,
    /// What is wrong with it, a fragment that begins with `it`, or a sentence.
    pub message: String,
}

/// What kinds of problems there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum ProblemKind {
    /// The request cannot be read, or parts of it are wrong: `errors` says which.
    #[serde(rename = "urn:helix:problem:invalid-request")]
    InvalidRequest,
    /// There is no token, or nobody knows it.
    #[serde(rename = "urn:helix:problem:unauthenticated")]
    Unauthenticated,
    /// The token is not good for this.
    #[serde(rename = "urn:helix:problem:forbidden")]
    Forbidden,
    /// There is no such job, item, attempt, file, queue, agent, payload or path.
    #[serde(rename = "urn:helix:problem:not-found")]
    NotFound,
    /// The path is there, the method is not.
    #[serde(rename = "urn:helix:problem:method-not-allowed")]
    MethodNotAllowed,
    /// Something else is there already, or is in the way.
    #[serde(rename = "urn:helix:problem:conflict")]
    Conflict,
    /// The body is larger than the limit.
    #[serde(rename = "urn:helix:problem:too-large")]
    TooLarge,
    /// The content has another type than `application/json`.
    #[serde(rename = "urn:helix:problem:unsupported-media-type")]
    UnsupportedMediaType,
    /// The range lies beyond the end.
    #[serde(rename = "urn:helix:problem:range-not-satisfiable")]
    RangeNotSatisfiable,
    /// Too many requests; `Retry-After` says when to come back.
    #[serde(rename = "urn:helix:problem:too-many-requests")]
    TooManyRequests,
    /// The request took too long.
    #[serde(rename = "urn:helix:problem:timeout")]
    Timeout,
    /// Something that is needed cannot be reached; the same request may work later.
    #[serde(rename = "urn:helix:problem:unavailable")]
    Unavailable,
    /// The controller is to blame; its log says more.
    #[serde(rename = "urn:helix:problem:internal")]
    Internal,
    /// A kind that this release does not know.
    #[serde(other, rename = "about:blank")]
    Other,
}

impl ProblemKind {
    /// The status of HTTP that goes with it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::RangeNotSatisfiable => 416,
            Self::TooManyRequests => 429,
            Self::Timeout => 408,
            Self::Unavailable => 503,
            Self::Internal | Self::Other => 500,
        }
    }

    /// In words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request is wrong",
            Self::Unauthenticated => "A token is needed",
            Self::Forbidden => "The token is not good for this",
            Self::NotFound => "There is no such thing",
            Self::MethodNotAllowed => "The method is not possible here",
            Self::Conflict => "Something is in the way",
            Self::TooLarge => "The content is too large",
            Self::UnsupportedMediaType => "The content is of the wrong type",
            Self::RangeNotSatisfiable => "The range lies beyond the end",
            Self::TooManyRequests => "Too many requests",
            Self::Timeout => "The request took too long",
            Self::Unavailable => "Not possible at the moment",
            Self::Internal => "The controller failed",
            Self::Other => "Something went wrong",
        }
    }
}

impl Problem {
    /// A problem of a kind, with what happened as a sentence.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            request_id: String::new(),
            errors: Vec::new(),
        }
    }

    /// Wrong fields of a request.
    #[must_use]
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("`{}`: {}", one.path, one.message),
            several => format!("{} fields are wrong", several.len()),
        };
        Self {
            errors,
            ..Self::new(ProblemKind::InvalidRequest, detail)
        }
    }
}

impl FieldError {
    /// A field and what is wrong with it.
    pub fn new(path: impl Into<String>, message: impl ToString) -> Self {
        Self {
            path: path.into(),
            message: message.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => formatter.pad(&self.title),
            detail => formatter.pad(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_a_later_release_is_read_as_another_one() {
        let text = r#"{"type":"urn:helix:problem:teapot","title":"T","status":418,"new":1}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(problem.kind, ProblemKind::Other);
        assert_eq!((problem.status, problem.to_string().as_str()), (418, "T"));
    }

    #[test]
    fn one_wrong_field_is_named_in_the_detail() {
        let problem = Problem::fields(vec![FieldError::new("$.queue", "it is empty")]);
        assert_eq!(problem.detail, "`$.queue`: it is empty");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:helix:problem:invalid-request");
        assert_eq!(json["status"], 400);
        assert!(json.get("request_id").is_none());
    }
}
