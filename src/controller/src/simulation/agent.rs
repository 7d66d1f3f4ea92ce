//! A simulated machine with its agent: what survives what, and what it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use helix_model::capability::{CapabilityName, CapabilitySet, CapabilityValue};
use helix_model::dispatch::{Announced, AttemptEnd};
use helix_model::ids::{AttemptId, FriendlyName};
use helix_model::matching::{AgentReport, ReportedAttempt, ReportedState};
use helix_model::resources::Resources;
use helix_model::work_item::{Delivery, DeliveryCounts};
use helix_proto::agent::v1;

use super::chance::Chance;
use crate::link::{CallError, Event, EventKind, Refused, Terminal};
use crate::signal::Signal;

/// How long what hangs does so, in steps of some seconds.
const HANGS_FOR: u64 = 500;

/// A simulated machine. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) name: String,
    slots: u32,
    capability: Option<&'static str>,
    pub(super) chance: Chance,
    state: Arc<Mutex<State>>,
    /// Counts whatever happens, for those who wait for it.
    pub(super) changes: Arc<Signal<u64>>,
}

#[derive(Debug, Default)]
struct State {
    is_up: bool,
    is_partitioned: bool,
    boot: u64,
    /// Whatever of the disk was lost with everything on it.
    disks: u64,
    attempts: BTreeMap<AttemptId, Run>,
    /// Everything that ever began here, with the disk that it began on.
    begun: Vec<(u64, AttemptId)>,
    complaints: Vec<String>,
}

/// An attempt at a machine.
#[derive(Debug, Clone)]
pub(super) struct Run {
    item: v1::WorkItem,
    delivery: Delivery,
    /// All that is known, in order: console and events.
    pub(super) history: Vec<Event>,
    numbers: u64,
    console: u64,
    pub(super) terminal: Option<Terminal>,
    cancelled: Option<&'static str>,
    is_acknowledged: bool,
}

/// What becomes of an attempt, if nothing comes in between.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Pass,
    Fail,
    TimeOut,
    Return,
    Refuse,
    /// It runs until it is cancelled, or for very long.
    Hang,
}

