//! Errors as answers: `application/problem+json`, and what inside of the controller becomes which.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use helix_api::{FieldError, Problem, ProblemKind};
use helix_store::StoreError;
use uuid::Uuid;

use crate::core::AgentCallError;
use crate::log::LogError;

/// Finds a request in the log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Why a request is not fulfilled.
#[derive(Debug)]
pub(super) struct Failure {
    problem: Box<Problem>,
    retry_after: Option<u64>,
    content_range: Option<String>,
    /// What only the log is told.
    inside: Option<String>,
}

impl Failure {
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self::from(Problem::new(kind, detail))
    }

    /// There is no such thing, `what` being such as "job `x`".
    pub(super) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(ProblemKind::NotFound, format!("there is no {what}"))
    }

    /// One wrong field.
    pub(super) fn field(path: impl Into<String>, message: impl ToString) -> Self {
        Self::from(Problem::fields(vec![FieldError::new(path, message)]))
    }

    /// Too many requests; how many seconds to wait.
    pub(super) fn too_many(seconds: u64) -> Self {
        let detail = format!("come back in {seconds} s");
        Self {
            retry_after: Some(seconds),
            ..Self::new(ProblemKind::TooManyRequests, detail)
        }
    }

    /// A range that lies beyond the end.
    pub(super) fn beyond(length: u64) -> Self {
        let detail = format!("there are {length} bytes");
        Self {
            content_range: Some(format!("bytes */{length}")),
            ..Self::new(ProblemKind::RangeNotSatisfiable, detail)
        }
    }

    /// What is answered.
    #[cfg(test)]
    pub(super) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The controller is to blame; `inside` is for its log alone.
    pub(super) fn internal(inside: impl std::fmt::Display) -> Self {
        Self {
            inside: Some(inside.to_string()),
            ..Self::new(ProblemKind::Internal, "")
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            retry_after: None,
            content_range: None,
            inside: None,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::UnknownQueue(_)
            | StoreError::UnknownJob(_)
            | StoreError::UnknownItem(_) => Self::new(ProblemKind::NotFound, error.to_string()),
            StoreError::JobExists(_) | StoreError::QueueInUse(_) => {
                Self::new(ProblemKind::Conflict, error.to_string())
            }
            StoreError::ItemTwice(_) | StoreError::Invalid(_) => {
                Self::new(ProblemKind::InvalidRequest, error.to_string())
            }
            // What the database says may name hosts and paths.
            StoreError::Unavailable(_) => Self {
                retry_after: Some(2),
                inside: Some(error.to_string()),
                ..Self::new(ProblemKind::Unavailable, "the database cannot be reached")
            },
            StoreError::Fenced(_) | StoreError::Broken(_) => Self::internal(error),
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Store(error) => error.into(),
            LogError::Objects(object_store::Error::NotFound { .. }) => {
                Self::not_found("log of this attempt in the object store any more")
            }
            LogError::Objects(_) | LogError::File(_) => Self::internal(crate::error_chain(&error)),
        }
    }
}

impl From<AgentCallError> for Failure {
    fn from(error: AgentCallError) -> Self {
        let kind = match &error {
            AgentCallError::Unknown(_) => ProblemKind::NotFound,
            AgentCallError::Unreachable(_) => ProblemKind::Unavailable,
            AgentCallError::Refused { .. } => ProblemKind::Conflict,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut problem = self.problem;
        problem.request_id = Uuid::now_v7().simple().to_string();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
        if status.is_server_error() {
            tracing::warn!(
                request.id = %problem.request_id,
                status = problem.status,
                error = self.inside.as_deref().unwrap_or(&problem.detail),
                "a request was not fulfilled"
            );
        }
        // A problem is made of texts and numbers, which always can be written.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, kind);
        if let Ok(id) = HeaderValue::from_str(&problem.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(range) = self.content_range.and_then(|range| range.parse().ok()) {
            headers.insert(axum::http::header::CONTENT_RANGE, range);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
