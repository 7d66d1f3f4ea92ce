//! What an agent says of itself, from the wire into the words of the model.

use std::time::SystemTime;

use helix_model::capability::{CapabilityName, CapabilitySet, CapabilityValue};
use helix_model::ids::FriendlyName;
use helix_model::matching::{AgentReport, ReportedAttempt, ReportedState};
use helix_model::resources::Resources;
use helix_model::version::Version;
use helix_proto::agent::v1;
use prost::Message;

use super::Reported;

impl Reported {
    /// Reads what an agent said. What cannot be read of it is left out: an agent of another release
    /// is still an agent.
    pub(crate) fn from_wire(capacity: v1::Capacity) -> Self {
        let bytes = capacity.encode_to_vec();
        let state = state(&capacity);
        let agent = capacity.agent.unwrap_or_default();
        let mut capabilities = CapabilitySet::new();
        for capability in capacity.capabilities {
            if let Ok(name) = CapabilityName::new(&capability.name) {
                capabilities.add(name, value(capability));
            }
        }
        let report = AgentReport {
            state,
            reasons: capacity.reasons,
            version: agent.version,
            queues: agent
                .queues
                .into_iter()
                .filter_map(|queue| queue.parse().ok())
                .collect(),
            operating_system: agent.operating_system,
            architecture: agent.architecture,
            boot_id: agent.boot_id,
            total: resources(capacity.total.unwrap_or_default()),
            free: resources(capacity.free.unwrap_or_default()),
            running: capacity.running.into_iter().filter_map(running).collect(),
            capabilities,
            isolation: capacity.isolation,
            degraded: capacity.degraded,
        };
        Self {
            machine: agent.machine,
            report,
            bytes,
        }
    }
}

fn state(capacity: &v1::Capacity) -> ReportedState {
    let time = |time: Option<prost_types::Timestamp>| -> Option<SystemTime> {
        time.and_then(|time| time.try_into().ok())
    };
    match capacity.state() {
        v1::AgentState::Ready | v1::AgentState::Unspecified => ReportedState::Ready,
        v1::AgentState::Full => ReportedState::Full,
        v1::AgentState::Draining => ReportedState::Draining {
            since: time(capacity.draining_since).unwrap_or(SystemTime::UNIX_EPOCH),
        },
        v1::AgentState::Offline => ReportedState::Offline,
        v1::AgentState::Quarantined => ReportedState::Quarantined {
            until: time(capacity.quarantined_until),
        },
        v1::AgentState::Probation => ReportedState::Probation,
        v1::AgentState::NotIsolated => ReportedState::NotIsolated,
    }
}

fn value(capability: v1::Capability) -> CapabilityValue {
    if !capability.texts.is_empty() {
        return CapabilityValue::Texts(capability.texts.into_iter().collect());
    }
    let versions = capability
        .versions
        .iter()
        .filter_map(|version| Version::parse(version).ok());
    CapabilityValue::versions(versions)
}

fn running(attempt: v1::RunningAttempt) -> Option<ReportedAttempt> {
    let name = if attempt.friendly_name.is_empty() {
        attempt.work_item_id.clone()
    } else {
        attempt.friendly_name
    };
    Some(ReportedAttempt {
        attempt: attempt.attempt_id.parse().ok()?,
        work_item: attempt.work_item_id.parse().ok()?,
        job: attempt.job_id.parse().ok()?,
        friendly_name: FriendlyName::new(name).ok()?,
        reserved: resources(attempt.reserved.unwrap_or_default()),
    })
}

fn resources(resources: v1::Resources) -> Resources {
    Resources {
        slots: resources.slots,
        cpu_millis: resources.cpu_millis,
        memory_bytes: resources.memory_bytes,
        disk_bytes: resources.disk_bytes,
    }
}
