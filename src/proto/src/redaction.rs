//! `Debug` of the messages that may hold a secret: what is printed is enough to
//! tell them apart, and never a value, a token in a URL or a masked secret.

use std::fmt;

use crate::agent::v1::{EnvironmentVariable, GitSource, Payload, WorkItem, payload};

impl fmt::Debug for WorkItem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WorkItem")
            .field("work_item_id", &self.work_item_id)
            .field("job_id", &self.job_id)
            .field("attempt_id", &self.attempt_id)
            .field("friendly_name", &self.friendly_name)
            .field("queue", &self.queue)
            .field("secrets", &self.secrets.len())
            .finish_non_exhaustive()
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
        let source = match &self.source {
            Some(payload::Source::Url(_)) => "url",
            Some(payload::Source::Git(_)) => "git",
            None => "none",
        };
        formatter
            .debug_struct("Payload")
            .field("source", &source)
            .field("destination", &self.destination)
            .finish_non_exhaustive()
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
