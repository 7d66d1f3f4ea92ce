//! `/jobs`: submitting, listing, cancelling, retrying.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use helix_api::submit::JobRequest;
use helix_api::{self as api, CancelRequest, Problem, ProblemKind, RetryRequest, Scope};
use helix_model::ids::{FriendlyName, JobId};
use helix_proto::agent::v1;
use helix_store::{Item, ItemEndKind, ItemState, Job, JobFilter, Queue, Submitted, Visibility};
use object_store::ObjectStoreExt;
use prost::Message;
use sha2::{Digest, Sha256};

use super::caller::Caller;
use super::problem::Failure;
use super::request::{self, Asked, Place, job_id, limit, unknown_job};
use super::state::State;
use super::submit::{self, Wrong};
use super::wire;
use crate::core::{Submission, SubmittedItem};

const MAX_REASON_BYTES: usize = 1024;

type Answer<T> = Result<Json<T>, Failure>;
type Stored = Result<(StatusCode, Json<api::Submitted>), Failure>;

pub(super) async fn submit(
    Extract(state): Extract<Arc<State>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Stored {
    request::expect_json(&headers)?;
    let content = request::bytes(body, request::MAX_JOB_BYTES).await?;
    let creator = caller.name.clone();
    // Reading a hundred thousand items takes a while, in which others want to be served.
    let submission = tokio::task::spawn_blocking(move || {
        let request = JobRequest::read(&content).map_err(Problem::fields)?;
        submit::submission(&request, &creator)
    })
    .await
    .map_err(Failure::internal)??;
    let queue = queue_of(&state, &caller, &submission).await?;
    payloads_are_there(&state, &submission).await?;
    store(&state, submission, &queue).await
}

/// The queue of a submission, if the caller may send there.
async fn queue_of(
    state: &State,
    caller: &Caller,
    submission: &Submission,
) -> Result<Queue, Failure> {
    let found = state.core.store().queue(&submission.queue).await?;
    let Some((queue, _)) = found else {
        let message = format!("there is no queue `{}`", submission.queue);
        return Err(Failure::field("$.queue", message));
    };
    if queue.visibility == Visibility::Internal && !caller.may(Scope::SubmitInternal) {
        let detail = format!(
            "queue `{}` is internal, and `{}` lacks the scope `{}`",
            queue.name,
            caller.name,
            Scope::SubmitInternal
        );
        return Err(Failure::new(ProblemKind::Forbidden, detail));
    }
    Ok(queue)
}

async fn payloads_are_there(state: &State, submission: &Submission) -> Result<(), Failure> {
    let objects = state.core.storage().objects();
    let mut wrong = Wrong::default();
    for digest in submit::references(submission) {
        match objects.head(&submit::object_key(&digest)).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => {
                wrong.say(format!("payload:{digest}"), "it has not been uploaded");
            }
            Err(error) => return Err(Failure::internal(error)),
        }
    }
    wrong.check()
}

async fn store(state: &State, submission: Submission, queue: &Queue) -> Stored {
    let most = queue.max_delivery_count.get() - 1;
    let fewer = submission.items.iter().filter(|item| item.retries > most);
    let now = state.core.now();
    let mut told = api::Submitted {
        job: submission.id.to_string(),
        repeated: false,
        items: submission.items.len() as u64,
        items_with_fewer_retries: fewer.count() as u64,
        most_retries: most,
        warnings: warnings(queue, now),
    };
    let status = match state.core.submit(submission).await? {
        Submitted::Now => StatusCode::CREATED,
        Submitted::Before => {
            told.repeated = true;
            StatusCode::OK
        }
    };
    Ok((status, Json(told)))
}

fn warnings(queue: &Queue, now: SystemTime) -> Vec<String> {
    queue
        .estimated_removal
        .map(|at| {
            let when = wire::time(at).strftime("%Y-%m-%d");
            match at > now {
                true => format!("queue `{}` is to be removed on {when}", queue.name),
                false => format!("queue `{}` was to be removed on {when}", queue.name),
            }
        })
        .into_iter()
        .collect()
}

pub(super) async fn list(
    Extract(state): Extract<Arc<State>>,
    Asked(query): Asked<api::JobQuery>,
) -> Answer<api::JobPage> {
    let limit = limit(query.limit)?;
    let none = Json(api::JobPage {
        jobs: Vec::new(),
        next: None,
    });
    let queue = match &query.queue {
        None => None,
        Some(name) => match wire::queue_name(name) {
            Some(name) => Some(name),
            None => return Ok(none),
        },
    };
    let property = match &query.property {
        None => None,
        Some(pair) => match pair.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => {
                let message = "it must be written as `name=value`";
                return Err(Failure::field("?property", message));
            }
        },
    };
    let filter = JobFilter {
        queue,
        creator: query.creator,
        source: query.source,
        property,
        open_only: query.open,
    };
    let page = state
        .core
        .store()
        .jobs(&filter, query.after.as_deref(), limit)
        .await?;
    Ok(Json(api::JobPage {
        jobs: page.entries.into_iter().map(wire::job).collect(),
        next: page.next,
    }))
}

pub(super) async fn show(
    Extract(state): Extract<Arc<State>>,
    Place(id): Place<String>,
) -> Answer<api::Job> {
    Ok(Json(wire::job(find(&state, &id).await?)))
}

