//! Answers that go on: server-sent events, and the bound on how many there are.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use helix_api::ProblemKind;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::problem::Failure;
use super::state::State;

/// How long a stream of events says nothing at most.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Pieces on their way to one reader: enough to keep the line busy, and no more.
const PIECES: usize = 4;

/// Where the pieces of an answer are put. Failing means that nobody reads any more.
#[derive(Debug)]
pub(super) struct Sink {
    pieces: mpsc::Sender<Result<Bytes, Broken>>,
    /// One of so many that may be followed at one time.
    _permit: OwnedSemaphorePermit,
}

/// Breaks the connection off, so that the reader does not take what came for all.
#[derive(Debug, thiserror::Error)]
#[error("the answer breaks off")]
pub(super) struct Broken;

/// Nobody reads any more.
#[derive(Debug)]
pub(super) struct Gone;

impl Sink {
    /// Passes bytes on when the reader has taken those before.
    pub(super) async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.pieces.send(Ok(bytes)).await.map_err(|_| Gone)
    }

    /// Passes an event on.
    pub(super) async fn event(&self, id: u64, name: &str, data: &str) -> Result<(), Gone> {
        let mut text = String::with_capacity(data.len() + 64);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "id: {id}");
        if !name.is_empty() {
            let _ = writeln!(text, "event: {name}");
        }
        let _ = write!(text, "data: {data}\n\n");
        self.send(text.into()).await
    }

    /// Says that somebody is still here.
    pub(super) async fn keep_alive(&self) -> Result<(), Gone> {
        self.send(Bytes::from_static(b": keep-alive\n\n")).await
    }

    /// Whether anybody still reads.
    pub(super) fn look(&self) -> Result<(), Gone> {
        match self.pieces.is_closed() {
            true => Err(Gone),
            false => Ok(()),
        }
    }

    /// Breaks the connection off.
    pub(super) async fn break_off(self) {
        let _ = self.pieces.send(Err(Broken)).await;
    }
}

/// A place to put pieces, and the body made of them.
pub(super) fn open(state: &State) -> Result<(Sink, Body), Failure> {
    let permit = Arc::clone(&state.followers).try_acquire_owned();
    let permit = permit.map_err(|_| {
        Failure::new(
            ProblemKind::Unavailable,
            "too many logs and events are being followed",
        )
    })?;
    let (pieces, receiver) = mpsc::channel(PIECES);
    let sink = Sink {
        pieces,
        _permit: permit,
    };
    Ok((sink, Body::from_stream(ReceiverStream::new(receiver))))
}

/// Whether events are wanted and not a page.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .flat_map(|accept| accept.split(','))
        .any(|kind| {
            let kind = kind.split(';').next().unwrap_or_default();
            kind.trim().eq_ignore_ascii_case("text/event-stream")
        })
}

/// Where a reader of events was cut off, if it says.
pub(super) fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Failure::field("Last-Event-ID", "it must be the id of an event"))
}

/// The answer that carries events.
pub(super) fn events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that collect answers before passing them on are asked not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Chains what never fails after it has begun into a body.
pub(super) fn body_of<S, E>(stream: S) -> Body
where
    S: futures::Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    Body::from_stream(stream.map(|piece| piece.map_err(|_| Broken)))
}
