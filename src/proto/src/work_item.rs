//! From the wire to [`helix_model::work_item::WorkItem`]: everything wrong is
//! found in one go, each with the path of its field.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use helix_model::admission::FieldProblem;
use helix_model::capability::{CapabilityName, Requirement, Wanted};
use helix_model::ids::{FriendlyName, QueueName};
use helix_model::path::RelativePath;
use helix_model::resources::ResourcesWanted;
use helix_model::work_item::{
    ArtifactGlob, Command, Commit, Delivery, DeliveryCounts, Environment, GitUrl, Limit, Limits,
    OutputMode, Payload, PayloadSource, PayloadUrl, Secret, Sha256, Submodules, WantedLimits,
    WorkItem,
};

use crate::agent::v1;

const MAX_VARIABLES: usize = 4096;
const MAX_VARIABLE_NAME_BYTES: usize = 256;
const MAX_VARIABLE_VALUE_BYTES: usize = 128 << 10;
const MAX_SECRETS: usize = 256;
const MAX_SECRET_BYTES: usize = 65_536;
const MAX_PAYLOADS: usize = 64;
const MAX_CORRELATION_PAYLOADS: usize = 256;
const MAX_REQUIREMENTS: usize = 256;
const MAX_GLOBS: usize = 256;
/// Variables with this prefix belong to the agent.
const RESERVED_PREFIX: &str = "HELIX_";

/// Checks a work item and takes it into the model.
///
/// `default_queue` stands in where the message names no queue.
///
/// # Errors
///
/// Every field that is wrong, as `work_item.…` paths.
pub fn work_item(
    message: Option<v1::WorkItem>,
    default_queue: &QueueName,
) -> Result<WorkItem, Vec<FieldProblem>> {
    let mut reader = Reader::default();
    let Some(message) = message else {
        return Err(vec![problem("work_item", "it is missing")]);
    };
    let id = reader.check("work_item.work_item_id", message.work_item_id.parse());
    let job = reader.check("work_item.job_id", message.job_id.parse());
    let attempt = reader.check("work_item.attempt_id", message.attempt_id.parse());
    let name = if message.friendly_name.is_empty() {
        message.work_item_id
    } else {
        message.friendly_name
    };
    let friendly_name = reader.check("work_item.friendly_name", FriendlyName::new(name));
    let queue = if message.queue.is_empty() {
        Some(default_queue.clone())
    } else {
        reader.check("work_item.queue", QueueName::new(message.queue))
    };
    let output_mode = reader.output_mode(message.command.as_ref());
    let command = reader.command(message.command);
    let environment = reader.environment(message.environment);
    let secrets = reader.secrets(message.secrets);
    let payloads = reader.payloads("work_item.payloads", message.payloads, MAX_PAYLOADS);
    let correlation_payloads = reader.payloads(
        "work_item.correlation_payloads",
        message.correlation_payloads,
        MAX_CORRELATION_PAYLOADS,
    );
    let limits = reader.limits(message.limits.unwrap_or_default());
    let resources = resources(&message.resources.unwrap_or_default());
    let requirements = reader.requirements(message.requirements);
    let artifacts = reader.globs(message.artifact_globs);
    let delivery = reader.delivery(message.delivery.unwrap_or_default());

    let whole = (|| {
        Some(WorkItem {
            id: id?,
            job: job?,
            attempt: attempt?,
            friendly_name: friendly_name?,
            queue: queue?,
            command: command?,
            environment: environment?,
            secrets,
            payloads,
            correlation_payloads,
            limits: limits?,
            output_mode: output_mode?,
            resources,
            requirements,
            artifacts,
            delivery: delivery?,
        })
    })();
    match whole {
        Some(work_item) if reader.problems.is_empty() => Ok(work_item),
        Some(_) | None => Err(reader.problems),
    }
}

fn problem(path: impl Into<String>, message: impl ToString) -> FieldProblem {
    FieldProblem {
        path: path.into(),
        message: message.to_string(),
    }
}

/// Collects what is wrong while it reads.
#[derive(Default)]
struct Reader {
    problems: Vec<FieldProblem>,
}

impl Reader {
    fn say(&mut self, path: impl Into<String>, message: impl ToString) {
        self.problems.push(problem(path, message));
    }

