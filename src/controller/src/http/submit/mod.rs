//! From a submission as it came to one that can be stored: the rules are those by which agents judge
//! work items, asked once for each item, and everything that is wrong is named at once.

mod layer;
mod origin;
mod payloads;

use std::collections::{BTreeSet, HashSet};

use helix_api::submit::{JobRequest, MAX_ERRORS};
use helix_api::{FieldError, Problem};
use helix_model::ids::{FriendlyName, JobId, NameError, QueueName, WorkItemId};
use helix_proto::agent::v1;
use helix_store::RetryPlace;
use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::layer::Layer;
pub(super) use self::payloads::{object_key, references};
use super::problem::Failure;
use super::request::shown;
use crate::core::{Submission, SubmittedItem};

const MAX_SOURCE_BYTES: usize = 1024;
const MAX_PROPERTIES: usize = 64;
const MAX_PROPERTY_NAME_BYTES: usize = 128;
const MAX_PROPERTY_VALUE_BYTES: usize = 4096;
const MAX_PRIORITY: i32 = 1000;
const MAX_RETRIES: u32 = 1000;

/// What is wrong so far, each place once.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    errors: Vec<FieldError>,
    places: HashSet<String>,
}

impl Wrong {
    /// Notes it; says nothing twice about one place.
    pub(super) fn say(&mut self, path: impl Into<String>, message: impl ToString) {
        let path = path.into();
        if self.errors.len() < MAX_ERRORS && self.places.insert(path.clone()) {
            self.errors.push(FieldError::new(path, message));
        }
    }

    fn is_full(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    /// Fails if anything is wrong.
    pub(super) fn check(self) -> Result<(), Failure> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::fields(self.errors).into())
    }
}

/// Checks a submission and takes it over. Whether its queue and its payloads are there is not looked
/// at.
pub(super) fn submission(request: &JobRequest, creator: &str) -> Result<Submission, Failure> {
    let mut wrong = Wrong::default();
    let queue = QueueName::new(request.queue.as_str());
    let queue = queue.map_err(|error| wrong.say("$.queue", error)).ok();
    let id = match &request.id {
        Some(id) => JobId::new(id.as_str()),
        None => JobId::new(Uuid::now_v7().to_string()),
    };
    let id = id.map_err(|error| wrong.say("$.id", error)).ok();
    head(&mut wrong, request);
    let items = match (&queue, &id) {
        (Some(queue), Some(id)) => items(&mut wrong, request, queue, id),
        // With stand-ins, so that what is wrong with the items is told in the same answer.
        _ => match (QueueName::new("queue"), JobId::new("job")) {
            (Ok(queue), Ok(id)) => items(&mut wrong, request, &queue, &id),
            _ => Vec::new(),
        },
    };
    wrong.check()?;
    let (Some(id), Some(queue)) = (id, queue) else {
        return Err(Failure::internal("a submission without problems and ids"));
    };
    let name = match request.name.as_str() {
        "" => id.to_string(),
        name => name.to_owned(),
    };
    Ok(Submission {
        id,
        queue,
        name,
        creator: creator.to_owned(),
        source: request.source.clone(),
        priority: request.priority,
        properties: request.properties.clone(),
        retry_of: None,
        items,
    })
}

fn head(wrong: &mut Wrong, request: &JobRequest) {
    if !request.name.is_empty()
        && let Err(error) = FriendlyName::new(request.name.as_str())
    {
        wrong.say("$.name", error);
    }
    if request.source.len() > MAX_SOURCE_BYTES || request.source.contains(char::is_control) {
        let message = format!("it must have at most {MAX_SOURCE_BYTES} bytes on one line");
        wrong.say("$.source", message);
    }
    if !(-MAX_PRIORITY..=MAX_PRIORITY).contains(&request.priority) {
        let message = format!("it must be from -{MAX_PRIORITY} to {MAX_PRIORITY}");
        wrong.say("$.priority", message);
    }
    if request.retries > MAX_RETRIES {
        wrong.say("$.retries", format!("it must be at most {MAX_RETRIES}"));
    }
    if request.properties.len() > MAX_PROPERTIES {
        let message = format!(
            "it has {} entries, the limit is {MAX_PROPERTIES}",
            request.properties.len()
        );
        wrong.say("$.properties", message);
    }
    for (name, value) in request.properties.iter().take(MAX_PROPERTIES) {
        let path = || origin::child("$.properties", &shown(name));
        if name.is_empty()
            || name.len() > MAX_PROPERTY_NAME_BYTES
            || name.contains(char::is_control)
            || name.contains('=')
        {
            let message = format!(
                "its name must have 1 to {MAX_PROPERTY_NAME_BYTES} bytes on one line, without `=`"
            );
            wrong.say(path(), message);
        } else if value.len() > MAX_PROPERTY_VALUE_BYTES || value.contains('\0') {
            let message =
                format!("its value must have at most {MAX_PROPERTY_VALUE_BYTES} bytes without NUL");
            wrong.say(path(), message);
        }
    }
}

