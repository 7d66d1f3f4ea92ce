//! `/jobs/{job}/events`: what happened, as a page or as it happens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use helix_api as api;
use helix_model::ids::JobId;
use helix_store::{JobEvent, JobEventKind, StoreError};
use tokio::time::Instant;

use super::jobs::find;
use super::problem::Failure;
use super::request::{Asked, Place, limit};
use super::state::State;
use super::stream::{self, Gone, KEEP_ALIVE, Sink};
use super::wire;
use crate::core::Core;

/// Events that are read at one time for a stream.
const BATCH: u32 = 500;

pub(super) async fn events(
    Extract(state): Extract<Arc<State>>,
    Place(job): Place<String>,
    Asked(query): Asked<api::EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let limit = limit(query.limit)?;
    let job = find(&state, &job).await?;
    let after = query.after.unwrap_or(0);
    if !stream::wants_events(&headers) {
        let events = state.core.store().events(&job.id, after, limit).await?;
        let next = events.last().map_or(after, |event| event.number);
        let mut told = Vec::with_capacity(events.len());
        for event in events {
            told.push(with_item(&state.core, &job.id, event).await?);
        }
        let page = api::EventPage { events: told, next };
        return Ok(Json(page).into_response());
    }
    let after = stream::last_event(&headers)?.unwrap_or(after);
    let (sink, body) = stream::open(&state)?;
    let core = Arc::clone(&state.core);
    tokio::spawn(async move {
        // Who has gone needs no answer; who is cut off comes back with the number of the last event.
        if let Ok(Told::Broken) = tell(&core, &job.id, after, &sink).await {
            sink.break_off().await;
        }
    });
    Ok(stream::events(body))
}

/// An event with what is told of the work item that it is about.
async fn with_item(core: &Core, job: &JobId, event: JobEvent) -> Result<api::JobEvent, StoreError> {
    let item = match wire::item_of(&event) {
        Some(item) => core.store().item(job, item.as_str()).await?,
        None => None,
    };
    Ok(wire::event(event, item))
}

/// How telling ended.
enum Told {
    /// All is told.
    All,
    /// The store does not answer.
    Broken,
}

async fn tell(core: &Core, job: &JobId, mut after: u64, sink: &Sink) -> Result<Told, Gone> {
    // Before the first look, so that nothing falls between the two.
    let mut changes = core.subscribe(job);
    let mut spoke = Instant::now();
    loop {
        let events = match core.store().events(job, after, BATCH).await {
            Ok(events) => events,
            Err(error) => {
                tracing::debug!(job = %job, error = %error, "cannot read events for a stream");
                return Ok(Told::Broken);
            }
        };
        let full = events.len() >= BATCH as usize;
        for event in events {
            after = event.number;
            let is_last = event.kind == JobEventKind::Ended;
            let Ok(event) = with_item(core, job, event).await else {
                return Ok(Told::Broken);
            };
            // An event is made of texts and numbers, which always can be written.
            let data = serde_json::to_string(&event).unwrap_or_default();
            sink.event(after, "", &data).await?;
            spoke = Instant::now();
            if is_last {
                return Ok(Told::All);
            }
        }
        if full {
            continue;
        }
        // A reader that knows of the end already would wait for ever.
        if let Ok(Some(job)) = core.store().job(job).await
            && job.ended.is_some()
            && core
                .store()
                .events(&job.id, after, 1)
                .await
                .is_ok_and(|rest| rest.is_empty())
        {
            return Ok(Told::All);
        }
        if spoke.elapsed() >= KEEP_ALIVE {
            sink.keep_alive().await?;
            spoke = Instant::now();
        }
        changes.changed().await;
    }
}