impl Machine {
    pub(super) fn new(
        name: &str,
        slots: u32,
        capability: Option<&'static str>,
        chance: Chance,
    ) -> Self {
        let state = State {
            is_up: true,
            boot: 1,
            ..State::default()
        };
        Self {
            name: name.to_owned(),
            slots,
            capability,
            chance,
            state: Arc::new(Mutex::new(state)),
            changes: Arc::new(Signal::new(0)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    /// Whether somebody answers there.
    pub(super) fn answers(&self) -> bool {
        let state = self.lock();
        state.is_up && !state.is_partitioned
    }

    pub(super) fn is_up(&self) -> bool {
        self.lock().is_up
    }

    pub(super) fn partition(&self, is_partitioned: bool) {
        self.lock().is_partitioned = is_partitioned;
        self.changed();
    }

    /// The agent ends; what it runs goes on.
    pub(super) fn stop(&self) {
        self.lock().is_up = false;
        self.changed();
    }

    pub(super) fn start(&self) {
        self.lock().is_up = true;
        self.changed();
    }

    /// The machine boots: what ran is over, and the agent says so.
    pub(super) fn reboot(&self) {
        let mut state = self.lock();
        state.boot += 1;
        for run in state.attempts.values_mut() {
            if run.terminal.is_none() {
                run.end(AttemptEnd::Infrastructure, "MACHINE_REBOOTED");
            }
        }
        drop(state);
        self.changed();
    }

    /// The machine comes back with an empty disk.
    pub(super) fn wipe(&self) {
        let mut state = self.lock();
        state.boot += 1;
        state.disks += 1;
        state.attempts.clear();
        drop(state);
        self.changed();
    }

    /// An attempt as it is known there.
    pub(super) fn run(&self, attempt: &AttemptId) -> Option<Run> {
        self.lock().attempts.get(attempt).cloned()
    }

    /// Everything that ever began here, with the disk that it began on.
    pub(super) fn begun(&self) -> Vec<(u64, AttemptId)> {
        self.lock().begun.clone()
    }

    /// Notes what a controller must not do.
    pub(super) fn complain(&self, complaint: String) {
        self.lock().complaints.push(complaint);
    }

    /// What controllers did that they must not.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// What the agent says of itself.
    pub(super) fn report(&self) -> AgentReport {
        let state = self.lock();
        let mut capabilities = CapabilitySet::new();
        if let Some(name) = self.capability {
            let name = CapabilityName::new(name).expect("a good name");
            capabilities.add(name, CapabilityValue::Label);
        }
        let one = Resources {
            slots: 1,
            ..Resources::default()
        };
        let running: Vec<ReportedAttempt> = state
            .attempts
            .iter()
            .filter(|(_, run)| run.terminal.is_none())
            .map(|(attempt, run)| ReportedAttempt {
                attempt: attempt.clone(),
                work_item: run.item.work_item_id.parse().expect("a good id"),
                job: run.item.job_id.parse().expect("a good id"),
                friendly_name: FriendlyName::new("item").expect("a good name"),
                reserved: one,
            })
            .collect();
        let total = Resources {
            slots: self.slots,
            ..Resources::default()
        };
        let used = u32::try_from(running.len()).expect("few");
        AgentReport {
            state: ReportedState::Ready,
            reasons: Vec::new(),
            version: "1".to_owned(),
            queues: Vec::new(),
            operating_system: String::new(),
            architecture: String::new(),
            boot_id: format!("{}-{}", self.name, state.boot),
            total,
            free: Resources {
                slots: self.slots.saturating_sub(used),
                ..total
            },
            running,
            capabilities,
            isolation: Vec::new(),
            degraded: Vec::new(),
        }
    }

    /// Takes an item or refuses it, as an agent does.
    pub(super) fn admit(&self, item: v1::WorkItem) -> Result<(), CallError> {
        let attempt: AttemptId = item.attempt_id.parse().expect("a good id");
        let delivery = item.delivery.expect("it is given");
        let delivery = Delivery::try_from(DeliveryCounts {
            number: delivery.number,
            queue_max: delivery.queue_max_delivery_count,
            retries_requested: delivery.retries_requested,
            retries_used: delivery.retries_used.expect("it is given"),
        })
        .expect("a delivery that there can be");
        let refused = |reason: &str, wait: Option<u64>| {
            Err(CallError::Refused(Refused {
                reason: reason.to_owned(),
                message: reason.to_lowercase(),
                retry_after: wait.map(Duration::from_secs),
            }))
        };
        let mut state = self.lock();
        if state.attempts.contains_key(&attempt) {
            return Err(CallError::Duplicate);
        }
        let of_item = |run: &&mut Run| run.item.work_item_id == item.work_item_id;
        let mut others = state.attempts.values_mut().filter(of_item);
        if others.any(|run| run.delivery.number() > delivery.number()) {
            return refused("SUPERSEDED_ATTEMPT", None);
        }
        let used = state.attempts.values().filter(|run| run.terminal.is_none());
        if used.count() >= self.slots as usize {
            return refused("SLOTS_FULL", Some(60));
        }
        if self.chance.per_mille(30) {
            return refused("PROVISIONING", Some(20));
        }
        for run in state.attempts.values_mut().filter(of_item) {
            run.cancelled.get_or_insert("SUPERSEDED");
        }
        let disk = state.disks;
        state.begun.push((disk, attempt.clone()));
        let mut run = Run {
            item,
            delivery,
            history: Vec::new(),
            numbers: 0,
            console: 0,
            terminal: None,
            cancelled: None,
            is_acknowledged: false,
        };
        run.happen(EventKind::Accepted {
            degraded: Vec::new(),
        });
        state.attempts.insert(attempt.clone(), run);
        let boot = state.boot;
        drop(state);
        self.changed();
        tokio::spawn(self.clone().live(attempt, boot));
        Ok(())
    }

    /// The life of an attempt, unless the machine ends it.
    async fn live(self, attempt: AttemptId, boot: u64) {
        let fate = match self.chance.below(100) {
            0..60 => Fate::Pass,
            60..80 => Fate::Fail,
            80..85 => Fate::TimeOut,
            85..93 => Fate::Return,
            93..95 => Fate::Hang,
            _ => Fate::Refuse,
        };
        let steps = match fate {
            Fate::Hang => HANGS_FOR,
            _ => self.chance.below(4),
        };
        for step in 0..=steps {
            tokio::time::sleep(self.chance.millis(if step == 0 { 50 } else { 8000 })).await;
            let mut state = self.lock();
            if state.boot != boot {
                return;
            }
            let Some(run) = state.attempts.get_mut(&attempt) else {
                return;
            };
            if let Some(reason) = run.cancelled {
                let end = match reason {
                    "SUPERSEDED" => AttemptEnd::Superseded,
                    _ => AttemptEnd::Cancelled,
                };
                run.end(end, reason);
                drop(state);
                self.changed();
                return;
            }
            match step {
                0 => run.happen(EventKind::Step),
                1 => run.happen(EventKind::Started),
                _ => {}
            }
            if (1..10).contains(&step) {
                run.happen(EventKind::Warning(format!("warning {step}")));
                run.print(&format!(
                    "{attempt} says {step}, {}\n",
                    self.chance.below(1000)
                ));
            }
            drop(state);
            self.changed();
        }
        let mut state = self.lock();
        if state.boot != boot {
            return;
        }
        if let Some(run) = state.attempts.get_mut(&attempt) {
            match fate {
                Fate::Pass => run.end(AttemptEnd::Passed, ""),
                Fate::Fail => run.end(AttemptEnd::Failed, "EXIT_CODE"),
                Fate::Hang => run.end(AttemptEnd::TimedOut, "HANGS"),
                Fate::TimeOut => run.end(AttemptEnd::TimedOut, "WALL_TIMEOUT"),
                Fate::Return => run.end(AttemptEnd::Infrastructure, "PAYLOAD"),
                Fate::Refuse => run.end(AttemptEnd::Refused, "MISSING_CAPABILITY"),
            }
        }
        drop(state);
        self.changed();
    }

    pub(super) fn cancel(&self, attempt: &AttemptId) -> Result<(), CallError> {
        let mut state = self.lock();
        let run = state.attempts.get_mut(attempt).ok_or(CallError::Unknown)?;
        run.cancelled.get_or_insert("REQUESTED");
        Ok(())
    }

    pub(super) fn acknowledge(&self, attempt: &AttemptId) -> Result<(), CallError> {
        let mut state = self.lock();
        let run = state.attempts.get_mut(attempt).ok_or(CallError::Unknown)?;
        run.is_acknowledged = true;
        Ok(())
    }

    /// Whether a place in an attempt's history is one.
    pub(super) fn find(
        &self,
        attempt: &AttemptId,
        after_event: u64,
        console_offset: u64,
    ) -> Result<(), CallError> {
        let state = self.lock();
        let run = state.attempts.get(attempt).ok_or(CallError::Unknown)?;
        if after_event > run.numbers || console_offset > run.console {
            return Err(CallError::BeyondEnd);
        }
        Ok(())
    }
}

impl Run {
    fn happen(&mut self, kind: EventKind) {
        self.numbers += 1;
        self.history.push(Event::Numbered {
            number: self.numbers,
            console: self.console,
            at: None,
            kind,
        });
    }

    fn print(&mut self, text: &str) {
        self.history.push(Event::Console {
            offset: self.console,
            data: text.to_owned().into(),
        });
        self.console += text.len() as u64;
    }

    fn end(&mut self, end: AttemptEnd, reason: &str) {
        let next = match end {
            AttemptEnd::Failed => self.delivery.after_failure(),
            AttemptEnd::Infrastructure => self.delivery.after_infrastructure(),
            _ => None,
        };
        let announced = match (end, next) {
            (AttemptEnd::Failed, Some(next)) => Announced::Requeued {
                next_delivery: next.number(),
                next_retries_used: next.retries_used(),
            },
            (AttemptEnd::Infrastructure, next) => Announced::Returned {
                next_delivery: next.map(|next| next.number()),
            },
            (AttemptEnd::Refused, _) => Announced::Returned {
                next_delivery: Some(self.delivery.number()),
            },
            _ => Announced::Finished,
        };
        let refused = (end == AttemptEnd::Refused).then(|| Refused {
            reason: reason.to_owned(),
            message: "it lacks something".to_owned(),
            retry_after: Some(Duration::from_secs(30)),
        });
        let terminal = Terminal {
            end,
            reason: reason.to_owned(),
            message: reason.to_lowercase(),
            exit_code: (end == AttemptEnd::Failed).then_some(3),
            announced,
            refused,
        };
        self.terminal = Some(terminal.clone());
        self.happen(EventKind::Ended(Box::new(terminal)));
    }

    /// Everything odd that it told.
    pub(super) fn warnings(&self) -> Vec<String> {
        let warnings = self.history.iter().filter_map(|event| match event {
            Event::Numbered {
                kind: EventKind::Warning(message),
                ..
            } => Some(message.clone()),
            Event::Console { .. } | Event::Gap { .. } | Event::Numbered { .. } => None,
        });
        warnings.collect()
    }

    /// Everything that it printed.
    pub(super) fn console(&self) -> Vec<u8> {
        let chunks = self.history.iter().filter_map(|event| match event {
            Event::Console { data, .. } => Some(data.to_vec()),
            Event::Gap { .. } | Event::Numbered { .. } => None,
        });
        chunks.flatten().collect()
    }
}
