//! Jobs in memory: stored, read, cancelled.

use std::collections::BTreeMap;
use std::time::SystemTime;

use helix_model::ids::{FriendlyName, JobId, QueueName, WorkItemId};
use helix_model::work_item::Delivery;

use super::state::{ItemEntry, JobEntry, LaneEntry, State, all_waiting};
use crate::{
    Cancelled, Change, FlakyTest, Held, Item, ItemState, Job, JobEvent, JobEventKind, JobFilter,
    LaneId, NewJob, Page, StoreError, Submitted, rules,
};

impl State {
    pub(super) fn submit(&mut self, new: NewJob, now: SystemTime) -> Result<Submitted, StoreError> {
        rules::check_job(&new)?;
        let fingerprint = rules::fingerprint(&new);
        if let Some(stored) = self.jobs.get(&new.id) {
            return if stored.fingerprint == fingerprint {
                Ok(Submitted::Before)
            } else {
                Err(StoreError::JobExists(new.id))
            };
        }
        let Some(queue) = self.queues.get(&new.queue) else {
            return Err(StoreError::UnknownQueue(new.queue));
        };
        if let Some(taken) = new
            .items
            .iter()
            .find(|new| self.items.contains_key(&new.id))
        {
            return Err(StoreError::Invalid(format!(
                "a new work item with the id `{}`, which another has",
                taken.id
            )));
        }
        let queue_max = queue.max_delivery_count.get();
        let total = new.items.len() as u64;
        let number = self.order.last_key_value().map_or(0, |(last, _)| *last) + 1;
        let mut lanes: BTreeMap<Vec<u8>, LaneId> = BTreeMap::new();
        let mut ids = Vec::with_capacity(new.items.len());
        let mut names = BTreeMap::new();
        for (position, item) in new.items.into_iter().enumerate() {
            let lane = match lanes.get(&item.demand) {
                Some(lane) => *lane,
                None => self.add_lane(&mut lanes, number, &new.id, item.demand),
            };
            names.insert(item.name.clone(), position);
            ids.push(item.id.clone());
            let entry = ItemEntry {
                item: Item {
                    id: item.id.clone(),
                    job: new.id.clone(),
                    name: item.name,
                    retry_place: item.retry_place,
                    delivery: Delivery::first(queue_max, item.retries_requested),
                    state: ItemState::Waiting,
                    cancel_requested: None,
                    since: now,
                    attempts: 0,
                },
                lane,
                position: position as u64,
                not_before: None,
                specification: item.specification,
                attempts: Vec::new(),
                refusals: BTreeMap::new(),
            };
            self.items.insert(item.id.clone(), entry);
            self.enqueue(&item.id, None);
        }
        let mut entry = JobEntry {
            job: Job {
                id: new.id.clone(),
                queue: new.queue.clone(),
                name: new.name,
                creator: new.creator,
                source: new.source,
                priority: new.priority,
                properties: new.properties,
                retry_of: new.retry_of,
                created: now,
                ended: None,
                cancelled: None,
                counts: all_waiting(total),
            },
            fingerprint,
            items: ids,
            names,
            events: Vec::new(),
            next_position: total,
        };
        entry.tell(now, JobEventKind::Submitted);
        self.order.insert(number, new.id.clone());
        self.jobs.insert(new.id.clone(), entry);
        self.changes.push(Change::Waiting(new.queue));
        self.changes.push(Change::Job(new.id));
        Ok(Submitted::Now)
    }

    fn add_lane(
        &mut self,
        lanes: &mut BTreeMap<Vec<u8>, LaneId>,
        number: i64,
        job: &JobId,
        demand: Vec<u8>,
    ) -> LaneId {
        let id = LaneId(rules::part_key(number, lanes.len()));
        let lane = LaneEntry {
            job: job.clone(),
            demand: demand.clone(),
            ready: BTreeMap::new(),
            delayed: std::collections::BTreeSet::new(),
        };
        self.lanes.insert(id, lane);
        lanes.insert(demand, id);
        id
    }

