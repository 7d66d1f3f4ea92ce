//! What an agent says of itself and of its attempts.

use helix_proto::agent::v1::{
    self as wire, AttemptState, AttemptSummary, Capacity, attempt_event::Kind,
};
use jiff::Timestamp;
use serde::Serialize;

use super::event::Verdict;
use crate::render::capacity::state_text;
use crate::render::units::{wire_duration, wire_time};
use crate::render::verdict::attempt_state_text;

/// One attempt.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "attempt")]
pub(crate) struct AttemptRow<'a> {
    #[serde(flatten)]
    attempt: Running<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
    /// `finished`, `requeued` or `returned`.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict<'a>>,
    events: u64,
    console_bytes: u64,
    acknowledged: bool,
}

#[derive(Debug, Serialize)]
struct Running<'a> {
    attempt_id: &'a str,
    work_item_id: &'a str,
    job_id: &'a str,
    name: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<Timestamp>,
    reserved: Resources,
}

#[derive(Debug, Serialize)]
struct Resources {
    slots: u32,
    cpu_millis: u64,
    memory_bytes: u64,
    disk_bytes: u64,
    processes: u32,
}

/// What an agent can take.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "capacity")]
pub(crate) struct CapacityLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    agent: Agent<'a>,
    state: &'static str,
    reasons: &'a [String],
    total: Resources,
    free: Resources,
    #[serde(skip_serializing_if = "Option::is_none")]
    pressure: Option<Pressure<'a>>,
    running: Vec<Running<'a>>,
    capabilities: Vec<Capability<'a>>,
    provisioning: Vec<Provisioning<'a>>,
    isolation: &'a [String],
    degraded: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    draining_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantined_until: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Agent<'a> {
    machine: &'a str,
    version: &'a str,
    queues: &'a [String],
    operating_system: &'a str,
    architecture: &'a str,
    boot_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Pressure<'a> {
    level: &'a str,
    cpu_percent: f64,
    memory_percent: f64,
    io_percent: f64,
    slots_withheld: u32,
}

#[derive(Debug, Serialize)]
struct Capability<'a> {
    name: &'a str,
    versions: &'a [String],
    texts: &'a [String],
}

#[derive(Debug, Serialize)]
struct Provisioning<'a> {
    capability: &'a str,
    wanted: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_end: Option<Timestamp>,
    #[serde(skip_serializing_if = "str::is_empty")]
    last_error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_limit_seconds: Option<f64>,
}

impl<'a> From<&'a AttemptSummary> for AttemptRow<'a> {
    fn from(summary: &'a AttemptSummary) -> Self {
        let terminal = summary
            .terminal_event
            .as_ref()
            .and_then(|event| event.kind.as_ref());
        let (end, verdict) = match terminal {
            Some(Kind::Finished(finished)) => (Some("finished"), finished.verdict.as_ref()),
            Some(Kind::Requeued(requeued)) => (Some("requeued"), requeued.verdict.as_ref()),
            Some(Kind::Returned(returned)) => match &returned.cause {
                Some(wire::returned::Cause::Verdict(verdict)) => (Some("returned"), Some(verdict)),
                Some(wire::returned::Cause::Refusal(_)) | None => (Some("returned"), None),
            },
            Some(_) | None => (None, None),
        };
        Self {
            attempt: Running::from(summary.attempt.as_ref().unwrap_or(&NO_ATTEMPT)),
            ended: wire_time(summary.ended),
            end,
            verdict: verdict.map(Verdict::from),
            events: summary.events,
            console_bytes: summary.console_bytes,
            acknowledged: summary.acknowledged,
        }
    }
}

// Stand in for what a broken agent leaves out.
static NO_AGENT: wire::AgentInfo = wire::AgentInfo {
    machine: String::new(),
    version: String::new(),
    queues: Vec::new(),
    operating_system: String::new(),
    architecture: String::new(),
    boot_id: String::new(),
    started: None,
};
static NO_ATTEMPT: wire::RunningAttempt = wire::RunningAttempt {
    attempt_id: String::new(),
    work_item_id: String::new(),
    job_id: String::new(),
    friendly_name: String::new(),
    state: AttemptState::Unspecified as i32,
    accepted: None,
    reserved: None,
};

impl<'a> From<&'a wire::RunningAttempt> for Running<'a> {
    fn from(attempt: &'a wire::RunningAttempt) -> Self {
        Self {
            attempt_id: &attempt.attempt_id,
            work_item_id: &attempt.work_item_id,
            job_id: &attempt.job_id,
            name: &attempt.friendly_name,
            state: attempt_state_text(attempt.state()),
            accepted: wire_time(attempt.accepted),
            reserved: Resources::from(attempt.reserved),
        }
    }
}

