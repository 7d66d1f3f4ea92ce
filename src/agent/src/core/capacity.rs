//! What the agent answers when asked for its capacity.

use std::time::SystemTime;

use helix_model::admission::Availability;
use helix_model::health::Health;
use helix_model::pressure::{PressureLevel, PressureSample};
use helix_model::provisioning::Provisioning;
use helix_proto::agent::v1::{self, AgentInfo, AgentState, Capacity, Pressure};
use helix_proto::{capacity, refusal};

use super::{Core, State};

impl Core {
    /// What the agent can take now, and why not more.
    pub(crate) fn capacity(&self) -> Capacity {
        let now = SystemTime::now();
        let state = self.lock();
        let total = state.ledger.total();
        let mut free = self.free(&state);
        let in_use = total.slots.saturating_sub(free.slots);
        let level = state.pressure.gauge.level();
        let effective = level.effective_slots(total.slots, in_use);
        let withheld = total.slots.saturating_sub(effective);
        free.slots = effective.saturating_sub(in_use);

        let mut reasons = self.reasons(&state, now);
        let is_ready = reasons.is_empty();
        reasons.extend(self.fewer_slots());
        if withheld > 0 {
            reasons.push(format!(
                "{withheld} of {} slots are withheld as the machine is under {} pressure",
                total.slots,
                refusal::pressure_level(level).to_lowercase()
            ));
        }
        let agent_state = self.state_of(&state, free.slots, now);
        let health = state.health.at(now);
        let sample = state.pressure.sample;
        let draining = state.draining.or(state.ending);
        let running = state.registry.live().map(|attempt| attempt.row()).collect();
        drop(state);

        metrics::gauge!("helix_agent_slots").set(f64::from(total.slots));
        metrics::gauge!("helix_agent_slots_used").set(f64::from(in_use));
        metrics::gauge!("helix_agent_ready").set(f64::from(u8::from(is_ready)));
        let capabilities = self.settings().catalog.capabilities();
        let standing = self.launcher.standing();
        Capacity {
            time: Some(now.into()),
            agent: Some(self.info()),
            state: agent_state.into(),
            reasons,
            total: Some(capacity::resources(&total)),
            free: Some(capacity::resources(&free)),
            pressure: sample.map(|sample| pressure(level, &sample, withheld)),
            running,
            capabilities: capabilities
                .iter()
                .map(|(name, value)| capacity::capability(name, value))
                .collect(),
            provisioning: self.provisioning(now),
            isolation: standing.in_force(),
            degraded: standing.degraded(),
            draining_since: draining.map(Into::into),
            quarantined_until: match health {
                Health::Quarantined { until, .. } => Some(until.into()),
                Health::Healthy { .. } | Health::Probation { .. } => None,
            },
        }
    }

    /// Who this agent is.
    pub(crate) fn info(&self) -> AgentInfo {
        let queues = &self.settings().config.queues;
        AgentInfo {
            machine: self.machine_name(),
            version: helix_telemetry::VERSION.to_owned(),
            queues: queues.iter().map(ToString::to_string).collect(),
            operating_system: self.facts.operating_system.clone(),
            architecture: self.facts.architecture.to_owned(),
            boot_id: self.facts.boot_id.clone(),
            started: Some(self.started.into()),
        }
    }

    fn state_of(&self, state: &State, free_slots: u32, now: SystemTime) -> AgentState {
        match (self.availability(state), state.health.at(now)) {
            (Availability::Offline { .. }, _) => AgentState::Offline,
            (Availability::Draining { .. }, _) => AgentState::Draining,
            (Availability::Accepting, _) if !self.missing_isolation().is_empty() => {
                AgentState::NotIsolated
            }
            (Availability::Accepting, Health::Quarantined { .. }) => AgentState::Quarantined,
            (Availability::Accepting, Health::Probation { .. }) => AgentState::Probation,
            (Availability::Accepting, Health::Healthy { .. }) if free_slots == 0 => {
                AgentState::Full
            }
            (Availability::Accepting, Health::Healthy { .. }) => AgentState::Ready,
        }
    }

    fn provisioning(&self, now: SystemTime) -> Vec<v1::Provisioning> {
        let statuses = self.settings().provisioners.statuses(now);
        statuses
            .into_iter()
            .filter_map(|status| {
                let mut row = v1::Provisioning {
                    capability: status.capability.to_string(),
                    wanted: status
                        .version
                        .map(|version| version.to_string())
                        .unwrap_or_default(),
                    time_limit: status.time_limit.try_into().ok(),
                    ..v1::Provisioning::default()
                };
                match status.state {
                    Provisioning::Idle => return None,
                    Provisioning::Running {
                        since,
                        expected_end,
                        ..
                    } => {
                        row.state = "RUNNING".to_owned();
                        row.since = Some(since.into());
                        row.expected_end = expected_end.map(Into::into);
                    }
                    Provisioning::CoolingDown {
                        until, last_error, ..
                    } => {
                        row.state = "COOLING_DOWN".to_owned();
                        row.expected_end = Some(until.into());
                        row.last_error = last_error;
                    }
                }
                Some(row)
            })
            .collect()
    }
}

fn pressure(level: PressureLevel, sample: &PressureSample, withheld: u32) -> Pressure {
    let percent = |hundredths: u16| f64::from(hundredths) / 100.0;
    Pressure {
        level: refusal::pressure_level(level).to_owned(),
        cpu_percent: percent(sample.cpu_some.hundredths()),
        memory_percent: percent(sample.memory_some.hundredths()),
        io_percent: percent(sample.io_full.hundredths()),
        slots_withheld: withheld,
    }
}
