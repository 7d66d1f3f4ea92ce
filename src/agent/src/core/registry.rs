//! The attempts that the agent knows: those that run, with all that belongs to
//! them, and those that have ended, as one row each. The history of an ended
//! attempt is read from disk when somebody asks for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use helix_model::admission::KnownAttempt;
use helix_model::ids::{AttemptId, JobId, WorkItemId};
use helix_proto::agent::v1::AttemptSummary;

use crate::attempt::{Attempt, Identity};

/// A place in the list of attempts, whether or not there is one (any more): when
/// it was accepted, and its id.
pub(crate) type Place = (SystemTime, AttemptId);

/// All attempts that the agent knows.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: HashMap<AttemptId, Entry>,
    /// Those that run, newest last.
    live: BTreeMap<Place, Arc<Attempt>>,
    /// All, newest last.
    by_time: BTreeSet<Place>,
    by_work_item: HashMap<(JobId, WorkItemId), Vec<AttemptId>>,
}

#[derive(Debug)]
struct Entry {
    identity: Identity,
    superseded_by: Option<AttemptId>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Live(Arc<Attempt>),
    Ended(Box<Ended>),
}

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// Where its history is kept.
    pub(crate) directory: PathBuf,
    /// What a list shows of it.
    pub(crate) summary: AttemptSummary,
    pub(crate) ended: SystemTime,
}

/// What is known under an id.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    Live(Arc<Attempt>),
    Ended(Box<Ended>, Identity),
}

impl Registry {
    pub(crate) fn insert_live(&mut self, attempt: Arc<Attempt>) {
        let identity = attempt.identity.clone();
        self.live.insert(
            (identity.accepted, identity.attempt.clone()),
            Arc::clone(&attempt),
        );
        self.insert(identity, Stage::Live(attempt));
    }

    pub(crate) fn insert_ended(&mut self, identity: Identity, ended: Ended) {
        self.insert(identity, Stage::Ended(Box::new(ended)));
    }

    fn insert(&mut self, identity: Identity, stage: Stage) {
        let id = identity.attempt.clone();
        self.by_time.insert((identity.accepted, id.clone()));
        self.by_work_item
            .entry((identity.job.clone(), identity.work_item.clone()))
            .or_default()
            .push(id.clone());
        self.entries.insert(
            id,
            Entry {
                identity,
                superseded_by: None,
                stage,
            },
        );
    }

    /// Turns a running attempt into one row.
    pub(crate) fn end(&mut self, id: &AttemptId, ended: Ended) {
        if let Some(entry) = self.entries.get_mut(id) {
            self.live.remove(&(entry.identity.accepted, id.clone()));
            entry.stage = Stage::Ended(Box::new(ended));
        }
    }

    pub(crate) fn get(&self, id: &AttemptId) -> Option<Known> {
        self.entries.get(id).map(|entry| match &entry.stage {
            Stage::Live(attempt) => Known::Live(Arc::clone(attempt)),
            Stage::Ended(ended) => Known::Ended(ended.clone(), entry.identity.clone()),
        })
    }

    /// Notes that the history of an ended attempt is safe elsewhere.
    pub(crate) fn acknowledged(&mut self, id: &AttemptId) {
        if let Some(Entry {
            stage: Stage::Ended(ended),
            ..
        }) = self.entries.get_mut(id)
        {
            ended.summary.acknowledged = true;
        }
    }

    /// Forgets an ended attempt. A running one is not forgotten.
    pub(crate) fn forget(&mut self, id: &AttemptId) -> Option<PathBuf> {
        let Stage::Ended(ended) = &self.entries.get(id)?.stage else {
            return None;
        };
        let directory = ended.directory.clone();
        let entry = self.entries.remove(id)?;
        self.by_time.remove(&(entry.identity.accepted, id.clone()));
        let key = (entry.identity.job, entry.identity.work_item);
        if let Some(attempts) = self.by_work_item.get_mut(&key) {
            attempts.retain(|attempt| attempt != id);
            if attempts.is_empty() {
                self.by_work_item.remove(&key);
            }
        }
        Some(directory)
    }

    /// What bears on the admission of an attempt: itself, and its siblings.
    pub(crate) fn related(
        &self,
        attempt: &AttemptId,
        job: &JobId,
        work_item: &WorkItemId,
    ) -> Vec<KnownAttempt> {
        let siblings = self.by_work_item.get(&(job.clone(), work_item.clone()));
        let siblings = siblings.map(Vec::as_slice).unwrap_or_default();
        std::iter::once(attempt)
            .chain(siblings.iter().filter(|sibling| *sibling != attempt))
            .filter_map(|id| self.entries.get(id))
            .map(|entry| KnownAttempt {
                attempt: entry.identity.attempt.clone(),
                work_item: entry.identity.work_item.clone(),
                job: entry.identity.job.clone(),
                delivery: entry.identity.delivery,
                superseded_by: entry.superseded_by.clone(),
            })
            .collect()
    }

    /// Notes that `newer` takes the place of its older siblings, and returns
    /// those of them that still run.
    pub(crate) fn supersede(&mut self, newer: &Identity) -> Vec<Arc<Attempt>> {
        let key = (newer.job.clone(), newer.work_item.clone());
        let siblings = self.by_work_item.get(&key).cloned().unwrap_or_default();
        let mut running = Vec::new();
        for id in siblings.iter().filter(|id| **id != newer.attempt) {
            if let Some(entry) = self.entries.get_mut(id)
                && entry.identity.delivery < newer.delivery
            {
                entry.superseded_by = Some(newer.attempt.clone());
                if let Stage::Live(attempt) = &entry.stage {
                    running.push(Arc::clone(attempt));
                }
            }
        }
        running
    }

    /// The attempts that run, oldest first.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Arc<Attempt>> {
        self.live.values()
    }

    /// How many attempts run.
    pub(crate) fn live_count(&self) -> usize {
        self.live.len()
    }

    /// The attempts that have ended, in no order.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (&AttemptId, &Ended)> {
        self.entries
            .iter()
            .filter_map(|(id, entry)| match &entry.stage {
                Stage::Live(_) => None,
                Stage::Ended(ended) => Some((id, ended.as_ref())),
            })
    }

    /// Rows for a list, newest first, behind the place `after`.
    pub(crate) fn rows(
        &self,
        after: Option<&Place>,
        running_only: bool,
        most: usize,
    ) -> Vec<AttemptSummary> {
        let range = match after {
            Some(place) => self.by_time.range(..place),
            None => self.by_time.range(..),
        };
        range
            .rev()
            .filter_map(|(_, id)| self.entries.get(id))
            .filter(|entry| !running_only || matches!(entry.stage, Stage::Live(_)))
            .take(most)
            .map(|entry| match &entry.stage {
                Stage::Live(attempt) => attempt.summary(),
                Stage::Ended(ended) => ended.summary.clone(),
            })
            .collect()
    }
}
