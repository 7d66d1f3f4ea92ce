//! Tests of taking work items into the model.

mod bounds;
mod malformed;
mod round_trip;

use helix_model::admission::FieldProblem;
use helix_model::ids::QueueName;
use helix_model::work_item::WorkItem;

use crate::agent::v1;

fn queue() -> QueueName {
    QueueName::new("default").expect("a good name")
}

fn read(message: v1::WorkItem) -> Result<WorkItem, Vec<FieldProblem>> {
    super::work_item(Some(message), &queue())
}

/// No more than must be there.
fn least() -> v1::WorkItem {
    v1::WorkItem {
        work_item_id: "item".to_owned(),
        job_id: "job".to_owned(),
        attempt_id: "attempt".to_owned(),
        command: Some(v1::Command {
            kind: Some(v1::command::Kind::Shell("true".to_owned())),
            ..v1::Command::default()
        }),
        ..v1::WorkItem::default()
    }
}

fn argv(arguments: &[&str]) -> Option<v1::command::Kind> {
    let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
    Some(v1::command::Kind::Argv(v1::Argv { arguments }))
}

fn url(url: &str) -> v1::Payload {
    v1::Payload {
        source: Some(v1::payload::Source::Url(url.to_owned())),
        ..v1::Payload::default()
    }
}

fn git(url: &str, commit: &str) -> v1::Payload {
    v1::Payload {
        source: Some(v1::payload::Source::Git(v1::GitSource {
            url: url.to_owned(),
            commit: commit.to_owned(),
            submodules: false,
        })),
        ..v1::Payload::default()
    }
}

fn variable(name: &str, value: &str) -> v1::EnvironmentVariable {
    v1::EnvironmentVariable {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn requirement(name: &str, range: &str) -> v1::Requirement {
    v1::Requirement {
        name: name.to_owned(),
        range: range.to_owned(),
    }
}

fn duration(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}
