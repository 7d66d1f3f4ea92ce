//! Work items for tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use helix_proto::agent::v1::{Argv, Command, Delivery, Limits, WorkItem, command};

/// A shell line as a work item of its own job, with the defaults of the
/// contract and a grace that keeps tests short.
#[must_use]
pub fn shell(line: &str) -> WorkItem {
    item(command::Kind::Shell(line.to_owned()))
}

/// Program and arguments as a work item.
#[must_use]
pub fn argv(arguments: &[&str]) -> WorkItem {
    let arguments = arguments
        .iter()
        .map(|argument| (*argument).to_owned())
        .collect();
    item(command::Kind::Argv(Argv { arguments }))
}

/// The same work item once more, as the delivery `number` of at most `max`.
#[must_use]
pub fn delivery(mut item: WorkItem, number: u32, max: u32, retries: u32) -> WorkItem {
    item.attempt_id = unique("attempt");
    item.delivery = Some(Delivery {
        number,
        queue_max_delivery_count: max,
        retries_requested: retries,
        retries_used: None,
    });
    item
}

/// Sets the limits of a work item.
#[must_use]
pub fn limited(
    mut item: WorkItem,
    wall: Option<Duration>,
    silence: Option<Duration>,
    grace: Duration,
) -> WorkItem {
    let convert = |value: Duration| value.try_into().expect("a duration fits");
    item.limits = Some(Limits {
        wall_timeout: wall.map(convert),
        silence_timeout: silence.map(convert),
        kill_grace: Some(convert(grace)),
        output_bytes: 0,
    });
    item
}

/// An id that no other call in this run of the tests returns.
#[must_use]
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!(
        "{what}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

fn item(kind: command::Kind) -> WorkItem {
    WorkItem {
        work_item_id: unique("item"),
        job_id: unique("job"),
        attempt_id: unique("attempt"),
        friendly_name: "a test".to_owned(),
        command: Some(Command {
            kind: Some(kind),
            output_mode: 0,
        }),
        ..WorkItem::default()
    }
}
