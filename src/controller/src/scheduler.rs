//! Brings what waits and who has room together.
//!
//! Four small loops, each of which waits until there is something for it: one reads the lanes, one
//! hands out ([`hand_out`]), one hears what changed in the store, one says that this controller lives
//! and takes over what belongs to those that do not.

use std::sync::Arc;
use std::time::Duration;

use helix_store::{Change, Held, Taken};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::attempt::{self, Beginning, Subject};
use crate::board::{HeldAt, Plan};
use crate::core::{Core, lane_item};
use crate::world::backoff;

/// How often the lanes are read although nobody says that they changed.
const READ_ANYWAY: Duration = Duration::from_secs(30);

/// Reading the lanes may take at most this share of the time.
const READING_SHARE: u32 = 5;

/// Between two looks for attempts that are to be cancelled.
const CANCELS_AFTER: Duration = Duration::from_millis(200);

/// How often a controller says that it lives, and for how long that holds.
const BEAT: Duration = Duration::from_secs(5);
const BEAT_HOLDS: Duration = Duration::from_secs(30);

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Starts all of it. What was taken over must be known to the board before.
pub(crate) fn start(core: &Arc<Core>) {
    core.tasks().spawn(listen(Arc::clone(core)));
    core.tasks().spawn(read_lanes(Arc::clone(core)));
    core.tasks().spawn(look_for_cancels(Arc::clone(core)));
    core.tasks().spawn(hand_out(Arc::clone(core)));
    core.tasks().spawn(beat(Arc::clone(core)));
}

