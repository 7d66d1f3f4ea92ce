//! From the wire to [`WorkItem`]: everything wrong is found in one go, each problem with the path
//! of its field.
//!
//! The rules for single values are those of [`helix_model::work_item`]; what is added here is what
//! only a request can get wrong: absent parts, lists that are too long, numbers that mean "default".
//! No message repeats a value that may be secret: of secrets, values of variables, addresses and
//! commands it says where and what is wrong with them, not what they are.

mod command;
mod environment;
mod limits;
mod payload;
mod reader;
#[cfg(test)]
mod tests;

use std::num::{NonZeroU32, NonZeroU64};

use helix_model::admission::FieldProblem;
use helix_model::capability::{CapabilityName, Requirement, Wanted};
use helix_model::ids::{FriendlyName, QueueName, WorkItemId};
use helix_model::resources::{MIN_CPU_MILLIS, MIN_MEMORY_BYTES, ResourcesWanted};
use helix_model::work_item::{ArtifactGlob, Network, Secret, WorkItem};

use crate::agent::v1;
use reader::Reader;

pub use environment::{MAX_VARIABLE_BYTES, MAX_VARIABLE_NAME_BYTES, MAX_VARIABLES};

/// The most secrets of one work item.
pub const MAX_SECRETS: usize = 256;
/// The longest secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 65_536;
/// The most payloads of one work item alone.
pub const MAX_PAYLOADS: usize = 64;
/// The most payloads that a work item shares with its job.
pub const MAX_CORRELATION_PAYLOADS: usize = 256;
/// The most requirements of one work item.
pub const MAX_REQUIREMENTS: usize = 256;
/// The most artifact globs of one work item.
pub const MAX_GLOBS: usize = 256;

/// Checks a work item as it came in a request, and takes it into the model.
///
/// What the message leaves out takes the default that `work_item.proto` names. `default_queue`
/// stands in where it names no queue: an agent that serves several takes such an item for any of
/// them.
///
/// ```
/// use helix_model::ids::QueueName;
/// use helix_proto::agent::v1;
///
/// let queue = QueueName::new("default")?;
/// let message = v1::WorkItem {
///     work_item_id: "item".to_owned(),
///     job_id: "job".to_owned(),
///     ..v1::WorkItem::default()
/// };
/// let problems = helix_proto::work_item::work_item(Some(message), &queue).unwrap_err();
/// let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
/// assert_eq!(paths, ["work_item.attempt_id", "work_item.command"]);
/// # Ok::<(), helix_model::ids::NameError>(())
/// ```
///
/// # Errors
///
/// Everything that is wrong, in the order of the fields, with paths such as
/// `work_item.payloads[2].sha256`; at least one problem, and at most 100.
pub fn work_item(
    message: Option<v1::WorkItem>,
    default_queue: &QueueName,
) -> Result<WorkItem, Vec<FieldProblem>> {
    let mut reader = Reader::default();
    let read = message.map(|message| read(&mut reader, message, default_queue));
    if read.is_none() {
        reader.say("work_item", "it is missing");
    }
    match read.flatten() {
        Some(work_item) if reader.count() == 0 => Ok(work_item),
        Some(_) | None => Err(reader.into_problems()),
    }
}

