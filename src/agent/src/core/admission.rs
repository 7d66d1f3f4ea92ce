//! Taking or refusing a work item: the shell around
//! [`helix_model::admission::decide`].

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use helix_machine::facts::Facts;
use helix_machine::free::{DiskSpace, Memory};
use helix_model::admission::{AgentSnapshot, Refusal, Standing, decide, refuse_missing};
use helix_model::capability::Missing;
use helix_model::outcome::CancelledBy;
use helix_model::resources::Resources;
use helix_model::work_item::WorkItem;

use super::{Core, State};
use crate::attempt::{Attempt, Order, Record, drive};
use crate::config::Config;

/// Why a work item was not taken.
#[derive(Debug)]
pub(crate) enum AdmitError {
    /// By the rules.
    Refused(Refusal),
    /// The agent cannot write down that it took it.
    StateUnwritable(io::Error),
}

impl Core {
    /// Takes a work item and sets its attempt going, or refuses it before
    /// anything is touched.
    pub(crate) fn admit(self: &Arc<Self>, work_item: WorkItem) -> Result<Arc<Attempt>, AdmitError> {
        let now = SystemTime::now();
        let mut state = self.lock();
        if state.registry.live_count() == 0 {
            state.idle_disk_bytes = free_disk(&self.settings().config);
        }
        let snapshot = self.snapshot(&state, &work_item, now);
        let admission = match decide(&work_item, &snapshot, now) {
            Ok(admission) => admission,
            Err(refusal) => {
                drop(state);
                self.count_refusal(&refusal);
                tracing::info!(
                    attempt = %work_item.attempt,
                    work_item.id = %work_item.id,
                    reason = refusal.reason(),
                    "work item refused"
                );
                self.install_what_is_missing(&refusal);
                return Err(AdmitError::Refused(refusal));
            }
        };
        let record = Record::of(&work_item, now);
        let (attempt, orders) = self.begin(&record).map_err(AdmitError::StateUnwritable)?;
        let attempt = Arc::new(attempt);
        state
            .ledger
            .adopt(work_item.attempt.clone(), admission.reserve);
        state.registry.insert_live(Arc::clone(&attempt));
        let superseded = state.registry.supersede(&attempt.identity);
        drop(state);

        for older in superseded {
            let by = CancelledBy::Superseded {
                by: work_item.attempt.clone(),
            };
            older.order(Order::Cancel { by, grace: None });
        }
        metrics::counter!("helix_agent_accepted_total").increment(1);
        tracing::info!(
            attempt = %work_item.attempt,
            work_item.id = %work_item.id,
            job.id = %work_item.job,
            trial = admission.standing == Standing::Trial,
            "work item accepted"
        );
        drive::accept(self, &attempt, &work_item);
        let run = drive::run(
            Arc::clone(self),
            Arc::clone(&attempt),
            work_item,
            record,
            orders,
        );
        self.tasks.spawn(run);
        self.note_change();
        Ok(attempt)
    }

    /// The refusal for what a payload turned out to ask for. Starts what can be
    /// installed.
    pub(crate) fn refuse_missing(&self, missing: Vec<Missing>) -> Refusal {
        let now = SystemTime::now();
        let provisioners = self.settings().provisioners.snapshots(&missing, now);
        let refusal = refuse_missing(missing, &provisioners, now);
        self.count_refusal(&refusal);
        self.install_what_is_missing(&refusal);
        refusal
    }

    fn install_what_is_missing(&self, refusal: &Refusal) {
        let installations = match refusal {
            Refusal::MissingCapability { installations, .. }
            | Refusal::Provisioning { installations } => installations,
            Refusal::BadRequest { .. }
            | Refusal::Duplicate { .. }
            | Refusal::Superseded { .. }
            | Refusal::Offline { .. }
            | Refusal::Draining { .. }
            | Refusal::WrongQueue { .. }
            | Refusal::NotIsolated { .. }
            | Refusal::Unhealthy { .. }
            | Refusal::TooLarge { .. }
            | Refusal::SlotsFull { .. }
            | Refusal::CpuShort { .. }
            | Refusal::MemoryShort { .. }
            | Refusal::DiskShort { .. } => return,
        };
        for installation in installations {
            match self.settings().provisioners.ensure(&installation.missing) {
                Ok(under_way) => tracing::info!(
                    provisioner = %under_way.provisioner,
                    capability = %under_way.capability,
                    phase = ?under_way.phase,
                    "missing capability is being installed"
                ),
                Err(error) => tracing::warn!(
                    error = crate::error_chain(&error),
                    "missing capability cannot be installed"
                ),
            }
        }
        self.note_change();
    }

    /// Counts a refusal for the metrics.
    pub(crate) fn count_refusal(&self, refusal: &Refusal) {
        metrics::counter!("helix_agent_refused_total", "reason" => refusal.reason()).increment(1);
    }

    fn snapshot(&self, state: &State, work_item: &WorkItem, now: SystemTime) -> AgentSnapshot {
        let settings = self.settings();
        let capabilities = settings.catalog.capabilities();
        let missing = capabilities.missing(&work_item.requirements);
        AgentSnapshot {
            availability: self.availability(state),
            queues: settings.config.queues.clone(),
            isolation: self.isolation_snapshot(),
            capabilities: capabilities.as_ref().clone(),
            provisioners: self.settings().provisioners.snapshots(&missing, now),
            health: state.health.clone(),
            total: state.ledger.total(),
            free: self.free(state),
            pressure: state.pressure.gauge.level(),
            running: state.registry.live_count(),
            free_by: None,
            attempts: state
                .registry
                .related(&work_item.attempt, &work_item.job, &work_item.id),
        }
    }

    /// What is neither reserved nor, as far as the system can tell, in use.
    pub(super) fn free(&self, state: &State) -> Resources {
        let free = state.ledger.free();
        let disk = free_disk(&self.settings().config);
        let memory = Memory::read().map_or(free.memory_bytes, |memory| memory.available_bytes);
        // What was reserved but not written yet still counts as free on the
        // disk, so that the free space of the idle machine is what is shared.
        let unreserved = state
            .idle_disk_bytes
            .saturating_sub(state.ledger.reserved().disk_bytes);
        free.least(Resources {
            slots: free.slots,
            cpu_millis: free.cpu_millis,
            memory_bytes: memory,
            disk_bytes: disk.min(unreserved),
        })
    }
}

/// The space that is free and may be given away.
pub(super) fn free_disk(config: &Config) -> u64 {
    let free = DiskSpace::of(&config.work_directory).map_or(0, |disk| disk.free_bytes);
    free.saturating_sub(config.resources.disk_reserve_bytes)
}

/// What the configuration grants of the machine.
pub(super) fn total(config: &Config, facts: &Facts) -> Resources {
    let granted = &config.resources;
    let all_cpus = u64::from(facts.cpus.get()).saturating_mul(1000);
    Resources {
        slots: config.slots,
        cpu_millis: granted.cpu_millis.unwrap_or(all_cpus),
        memory_bytes: granted.memory_bytes.unwrap_or(facts.memory_bytes),
        disk_bytes: disk_total(config),
    }
}

/// All the space that work items may take together.
fn disk_total(config: &Config) -> u64 {
    let total = DiskSpace::of(&config.work_directory).map_or(0, |disk| disk.total_bytes);
    total.saturating_sub(config.resources.disk_reserve_bytes)
}
