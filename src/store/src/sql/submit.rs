//! Jobs are stored.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use async_trait::async_trait;
use helix_model::work_item::Delivery;
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;

use super::failure::Failure;
use super::session::{Session, values};
use super::words::{Word, micros, number, to_json};
use super::writer::{Operation, Subject};
use crate::{Change, NewJob, StoreError, Submitted, rules};

/// [`crate::Store::submit`].
pub(super) struct Submit {
    pub(super) job: NewJob,
    pub(super) fingerprint: Vec<u8>,
    pub(super) now: SystemTime,
}

/// What jobs are found by.
pub(super) enum Label<'a> {
    Queue(&'a str),
    Creator(&'a str),
    Source(&'a str),
    Property(&'a str, &'a str),
}

impl Label<'_> {
    pub(super) fn digest(&self) -> Vec<u8> {
        let lower;
        let (kind, name, value) = match self {
            Self::Queue(queue) => {
                lower = queue.to_ascii_lowercase();
                ("queue", "", lower.as_str())
            }
            Self::Creator(creator) => ("creator", "", *creator),
            Self::Source(source) => ("source", "", *source),
            Self::Property(name, value) => ("property", *name, *value),
        };
        let mut digest = Sha256::new();
        for part in [kind, name, value] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.finalize().to_vec()
    }
}

#[async_trait]
impl Operation for Submit {
    type Answer = Submitted;

    fn subject(&self) -> Subject {
        Subject::Other
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<Submitted, Failure> {
        let job = &self.job;
        let sql = "SELECT fingerprint FROM jobs WHERE id = $1";
        if let Some(stored) = session.row(sql, values![job.id.as_str()]).await? {
            return if stored.blob("fingerprint")? == self.fingerprint {
                Ok(Submitted::Before)
            } else {
                Err(StoreError::JobExists(job.id.clone()).into())
            };
        }
        let queue_key = job.queue.as_str().to_ascii_lowercase();
        // Locked, so that the queue cannot be removed meanwhile.
        let sql = session
            .dialect()
            .lock_shared("SELECT max_delivery_count FROM queues WHERE key = $1");
        let queue = session
            .row(AssertSqlSafe(sql), values![queue_key.as_str()])
            .await?;
        let queue = queue.ok_or_else(|| StoreError::UnknownQueue(job.queue.clone()))?;
        let queue_max = queue.small("max_delivery_count")?;
        let key = self.store_job(session, &queue_key).await?;
        self.store_items(session, key, queue_max).await?;
        session.changes.push(Change::Waiting(job.queue.clone()));
        session.changes.push(Change::Job(job.id.clone()));
        Ok(Submitted::Now)
    }
}

impl Submit {
    async fn store_job(&self, session: &mut Session<'_>, queue_key: &str) -> Result<i64, Failure> {
        let job = &self.job;
        let total = number(job.items.len() as u64);
        let sql = "INSERT INTO jobs (id, queue_key, queue, name, creator, source, priority, \
            properties, retry_of, fingerprint, created, total, waiting, running, last_event, \
            next_position) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, 0, 1, $12) \
            RETURNING key";
        let values = values![
            job.id.as_str(),
            queue_key,
            job.queue.as_str(),
            job.name.as_str(),
            job.creator.as_str(),
            job.source.as_str(),
            i64::from(job.priority),
            to_json(&job.properties),
            job.retry_of.as_ref().map(|job| job.as_str()),
            self.fingerprint.clone(),
            micros(self.now),
            total,
        ];
        let row = session.row(sql, values).await?;
        let key = row
            .ok_or_else(|| Failure::damaged("a new job has no key"))?
            .int("key")?;
        let own = [
            Label::Queue(queue_key),
            Label::Creator(&job.creator),
            Label::Source(&job.source),
        ];
        let properties = job.properties.iter();
        let properties = properties.map(|(name, value)| Label::Property(name, value));
        let mut labels = Vec::new();
        for label in own.into_iter().chain(properties) {
            labels.extend(values![label.digest(), key]);
        }
        session.insert("labels (digest, job)", 2, labels).await?;
        let sql = "INSERT INTO events (job, number, at, kind) VALUES ($1, 1, $2, 'submitted')";
        session.execute(sql, values![key, micros(self.now)]).await?;
        Ok(key)
    }

    async fn store_items(
        &self,
        session: &mut Session<'_>,
        job: i64,
        queue_max: u32,
    ) -> Result<(), Failure> {
        let mut lanes: HashMap<&[u8], i64> = HashMap::new();
        let mut waiting: BTreeMap<i64, (&[u8], i64)> = BTreeMap::new();
        let mut items = Vec::with_capacity(self.job.items.len() * 13);
        let mut specifications = Vec::with_capacity(self.job.items.len() * 2);
        let now = micros(self.now);
        for (place, item) in self.job.items.iter().enumerate() {
            let next_lane = rules::part_key(job, lanes.len());
            let lane = *lanes.entry(&item.demand).or_insert(next_lane);
            waiting.entry(lane).or_insert((&item.demand, 0)).1 += 1;
            let key = rules::part_key(job, place);
            let delivery = Delivery::first(queue_max, item.retries_requested);
            items.extend(values![
                key,
                item.id.as_str(),
                job,
                lane,
                item.name.as_str(),
                item.retry_place.word(),
                delivery.number(),
                delivery.queue_max(),
                delivery.retries_requested(),
                delivery.retries_used(),
                "waiting",
                number(place as u64),
                now,
                0_i64,
            ]);
            specifications.extend(values![key, item.specification.clone()]);
        }
        let mut lane_values = Vec::with_capacity(waiting.len() * 4);
        for (lane, (demand, count)) in waiting {
            lane_values.extend(values![lane, job, demand.to_vec(), count]);
        }
        session
            .insert("lanes (key, job, demand, waiting)", 4, lane_values)
            .await?;
        let columns = "items (key, id, job, lane, name, retry_place, delivery, queue_max, \
            retries_requested, retries_used, state, position, since, attempts)";
        if let Err(failure) = session.insert(columns, 14, items).await {
            // Names and ids differ within the job, so an id is that of an item of another one.
            return Err(if failure.is_duplicate() {
                let what = "a new work item with an id that another has".to_owned();
                StoreError::Invalid(what).into()
            } else {
                failure
            });
        }
        session
            .insert("specifications (item, specification)", 2, specifications)
            .await
    }
}