    pub(super) fn jobs(
        &self,
        filter: &JobFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Job>, StoreError> {
        let before = rules::page_start(after)?.unwrap_or(i64::MAX);
        let size = rules::page_size(limit);
        let mut found = self
            .order
            .range(..before)
            .rev()
            .filter_map(|(number, id)| Some((*number, &self.jobs.get(id)?.job)))
            .filter(|(_, job)| matches(filter, job));
        let page: Vec<_> = found.by_ref().take(size).collect();
        let next = page.last().map(|(number, _)| number.to_string());
        Ok(Page {
            next: next.filter(|_| found.next().is_some()),
            entries: page.into_iter().map(|(_, job)| job.clone()).collect(),
        })
    }

    fn known_job(&self, id: &JobId) -> Result<&JobEntry, StoreError> {
        let entry = self.jobs.get(id);
        entry.ok_or_else(|| StoreError::UnknownJob(id.clone()))
    }

    pub(super) fn items(
        &self,
        job: &JobId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Item>, StoreError> {
        let entry = self.known_job(job)?;
        let after = rules::page_start(after)?;
        let start = after.map_or(0, |last| {
            usize::try_from(last).map_or(usize::MAX, |last| last.saturating_add(1))
        });
        let rest = entry.items.get(start..).unwrap_or_default();
        let size = rules::page_size(limit);
        let entries: Vec<_> = rest
            .iter()
            .take(size)
            .filter_map(|id| Some(self.items.get(id)?.item.clone()))
            .collect();
        let more = rest.len() > size;
        Ok(Page {
            next: more.then(|| (start + size - 1).to_string()),
            entries,
        })
    }

    pub(super) fn item(&self, job: &JobId, item: &str) -> Option<Item> {
        let entry = self.jobs.get(job)?;
        let by_id = WorkItemId::new(item)
            .ok()
            .and_then(|id| self.items.get(&id))
            .filter(|found| found.item.job == *job);
        let by_name = || {
            let name = FriendlyName::new(item).ok()?;
            self.items.get(entry.items.get(*entry.names.get(&name)?)?)
        };
        Some(by_id.or_else(by_name)?.item.clone())
    }

    pub(super) fn events(
        &self,
        job: &JobId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<JobEvent>, StoreError> {
        let events = &self.known_job(job)?.events;
        let start = events.partition_point(|event| event.number <= after);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(events.iter().skip(start).take(limit).cloned().collect())
    }

    pub(super) fn flaky(
        &self,
        queue: Option<&QueueName>,
        since: SystemTime,
        limit: u32,
    ) -> Vec<FlakyTest> {
        let mut tests: BTreeMap<(&str, &str, &QueueName), FlakyTest> = BTreeMap::new();
        let wanted = self
            .flaky
            .iter()
            .filter(|entry| entry.at >= since && queue.is_none_or(|queue| entry.queue == *queue));
        for entry in wanted {
            let key = (entry.name.as_str(), entry.item_name.as_str(), &entry.queue);
            let test = tests.entry(key).or_insert_with(|| FlakyTest {
                name: entry.name.clone(),
                item_name: entry.item_name.clone(),
                queue: entry.queue.clone(),
                times: 0,
                last: entry.at,
                last_job: entry.job.clone(),
                last_item: entry.item.clone(),
            });
            test.times += 1;
            if entry.at >= test.last {
                test.last = entry.at;
                test.queue = entry.queue.clone();
                test.last_job = entry.job.clone();
                test.last_item = entry.item.clone();
            }
        }
        let mut tests: Vec<_> = tests.into_values().collect();
        // Stable: what is equal stays in the order of test, item and queue.
        tests.sort_by_key(|test| std::cmp::Reverse((test.times, test.last)));
        tests.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        tests
    }

    pub(super) fn cancel(
        &mut self,
        job_id: &JobId,
        item: Option<&WorkItemId>,
        reason: &str,
        now: SystemTime,
    ) -> Result<Cancelled, StoreError> {
        let entry = self.known_job(job_id)?;
        let all = &entry.items;
        let meant: Vec<WorkItemId> = match item {
            None => all.clone(),
            Some(id) => {
                let found = self.items.get(id).filter(|found| found.item.job == *job_id);
                found.ok_or_else(|| StoreError::UnknownItem(id.clone()))?;
                vec![id.clone()]
            }
        };
        let mut waiting = Vec::new();
        let mut running: Vec<Held> = Vec::new();
        let mut done = Cancelled::default();
        let mut marked = false;
        for id in &meant {
            let Some(entry) = self.items.get_mut(id) else {
                continue;
            };
            match &entry.item.state {
                ItemState::Waiting => waiting.push(id.clone()),
                ItemState::Offered { attempt, .. } | ItemState::Running { attempt, .. } => {
                    let attempt = attempt.clone();
                    if entry.item.cancel_requested.is_none() {
                        entry.item.cancel_requested = Some(reason.to_owned());
                        marked = true;
                    }
                    running.extend(self.held(&attempt));
                }
                ItemState::Ended(_) => done.untouched += 1,
            }
        }
        if item.is_none()
            && let Some(entry) = self.jobs.get_mut(job_id)
            && entry.job.ended.is_none()
            && entry.job.cancelled.is_none()
        {
            entry.job.cancelled = Some(reason.to_owned());
        }
        for id in &waiting {
            if let Some(entry) = self.items.get_mut(id) {
                entry.item.cancel_requested = Some(reason.to_owned());
            }
        }
        self.end_waiting(job_id, &waiting, &rules::cancelled_end(reason), now);
        if marked {
            self.changes.push(Change::Cancel);
        }
        done.ended = waiting.len() as u64;
        done.running = running;
        Ok(done)
    }
}

fn matches(filter: &JobFilter, job: &Job) -> bool {
    let JobFilter {
        queue,
        creator,
        source,
        property,
        open_only,
    } = filter;
    queue.as_ref().is_none_or(|queue| job.queue == *queue)
        && creator
            .as_ref()
            .is_none_or(|creator| job.creator == *creator)
        && source.as_ref().is_none_or(|source| job.source == *source)
        && property
            .as_ref()
            .is_none_or(|(name, value)| job.properties.get(name) == Some(value))
        && !(*open_only && job.ended.is_some())
}
