//! What the tests of several modules start from.

use std::fmt::Debug;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::time::{Duration, SystemTime};

use crate::capability::{CapabilitySet, Requirement};
use crate::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};
use crate::resources::ResourcesWanted;
use crate::work_item::{Command, Delivery, Environment, Limits, Network, OutputMode, WorkItem};

/// A time some seconds after the start of 2026.
pub(crate) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds)
}

/// Some seconds.
pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Reads a text that must be good.
pub(crate) fn parsed<T>(text: &str) -> T
where
    T: std::str::FromStr,
    T::Err: Debug,
{
    match text.parse() {
        Ok(value) => value,
        Err(error) => panic!("{text:?} should be good: {error:?}"),
    }
}

pub(crate) fn attempt(text: &str) -> AttemptId {
    parsed(text)
}

/// Requirements from their texts.
pub(crate) fn requirements(texts: &[&str]) -> Vec<Requirement> {
    texts.iter().map(|text| parsed(text)).collect()
}

/// Capabilities from texts such as `gpu`, `os=linux` and `xcode@16.1,15.4`.
pub(crate) fn capabilities(texts: &[&str]) -> CapabilitySet {
    use crate::capability::CapabilityValue;
    let mut set = CapabilitySet::new();
    for text in texts {
        if let Some((name, value)) = text.split_once('=') {
            set.add(parsed(name), CapabilityValue::text(value));
        } else if let Some((name, versions)) = text.split_once('@') {
            set.add(
                parsed(name),
                CapabilityValue::versions(versions.split(',').map(parsed)),
            );
        } else {
            set.add(parsed(text), CapabilityValue::Label);
        }
    }
    set
}

/// An item that any idle agent takes.
pub(crate) fn work_item() -> WorkItem {
    WorkItem {
        id: parsed::<WorkItemId>("item-1"),
        job: parsed::<JobId>("job-1"),
        attempt: attempt("attempt-1"),
        friendly_name: parsed::<FriendlyName>("Some.Tests"),
        queue: parsed::<QueueName>("ubuntu.2404.amd64"),
        command: Command::shell("true").expect("a good line"),
        environment: Environment::default(),
        secrets: Vec::new(),
        payloads: Vec::new(),
        correlation_payloads: Vec::new(),
        limits: Limits::default(),
        output_mode: OutputMode::Merged,
        resources: ResourcesWanted::default(),
        network: Network::Machine,
        requirements: Vec::new(),
        artifacts: Vec::new(),
        delivery: Delivery::first(3, 2),
    }
}

/// The same hash for the same value in one run.
pub(crate) fn hash_of(value: &impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}
