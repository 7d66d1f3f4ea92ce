//! Requests taken apart: parts of the path, the query, bodies within bounds.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use futures::StreamExt;
use helix_api::{FieldError, Problem, ProblemKind};
use helix_model::ids::JobId;
use serde::de::DeserializeOwned;

use super::problem::Failure;

/// The largest submission.
pub(super) const MAX_JOB_BYTES: usize = 64 << 20;
/// The largest of all other bodies.
pub(super) const MAX_BODY_BYTES: usize = 1 << 20;
/// A body that stops for so long is given up.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// The parameters of a path.
#[derive(Debug)]
pub(super) struct Place<T>(pub(super) T);

/// The query.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Place<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(place)) => Ok(Self(place)),
            Err(rejection) => Err(Failure::new(
                ProblemKind::InvalidRequest,
                rejection.body_text(),
            )),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let query = parts.uri.query().unwrap_or_default();
        let fields = url::form_urlencoded::parse(query.as_bytes());
        let reader = serde_urlencoded::Deserializer::new(fields);
        match serde_path_to_error::deserialize(reader) {
            Ok(asked) => Ok(Self(asked)),
            Err(error) => {
                let path = error.path().to_string();
                let path = if path == "." { String::new() } else { path };
                Err(Failure::field(format!("?{path}"), error.inner()))
            }
        }
    }
}

/// The whole body, if it is not larger than `most` and does not stop.
pub(super) async fn bytes(body: Body, most: usize) -> Result<Bytes, Failure> {
    let mut stream = body.into_data_stream();
    let mut content = Vec::new();
    while let Some(piece) = next(&mut stream).await? {
        if content.len() + piece.len() > most {
            return Err(too_large(most as u64));
        }
        content.extend_from_slice(&piece);
    }
    Ok(content.into())
}

/// The next piece of a body.
pub(super) async fn next(
    stream: &mut axum::body::BodyDataStream,
) -> Result<Option<Bytes>, Failure> {
    match tokio::time::timeout(STALL, stream.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(piece))) => Ok(Some(piece)),
        Ok(Some(Err(_))) => Err(Failure::new(
            ProblemKind::InvalidRequest,
            "the body broke off or cannot be decoded",
        )),
        Err(_) => Err(Failure::new(
            ProblemKind::Timeout,
            format!("nothing came for {} s", STALL.as_secs()),
        )),
    }
}

/// What is said of a body that is too large.
pub(super) fn too_large(most: u64) -> Failure {
    Failure::new(ProblemKind::TooLarge, format!("the limit is {most} bytes"))
}

/// Refuses what is not said to be JSON: only so does a browser ask before it sends what another
/// site's page tells it to.
pub(super) fn expect_json(headers: &HeaderMap) -> Result<(), Failure> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    if kind.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::new(
        ProblemKind::UnsupportedMediaType,
        "send `Content-Type: application/json`",
    ))
}

/// A body of JSON; the default where there is none.
pub(super) async fn json<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Failure> {
    let content = bytes(body, MAX_BODY_BYTES).await?;
    if content.is_empty() {
        return Ok(T::default());
    }
    expect_json(headers)?;
    read(&content)
}

/// JSON as a type; what is wrong, by its path.
pub(super) fn read<T: DeserializeOwned>(content: &[u8]) -> Result<T, Failure> {
    let mut reader = serde_json::Deserializer::from_slice(content);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => "$".to_owned(),
            path => format!("$.{path}"),
        };
        Failure::from(Problem::fields(vec![FieldError::new(path, error.inner())]))
    })?;
    reader
        .end()
        .map_err(|error| Failure::field("$", error))
        .map(|()| value)
}

/// A job's id out of a path: one that cannot be is not there.
pub(super) fn job_id(text: &str) -> Result<JobId, Failure> {
    JobId::new(text).map_err(|_| unknown_job(text))
}

/// What is said of a job that is not there.
pub(super) fn unknown_job(text: &str) -> Failure {
    Failure::not_found(format!("job `{}`", shown(text)))
}

/// A text out of a request, short enough to be repeated.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(128)
        .collect()
}

/// The limit of a page.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Failure> {
    match asked {
        None => Ok(100),
        Some(limit @ 1..=1000) => Ok(limit),
        Some(_) => Err(Failure::field("?limit", "it must be from 1 to 1000")),
    }
}