    fn check<T, E: ToString>(&mut self, path: &str, value: Result<T, E>) -> Option<T> {
        value
            .map_err(|error| self.say(path, error.to_string()))
            .ok()
    }

    /// Cuts a list that is too long, after saying so.
    fn bounded<T>(&mut self, path: &str, mut list: Vec<T>, most: usize) -> Vec<T> {
        if list.len() > most {
            self.say(
                path,
                format!("it has {} entries, the limit is {most}", list.len()),
            );
            list.truncate(most);
        }
        list
    }

    fn command(&mut self, message: Option<v1::Command>) -> Option<Command> {
        match message.and_then(|command| command.kind) {
            Some(v1::command::Kind::Argv(argv)) => {
                self.check("work_item.command.argv", Command::argv(argv.arguments))
            }
            Some(v1::command::Kind::Shell(line)) => {
                self.check("work_item.command.shell", Command::shell(line))
            }
            None => {
                self.say("work_item.command", "neither `argv` nor `shell` is given");
                None
            }
        }
    }

    fn output_mode(&mut self, message: Option<&v1::Command>) -> Option<OutputMode> {
        let number = message.map_or(0, |command| command.output_mode);
        match v1::OutputMode::try_from(number) {
            Ok(v1::OutputMode::Unspecified | v1::OutputMode::Separate) => {
                Some(OutputMode::Separate)
            }
            Ok(v1::OutputMode::Merged) => Some(OutputMode::Merged),
            Err(_) => {
                self.say(
                    "work_item.command.output_mode",
                    format!("{number} is not known"),
                );
                None
            }
        }
    }

    fn environment(&mut self, messages: Vec<v1::EnvironmentVariable>) -> Option<Environment> {
        const PATH: &str = "work_item.environment";
        let messages = self.bounded(PATH, messages, MAX_VARIABLES);
        for (index, variable) in messages.iter().enumerate() {
            if variable.name.starts_with(RESERVED_PREFIX) {
                let message = format!("names starting with `{RESERVED_PREFIX}` are the agent's");
                self.say(format!("{PATH}[{index}].name"), message);
            }
            if variable.name.len() > MAX_VARIABLE_NAME_BYTES {
                let message = format!("it is longer than {MAX_VARIABLE_NAME_BYTES} bytes");
                self.say(format!("{PATH}[{index}].name"), message);
            }
            if variable.value.len() > MAX_VARIABLE_VALUE_BYTES {
                let message = format!("it is longer than {MAX_VARIABLE_VALUE_BYTES} bytes");
                self.say(format!("{PATH}[{index}].value"), message);
            }
        }
        let pairs = messages
            .into_iter()
            .map(|variable| (variable.name, variable.value))
            .collect();
        Environment::new(pairs)
            .map_err(|error| self.say(format!("{PATH}[{}]", error.index), error.problem))
            .ok()
    }

    fn secrets(&mut self, texts: Vec<String>) -> Vec<Secret> {
        const PATH: &str = "work_item.secrets";
        let texts = self.bounded(PATH, texts, MAX_SECRETS);
        let mut secrets = Vec::with_capacity(texts.len());
        for (index, text) in texts.into_iter().enumerate() {
            let path = format!("{PATH}[{index}]");
            if text.len() > MAX_SECRET_BYTES {
                self.say(path, format!("it is longer than {MAX_SECRET_BYTES} bytes"));
            } else {
                secrets.extend(self.check(&path, Secret::new(text)));
            }
        }
        secrets
    }

    fn payloads(&mut self, path: &str, messages: Vec<v1::Payload>, most: usize) -> Vec<Payload> {
        let messages = self.bounded(path, messages, most);
        let mut payloads = Vec::with_capacity(messages.len());
        for (index, message) in messages.into_iter().enumerate() {
            payloads.extend(self.payload(&format!("{path}[{index}]"), message));
        }
        payloads
    }