/// Nothing only after saying why; something, with entries left out of its lists, after saying what
/// was wrong with those.
fn read(reader: &mut Reader, message: v1::WorkItem, default_queue: &QueueName) -> Option<WorkItem> {
    let id = reader.check("work_item.work_item_id", message.work_item_id.parse());
    let job = reader.check("work_item.job_id", message.job_id.parse());
    let attempt = reader.check("work_item.attempt_id", message.attempt_id.parse());
    let friendly_name = friendly_name(reader, message.friendly_name, id.as_ref());
    let queue = if message.queue.is_empty() {
        Some(default_queue.clone())
    } else {
        reader.check("work_item.queue", QueueName::new(message.queue))
    };
    let command = command::command(reader, message.command);
    let environment = environment::environment(reader, message.environment);
    let secrets = reader.each("work_item.secrets", message.secrets, MAX_SECRETS, secret);
    let payloads = reader.each(
        "work_item.payloads",
        message.payloads,
        MAX_PAYLOADS,
        payload::payload,
    );
    let correlation_payloads = reader.each(
        "work_item.correlation_payloads",
        message.correlation_payloads,
        MAX_CORRELATION_PAYLOADS,
        payload::payload,
    );
    let limits = limits::limits(reader, message.limits.unwrap_or_default());
    let resources = resources(reader, &message.resources.unwrap_or_default());
    let requirements = reader.each(
        "work_item.requirements",
        message.requirements,
        MAX_REQUIREMENTS,
        requirement,
    );
    let artifacts = reader.each(
        "work_item.artifact_globs",
        message.artifact_globs,
        MAX_GLOBS,
        |reader, path, glob| reader.check(path, ArtifactGlob::new(glob)),
    );
    let delivery = limits::delivery(reader, &message.delivery.unwrap_or_default());
    let network = network(reader, message.network);
    let (command, output_mode) = command?;
    Some(WorkItem {
        id: id?,
        job: job?,
        attempt: attempt?,
        friendly_name: friendly_name?,
        queue: queue?,
        command,
        environment: environment?,
        secrets,
        payloads,
        correlation_payloads,
        limits: limits?,
        output_mode,
        resources,
        network: network?,
        requirements,
        artifacts,
        delivery: delivery?,
    })
}

/// The name given, or the id, about which is said elsewhere when it is wrong.
fn friendly_name(
    reader: &mut Reader,
    given: String,
    id: Option<&WorkItemId>,
) -> Option<FriendlyName> {
    let name = if given.is_empty() {
        id?.to_string()
    } else {
        given
    };
    reader.check("work_item.friendly_name", FriendlyName::new(name))
}

fn secret(reader: &mut Reader, path: &str, text: String) -> Option<Secret> {
    if text.len() > MAX_SECRET_BYTES {
        let length = text.len();
        let message = format!("it has {length} bytes, the limit is {MAX_SECRET_BYTES}");
        reader.say(path, message);
        return None;
    }
    reader.check(path, Secret::new(text))
}

fn requirement(reader: &mut Reader, path: &str, message: v1::Requirement) -> Option<Requirement> {
    let name = reader.check(&format!("{path}.name"), CapabilityName::new(&message.name));
    let wanted = reader.check(&format!("{path}.range"), Wanted::parse(&message.range));
    Some(Requirement {
        name: name?,
        wanted: wanted?,
    })
}

fn network(reader: &mut Reader, number: i32) -> Option<Network> {
    match v1::Network::try_from(number) {
        Ok(v1::Network::Unspecified) => Some(Network::Machine),
        Ok(v1::Network::None) => Some(Network::None),
        Err(_) => {
            let message = format!("{number} is none of its values");
            reader.say("work_item.network", message);
            None
        }
    }
}

fn resources(reader: &mut Reader, message: &v1::Resources) -> ResourcesWanted {
    // They are limits too, and below these nothing could be started at all.
    for (field, wanted, least) in [
        ("cpu_millis", message.cpu_millis, MIN_CPU_MILLIS),
        ("memory_bytes", message.memory_bytes, MIN_MEMORY_BYTES),
    ] {
        if wanted > 0 && wanted < least {
            let message = format!("it is {wanted}, the least that can be asked for is {least}");
            reader.say(format!("work_item.resources.{field}"), message);
        }
    }
    ResourcesWanted {
        slots: NonZeroU32::new(message.slots).unwrap_or(NonZeroU32::MIN),
        cpu_millis: NonZeroU64::new(message.cpu_millis),
        memory_bytes: NonZeroU64::new(message.memory_bytes),
        disk_bytes: NonZeroU64::new(message.disk_bytes),
        processes: NonZeroU32::new(message.processes),
    }
}
