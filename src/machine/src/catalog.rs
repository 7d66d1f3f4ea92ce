//! Everything the machine offers, merged from facts, labels and probes, and watched for changes.
//!
//! Each probe writes its finding as soon as it has one, so that a tool is advertised the moment it
//! is seen, however long other probes take. Runs of the same probe may overlap (the timer's, and
//! one on demand after an installation); the finding of the run that *started* last stands, so that
//! a slow old look never undoes a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use helix_model::capability::{CapabilityName, CapabilitySet, CapabilityValue};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::facts::Facts;
use crate::probe::{Absence, Probe, Sighting};

/// How many probes run at a time: what looks after work should not look like work.
const CONCURRENT_PROBES: usize = 2;

/// After how many findings in a row that prove nothing a tool counts as gone.
///
/// A machine under load lets probes run out of time. A tool that was there is not gone for that,
/// and it would be worse than useless to refuse work or to install the tool again just when there
/// is most to do.
const MAX_INCONCLUSIVE: u32 = 3;

/// A capability that the configuration says is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// What it is called.
    pub name: CapabilityName,
    /// Its text; none for one that is just there.
    pub value: Option<String>,
}

/// What the machine offers. Cheap to clone; all clones are the same catalog.
#[derive(Debug, Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Facts and labels.
    fixed: CapabilitySet,
    probes: Vec<Probe>,
    state: watch::Sender<Findings>,
    tickets: AtomicU64,
    permits: Semaphore,
}

/// What is known at one time.
#[derive(Debug, Clone)]
pub struct Findings {
    capabilities: Arc<CapabilitySet>,
    /// One for each probe, in their order.
    probes: Vec<Finding>,
}

/// What is known from one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// The run that it comes from; 0 before the first.
    ticket: u64,
    time: Option<SystemTime>,
    /// What counts.
    sighting: Option<Sighting>,
    /// How many findings in a row proved nothing.
    inconclusive: u32,
    /// Why the last run found nothing, even if something still counts.
    trouble: Option<Absence>,
}

/// What one probe found, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// What it looks for.
    pub capability: CapabilityName,
    /// When it last looked; none if it has not yet.
    pub time: Option<SystemTime>,
    /// What it found that counts; none if it has not looked yet.
    pub sighting: Option<Sighting>,
    /// Why the last look found nothing. Beside a tool that is present: the look proved nothing, and
    /// what was known before still counts.
    pub trouble: Option<Absence>,
}

impl Findings {
    /// All capabilities.
    #[must_use]
    pub fn capabilities(&self) -> &Arc<CapabilitySet> {
        &self.capabilities
    }
}

impl Catalog {
    /// A catalog of facts and labels. No probe has run: [`Catalog::refresh`] does that.
    #[must_use]
    pub fn new(facts: &Facts, labels: &[Label], probes: Vec<Probe>) -> Self {
        let mut fixed = facts.capabilities();
        for label in labels {
            let value = label
                .value
                .as_ref()
                .map_or(CapabilityValue::Label, CapabilityValue::text);
            fixed.add(label.name.clone(), value);
        }
        Self::of(fixed, probes)
    }

    fn of(fixed: CapabilitySet, probes: Vec<Probe>) -> Self {
        let unseen = Finding {
            ticket: 0,
            time: None,
            sighting: None,
            inconclusive: 0,
            trouble: None,
        };
        let (state, _) = watch::channel(Findings {
            capabilities: Arc::new(fixed.clone()),
            probes: vec![unseen; probes.len()],
        });
        Self {
            inner: Arc::new(Inner {
                fixed,
                probes,
                state,
                tickets: AtomicU64::new(1),
                permits: Semaphore::new(CONCURRENT_PROBES),
            }),
        }
    }

    /// What the machine offers now.
    #[must_use]
    pub fn capabilities(&self) -> Arc<CapabilitySet> {
        Arc::clone(self.inner.state.borrow().capabilities())
    }

