//! Attempts in memory: written down, followed, ended, handed over.

use std::collections::BTreeSet;
use std::time::SystemTime;

use helix_model::ids::AttemptId;

use super::state::{AttemptEntry, FlakyEntry, State};
use crate::{
    AgentName, Attempt, AttemptState, Avoid, Change, ControllerId, Fence, Held, Item, ItemEndKind,
    ItemState, JobEventKind, LaneId, LogPlace, Next, Progress, Refusal, Settlement, StoreError,
    Taken, VerdictKind, rules,
};

impl State {
    pub(super) fn take(
        &mut self,
        controller: &ControllerId,
        lane_id: LaneId,
        agent: &AgentName,
        attempts: &[AttemptId],
        now: SystemTime,
    ) -> Result<Vec<Taken>, StoreError> {
        let Some(lane) = self.lanes.get_mut(&lane_id) else {
            return Ok(Vec::new());
        };
        let mut due = Vec::new();
        while let Some((until, ..)) = lane.delayed.first()
            && *until <= now
            && let Some((until, position, item)) = lane.delayed.pop_first()
        {
            lane.ready.insert(position, item.clone());
            due.push((until, position, item));
        }
        let items = &self.items;
        let may_go = |item| {
            let refused = items.get(item).and_then(|entry| entry.refusals.get(agent));
            refused.is_none_or(|entry| entry.refusal.until <= now)
        };
        let chosen: Vec<_> = lane
            .ready
            .iter()
            .filter(|(_, item)| may_go(*item))
            .zip(attempts)
            .map(|((position, item), attempt)| (*position, item.clone(), attempt.clone()))
            .collect();
        let mut fresh = BTreeSet::new();
        for (.., attempt) in &chosen {
            if self.attempts.contains_key(attempt) || !fresh.insert(attempt) {
                // Nothing is changed by a call that is refused.
                for (until, position, item) in due {
                    lane.ready.remove(&position);
                    lane.delayed.insert((until, position, item));
                }
                return Err(StoreError::Invalid(format!(
                    "a new attempt with the id `{attempt}`, which another has"
                )));
            }
        }
        for (position, ..) in &chosen {
            lane.ready.remove(position);
        }
        let mut taken = Vec::with_capacity(chosen.len());
        for (_, item, attempt) in &chosen {
            let Some(entry) = self.items.get_mut(item) else {
                continue;
            };
            let Some(job) = self.jobs.get_mut(&entry.item.job) else {
                continue;
            };
            entry.item.state = ItemState::Offered {
                attempt: attempt.clone(),
                agent: agent.clone(),
            };
            entry.item.since = now;
            entry.item.attempts += 1;
            entry.attempts.push(attempt.clone());
            job.job.counts.waiting -= 1;
            job.job.counts.running += 1;
            taken.push(Taken {
                fence: Fence {
                    attempt: attempt.clone(),
                    epoch: 1,
                },
                item: item.clone(),
                job: entry.item.job.clone(),
                queue: job.job.queue.clone(),
                name: entry.item.name.clone(),
                delivery: entry.item.delivery,
                retry_place: entry.item.retry_place,
                specification: entry.specification.clone(),
            });
            self.next_attempt += 1;
            let number = self.next_attempt;
            let new = AttemptEntry {
                attempt: offered(attempt, &entry.item, agent, controller, now),
                number,
                short_log: None,
            };
            self.attempts.insert(attempt.clone(), new);
            let open = self.open.entry(controller.clone()).or_default();
            open.insert(number, attempt.clone());
        }
        self.settle_lane(lane_id);
        Ok(taken)
    }

    /// The attempt, if who asks looks after it and it is open.
    fn fenced(&mut self, fence: &Fence) -> Result<&mut AttemptEntry, StoreError> {
        self.attempts
            .get_mut(&fence.attempt)
            .filter(|entry| entry.attempt.epoch == fence.epoch && entry.is_open())
            .ok_or_else(|| StoreError::Fenced(fence.attempt.clone()))
    }