impl From<Option<wire::Resources>> for Resources {
    fn from(resources: Option<wire::Resources>) -> Self {
        let wire::Resources {
            slots,
            cpu_millis,
            memory_bytes,
            disk_bytes,
            processes,
        } = resources.unwrap_or_default();
        Self {
            slots,
            cpu_millis,
            memory_bytes,
            disk_bytes,
            processes,
        }
    }
}

impl<'a> CapacityLine<'a> {
    /// The line for `capacity`.
    pub(crate) fn new(capacity: &'a Capacity) -> Self {
        let agent = capacity.agent.as_ref().unwrap_or(&NO_AGENT);
        Self {
            time: wire_time(capacity.time),
            agent: Agent {
                machine: &agent.machine,
                version: &agent.version,
                queues: &agent.queues,
                operating_system: &agent.operating_system,
                architecture: &agent.architecture,
                boot_id: &agent.boot_id,
                started: wire_time(agent.started),
            },
            state: state_text(capacity.state()),
            reasons: &capacity.reasons,
            total: Resources::from(capacity.total),
            free: Resources::from(capacity.free),
            pressure: capacity.pressure.as_ref().map(|pressure| Pressure {
                level: &pressure.level,
                cpu_percent: pressure.cpu_percent,
                memory_percent: pressure.memory_percent,
                io_percent: pressure.io_percent,
                slots_withheld: pressure.slots_withheld,
            }),
            running: capacity.running.iter().map(Running::from).collect(),
            capabilities: capacity
                .capabilities
                .iter()
                .map(|capability| Capability {
                    name: &capability.name,
                    versions: &capability.versions,
                    texts: &capability.texts,
                })
                .collect(),
            provisioning: capacity
                .provisioning
                .iter()
                .map(Provisioning::from)
                .collect(),
            isolation: &capacity.isolation,
            degraded: &capacity.degraded,
            draining_since: wire_time(capacity.draining_since),
            quarantined_until: wire_time(capacity.quarantined_until),
        }
    }
}

impl<'a> From<&'a wire::Provisioning> for Provisioning<'a> {
    fn from(provisioning: &'a wire::Provisioning) -> Self {
        Self {
            capability: &provisioning.capability,
            wanted: &provisioning.wanted,
            state: &provisioning.state,
            since: wire_time(provisioning.since),
            expected_end: wire_time(provisioning.expected_end),
            last_error: &provisioning.last_error,
            time_limit_seconds: wire_duration(provisioning.time_limit)
                .map(|limit| limit.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_attempt_has_its_end_and_its_verdict() {
        let verdict = wire::Verdict {
            kind: 1,
            ..wire::Verdict::default()
        };
        let finished = wire::Finished {
            verdict: Some(verdict),
            ..wire::Finished::default()
        };
        let terminal = wire::AttemptEvent {
            kind: Some(Kind::Finished(finished)),
            ..wire::AttemptEvent::default()
        };
        let summary = AttemptSummary {
            attempt: Some(wire::RunningAttempt {
                attempt_id: "a.1".to_owned(),
                state: AttemptState::Ended.into(),
                ..NO_ATTEMPT.clone()
            }),
            ended: Some(prost_types::Timestamp {
                seconds: 0,
                nanos: 0,
            }),
            terminal_event: Some(terminal),
            events: 6,
            console_bytes: 12,
            acknowledged: false,
        };
        let text = serde_json::to_string(&AttemptRow::from(&summary)).unwrap();
        assert_eq!(
            text,
            r#"{"type":"attempt","attempt_id":"a.1","work_item_id":"","job_id":"","name":"","state":"ended","reserved":{"slots":0,"cpu_millis":0,"memory_bytes":0,"disk_bytes":0,"processes":0},"ended":"1970-01-01T00:00:00Z","end":"finished","verdict":{"kind":"passed","reason":"","message":""},"events":6,"console_bytes":12,"acknowledged":false}"#
        );
    }

    #[test]
    fn a_capacity_has_its_agent_and_state() {
        let capacity = Capacity {
            state: 3,
            ..Capacity::default()
        };
        let text = serde_json::to_string(&CapacityLine::new(&capacity)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["type"], "capacity");
        assert_eq!(value["agent"]["machine"], "");
        assert_eq!(value["state"], "draining");
        assert_eq!(value["free"]["slots"], 0);
    }
}