fn items(
    wrong: &mut Wrong,
    request: &JobRequest,
    queue: &QueueName,
    job: &JobId,
) -> Vec<SubmittedItem> {
    let defaults = Layer::read(wrong, "$.defaults", &request.defaults);
    let mut names = BTreeSet::new();
    let mut items = Vec::with_capacity(request.items.len());
    for (index, item) in request.items.iter().enumerate() {
        if wrong.is_full() {
            break;
        }
        let path = format!("$.items[{index}]");
        let name = match FriendlyName::new(item.name.as_str()) {
            Ok(name) => name,
            Err(error) => {
                wrong.say(format!("{path}.name"), error);
                continue;
            }
        };
        if !names.insert(item.name.as_str()) {
            wrong.say(format!("{path}.name"), "another item has this name");
            continue;
        }
        let retries = item.retries.unwrap_or(request.retries);
        if retries > MAX_RETRIES {
            let message = format!("it must be at most {MAX_RETRIES}");
            wrong.say(format!("{path}.retries"), message);
        }
        let own = Layer::read(wrong, &path, &item.settings);
        let Some(command) = layer::command(wrong, &path, &item.command) else {
            continue;
        };
        let template = defaults.with(own, command);
        check(wrong, request, index, &template, queue);
        let id = match item_id(job, &name, &template) {
            Ok(id) => id,
            Err(error) => {
                wrong.say(path, error);
                continue;
            }
        };
        let place = item
            .retry_on_another_machine
            .unwrap_or(request.retry_on_another_machine);
        items.push(SubmittedItem {
            id,
            name,
            template,
            retries,
            retry_place: match place {
                true => RetryPlace::AnotherMachine,
                false => RetryPlace::Anywhere,
            },
        });
    }
    items
}

/// Asks the rules about an item, with stand-ins for what is put in when it is offered.
fn check(
    wrong: &mut Wrong,
    request: &JobRequest,
    index: usize,
    template: &v1::WorkItem,
    queue: &QueueName,
) {
    let mut message = template.clone();
    "item".clone_into(&mut message.work_item_id);
    "job".clone_into(&mut message.job_id);
    "attempt".clone_into(&mut message.attempt_id);
    for payload in message
        .payloads
        .iter_mut()
        .chain(&mut message.correlation_payloads)
    {
        payloads::stand_in(payload);
    }
    if let Err(problems) = helix_proto::work_item::work_item(Some(message), queue) {
        for problem in problems {
            let path = origin::path(request, index, &problem.path);
            wrong.say(path, problem.message);
        }
    }
}

/// The same for the same item of the same job, and another one for another: a submission that comes
/// twice is the same, and one of the same id with other items is not.
pub(super) fn item_id(
    job: &JobId,
    name: &FriendlyName,
    template: &v1::WorkItem,
) -> Result<WorkItemId, NameError> {
    let mut digest = Sha256::new();
    for part in [job.as_str().as_bytes(), name.as_str().as_bytes()] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.update(template.encode_to_vec());
    WorkItemId::new(made_of(digest))
}

/// A UUID out of a digest.
pub(super) fn made_of(digest: Sha256) -> String {
    let digest: [u8; 32] = digest.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    let id = uuid::Builder::from_custom_bytes(bytes).into_uuid();
    id.to_string()
}

#[cfg(test)]
mod tests;