/// Hears what changed.
async fn listen(core: Arc<Core>) {
    let mut changes = core.store().changes();
    loop {
        match changes.recv().await {
            Ok(Change::Waiting(_)) => core.lanes_changed(),
            Ok(Change::Cancel) => core.cancels_changed(),
            Ok(Change::Job(_)) => {}
            Ok(Change::Everything) | Err(RecvError::Lagged(_)) => {
                core.lanes_changed();
                core.cancels_changed();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Reads what waits whenever that changed, but not without rest.
async fn read_lanes(core: Arc<Core>) {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        core.board().begin_reading();
        match core.store().lanes().await {
            Ok(lanes) => {
                failures = 0;
                let now = Instant::now();
                core.board().set_lanes(lanes, now, core.now());
                core.wake();
            }
            Err(error) => {
                metrics::counter!("helix_controller_store_errors_total").increment(1);
                tracing::warn!(error = %error, "what waits cannot be read");
                let wait = backoff(core.world(), FIRST_WAIT, LONGEST_WAIT, failures);
                tokio::time::sleep(wait).await;
                failures = failures.saturating_add(1);
                continue;
            }
        }
        tokio::time::sleep(began.elapsed() * (READING_SHARE - 1)).await;
        let _ = tokio::time::timeout(READ_ANYWAY, core.lanes_to_read()).await;
    }
}

/// Tells attempts to end that somebody cancelled, here or through another controller.
async fn look_for_cancels(core: Arc<Core>) {
    loop {
        core.cancels_to_read().await;
        match core.store().held(core.id()).await {
            Ok(held) => {
                let wanted: Vec<Held> = held
                    .into_iter()
                    .filter(|held| held.cancel_requested.is_some())
                    .collect();
                core.cancel_attempts(&wanted);
            }
            Err(error) => {
                tracing::warn!(error = %error, "what is cancelled cannot be read");
                core.cancels_changed();
            }
        }
        tokio::time::sleep(CANCELS_AFTER).await;
    }
}

/// Hands out whatever somebody has room for.
async fn hand_out(core: Arc<Core>) {
    loop {
        let (plans, due) = {
            let mut board = core.board();
            let plans = board.plan(Instant::now(), || core.world().new_attempt());
            (plans, board.next_due())
        };
        for plan in plans {
            let core = Arc::clone(&core);
            core.clone().tasks().spawn(take(core, plan));
        }
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = core.to_plan() => {}
            () = wait => {}
        }
    }
}

/// Takes what is planned, and begins to look after it.
async fn take(core: Arc<Core>, plan: Plan) {
    let Some(_permit) = core.permit_to_take().await else {
        return;
    };
    let _writing = core.writing();
    let began = Instant::now();
    let taken = core
        .store()
        .take(
            core.id(),
            plan.lane,
            &plan.agent,
            &plan.attempts,
            core.now(),
        )
        .await;
    metrics::histogram!("helix_controller_take_seconds").record(began.elapsed());
    let subjects: Vec<Subject> = match taken {
        Ok(taken) => taken.into_iter().map(Taken::into).collect(),
        Err(error) => {
            metrics::counter!("helix_controller_store_errors_total").increment(1);
            tracing::warn!(error = %error, "items cannot be taken, or nobody says whether they were");
            core.sweep_later();
            find_taken(&core, &plan).await
        }
    };
    let ids = subjects
        .iter()
        .map(|subject| subject.attempt().clone())
        .collect();
    let agent = core.handle_of(&plan.agent);
    for subject in subjects {
        attempt::begin(&core, Arc::clone(&agent), subject, Beginning::New);
    }
    if core.board().taken(&plan, &ids, Instant::now()) {
        core.lanes_changed();
    }
    core.wake();
}

/// What of a plan was taken, where the store did not say. None of it has been offered.
async fn find_taken(core: &Arc<Core>, plan: &Plan) -> Vec<Subject> {
    let mut failures = 0;
    loop {
        let wait = backoff(core.world(), FIRST_WAIT, LONGEST_WAIT, failures);
        tokio::time::sleep(wait).await;
        match core.store().held(core.id()).await {
            Ok(held) => {
                let ours = held
                    .iter()
                    .filter(|held| plan.attempts.contains(&held.fence.attempt));
                return ours.map(Subject::held).collect();
            }
            Err(error) => {
                tracing::debug!(error = %error, "what was taken cannot be read");
                failures = failures.saturating_add(1);
            }
        }
    }
}

impl From<Taken> for Subject {
    fn from(taken: Taken) -> Self {
        Self::taken(taken)
    }
}

/// Says that this controller lives, and takes over what belongs to those that do not.
async fn beat(core: Arc<Core>) {
    loop {
        let now = core.now();
        match core.store().beat(core.id(), now).await {
            Ok(()) => {
                let silent_since = now.checked_sub(BEAT_HOLDS).unwrap_or(now);
                let orphans = core
                    .store()
                    .adopt_orphans(core.id(), silent_since, now)
                    .await;
                match orphans {
                    Ok(orphans) => adopt(&core, orphans),
                    // Those that were taken over without our hearing of it are found by the sweep.
                    Err(error) => {
                        tracing::warn!(error = %error, "orphans cannot be taken over");
                        core.sweep_later();
                    }
                }
            }
            Err(error) => {
                metrics::counter!("helix_controller_store_errors_total").increment(1);
                tracing::warn!(error = %error, "store does not hear that this controller lives");
            }
        }
        core.sweep_if_due().await;
        core.count();
        tokio::time::sleep(BEAT).await;
    }
}

/// Looks after attempts that were begun by others, or in an earlier life.
pub(crate) fn adopt(core: &Arc<Core>, held: Vec<Held>) {
    for held in held {
        tracing::info!(
            attempt = %held.fence.attempt,
            agent = %held.agent,
            accepted = held.accepted,
            "attempt is taken over"
        );
        let agent = core.handle_of(&held.agent);
        let subject = Subject::held(&held);
        let reserve = lane_item(&subject.queue, &subject.demand())
            .map(|item| item.resources.amounts())
            .unwrap_or_default();
        let at = HeldAt {
            reserve,
            job: held.job.clone(),
        };
        let from = Beginning::Adopted {
            is_accepted: held.accepted,
            last_event: held.last_event,
            cancel: held.cancel_requested,
        };
        core.board().adopted(&held.agent, subject.attempt(), at);
        core.replace(subject.attempt().clone(), move |core| {
            attempt::begin(core, agent, subject, from);
        });
    }
}
