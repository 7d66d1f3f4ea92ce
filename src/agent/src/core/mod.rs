//! The agent's one shared state: what is reserved, which attempts there are, and
//! whether work is taken.
//!
//! Everything that decides holds the one lock and calls the pure rules of
//! `helix-model`; nothing waits while it is held. Everything that waits lives in
//! tasks of its own and comes back here with what it learned.

mod admission;
mod capacity;
mod isolation;
mod registry;
mod settings;
mod standing;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use helix_machine::facts::Facts;
use helix_model::health::{Evidence, Health};
use helix_model::ids::AttemptId;
use helix_model::resources::{Ledger, Resources};
use helix_payload::Cache;
use helix_proto::agent::v1::AttemptSummary;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tonic::Status;

use crate::attempt::jobs::Jobs;
use crate::attempt::leftovers::Leftovers;
use crate::attempt::{Attempt, Journal, Order, Record};
use crate::doctor::Finding;
use crate::launcher::{Launcher, Standing};
use crate::service::problem;
use registry::{Known, Registry};

pub(crate) use admission::AdmitError;
pub(crate) use registry::{Ended, Place};
pub(crate) use settings::Settings;
pub(crate) use standing::PressureReading;

/// What an agent is made of.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) facts: Facts,
    pub(crate) cache: Cache,
    pub(crate) launcher: Launcher,
    /// Files that the work items of a job share.
    pub(crate) jobs: Jobs,
    /// Directories that are to go.
    pub(crate) leftovers: Leftovers,
    pub(crate) ground: Ground,
    /// The tasks that own attempts; they end when nothing of one is left to do.
    pub(crate) tasks: TaskTracker,
    started: SystemTime,
    settings: watch::Sender<Arc<Settings>>,
    state: Mutex<State>,
    /// Counts changes that capacity shows.
    changed: watch::Sender<u64>,
    /// What the checks that are done again and again found last.
    findings: watch::Sender<Vec<Finding>>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    registry: Registry,
    health: Health,
    /// Since when an operator has had it drained; lasts over restarts.
    draining: Option<SystemTime>,
    /// Since when this life of the agent comes to its end.
    ending: Option<SystemTime>,
    /// What its own checks found that work would break with, one sentence each.
    bars: Vec<String>,
    pressure: PressureReading,
    /// What the launcher said of itself when it was last looked at.
    isolation: Option<Standing>,
    /// What was free for work items when none was running.
    idle_disk_bytes: u64,
}

/// The parts that are made before the core.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) facts: Facts,
    pub(crate) cache: Cache,
    pub(crate) launcher: Launcher,
    pub(crate) ground: Ground,
}