    pub(super) fn give_back(
        &mut self,
        fence: &Fence,
        refusal: &Refusal,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        if !self.attempts.contains_key(&fence.attempt) && self.given_back.contains(fence) {
            return Ok(());
        }
        let entry = self.fenced(fence)?;
        if entry.attempt.state != AttemptState::Offered {
            return Err(StoreError::Invalid(format!(
                "attempt `{}` given back, which its agent has taken",
                fence.attempt
            )));
        }
        let (number, controller) = (entry.number, entry.attempt.controller.clone());
        let item_id = entry.attempt.item.clone();
        self.let_go(&controller, number);
        self.attempts.remove(&fence.attempt);
        self.refuse(&item_id, refusal, Some(fence));
        let Some(item) = self.items.get_mut(&item_id) else {
            return Ok(());
        };
        item.attempts.retain(|id| *id != fence.attempt);
        item.item.attempts -= 1;
        if let Some(reason) = item.item.cancel_requested.clone() {
            self.end_running(&item_id, rules::cancelled_end(&reason), now);
            return Ok(());
        }
        item.item.state = ItemState::Waiting;
        item.item.since = now;
        let job = item.item.job.clone();
        self.enqueue(&item_id, None);
        if let Some(job) = self.jobs.get_mut(&job) {
            job.job.counts.running -= 1;
            job.job.counts.waiting += 1;
            self.changes.push(Change::Waiting(job.job.queue.clone()));
        }
        Ok(())
    }

    pub(super) fn record(&mut self, fence: &Fence, progress: Progress) -> Result<(), StoreError> {
        let entry = self.fenced(fence)?;
        let before = entry.attempt.accepted;
        apply(&mut entry.attempt, progress);
        let attempt = entry.attempt.clone();
        if before.is_none() {
            self.tell_accepted(&attempt);
        }
        Ok(())
    }

    /// Says that an agent took an attempt, where that has become known.
    fn tell_accepted(&mut self, attempt: &Attempt) {
        let Some(accepted) = attempt.accepted else {
            return;
        };
        if let Some(item) = self.items.get_mut(&attempt.item) {
            item.item.state = ItemState::Running {
                attempt: attempt.id.clone(),
                agent: attempt.agent.clone(),
            };
            item.item.since = accepted;
        }
        if let Some(job) = self.jobs.get_mut(&attempt.job) {
            let kind = JobEventKind::AttemptStarted {
                item: attempt.item.clone(),
                attempt: attempt.id.clone(),
                agent: attempt.agent.clone(),
            };
            job.tell(accepted, kind);
            self.changes.push(Change::Job(attempt.job.clone()));
        }
    }

    pub(super) fn settle(
        &mut self,
        fence: &Fence,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        rules::check_settlement(&settlement)?;
        let ended = self.attempts.get(&fence.attempt);
        if ended.is_some_and(|entry| !entry.is_open() && entry.attempt.epoch == fence.epoch) {
            return Ok(());
        }
        let entry = self.fenced(fence)?;
        let before = entry.attempt.accepted;
        apply(&mut entry.attempt, settlement.progress);
        let accepted = entry.attempt.clone();
        entry.attempt.state = settlement.state;
        entry.attempt.ended = Some(now);
        entry.attempt.log_bytes = settlement.log_bytes;
        if settlement.log == Some(LogPlace::Here) {
            entry.short_log = Some(settlement.short_log);
        }
        entry.attempt.log = settlement.log;
        let (number, controller) = (entry.number, entry.attempt.controller.clone());
        self.let_go(&controller, number);
        if before.is_none() {
            self.tell_accepted(&accepted);
        }
        let Some(item) = self.items.get(&accepted.item) else {
            return Ok(());
        };
        match rules::next_of(settlement.next, item.item.cancel_requested.as_deref()) {
            Next::End(end) => {
                if end.kind == ItemEndKind::PassedOnRetry {
                    self.note_flaky(&accepted, now);
                }
                self.end_running(&accepted.item, end, now);
            }
            Next::Wait {
                delivery,
                not_before,
                avoid,
                retry,
                reason,
            } => {
                let Some(item) = self.items.get_mut(&accepted.item) else {
                    return Ok(());
                };
                let Some(job) = self.jobs.get_mut(&accepted.job) else {
                    return Ok(());
                };
                item.item.delivery = delivery;
                item.item.state = ItemState::Waiting;
                item.item.since = now;
                item.position = job.next_position;
                job.next_position += 1;
                job.job.counts.running -= 1;
                job.job.counts.waiting += 1;
                let kind = JobEventKind::ItemRequeued {
                    item: accepted.item.clone(),
                    attempt: accepted.id.clone(),
                    retry,
                    reason,
                };
                job.tell(now, kind);
                self.changes.push(Change::Job(accepted.job.clone()));
                self.changes.push(Change::Waiting(job.job.queue.clone()));
                if let Some(Avoid { refusal }) = avoid {
                    self.refuse(&accepted.item, &refusal, None);
                }
                self.enqueue(&accepted.item, not_before);
            }
        }
        Ok(())
    }

