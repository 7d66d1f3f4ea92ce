//! What is submitted, before it is stored.

use std::collections::BTreeMap;

use helix_model::ids::{FriendlyName, JobId, QueueName, WorkItemId};
use helix_proto::agent::v1;
use helix_store::{NewItem, NewJob, RetryPlace, StoreError, Submitted};
use prost::Message;

use super::Core;

/// What stands in front of a digest in the URL of a payload that the controller keeps itself. The
/// real address is put in when the item is offered to an agent.
pub(crate) const PAYLOAD_SCHEME: &str = "payload:";

/// A job to be stored.
#[derive(Debug)]
pub(crate) struct Submission {
    /// Given by who submits, so that a repeated submission is recognised.
    pub(crate) id: JobId,
    /// Where it is sent.
    pub(crate) queue: QueueName,
    /// For people, one line.
    pub(crate) name: String,
    /// Who submits. May be empty.
    pub(crate) creator: String,
    /// Where it comes from. May be empty.
    pub(crate) source: String,
    /// Higher goes first within a queue.
    pub(crate) priority: i32,
    /// Whatever else the sender wants to find again.
    pub(crate) properties: BTreeMap<String, String>,
    /// The job whose items that did not pass are run again.
    pub(crate) retry_of: Option<JobId>,
    /// At least one.
    pub(crate) items: Vec<SubmittedItem>,
}

/// An item to be stored.
#[derive(Debug)]
pub(crate) struct SubmittedItem {
    /// Unique in the store.
    pub(crate) id: WorkItemId,
    /// Unique in the job.
    pub(crate) name: FriendlyName,
    /// How it is run, checked. Ids, name, queue and delivery are put in when it is offered, and so are
    /// the addresses of payloads that begin with [`PAYLOAD_SCHEME`].
    pub(crate) template: v1::WorkItem,
    /// How many retries are asked for.
    pub(crate) retries: u32,
    /// Where a retry may run.
    pub(crate) retry_place: RetryPlace,
}

impl SubmittedItem {
    fn into_new_item(self) -> NewItem {
        let mut template = self.template;
        // What differs from attempt to attempt must not be stored with the item.
        template.attempt_id.clear();
        template.delivery = None;
        NewItem {
            id: self.id,
            name: self.name,
            demand: demand(&template),
            specification: template.encode_to_vec(),
            retries_requested: self.retries,
            retry_place: self.retry_place,
        }
    }
}

/// What an item wants of a machine, in a form of which equal wants have equal bytes.
pub(crate) fn demand(template: &v1::WorkItem) -> Vec<u8> {
    let mut requirements = template.requirements.clone();
    for requirement in &mut requirements {
        requirement.name.make_ascii_lowercase();
    }
    requirements.sort_by(|left, right| (&left.name, &left.range).cmp(&(&right.name, &right.range)));
    requirements.dedup();
    let demand = v1::WorkItem {
        requirements,
        resources: template.resources,
        network: template.network,
        ..v1::WorkItem::default()
    };
    demand.encode_to_vec()
}

impl Core {
    /// Stores a job whole or not at all.
    ///
    /// # Errors
    ///
    /// As [`helix_store::Store::submit`].
    pub(crate) async fn submit(&self, submission: Submission) -> Result<Submitted, StoreError> {
        let queue = self.store().queue(&submission.queue).await?;
        let max_deliveries = queue.map(|(queue, _)| queue.max_delivery_count.get());
        let cut = submission
            .items
            .iter()
            .filter(|item| max_deliveries.is_some_and(|most| item.retries > most.saturating_sub(1)))
            .count();
        let (id, name) = (submission.id.clone(), submission.queue.clone());
        let items: Vec<NewItem> = submission
            .items
            .into_iter()
            .map(SubmittedItem::into_new_item)
            .collect();
        let count = items.len();
        let job = NewJob {
            id: submission.id,
            queue: submission.queue,
            name: submission.name,
            creator: submission.creator,
            source: submission.source,
            priority: submission.priority,
            properties: submission.properties,
            retry_of: submission.retry_of,
            items,
        };
        let submitted = self.store().submit(job, self.now()).await?;
        if submitted == Submitted::Now {
            metrics::counter!("helix_controller_jobs_total").increment(1);
            metrics::counter!("helix_controller_items_total").increment(count as u64);
            tracing::info!(job = %id, queue = %name, items = count, "job stored");
            if cut > 0 {
                metrics::counter!("helix_controller_retries_cut_total").increment(cut as u64);
                tracing::warn!(
                    job = %id,
                    queue = %name,
                    items = cut,
                    max_delivery_count = max_deliveries,
                    "fewer retries granted than asked for, as the queue delivers no oftener"
                );
            }
            self.lanes_changed();
        }
        Ok(submitted)
    }
}
