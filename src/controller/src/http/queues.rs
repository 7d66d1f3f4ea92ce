//! `/queues` and `/flaky`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode};
use helix_api::{self as api, QueueSettings};
use helix_model::ids::QueueName;
use helix_store::{Queue, Visibility};

use super::problem::Failure;
use super::request::{self, Asked, Place, limit, shown};
use super::state::State;
use super::submit::Wrong;
use super::wire;

const MAX_TEXT_BYTES: usize = 1024;
const MAX_DELIVERIES: u32 = 1000;
const MAX_PRIORITY: i32 = 1000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Answer<T> = Result<Json<T>, Failure>;

pub(super) async fn list(Extract(state): Extract<Arc<State>>) -> Answer<api::QueueList> {
    let queues = state.core.store().queues().await?;
    Ok(Json(api::QueueList {
        queues: queues
            .into_iter()
            .map(|(queue, counts)| wire::queue(queue, counts))
            .collect(),
    }))
}

pub(super) async fn show(
    Extract(state): Extract<Arc<State>>,
    Place(name): Place<String>,
) -> Answer<api::Queue> {
    let unknown = || Failure::not_found(format!("queue `{}`", shown(&name)));
    let queue = wire::queue_name(&name).ok_or_else(unknown)?;
    let found = state.core.store().queue(&queue).await?;
    let (queue, counts) = found.ok_or_else(unknown)?;
    Ok(Json(wire::queue(queue, counts)))
}

pub(super) async fn put(
    Extract(state): Extract<Arc<State>>,
    Place(name): Place<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<api::Queue>), Failure> {
    request::expect_json(&headers)?;
    let content = request::bytes(body, request::MAX_BODY_BYTES).await?;
    let settings: QueueSettings = request::read(&content)?;
    let name = QueueName::new(name).map_err(|error| Failure::field("{queue}", error))?;
    let queue = queue(name, settings)?;
    let store = state.core.store();
    let before = store.queue(&queue.name).await?;
    store.put_queue(queue.clone()).await?;
    let status = match before {
        Some(_) => StatusCode::OK,
        None => StatusCode::CREATED,
    };
    let counts = before.map(|(_, counts)| counts).unwrap_or_default();
    Ok((status, Json(wire::queue(queue, counts))))
}

fn queue(name: QueueName, settings: QueueSettings) -> Result<Queue, Failure> {
    let mut wrong = Wrong::default();
    for (field, text) in [
        ("description", &settings.description),
        ("operating_system_group", &settings.operating_system_group),
        ("architecture", &settings.architecture),
    ] {
        if text.len() > MAX_TEXT_BYTES || text.contains(char::is_control) {
            let message = format!("it must have at most {MAX_TEXT_BYTES} bytes on one line");
            wrong.say(format!("$.{field}"), message);
        }
    }
    let deliveries =
        NonZeroU32::new(settings.max_delivery_count).filter(|count| count.get() <= MAX_DELIVERIES);
    if deliveries.is_none() {
        let message = format!("it must be from 1 to {MAX_DELIVERIES}");
        wrong.say("$.max_delivery_count", message);
    }
    if !(-MAX_PRIORITY..=MAX_PRIORITY).contains(&settings.priority) {
        let message = format!("it must be from -{MAX_PRIORITY} to {MAX_PRIORITY}");
        wrong.say("$.priority", message);
    }
    wrong.check()?;
    Ok(Queue {
        name,
        description: settings.description,
        operating_system_group: settings.operating_system_group,
        architecture: settings.architecture,
        max_delivery_count: deliveries.unwrap_or(NonZeroU32::MIN),
        visibility: match settings.visibility {
            api::Visibility::Open => Visibility::Open,
            api::Visibility::Internal => Visibility::Internal,
        },
        estimated_removal: settings.estimated_removal.map(Into::into),
        priority: settings.priority,
    })
}

pub(super) async fn delete(
    Extract(state): Extract<Arc<State>>,
    Place(name): Place<String>,
) -> Result<StatusCode, Failure> {
    let unknown = || Failure::not_found(format!("queue `{}`", shown(&name)));
    let queue = wire::queue_name(&name).ok_or_else(unknown)?;
    match state.core.store().remove_queue(&queue).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown()),
    }
}

pub(super) async fn flaky(
    Extract(state): Extract<Arc<State>>,
    Asked(query): Asked<api::FlakyQuery>,
) -> Answer<api::FlakyList> {
    let limit = limit(query.limit)?;
    let days = match query.days {
        None => 30,
        Some(days @ 1..=3650) => days,
        Some(_) => return Err(Failure::field("?days", "it must be from 1 to 3650")),
    };
    let queue = match &query.queue {
        None => None,
        Some(name) => match wire::queue_name(name) {
            Some(queue) => Some(queue),
            None => return Ok(Json(api::FlakyList { tests: Vec::new() })),
        },
    };
    let now = state.core.now();
    let since = now.checked_sub(DAY * days).unwrap_or(now);
    let tests = state
        .core
        .store()
        .flaky(queue.as_ref(), since, limit)
        .await?;
    Ok(Json(api::FlakyList {
        tests: tests.into_iter().map(wire::flaky).collect(),
    }))
}
