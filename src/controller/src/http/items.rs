//! `/jobs/{job}/items` and `…/attempts`: work items and their attempts.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use helix_api as api;
use helix_proto::agent::v1;
use helix_store::{Attempt, Item};
use prost::Message;

use super::caller::Caller;
use super::jobs::{find as find_job, may_change, reason, told};
use super::problem::Failure;
use super::request::{Asked, Place, job_id, limit, shown};
use super::state::State;
use super::wire;
use crate::core;

/// What stands in an answer where a secret stood.
const MASK: &str = "***";

type Answer<T> = Result<Json<T>, Failure>;

pub(super) async fn list(
    Extract(state): Extract<Arc<State>>,
    Place(job): Place<String>,
    Asked(query): Asked<api::ItemQuery>,
) -> Answer<api::ItemPage> {
    let limit = limit(query.limit)?;
    let job = find_job(&state, &job).await?;
    let page = state
        .core
        .store()
        .items(&job.id, query.after.as_deref(), limit)
        .await?;
    Ok(Json(api::ItemPage {
        items: page.entries.into_iter().map(wire::item).collect(),
        next: page.next,
    }))
}

pub(super) async fn show(
    Extract(state): Extract<Arc<State>>,
    Place((job, item)): Place<(String, String)>,
) -> Answer<api::ItemDetail> {
    let item = find(&state, &job, &item).await?;
    let store = state.core.store();
    let command = match store.specification(&item.id).await? {
        Some((bytes, _)) => command(&bytes)?,
        None => Vec::new(),
    };
    let refusals = store.refusals(&item.id).await?;
    let attempts = attempts(&state, &item).await?;
    Ok(Json(api::ItemDetail {
        command,
        attempts: numbered(attempts),
        refusals: refusals.into_iter().map(wire::refusal).collect(),
        item: wire::item(item),
    }))
}

pub(super) async fn cancel(
    Extract(state): Extract<Arc<State>>,
    Extension(caller): Extension<Caller>,
    Place((job, item)): Place<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer<api::Cancelled> {
    let reason = reason(&headers, body).await?;
    let owner = find_job(&state, &job).await?;
    let item = find(&state, &job, &item).await?;
    may_change(&caller, &owner)?;
    let cancelled = state
        .core
        .cancel(&owner.id, Some(&item.id), &reason)
        .await?;
    Ok(Json(told(&cancelled)))
}

pub(super) async fn explain(
    Extract(state): Extract<Arc<State>>,
    Place((job, item)): Place<(String, String)>,
) -> Answer<api::Explanation> {
    let found = state.core.explain(&job_id(&job)?, &item).await?;
    let found = found.ok_or_else(|| unknown(&job, &item))?;
    Ok(Json(api::Explanation {
        item: found.item.id.to_string(),
        name: found.item.name.to_string(),
        prospect: prospect(found.prospect),
        message: found.message,
        nearest: found.nearest,
        agents: found
            .agents
            .into_iter()
            .map(|answer| api::AgentAnswer {
                agent: answer.agent.0,
                prospect: prospect(answer.prospect),
                reason: answer.reason,
                message: answer.message,
            })
            .collect(),
        refusals: found.refusals.into_iter().map(wire::refusal).collect(),
    }))
}

pub(super) async fn list_attempts(
    Extract(state): Extract<Arc<State>>,
    Place((job, item)): Place<(String, String)>,
) -> Answer<api::AttemptList> {
    let item = find(&state, &job, &item).await?;
    let attempts = numbered(attempts(&state, &item).await?);
    Ok(Json(api::AttemptList { attempts }))
}

pub(super) async fn show_attempt(
    Extract(state): Extract<Arc<State>>,
    Place((job, item, attempt)): Place<(String, String, String)>,
) -> Answer<api::Attempt> {
    let (number, attempt) = find_attempt(&state, &job, &item, &attempt).await?;
    Ok(Json(wire::attempt(number, attempt)))
}

/// The item of a job, by its id or name.
pub(super) async fn find(state: &State, job: &str, item: &str) -> Result<Item, Failure> {
    let id = job_id(job)?;
    match state.core.store().item(&id, item).await? {
        Some(item) => Ok(item),
        None => {
            // Whoever has the job's id wrong is not to look for the mistake in the item's name.
            find_job(state, job).await?;
            Err(unknown(job, item))
        }
    }
}

/// An attempt of an item and its place among them, by that place or its id.
pub(super) async fn find_attempt(
    state: &State,
    job: &str,
    item: &str,
    attempt: &str,
) -> Result<(u32, Attempt), Failure> {
    let found = find(state, job, item).await?;
    let attempts = attempts(state, &found).await?;
    let place = attempt.parse::<u32>().ok();
    (1..)
        .zip(attempts)
        .find(|(number, one)| Some(*number) == place || one.id.as_str() == attempt)
        .ok_or_else(|| {
            Failure::not_found(format!(
                "attempt `{}` of work item `{}`",
                shown(attempt),
                found.name
            ))
        })
}

async fn attempts(state: &State, item: &Item) -> Result<Vec<Attempt>, Failure> {
    Ok(state.core.store().attempts(&item.id).await?)
}

fn numbered(attempts: Vec<Attempt>) -> Vec<api::Attempt> {
    (1..)
        .zip(attempts)
        .map(|(number, attempt)| wire::attempt(number, attempt))
        .collect()
}

fn unknown(job: &str, item: &str) -> Failure {
    Failure::not_found(format!(
        "work item `{}` in job `{}`",
        shown(item),
        shown(job)
    ))
}

fn prospect(prospect: core::Prospect) -> api::Prospect {
    match prospect {
        core::Prospect::Ended => api::Prospect::Ended,
        core::Prospect::Underway => api::Prospect::Underway,
        core::Prospect::Now => api::Prospect::Now,
        core::Prospect::Later => api::Prospect::Later,
        core::Prospect::Never => api::Prospect::Never,
    }
}

/// What an item runs, with its secrets masked.
fn command(specification: &[u8]) -> Result<Vec<String>, Failure> {
    let template = v1::WorkItem::decode(specification).map_err(Failure::internal)?;
    let texts = match template.command.and_then(|command| command.kind) {
        Some(v1::command::Kind::Argv(argv)) => argv.arguments,
        Some(v1::command::Kind::Shell(line)) => vec![line],
        None => Vec::new(),
    };
    let mut secrets: Vec<&str> = template
        .secrets
        .iter()
        .map(|secret| secret.trim())
        .collect();
    // A secret that is part of another one must not leave the rest of that one standing.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mask = |text: String| {
        secrets
            .iter()
            .filter(|secret| !secret.is_empty())
            .fold(text, |text, secret| text.replace(secret, MASK))
    };
    Ok(texts.into_iter().map(mask).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_what_is_shown_of_a_command() {
        let template = v1::WorkItem {
            command: Some(v1::Command {
                kind: Some(v1::command::Kind::Argv(v1::Argv {
                    arguments: vec!["push".to_owned(), "--token=hunter22 hunter2".to_owned()],
                })),
                ..v1::Command::default()
            }),
            secrets: vec!["hunter2".to_owned(), " hunter22\n".to_owned()],
            ..v1::WorkItem::default()
        };
        let shown = command(&template.encode_to_vec()).unwrap();
        assert_eq!(shown, ["push", "--token=*** ***"]);
    }
}