/// What every work item finds on this machine, whatever its directories.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Where the helper scripts are.
    pub(crate) scripts: PathBuf,
    /// The user that work items run as.
    pub(crate) user: String,
    /// The Python interpreter, where there is one.
    pub(crate) python: Option<PathBuf>,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> io::Result<Arc<Self>> {
        let Parts {
            settings,
            facts,
            cache,
            launcher,
            ground,
        } = parts;
        let config = &settings.config;
        let total = admission::total(config, &facts);
        let draining = standing::load_draining(&config.state_directory)?;
        let state = State {
            ledger: Ledger::new(total),
            registry: Registry::default(),
            health: Health::default(),
            draining,
            ending: None,
            bars: Vec::new(),
            pressure: PressureReading::default(),
            isolation: None,
            idle_disk_bytes: admission::free_disk(config),
        };
        Ok(Arc::new(Self {
            facts,
            cache,
            leftovers: Leftovers::new(launcher.clone()),
            launcher,
            jobs: Jobs::default(),
            ground,
            tasks: TaskTracker::new(),
            started: SystemTime::now(),
            settings: watch::Sender::new(Arc::new(settings)),
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            findings: watch::Sender::new(Vec::new()),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here leaves the state half changed when it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What people call the machine.
    pub(crate) fn machine_name(&self) -> String {
        let configured = self.settings().config.machine_name.clone();
        configured.unwrap_or_else(|| self.facts.host_name.clone())
    }

    /// Where attempts are kept.
    pub(crate) fn attempts_directory(&self) -> PathBuf {
        self.settings().config.state_directory.join("attempts")
    }

    /// Word of changes that capacity shows.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Says that something changed that capacity shows.
    pub(crate) fn note_change(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// What the checks found last; empty before the first look.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.findings.borrow().clone()
    }

    /// Notes what the checks found.
    pub(crate) fn note_findings(&self, findings: Vec<Finding>) {
        self.findings.send_replace(findings);
    }

    /// Takes up an attempt that an earlier life of the agent began.
    pub(crate) fn adopt(&self, attempt: &Arc<Attempt>) {
        let mut state = self.lock();
        state
            .ledger
            .adopt(attempt.identity.attempt.clone(), attempt.reserved);
        state.registry.insert_live(Arc::clone(attempt));
        drop(state);
        self.note_change();
    }

    /// Takes up an attempt that has ended in an earlier life of the agent.
    pub(crate) fn remember(&self, attempt: &Attempt, ended: SystemTime) {
        let row = Ended {
            directory: attempt.directory().to_owned(),
            summary: attempt.summary(),
            ended,
        };
        self.lock()
            .registry
            .insert_ended(attempt.identity.clone(), row);
    }

    /// Gives back what an attempt held, once its terminal event is written.
    pub(crate) fn release(&self, attempt: &Attempt, evidence: Evidence) {
        let now = SystemTime::now();
        let id = &attempt.identity.attempt;
        let ended = Ended {
            directory: attempt.directory().to_owned(),
            summary: attempt.summary(),
            ended: now,
        };
        count_end(&ended.summary);
        let mut state = self.lock();
        state.ledger.release(id);
        state.registry.end(id, ended);
        let health = state
            .health
            .after(evidence, &self.settings().config.health, now);
        if let (Health::Quarantined { failures, .. }, false) =
            (&health, matches!(state.health, Health::Quarantined { .. }))
        {
            tracing::error!(
                failures,
                "machine goes into quarantine after infrastructure failures in a row"
            );
        }
        state.health = health;
        drop(state);
        self.note_change();
    }

    /// The history of an attempt, running or ended.
    pub(crate) async fn open(&self, id: &AttemptId) -> Result<Arc<Attempt>, Status> {
        let known = self.lock().registry.get(id);
        match known {
            None => Err(problem::unknown_attempt(id)),
            Some(Known::Live(attempt)) => Ok(attempt),
            Some(Known::Ended(ended, identity)) => {
                let read = tokio::task::spawn_blocking(move || {
                    let journal = Journal::open(&ended.directory)?;
                    let bytes = ended.summary.console_bytes;
                    let reserved = Resources::default();
                    let (attempt, _) =
                        Attempt::new(identity, reserved, journal, ended.directory, bytes);
                    Ok::<_, io::Error>(Arc::new(attempt))
                });
                match read.await.map_err(io::Error::other) {
                    Ok(Ok(attempt)) => Ok(attempt),
                    Ok(Err(error)) | Err(error) => Err(problem::history_unreadable(id, &error)),
                }
            }
        }
    }

    /// Passes on a wish. Says whether the attempt had ended before.
    pub(crate) fn order(&self, id: &AttemptId, order: Order) -> Result<bool, Status> {
        let known = self.lock().registry.get(id);
        match known {
            None => Err(problem::unknown_attempt(id)),
            Some(Known::Ended(..)) => Ok(true),
            Some(Known::Live(attempt)) => {
                attempt.order(order);
                Ok(attempt.journal.terminal().is_some())
            }
        }
    }

    /// Notes that the history of an attempt is stored safely elsewhere.
    pub(crate) fn acknowledge(&self, id: &AttemptId) -> Result<(), Status> {
        let known = self.lock().registry.get(id);
        match known {
            None => Err(problem::unknown_attempt(id)),
            Some(Known::Live(attempt)) => match attempt.journal.terminal() {
                None => Err(problem::not_ended(id)),
                Some(_) => {
                    attempt
                        .acknowledge()
                        .map_err(|error| problem::state_unwritable(&error))?;
                    self.lock().registry.acknowledged(id);
                    Ok(())
                }
            },
            Some(Known::Ended(ended, _)) => {
                Attempt::acknowledge_in(&ended.directory)
                    .map_err(|error| problem::state_unwritable(&error))?;
                self.lock().registry.acknowledged(id);
                Ok(())
            }
        }
    }

    /// Rows for a list.
    pub(crate) fn rows(
        &self,
        after: Option<&Place>,
        running_only: bool,
        most: usize,
    ) -> Vec<AttemptSummary> {
        self.lock().registry.rows(after, running_only, most)
    }

    /// How many attempts run.
    pub(crate) fn running(&self) -> usize {
        self.lock().registry.live_count()
    }

    /// The attempts that have ended.
    pub(crate) fn ended(&self) -> Vec<(AttemptId, Ended)> {
        let state = self.lock();
        state
            .registry
            .ended()
            .map(|(id, ended)| (id.clone(), ended.clone()))
            .collect()
    }

    /// Forgets an ended attempt, and says where its history lies.
    pub(crate) fn forget(&self, id: &AttemptId) -> Option<PathBuf> {
        self.lock().registry.forget(id)
    }

    /// Begins an attempt: directory, record and journal.
    fn begin(&self, record: &Record) -> io::Result<(Attempt, tokio::sync::mpsc::Receiver<Order>)> {
        let directory =
            crate::attempt::create_directory(&self.attempts_directory(), &record.identity.attempt)?;
        let saved = record
            .save(&directory)
            .and_then(|()| Journal::create(&directory));
        let journal = saved.inspect_err(|_| {
            // Nobody was told of it, and the next try must not find it in the way.
            let _ = std::fs::remove_dir_all(&directory);
        })?;
        Ok(Attempt::new(
            record.identity.clone(),
            record.reserved(),
            journal,
            directory,
            0,
        ))
    }
}

/// Counts an ended attempt for the metrics.
fn count_end(summary: &AttemptSummary) {
    use helix_proto::agent::v1::attempt_event::Kind;
    use helix_proto::agent::v1::returned::Cause;
    let kind = summary
        .terminal_event
        .as_ref()
        .and_then(|event| event.kind.as_ref());
    let (event, verdict) = match kind {
        Some(Kind::Finished(finished)) => ("finished", finished.verdict.as_ref()),
        Some(Kind::Requeued(requeued)) => ("requeued", requeued.verdict.as_ref()),
        Some(Kind::Returned(returned)) => match &returned.cause {
            Some(Cause::Verdict(verdict)) => ("returned", Some(verdict)),
            Some(Cause::Refusal(_)) | None => ("returned", None),
        },
        _ => return,
    };
    let verdict = verdict.map_or("REFUSED", |verdict| {
        let name = verdict.kind().as_str_name();
        name.strip_prefix("VERDICT_KIND_").unwrap_or(name)
    });
    metrics::counter!("helix_agent_ended_total", "event" => event, "verdict" => verdict)
        .increment(1);
}