    /// Sees every change of the capabilities, and nothing when a refresh changes nothing.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Findings> {
        self.inner.state.subscribe()
    }

    /// What each probe found, in their order.
    #[must_use]
    pub fn reports(&self) -> Vec<ProbeReport> {
        let state = self.inner.state.borrow();
        self.inner
            .probes
            .iter()
            .zip(&state.probes)
            .map(|(probe, finding)| ProbeReport {
                capability: probe.capability.clone(),
                time: finding.time,
                sighting: finding.sighting.clone(),
                trouble: finding.trouble.clone(),
            })
            .collect()
    }

    /// Whether some probe looks for a capability.
    #[must_use]
    pub fn is_probed(&self, capability: &CapabilityName) -> bool {
        self.inner
            .probes
            .iter()
            .any(|probe| probe.capability == *capability)
    }

    /// Runs every probe, two at a time, and returns when all have looked. Dropping the future stops
    /// what runs; what was found until then counts.
    pub async fn refresh(&self) {
        let looks = self
            .inner
            .probes
            .iter()
            .enumerate()
            .map(async |(index, probe)| {
                // The semaphore is never closed; without a permit the look would merely be one too
                // many.
                let _permit = self.inner.permits.acquire().await.ok();
                self.look(index, probe).await;
            });
        join_all(looks).await;
    }

    /// Runs the probes of one capability and returns what the machine offers then. Does not wait
    /// for other probes, however many are running.
    pub async fn refresh_capability(&self, capability: &CapabilityName) -> Arc<CapabilitySet> {
        let probes = self.inner.probes.iter().enumerate();
        let wanted = probes.filter(|(_, probe)| probe.capability == *capability);
        join_all(wanted.map(|(index, probe)| self.look(index, probe))).await;
        self.capabilities()
    }

    /// Runs every probe again and again, for as long as the future is polled; the first time after
    /// `period`.
    pub async fn refresh_every(&self, period: Duration) {
        let period = period.max(Duration::from_secs(1));
        let mut timer = interval_at(Instant::now() + period, period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            self.refresh().await;
        }
    }

    /// Runs one probe and notes what it found.
    async fn look(&self, index: usize, probe: &Probe) {
        let ticket = self.inner.tickets.fetch_add(1, Ordering::Relaxed);
        let sighting = probe.run().await;
        self.note(index, ticket, sighting, SystemTime::now());
    }

    fn note(&self, index: usize, ticket: u64, sighting: Sighting, now: SystemTime) {
        let inner = &*self.inner;
        inner.state.send_if_modified(|state| {
            let Some(finding) = state.probes.get_mut(index) else {
                return false;
            };
            if finding.ticket >= ticket {
                return false;
            }
            let before = finding.sighting.clone();
            finding.take(ticket, sighting, now);
            if finding.sighting == before {
                return false;
            }
            let capabilities = merge(&inner.fixed, &inner.probes, &state.probes);
            if capabilities == *state.capabilities {
                return false;
            }
            state.capabilities = Arc::new(capabilities);
            true
        });
        self.log(index);
    }

    fn log(&self, index: usize) {
        let Some(probe) = self.inner.probes.get(index) else {
            return;
        };
        let state = self.inner.state.borrow();
        let Some(finding) = state.probes.get(index) else {
            return;
        };
        match (&finding.sighting, &finding.trouble) {
            (Some(Sighting::Present(value)), None) => {
                tracing::debug!(
                    capability = %probe.capability,
                    present = %value,
                    "probe found tool",
                );
            }
            (_, Some(trouble)) if trouble.is_inconclusive() => {
                tracing::warn!(
                    capability = %probe.capability,
                    error = %trouble,
                    "probe proved nothing",
                );
            }
            (_, Some(trouble)) => {
                tracing::debug!(
                    capability = %probe.capability,
                    reason = %trouble,
                    "probe found nothing",
                );
            }
            (Some(Sighting::Absent(_)) | None, None) => {}
        }
    }
}

impl Finding {
    fn take(&mut self, ticket: u64, sighting: Sighting, now: SystemTime) {
        self.ticket = ticket;
        self.time = Some(now);
        match sighting {
            Sighting::Present(value) => {
                self.sighting = Some(Sighting::Present(value));
                self.inconclusive = 0;
                self.trouble = None;
            }
            Sighting::Absent(absence) => {
                self.inconclusive = if absence.is_inconclusive() {
                    self.inconclusive.saturating_add(1)
                } else {
                    MAX_INCONCLUSIVE
                };
                let was_present = matches!(self.sighting, Some(Sighting::Present(_)));
                if !was_present || self.inconclusive >= MAX_INCONCLUSIVE {
                    self.sighting = Some(Sighting::Absent(absence.clone()));
                }
                self.trouble = Some(absence);
            }
        }
    }
}

fn merge(fixed: &CapabilitySet, probes: &[Probe], findings: &[Finding]) -> CapabilitySet {
    let mut all = fixed.clone();
    for (probe, finding) in probes.iter().zip(findings) {
        if let Some(Sighting::Present(value)) = &finding.sighting {
            all.add(probe.capability.clone(), value.clone());
        }
    }
    all
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
