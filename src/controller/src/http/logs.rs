//! `…/attempts/{attempt}/log`: bytes, ranges, following, events.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use helix_api::{LogQuery, ProblemKind};
use helix_model::ids::AttemptId;
use helix_store::Attempt;

use super::items::find_attempt;
use super::problem::Failure;
use super::range::Wanted;
use super::request::{Asked, Place};
use super::state::State;
use super::stream::{self, Broken, Gone, KEEP_ALIVE, Sink};
use crate::core::Core;
use crate::log::{Log, LogReader};

/// How long a log that has stopped is looked after until its attempt has ended, or goes on.
const SETTLING: Duration = Duration::from_secs(30);

pub(super) async fn read(
    Extract(state): Extract<Arc<State>>,
    Place((job, item, attempt)): Place<(String, String, String)>,
    Asked(query): Asked<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let follow = match query.follow.as_deref() {
        None | Some("false") => false,
        Some("" | "true") => true,
        Some(_) => return Err(Failure::field("?follow", "it must be `true` or `false`")),
    };
    let (_, attempt) = find_attempt(&state, &job, &item, &attempt).await?;
    if stream::wants_events(&headers) {
        let start = stream::last_event(&headers)?.unwrap_or(0);
        let (sink, body) = stream::open(&state)?;
        let core = Arc::clone(&state.core);
        tokio::spawn(follow_to(core, attempt, start, sink, Form::Events));
        return Ok(stream::events(body));
    }
    let wanted = Wanted::of(&headers);
    if follow && attempt.ended.is_none() {
        return follow_bytes(&state, attempt, wanted);
    }
    part(&state, &attempt.id, wanted).await
}

/// What there is now.
async fn part(state: &State, attempt: &AttemptId, wanted: Wanted) -> Result<Response, Failure> {
    let gone = || Failure::not_found(format!("attempt `{attempt}` any more"));
    // Looked at twice, as where a range ends depends on how much there is.
    let length = state
        .core
        .log(attempt, 0, Some(0))
        .await?
        .ok_or_else(gone)?
        .length;
    let range = wanted
        .within(length)
        .ok_or_else(|| Failure::beyond(length))?;
    let log = state
        .core
        .log(attempt, range.start, Some(range.end))
        .await?
        .ok_or_else(gone)?;
    let Log { reader, .. } = log;
    let count = range.end - range.start;
    let pieces = futures::stream::unfold(Some((reader, count)), |state| async move {
        let (mut reader, left) = state?;
        match reader.next().await {
            // What was promised and does not come, breaks off.
            Ok(None) if left > 0 => Some((Err(Broken), None)),
            Ok(None) => None,
            Ok(Some(piece)) => {
                let left = left.saturating_sub(piece.len() as u64);
                Some((Ok(piece), Some((reader, left))))
            }
            Err(error) => {
                tracing::warn!(error = %crate::error_chain(&error), "a log cannot be read on");
                Some((Err(Broken), None))
            }
        }
    });
    let mut response = answer(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(count));
    if wanted != Wanted::All {
        let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

fn answer(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // What a test prints is not to be taken for a page, whatever it looks like.
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What comes until the attempt has ended, from an offset on.
fn follow_bytes(state: &State, attempt: Attempt, wanted: Wanted) -> Result<Response, Failure> {
    let Some(start) = wanted.start() else {
        let detail = "of a log that is followed nobody knows yet which bytes are the last";
        return Err(Failure::new(ProblemKind::InvalidRequest, detail));
    };
    let (sink, body) = stream::open(state)?;
    let core = Arc::clone(&state.core);
    tokio::spawn(follow_to(core, attempt, start, sink, Form::Bytes));
    let mut response = answer(body);
    if wanted != Wanted::All {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        // How much there will be, and where the range ends, nobody knows.
        if let Ok(value) = HeaderValue::from_str(&format!("bytes {start}-/*")) {
            response.headers_mut().insert(CONTENT_RANGE, value);
        }
    }
    Ok(response)
}

/// How pieces are passed on.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// As they are.
    Bytes,
    /// Each in an event.
    Events,
}

async fn follow_to(core: Arc<Core>, attempt: Attempt, start: u64, sink: Sink, form: Form) {
    match follow(&core, &attempt, start, &sink, form).await {
        Ok(Followed::ToItsEnd) | Err(Gone) => {}
        Ok(Followed::Lost) => sink.break_off().await,
    }
}

/// How following ended.
enum Followed {
    /// The attempt has ended and everything was passed on.
    ToItsEnd,
    /// It goes on where this controller does not see it.
    Lost,
}

async fn follow(
    core: &Core,
    attempt: &Attempt,
    mut offset: u64,
    sink: &Sink,
    form: Form,
) -> Result<Followed, Gone> {
    let mut changes = core.subscribe(&attempt.job);
    let mut stopped = tokio::time::Instant::now();
    loop {
        let log = match core.live_log(&attempt.id, offset).await {
            Ok(Some(log)) => log,
            // An attempt that was given back is as if it had never been.
            Ok(None) => return finish(sink, offset, form).await,
            Err(error) => {
                tracing::debug!(attempt = %attempt.id, error = %crate::error_chain(&error),
                    "cannot read a log that is followed");
                return Ok(Followed::Lost);
            }
        };
        let before = offset;
        if pass_on(log.reader, &mut offset, sink, form).await? == Passed::Broken {
            return Ok(Followed::Lost);
        }
        if !log.is_live {
            return finish(sink, offset, form).await;
        }
        if offset > before {
            stopped = tokio::time::Instant::now();
            continue;
        }
        if stopped.elapsed() > SETTLING {
            // Another controller has it, perhaps; whoever asks again may be served by that one.
            return Ok(Followed::Lost);
        }
        changes.changed().await;
    }
}

async fn finish(sink: &Sink, offset: u64, form: Form) -> Result<Followed, Gone> {
    match form {
        Form::Bytes => {}
        Form::Events => sink.event(offset, "end", "").await?,
    }
    Ok(Followed::ToItsEnd)
}

/// Whether a reader came to its end.
#[derive(Debug, PartialEq, Eq)]
enum Passed {
    All,
    Broken,
}

async fn pass_on(
    mut reader: LogReader,
    offset: &mut u64,
    sink: &Sink,
    form: Form,
) -> Result<Passed, Gone> {
    loop {
        let piece = match tokio::time::timeout(KEEP_ALIVE, reader.next()).await {
            Ok(Ok(Some(piece))) => piece,
            Ok(Ok(None)) => return Ok(Passed::All),
            Ok(Err(error)) => {
                tracing::warn!(error = %crate::error_chain(&error), "a log cannot be read on");
                return Ok(Passed::Broken);
            }
            Err(_) => {
                match form {
                    Form::Events => sink.keep_alive().await?,
                    // Notices who has gone; an empty piece is never sent.
                    Form::Bytes => sink.look()?,
                }
                continue;
            }
        };
        *offset += piece.len() as u64;
        match form {
            Form::Bytes => sink.send(piece).await?,
            Form::Events => {
                let data = BASE64_STANDARD.encode(&piece);
                sink.event(*offset, "", &data).await?;
            }
        }
    }
}