    fn payload(&mut self, path: &str, message: v1::Payload) -> Option<Payload> {
        let destination = self.check(
            &format!("{path}.destination"),
            RelativePath::new(&message.destination),
        );
        let sha256 = if message.sha256.is_empty() {
            Some(None)
        } else {
            let given = message.sha256.len();
            let digest = <[u8; 32]>::try_from(message.sha256)
                .map_err(|_| format!("a SHA-256 digest has 32 bytes, not {given}"));
            self.check(&format!("{path}.sha256"), digest)
                .map(|digest| Some(Sha256(digest)))
        };
        let source = match message.source {
            Some(v1::payload::Source::Url(url)) => self
                .check(&format!("{path}.url"), PayloadUrl::new(url))
                .map(PayloadSource::Url),
            Some(v1::payload::Source::Git(git)) => {
                if !matches!(sha256, Some(None)) {
                    self.say(
                        format!("{path}.sha256"),
                        "a git commit takes no digest besides",
                    );
                }
                let url = self.check(&format!("{path}.git.url"), GitUrl::new(git.url));
                let commit = self.check(&format!("{path}.git.commit"), Commit::new(&git.commit));
                let submodules = if git.submodules {
                    Submodules::Fetch
                } else {
                    Submodules::Skip
                };
                url.zip(commit).map(|(url, commit)| PayloadSource::Git {
                    url,
                    commit,
                    submodules,
                })
            }
            None => {
                self.say(path, "neither `url` nor `git` is given");
                None
            }
        };
        Some(Payload {
            source: source?,
            destination: destination?,
            sha256: sha256?,
        })
    }

    fn limits(&mut self, message: v1::Limits) -> Option<Limits> {
        const PATH: &str = "work_item.limits";
        let mut duration = |field: &str, value: Option<prost_types::Duration>| {
            let value = value.map(Duration::try_from).transpose();
            self.check(
                &format!("{PATH}.{field}"),
                value.map_err(|_| "it must not be negative"),
            )
            .flatten()
        };
        let wall_timeout = duration("wall_timeout", message.wall_timeout);
        let silence_timeout = duration("silence_timeout", message.silence_timeout);
        let kill_grace = duration("kill_grace", message.kill_grace);
        let output_bytes = (message.output_bytes > 0).then_some(message.output_bytes);
        let wanted = WantedLimits {
            wall_timeout,
            silence_timeout,
            kill_grace,
            output_bytes,
        };
        wanted
            .resolve()
            .map_err(|error| {
                let field = match error.limit() {
                    Limit::WallTimeout => "wall_timeout",
                    Limit::SilenceTimeout => "silence_timeout",
                    Limit::KillGrace => "kill_grace",
                    Limit::OutputBytes => "output_bytes",
                };
                self.say(format!("{PATH}.{field}"), error);
            })
            .ok()
    }

    fn requirements(&mut self, messages: Vec<v1::Requirement>) -> Vec<Requirement> {
        const PATH: &str = "work_item.requirements";
        let messages = self.bounded(PATH, messages, MAX_REQUIREMENTS);
        let mut requirements = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            let name = CapabilityName::new(&message.name);
            let name = self.check(&format!("{PATH}[{index}].name"), name);
            let wanted = Wanted::parse(&message.range);
            let wanted = self.check(&format!("{PATH}[{index}].range"), wanted);
            requirements.extend(
                name.zip(wanted)
                    .map(|(name, wanted)| Requirement { name, wanted }),
            );
        }
        requirements
    }

    fn globs(&mut self, texts: Vec<String>) -> Vec<ArtifactGlob> {
        const PATH: &str = "work_item.artifact_globs";
        let texts = self.bounded(PATH, texts, MAX_GLOBS);
        let mut globs = Vec::with_capacity(texts.len());
        for (index, text) in texts.into_iter().enumerate() {
            globs.extend(self.check(&format!("{PATH}[{index}]"), ArtifactGlob::new(text)));
        }
        globs
    }

    fn delivery(&mut self, message: v1::Delivery) -> Option<Delivery> {
        let number = message.number.max(1);
        let counts = DeliveryCounts {
            number,
            queue_max: message.queue_max_delivery_count.max(1),
            retries_requested: message.retries_requested,
            retries_used: message.retries_used.unwrap_or(number - 1),
        };
        self.check("work_item.delivery", Delivery::try_from(counts))
    }
}

fn resources(message: &v1::Resources) -> ResourcesWanted {
    ResourcesWanted {
        slots: NonZeroU32::new(message.slots).unwrap_or(NonZeroU32::MIN),
        cpu_millis: NonZeroU64::new(message.cpu_millis),
        memory_bytes: NonZeroU64::new(message.memory_bytes),
        disk_bytes: NonZeroU64::new(message.disk_bytes),
        processes: NonZeroU32::new(message.processes),
    }
}
