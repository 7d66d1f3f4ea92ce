//! What the agent must remember of a work item to bring its attempt to an end
//! in its next life.
//!
//! Written before anything is started. It holds neither the command nor its
//! environment, addresses or secrets: once the command runs nobody needs them,
//! and before it runs the attempt is given back.

use std::fs;
use std::io;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::time::{Duration, SystemTime};

use helix_exec::ProcessIdentity;
use helix_model::resources::{Resources, ResourcesWanted};
use helix_model::work_item::{ArtifactGlob, Command, Delivery, DeliveryCounts, WorkItem};
use helix_proto::agent::v1;
use prost::Message;

use super::handle::Identity;

const FILE_NAME: &str = "record";
const LAUNCHING: &str = "launching";

/// What is left of a work item after its start.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) identity: Identity,
    pub(crate) queue: String,
    /// The program, for messages.
    pub(crate) program: String,
    pub(crate) kill_grace: Duration,
    pub(crate) delivery: Delivery,
    pub(crate) artifacts: Vec<ArtifactGlob>,
    pub(crate) wanted: ResourcesWanted,
}

impl Record {
    /// What to remember of `work_item`, taken at `accepted`.
    pub(crate) fn of(work_item: &WorkItem, accepted: SystemTime) -> Self {
        Self {
            identity: Identity {
                attempt: work_item.attempt.clone(),
                work_item: work_item.id.clone(),
                job: work_item.job.clone(),
                friendly_name: work_item.friendly_name.clone(),
                delivery: work_item.delivery.number(),
                accepted,
            },
            queue: work_item.queue.to_string(),
            program: match &work_item.command {
                Command::Argv(argv) => argv.program().to_owned(),
                Command::Shell(_) => "/bin/sh".to_owned(),
            },
            kill_grace: work_item.limits.kill_grace(),
            delivery: work_item.delivery,
            artifacts: work_item.artifacts.clone(),
            wanted: work_item.resources,
        }
    }

    /// What the attempt holds while it runs.
    pub(crate) fn reserved(&self) -> Resources {
        self.wanted.amounts()
    }

    /// Writes the record into the attempt's directory.
    pub(crate) fn save(&self, directory: &Path) -> io::Result<()> {
        fs::write(directory.join(FILE_NAME), self.to_message().encode_to_vec())
    }

    /// Reads the record of an attempt.
    pub(crate) fn load(directory: &Path, accepted: SystemTime) -> io::Result<Self> {
        let bytes = fs::read(directory.join(FILE_NAME))?;
        let message = v1::WorkItem::decode(bytes.as_slice()).map_err(damaged)?;
        Self::from_message(message, accepted)
    }

    /// Notes that a launch is about to be asked for, so that the next life of
    /// the agent looks for a supervisor.
    pub(crate) fn mark_launching(&self, directory: &Path) -> io::Result<()> {
        let boot_id = ProcessIdentity::of_self()?.boot_id;
        fs::write(directory.join(LAUNCHING), boot_id)
    }

    /// Whether a launch was, or was about to be, asked for.
    pub(crate) fn is_launching(directory: &Path) -> bool {
        directory.join(LAUNCHING).exists()
    }

    /// Whether the launch was asked for before the machine was booted anew. The
    /// spool may have lost its status by that, so it is known without it.
    pub(crate) fn is_of_another_boot(directory: &Path) -> bool {
        let Ok(launched_in) = fs::read_to_string(directory.join(LAUNCHING)) else {
            return false;
        };
        // Empty when the machine went down before it was written.
        launched_in.is_empty()
            || ProcessIdentity::of_self().is_ok_and(|own| own.boot_id != launched_in)
    }

    fn to_message(&self) -> v1::WorkItem {
        let identity = &self.identity;
        let number = |value: Option<NonZeroU64>| value.map_or(0, NonZeroU64::get);
        v1::WorkItem {
            work_item_id: identity.work_item.to_string(),
            job_id: identity.job.to_string(),
            attempt_id: identity.attempt.to_string(),
            friendly_name: identity.friendly_name.to_string(),
            queue: self.queue.clone(),
            command: Some(v1::Command {
                kind: Some(v1::command::Kind::Argv(v1::Argv {
                    arguments: vec![self.program.clone()],
                })),
                output_mode: 0,
            }),
            limits: Some(v1::Limits {
                kill_grace: self.kill_grace.try_into().ok(),
                ..v1::Limits::default()
            }),
            resources: Some(v1::Resources {
                slots: self.wanted.slots.get(),
                cpu_millis: number(self.wanted.cpu_millis),
                memory_bytes: number(self.wanted.memory_bytes),
                disk_bytes: number(self.wanted.disk_bytes),
                processes: self.wanted.processes.map_or(0, NonZeroU32::get),
            }),
            artifact_globs: self
                .artifacts
                .iter()
                .map(|glob| glob.as_str().to_owned())
                .collect(),
            delivery: Some(v1::Delivery {
                number: self.delivery.number(),
                queue_max_delivery_count: self.delivery.queue_max(),
                retries_requested: self.delivery.retries_requested(),
                retries_used: Some(self.delivery.retries_used()),
            }),
            ..v1::WorkItem::default()
        }
    }

    fn from_message(message: v1::WorkItem, accepted: SystemTime) -> io::Result<Self> {
        let delivery = message.delivery.unwrap_or_default();
        let delivery = Delivery::try_from(DeliveryCounts {
            number: delivery.number,
            queue_max: delivery.queue_max_delivery_count,
            retries_requested: delivery.retries_requested,
            retries_used: delivery.retries_used.unwrap_or_default(),
        })
        .map_err(damaged)?;
        let program = match message.command.and_then(|command| command.kind) {
            Some(v1::command::Kind::Argv(argv)) => argv.arguments.into_iter().next(),
            Some(v1::command::Kind::Shell(_)) | None => None,
        };
        let resources = message.resources.unwrap_or_default();
        Ok(Self {
            identity: Identity {
                attempt: message.attempt_id.parse().map_err(damaged)?,
                work_item: message.work_item_id.parse().map_err(damaged)?,
                job: message.job_id.parse().map_err(damaged)?,
                friendly_name: message.friendly_name.parse().map_err(damaged)?,
                delivery: delivery.number(),
                accepted,
            },
            queue: message.queue,
            program: program.unwrap_or_default(),
            kill_grace: message
                .limits
                .and_then(|limits| limits.kill_grace)
                .and_then(|grace| grace.try_into().ok())
                .unwrap_or(helix_model::work_item::DEFAULT_KILL_GRACE),
            delivery,
            artifacts: message
                .artifact_globs
                .into_iter()
                .map(|glob| ArtifactGlob::new(glob).map_err(damaged))
                .collect::<io::Result<_>>()?,
            wanted: ResourcesWanted {
                slots: NonZeroU32::new(resources.slots).unwrap_or(NonZeroU32::MIN),
                cpu_millis: NonZeroU64::new(resources.cpu_millis),
                memory_bytes: NonZeroU64::new(resources.memory_bytes),
                disk_bytes: NonZeroU64::new(resources.disk_bytes),
                processes: NonZeroU32::new(resources.processes),
            },
        })
    }
}

fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
