//! `Debug` of the messages that may hold a secret: what is printed is enough to tell them apart,
//! and never a value, a token in a URL, a masked secret or a command, which may repeat any of them.
//!
//! Messages around them print by these, so that [`RunRequest`](crate::agent::v1::RunRequest) and
//! errors that hold one are safe too.

use std::fmt;

use crate::agent::v1::{
    Argv, Command, EnvironmentVariable, GitSource, Payload, WorkItem, command, payload,
};

impl fmt::Debug for WorkItem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WorkItem")
            .field("work_item_id", &self.work_item_id)
            .field("job_id", &self.job_id)
            .field("attempt_id", &self.attempt_id)
            .field("friendly_name", &self.friendly_name)
            .field("queue", &self.queue)
            .field("command", &self.command)
            .field("environment", &self.environment)
            .field("secrets", &self.secrets.len())
            .field("payloads", &self.payloads)
            .field("correlation_payloads", &self.correlation_payloads)
            .field("limits", &self.limits)
            .field("resources", &self.resources)
            .field("requirements", &self.requirements)
            .field("artifact_globs", &self.artifact_globs)
            .field("delivery", &self.delivery)
            .field("network", &self.network())
            .finish()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Command")
            .field("kind", &self.kind)
            .field("output_mode", &self.output_mode())
            .finish()
    }
}

impl fmt::Debug for command::Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argv(argv) => argv.fmt(formatter),
            Self::Shell(line) => write!(formatter, "Shell({} bytes)", line.len()),
        }
    }
}

impl fmt::Debug for Argv {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Argv({} arguments)", self.arguments.len())
    }
}

impl fmt::Debug for EnvironmentVariable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EnvironmentVariable")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Payload")
            .field("source", &self.source)
            .field("destination", &self.destination)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for payload::Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(formatter, "Url({} bytes)", url.len()),
            Self::Git(git) => git.fmt(formatter),
        }
    }
}

impl fmt::Debug for GitSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GitSource")
            .field("commit", &self.commit)
            .field("submodules", &self.submodules)
            .finish_non_exhaustive()
    }
}