    /// Remembers which tests failed before their item passed.
    fn note_flaky(&mut self, last: &Attempt, now: SystemTime) {
        let (Some(item), Some(job)) = (self.items.get(&last.item), self.jobs.get(&last.job)) else {
            return;
        };
        let failed = |id: &AttemptId| {
            let attempt = &self.attempts.get(id)?.attempt;
            let judged_failed = matches!(
                &attempt.state,
                AttemptState::Judged(judgement) if judgement.kind == VerdictKind::Failed
            );
            judged_failed.then_some(attempt)
        };
        let names: BTreeSet<&str> = item
            .attempts
            .iter()
            .filter_map(failed)
            .flat_map(|attempt| attempt.failures.iter().map(|test| test.name.as_str()))
            .collect();
        let new = names.into_iter().map(|name| FlakyEntry {
            at: now,
            name: name.to_owned(),
            item_name: item.item.name.to_string(),
            queue: job.job.queue.clone(),
            job: last.job.clone(),
            item: last.item.clone(),
        });
        self.flaky.extend(new);
    }

    pub(super) fn adopt_own(&mut self, controller: &ControllerId, now: SystemTime) -> Vec<Held> {
        self.beats.insert(controller.clone(), now);
        let own = self.open.get(controller).into_iter().flatten();
        let ids: Vec<_> = own.map(|(_, id)| id.clone()).collect();
        self.adopt(controller, &ids)
    }

    pub(super) fn adopt_orphans(
        &mut self,
        controller: &ControllerId,
        silent_since: SystemTime,
        now: SystemTime,
    ) -> Vec<Held> {
        self.beats.insert(controller.clone(), now);
        let silent = |other: &ControllerId| {
            let beat = self.beats.get(other);
            other != controller && beat.is_none_or(|beat| *beat < silent_since)
        };
        let mut orphans: Vec<_> = self
            .open
            .iter()
            .filter(|(other, _)| silent(other))
            .flat_map(|(_, attempts)| attempts.iter())
            .map(|(number, id)| (*number, id.clone()))
            .collect();
        orphans.sort();
        let ids: Vec<_> = orphans.into_iter().map(|(_, id)| id).collect();
        self.adopt(controller, &ids)
    }

    fn adopt(&mut self, controller: &ControllerId, ids: &[AttemptId]) -> Vec<Held> {
        for id in ids {
            let Some(entry) = self.attempts.get_mut(id) else {
                continue;
            };
            let number = entry.number;
            entry.attempt.epoch += 1;
            let before = std::mem::replace(&mut entry.attempt.controller, controller.clone());
            self.let_go(&before, number);
            let open = self.open.entry(controller.clone()).or_default();
            open.insert(number, id.clone());
        }
        ids.iter().filter_map(|id| self.held(id)).collect()
    }
}

fn offered(
    id: &AttemptId,
    item: &Item,
    agent: &AgentName,
    controller: &ControllerId,
    now: SystemTime,
) -> Attempt {
    Attempt {
        id: id.clone(),
        item: item.id.clone(),
        job: item.job.clone(),
        delivery: item.delivery,
        agent: agent.clone(),
        controller: controller.clone(),
        epoch: 1,
        state: AttemptState::Offered,
        offered: now,
        accepted: None,
        started: None,
        ended: None,
        last_event: 0,
        degraded: Vec::new(),
        counts: None,
        failures: Vec::new(),
        warnings: Vec::new(),
        files: Vec::new(),
        log: None,
        log_bytes: 0,
    }
}

/// Adds to an attempt what became known.
fn apply(attempt: &mut Attempt, progress: Progress) {
    attempt.accepted = attempt.accepted.or(progress.accepted);
    attempt.started = attempt.started.or(progress.started);
    if attempt.accepted.is_some() && attempt.state == AttemptState::Offered {
        attempt.state = AttemptState::Running;
    }
    if progress.last_event <= attempt.last_event {
        return;
    }
    attempt.last_event = progress.last_event;
    attempt.degraded.extend(progress.degraded);
    attempt.warnings.extend(progress.warnings);
    if let Some((counts, mut failures)) = progress.results {
        failures.truncate(rules::MAX_FAILURES);
        attempt.counts = Some(counts);
        attempt.failures = failures;
    }
    for file in progress.files {
        let known = attempt.files.iter_mut().find(|old| old.name == file.name);
        match known {
            Some(old) => *old = file,
            None => attempt.files.push(file),
        }
    }
}
