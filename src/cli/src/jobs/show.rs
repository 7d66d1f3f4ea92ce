//! How what a controller says looks: lines for people, lines of JSON for programs.

use std::time::Duration;

use helix_api as api;
use helix_api::{AttemptState, ItemState, JobCounts, JobState};
use jiff::Timestamp;
use serde::Serialize;

use crate::render::table::Style;
use crate::render::{text, units};

/// A line of `--json`. The bodies are those of the REST API, which are promises of their own.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    /// A job was stored.
    Submitted(&'a api::Submitted),
    /// A job as it stands.
    Job(&'a api::Job),
    /// A work item with its attempts.
    Item(ItemLine<'a>),
    /// Something happened in a job.
    Event {
        job: &'a str,
        #[serde(flatten)]
        event: &'a api::JobEvent,
    },
    /// A piece of a log: text where it is UTF-8, else base64.
    Log {
        job: &'a str,
        item: &'a str,
        attempt: &'a str,
        offset: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    /// What cancelling did.
    Cancelled {
        job: &'a str,
        #[serde(flatten)]
        cancelled: &'a api::Cancelled,
    },
    /// Why a work item does not run.
    Explanation(&'a api::Explanation),
    /// A test that passed only on a retry.
    FlakyTest(&'a api::FlakyTest),
    /// A queue.
    Queue(&'a api::Queue),
    /// A queue that is no more.
    QueueRemoved { name: &'a str },
    /// An agent.
    Agent(&'a api::Agent),
    /// An agent takes nothing new.
    Draining(&'a api::Drained),
    /// An agent was asked to take work again.
    Resumed(&'a api::Resumed),
}

/// A work item with its attempts.
#[derive(Debug, Serialize)]
pub(super) struct ItemLine<'a> {
    #[serde(flatten)]
    pub(super) item: &'a api::Item,
    pub(super) command: &'a [String],
    pub(super) runs: &'a [api::Attempt],
    pub(super) refusals: &'a [api::Refusal],
}

/// `200 items: 195 passed (3 on a retry), 2 failed, 3 waiting`.
pub(super) fn counts(counts: &JobCounts) -> String {
    let mut parts = Vec::new();
    let mut part = |number: u64, word: &str| {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    };
    part(counts.passed, "passed");
    part(counts.failed, "failed");
    part(counts.timed_out, "timed out");
    part(counts.cancelled, "cancelled");
    part(counts.dead, "dead");
    part(counts.running, "running");
    part(counts.waiting, "waiting");
    if counts.passed_on_retry > 0
        && let Some(passed) = parts.first_mut()
    {
        passed.push_str(&format!(" ({} on a retry)", counts.passed_on_retry));
    }
    format!(
        "{}: {}",
        units::count(counts.total, "item"),
        parts.join(", ")
    )
}

/// The state of a job in a word.
pub(super) fn job_state(state: JobState) -> (&'static str, Style) {
    match state {
        JobState::Waiting => ("waiting", Style::Faint),
        JobState::Running => ("running", Style::Normal),
        JobState::Passed => ("passed", Style::Good),
        JobState::Failed => ("failed", Style::Bad),
        JobState::Cancelled => ("cancelled", Style::Odd),
    }
}

/// The state of a work item in a word or two.
pub(super) fn item_state(state: ItemState) -> (&'static str, Style) {
    match state {
        ItemState::Waiting => ("waiting", Style::Faint),
        ItemState::Offered => ("offered", Style::Normal),
        ItemState::Running => ("running", Style::Normal),
        ItemState::Passed => ("passed", Style::Good),
        ItemState::PassedOnRetry => ("passed on retry", Style::Odd),
        ItemState::Failed => ("failed", Style::Bad),
        ItemState::TimedOut => ("timed out", Style::Bad),
        ItemState::Cancelled => ("cancelled", Style::Odd),
        ItemState::Dead => ("dead", Style::Bad),
    }
}

/// The state of an attempt in a word or two.
pub(super) fn attempt_state(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Offered => "offered",
        AttemptState::Running => "running",
        AttemptState::Passed => "passed",
        AttemptState::Failed => "failed",
        AttemptState::TimedOut => "timed out",
        AttemptState::Cancelled => "cancelled",
        AttemptState::Infrastructure => "infrastructure failed",
        AttemptState::Refused => "refused after unpacking",
        AttemptState::Lost => "lost",
    }
}

/// How long ago, in words.
pub(super) fn age(since: Timestamp) -> String {
    units::duration(round(units::between(since, Timestamp::now())))
}

/// Seconds in words; empty where they are not known.
pub(super) fn seconds(seconds: Option<f64>) -> String {
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map(units::duration)
        .unwrap_or_default()
}

/// Text from elsewhere for a cell of a table.
pub(super) fn cell(content: &str) -> String {
    text::line(content, 60)
}

/// Tenths of seconds are noise where ages are compared.
fn round(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_leave_out_what_is_not_there() {
        let mut some = JobCounts {
            total: 200,
            passed: 195,
            passed_on_retry: 3,
            failed: 2,
            waiting: 3,
            ..JobCounts::default()
        };
        assert_eq!(
            counts(&some),
            "200 items: 195 passed (3 on a retry), 2 failed, 3 waiting"
        );
        some = JobCounts {
            total: 1,
            dead: 1,
            ..JobCounts::default()
        };
        assert_eq!(counts(&some), "1 item: 1 dead");
    }
}
