//! One of the two places that say how an item is run: the job's defaults and the item itself; and
//! how the two go together.

use std::collections::BTreeMap;
use std::time::Duration;

use helix_api::submit::{
    CommandRequest, LimitsRequest, Network, OutputMode, PayloadRequest, ResourcesRequest, Settings,
};
use helix_proto::agent::v1;

use super::Wrong;
use super::payloads::payload;

/// Longer than any limit may be; what does not fit a message is said to be too long before.
const MAX_SECONDS: f64 = 1e9;

/// What is said in one place, in the words of the wire.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    environment: BTreeMap<String, String>,
    secrets: Vec<String>,
    payloads: Vec<v1::Payload>,
    correlation_payloads: Vec<v1::Payload>,
    limits: v1::Limits,
    resources: ResourcesRequest,
    requirements: Vec<v1::Requirement>,
    artifact_globs: Vec<String>,
    network: Option<Network>,
    output: Option<OutputMode>,
}

impl Layer {
    /// Reads what the wire has no words for; the rest is left to the rules.
    pub(super) fn read(wrong: &mut Wrong, path: &str, settings: &Settings) -> Self {
        let mut payloads = |name: &str, list: &[PayloadRequest]| -> Vec<v1::Payload> {
            list.iter()
                .enumerate()
                .map(|(index, one)| payload(wrong, &format!("{path}.{name}[{index}]"), one))
                .collect()
        };
        let own = payloads("payloads", &settings.payloads);
        let correlation_payloads = payloads("correlation_payloads", &settings.correlation_payloads);
        if settings.resources.slots == Some(0) {
            wrong.say(format!("{path}.resources.slots"), "it must be 1 or more");
        }
        Self {
            environment: settings.environment.clone(),
            secrets: settings.secrets.clone(),
            payloads: own,
            correlation_payloads,
            limits: limits(wrong, path, &settings.limits),
            resources: settings.resources,
            requirements: settings
                .requirements
                .iter()
                .map(|one| v1::Requirement {
                    name: one.name.clone(),
                    range: one.range.clone(),
                })
                .collect(),
            artifact_globs: settings.artifact_globs.clone(),
            network: settings.network,
            output: settings.output,
        }
    }

    /// A work item out of these defaults and what an item says itself.
    pub(super) fn with(&self, own: Self, kind: v1::command::Kind) -> v1::WorkItem {
        let mut environment = self.environment.clone();
        environment.extend(own.environment);
        let output_mode = match own.output.or(self.output) {
            None => v1::OutputMode::Unspecified,
            Some(OutputMode::Separate) => v1::OutputMode::Separate,
            Some(OutputMode::Merged) => v1::OutputMode::Merged,
        };
        let network = match own.network.or(self.network) {
            None | Some(Network::Machine) => v1::Network::Unspecified,
            Some(Network::None) => v1::Network::None,
        };
        let output_bytes = match own.limits.output_bytes {
            0 => self.limits.output_bytes,
            own => own,
        };
        let (mine, yours) = (&own.resources, &self.resources);
        v1::WorkItem {
            command: Some(v1::Command {
                kind: Some(kind),
                output_mode: output_mode.into(),
            }),
            environment: environment
                .into_iter()
                .map(|(name, value)| v1::EnvironmentVariable { name, value })
                .collect(),
            secrets: both(&self.secrets, own.secrets),
            payloads: both(&self.payloads, own.payloads),
            correlation_payloads: both(&self.correlation_payloads, own.correlation_payloads),
            limits: Some(v1::Limits {
                wall_timeout: own.limits.wall_timeout.or(self.limits.wall_timeout),
                silence_timeout: own.limits.silence_timeout.or(self.limits.silence_timeout),
                kill_grace: own.limits.kill_grace.or(self.limits.kill_grace),
                output_bytes,
            }),
            resources: Some(v1::Resources {
                slots: mine.slots.or(yours.slots).unwrap_or(0),
                cpu_millis: mine.cpu_millis.or(yours.cpu_millis).unwrap_or(0),
                memory_bytes: mine.memory_bytes.or(yours.memory_bytes).unwrap_or(0),
                disk_bytes: mine.disk_bytes.or(yours.disk_bytes).unwrap_or(0),
                processes: mine.processes.or(yours.processes).unwrap_or(0),
            }),
            requirements: both(&self.requirements, own.requirements),
            artifact_globs: both(&self.artifact_globs, own.artifact_globs),
            network: network.into(),
            ..v1::WorkItem::default()
        }
    }
}

/// What is run: one of the two ways to say it.
pub(super) fn command(
    wrong: &mut Wrong,
    path: &str,
    request: &CommandRequest,
) -> Option<v1::command::Kind> {
    match (&request.argv, &request.shell) {
        (Some(argv), None) => Some(v1::command::Kind::Argv(v1::Argv {
            arguments: argv.clone(),
        })),
        (None, Some(shell)) => Some(v1::command::Kind::Shell(shell.clone())),
        (Some(_), Some(_)) => {
            wrong.say(
                format!("{path}.command"),
                "it has both `argv` and `shell`, one of them is enough",
            );
            None
        }
        (None, None) => {
            wrong.say(
                format!("{path}.command"),
                "neither `argv` nor `shell` is given",
            );
            None
        }
    }
}

fn limits(wrong: &mut Wrong, path: &str, request: &LimitsRequest) -> v1::Limits {
    let mut duration = |name: &str, seconds: Option<f64>| {
        let seconds = seconds?;
        if !(0.0..=MAX_SECONDS).contains(&seconds) {
            let message = format!("it must be from 0 to {MAX_SECONDS}");
            wrong.say(format!("{path}.limits.{name}"), message);
            return None;
        }
        prost_types::Duration::try_from(Duration::from_secs_f64(seconds)).ok()
    };
    v1::Limits {
        wall_timeout: duration("wall_timeout_seconds", request.wall_timeout_seconds),
        silence_timeout: duration("silence_timeout_seconds", request.silence_timeout_seconds),
        kill_grace: duration("kill_grace_seconds", request.kill_grace_seconds),
        output_bytes: request.output_bytes.unwrap_or(0),
    }
}

fn both<T: Clone>(defaults: &[T], own: Vec<T>) -> Vec<T> {
    let mut all = defaults.to_vec();
    all.extend(own);
    all
}