pub(super) async fn cancel(
    Extract(state): Extract<Arc<State>>,
    Extension(caller): Extension<Caller>,
    Place(id): Place<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<api::Cancelled> {
    let reason = reason(&headers, body).await?;
    let job = find(&state, &id).await?;
    may_change(&caller, &job)?;
    let cancelled = state.core.cancel(&job.id, None, &reason).await?;
    Ok(Json(told(&cancelled)))
}

/// Why something is cancelled, as the request says.
pub(super) async fn reason(headers: &HeaderMap, body: Body) -> Result<String, Failure> {
    let request: CancelRequest = request::json(headers, body).await?;
    if request.reason.len() > MAX_REASON_BYTES {
        let message = format!("it must have at most {MAX_REASON_BYTES} bytes");
        return Err(Failure::field("$.reason", message));
    }
    Ok(request.reason)
}

/// What cancelling did.
pub(super) fn told(cancelled: &helix_store::Cancelled) -> api::Cancelled {
    api::Cancelled {
        ended: cancelled.ended,
        stopping: cancelled.running.len() as u64,
        untouched: cancelled.untouched,
    }
}

/// Other people's jobs are for operators.
pub(super) fn may_change(caller: &Caller, job: &Job) -> Result<(), Failure> {
    if caller.name == job.creator || caller.may(Scope::Operate) {
        return Ok(());
    }
    let detail = format!(
        "job `{}` is that of `{}`, and `{}` lacks the scope `{}`",
        job.id,
        job.creator,
        caller.name,
        Scope::Operate
    );
    Err(Failure::new(ProblemKind::Forbidden, detail))
}

/// The job of an id.
pub(super) async fn find(state: &State, id: &str) -> Result<Job, Failure> {
    let job = state.core.store().job(&job_id(id)?).await?;
    job.ok_or_else(|| unknown_job(id))
}

pub(super) async fn retry(
    Extract(state): Extract<Arc<State>>,
    Extension(caller): Extension<Caller>,
    Place(id): Place<String>,
    headers: HeaderMap,
    body: Body,
) -> Stored {
    let request: RetryRequest = request::json(&headers, body).await?;
    let old = find(&state, &id).await?;
    may_change(&caller, &old)?;
    let items = chosen(&state, &old, request.items.as_deref()).await?;
    if items.is_empty() {
        let detail = match old.ended {
            Some(_) => format!("every work item of job `{}` has passed", old.id),
            None => format!("no work item of job `{}` has failed so far", old.id),
        };
        return Err(Failure::new(ProblemKind::Conflict, detail));
    }
    let new = match &request.id {
        Some(id) => JobId::new(id.as_str()),
        None => JobId::new(retry_id(&old, &items)),
    };
    let new = new.map_err(|error| Failure::field("$.id", error))?;
    let name = request.name.unwrap_or_else(|| old.name.clone());
    FriendlyName::new(name.as_str()).map_err(|error| Failure::field("$.name", error))?;
    let mut submitted = Vec::with_capacity(items.len());
    for item in items {
        let specification = state.core.store().specification(&item.id).await?;
        let (bytes, _) = specification
            .ok_or_else(|| Failure::internal(format!("item `{}` has no specification", item.id)))?;
        let template = v1::WorkItem::decode(bytes.as_slice()).map_err(Failure::internal)?;
        submitted.push(SubmittedItem {
            id: submit::item_id(&new, &item.name, &template).map_err(Failure::internal)?,
            name: item.name,
            template,
            retries: item.delivery.retries_requested(),
            retry_place: item.retry_place,
        });
    }
    let submission = Submission {
        id: new,
        queue: old.queue,
        name,
        creator: caller.name.clone(),
        source: old.source,
        priority: old.priority,
        properties: old.properties,
        retry_of: Some(old.id),
        items: submitted,
    };
    let queue = queue_of(&state, &caller, &submission).await?;
    payloads_are_there(&state, &submission).await?;
    store(&state, submission, &queue).await
}

/// The items to run again: those that were named, or all that ended and did not pass.
async fn chosen(state: &State, job: &Job, names: Option<&[String]>) -> Result<Vec<Item>, Failure> {
    let mut found = Vec::new();
    if let Some(names) = names {
        let mut wrong = Wrong::default();
        let mut known = BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            let path = format!("$.items[{index}]");
            match state.core.store().item(&job.id, name).await? {
                None => wrong.say(path, "the job has no such work item"),
                Some(item) => match item.state {
                    ItemState::Ended(_) if known.insert(item.id.clone()) => found.push(item),
                    ItemState::Ended(_) => wrong.say(path, "it is given twice"),
                    ItemState::Waiting | ItemState::Offered { .. } | ItemState::Running { .. } => {
                        wrong.say(path, "it has not ended");
                    }
                },
            }
        }
        wrong.check()?;
        return Ok(found);
    }
    let mut after = None;
    loop {
        let page = state
            .core
            .store()
            .items(&job.id, after.as_deref(), 1000)
            .await?;
        found.extend(page.entries.into_iter().filter(did_not_pass));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

fn did_not_pass(item: &Item) -> bool {
    match &item.state {
        ItemState::Ended(end) => match end.kind {
            ItemEndKind::Passed | ItemEndKind::PassedOnRetry => false,
            ItemEndKind::Failed
            | ItemEndKind::TimedOut
            | ItemEndKind::Cancelled
            | ItemEndKind::Dead => true,
        },
        ItemState::Waiting | ItemState::Offered { .. } | ItemState::Running { .. } => false,
    }
}

/// The same for the same items of the same job, so that a repeated request makes one job.
fn retry_id(old: &Job, items: &[Item]) -> String {
    let mut digest = Sha256::new();
    digest.update(b"retry\n");
    digest.update(old.id.as_str());
    let ids: BTreeSet<&str> = items.iter().map(|item| item.id.as_str()).collect();
    for id in ids {
        digest.update(b"\n");
        digest.update(id);
    }
    submit::made_of(digest)
}
