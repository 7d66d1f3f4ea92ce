//! What the tasks of a controller share.
//!
//! The locks here are never held across an await; what they guard is decided at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use helix_model::ids::AttemptId;
use helix_model::liveness::{Liveness, LivenessPolicy};
use helix_store::{AgentName, AgentOrigin, Held};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::{Core, lane_item};
use crate::agent::service::Reporters;
use crate::agent::{AgentHandle, watch_over};
use crate::attempt::{AttemptHandle, Subject};
use crate::board::Board;
use crate::config::{AgentAddress, Config};
use crate::link::{AddressBook, Dialer};
use crate::log::{LiveLog, LogDirectory, Mirrors};
use crate::tasks::Tasks;
use crate::world::World;

/// How many calls may take items from the store at a time.
const TAKES_AT_A_TIME: usize = 64;

/// How long after an answer that was not heard the store is searched for what it did.
const SWEEP_FOR: Duration = Duration::from_secs(60);

/// How long the store has had an attempt that nobody here looks after, before that is taken for a
/// fact: until then it may be one that is just being taken.
const SWEEP_AGE: Duration = Duration::from_secs(10);

/// How many attempts are remembered that were given back although the agent may have had them.
const GIVEN_BACK: usize = 10_000;

/// What the tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    world: Arc<dyn World>,
    addresses: Arc<dyn AddressBook>,
    tasks: Tasks,
    logs: LogDirectory,
    mirrors: Mirrors,
    liveness: LivenessPolicy,
    board: Mutex<Board>,
    agents: Mutex<BTreeMap<AgentName, Arc<AgentHandle>>>,
    attempts: Mutex<Attempts>,
    plan: Notify,
    lanes: Notify,
    cancels: Notify,
    takes: Semaphore,
    lines: AtomicU64,
    is_leaving: AtomicBool,
    writing: AtomicU64,
    sweep: Mutex<Option<Sweep>>,
    reporters: Reporters,
}

/// A search for attempts that are this controller's without its knowledge.
#[derive(Debug)]
struct Sweep {
    /// It ends when nothing is found after this.
    until: Instant,
    /// What nobody looks after, and since when that is known. By a clock that nobody sets.
    missing: BTreeMap<AttemptId, Instant>,
}

/// The attempts that are looked after here.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    live: BTreeMap<AttemptId, AttemptHandle>,
    /// Orders to end for those that are being taken just now.
    early_orders: BTreeMap<AttemptId, String>,
    given_back: BTreeSet<AttemptId>,
}

impl Attempts {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.live.len()
    }

    /// One of them.
    pub(crate) fn get(&self, attempt: &AttemptId) -> Option<&AttemptHandle> {
        self.live.get(attempt)
    }
}

impl Shared {
    pub(super) fn new(
        config: &Config,
        logs: LogDirectory,
        world: Arc<dyn World>,
        addresses: Arc<dyn AddressBook>,
    ) -> Self {
        Self {
            world,
            addresses,
            tasks: Tasks::default(),
            logs,
            mirrors: Mirrors::default(),
            liveness: LivenessPolicy {
                silence: config.agents.silence,
                patience: config.agents.patience,
            },
            board: Mutex::default(),
            agents: Mutex::default(),
            attempts: Mutex::default(),
            plan: Notify::new(),
            lanes: Notify::new(),
            cancels: Notify::new(),
            takes: Semaphore::new(TAKES_AT_A_TIME),
            lines: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
            writing: AtomicU64::new(0),
            sweep: Mutex::default(),
            reporters: Reporters::default(),
        }
    }
}

/// Something is being written that is better written to its end.
#[derive(Debug)]
pub(crate) struct Writing(Arc<Core>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.shared.writing.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// Time, names and chance.
    pub(crate) fn world(&self) -> &dyn World {
        &*self.shared.world
    }

    /// Its tasks.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.shared.tasks
    }

    /// Where logs are while they are written.
    pub(crate) fn logs(&self) -> &LogDirectory {
        &self.shared.logs
    }

    /// Logs of attempts that other controllers look after.
    pub(crate) fn mirrors(&self) -> &Mirrors {
        &self.shared.mirrors
    }

    /// When agents are silent and when they are lost.
    pub(crate) fn liveness_policy(&self) -> LivenessPolicy {
        self.shared.liveness
    }

    /// What waits and who has room.
    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.shared.board)
    }

    /// The attempts that are looked after here.
    pub(crate) fn attempts(&self) -> MutexGuard<'_, Attempts> {
        lock(&self.shared.attempts)
    }

    /// The agents that are known.
    pub(crate) fn handles(&self) -> MutexGuard<'_, BTreeMap<AgentName, Arc<AgentHandle>>> {
        lock(&self.shared.agents)
    }

    /// An agent that is reached in some way; made known if need be.
    pub(crate) fn handle(
        self: &Arc<Self>,
        name: &AgentName,
        origin: AgentOrigin,
        address: &str,
    ) -> Arc<AgentHandle> {
        if let Some(handle) = self.handles().get(name) {
            return Arc::clone(handle);
        }
        let handle = Arc::new(AgentHandle::new(name.clone(), origin, address, self.now()));
        self.handles().insert(name.clone(), Arc::clone(&handle));
        watch_over(self, Arc::clone(&handle));
        handle
    }

    /// An agent that may not be reached in any way.
    pub(crate) fn handle_of(self: &Arc<Self>, name: &AgentName) -> Arc<AgentHandle> {
        self.handle(name, AgentOrigin::Tunnelled, "")
    }

    /// What makes lines to an address.
    pub(crate) fn dialer(&self, address: AgentAddress) -> Arc<dyn Dialer> {
        self.shared.addresses.dialer(address)
    }

    /// The agents that report here.
    pub(crate) fn reporters(&self) -> &Reporters {
        &self.shared.reporters
    }

    /// The number of a new line.
    pub(crate) fn next_line(&self) -> u64 {
        self.shared.lines.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// There may be something to hand out.
    pub(crate) fn wake(&self) {
        self.shared.plan.notify_one();
    }

    /// Waits until there may be something to hand out; for ever once this controller is leaving.
    pub(crate) async fn to_plan(&self) {
        self.shared.plan.notified().await;
        if self.shared.is_leaving.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// Nothing new is offered from now on.
    pub(crate) fn leave(&self) {
        self.shared.is_leaving.store(true, Ordering::Relaxed);
        self.shared.takes.close();
        self.wake();
    }

    /// Waits until nothing is being taken or settled.
    pub(crate) async fn quiet(&self) {
        const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);
        loop {
            let is_busy = self.shared.writing.load(Ordering::Relaxed) > 0;
            if !is_busy {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// Counts what must not be broken off lightly, for as long as the guard lives.
    pub(crate) fn writing(self: &Arc<Self>) -> Writing {
        self.shared.writing.fetch_add(1, Ordering::Relaxed);
        Writing(Arc::clone(self))
    }

    /// The lanes may have changed.
    pub(crate) fn lanes_changed(&self) {
        self.shared.lanes.notify_one();
    }

    /// Waits until the lanes may have changed.
    pub(crate) async fn lanes_to_read(&self) {
        self.shared.lanes.notified().await;
    }

    /// Attempts may have been cancelled.
    pub(crate) fn cancels_changed(&self) {
        self.shared.cancels.notify_one();
    }

    /// Waits until attempts may have been cancelled.
    pub(crate) async fn cancels_to_read(&self) {
        self.shared.cancels.notified().await;
    }

    /// Waits for a turn to take items; none once this controller is leaving.
    pub(crate) async fn permit_to_take(&self) -> Option<SemaphorePermit<'_>> {
        self.shared.takes.acquire().await.ok()
    }

    /// An attempt is looked after from now on.
    pub(crate) fn register(&self, attempt: &AttemptId, handle: AttemptHandle) {
        let mut attempts = self.attempts();
        if let Some(reason) = attempts.early_orders.remove(attempt) {
            handle.cancel(&reason);
        }
        attempts.live.insert(attempt.clone(), handle);
    }

    /// An attempt is not looked after any more.
    pub(crate) fn deregister(&self, attempt: &AttemptId) {
        self.attempts().live.remove(attempt);
    }

    /// The log of an attempt that is looked after here.
    pub(crate) fn live(&self, attempt: &AttemptId) -> Option<Arc<LiveLog>> {
        self.attempts().get(attempt).map(AttemptHandle::live)
    }

    /// Has agents told to stop attempts, as far as this controller looks after them.
    pub(crate) fn cancel_attempts(&self, held: &[Held]) {
        let ours = held.iter().filter(|held| held.controller == *self.id());
        for held in ours {
            let attempt = &held.fence.attempt;
            let reason = held.cancel_requested.clone().unwrap_or_default();
            let is_taken_now = self.board().holds(&held.agent, attempt);
            let mut attempts = self.attempts();
            match attempts.live.get(attempt) {
                Some(handle) => handle.cancel(&reason),
                None if is_taken_now => {
                    attempts.early_orders.insert(attempt.clone(), reason);
                }
                None => {}
            }
        }
    }

    /// Begins to look after an attempt, once whoever does so now has let go of it.
    pub(crate) fn replace(
        self: &Arc<Self>,
        attempt: AttemptId,
        begin: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) {
        let present = self.attempts().get(&attempt).cloned();
        let Some(present) = present else {
            begin(self);
            return;
        };
        present.let_go();
        let core = Arc::clone(self);
        self.tasks().spawn(async move {
            while core.live(&attempt).is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            begin(&core);
        });
    }

    /// An agent has said what became of an attempt that was taken over.
    pub(crate) fn attached(&self, agent: &AgentName, attempt: &AttemptId) {
        self.board().attached(agent, attempt);
        self.wake();
    }

    /// An attempt holds nothing at its agent any more.
    pub(crate) fn released(&self, agent: &AgentName, attempt: &AttemptId) {
        self.board().released(agent, attempt);
        self.wake();
    }

    /// An agent did not take an attempt.
    pub(crate) fn refused(
        &self,
        agent: &AgentName,
        subject: &Subject,
        reason: &str,
        keep_away: Duration,
    ) {
        let is_full = matches!(
            reason,
            "SLOTS_FULL" | "CPU_SHORT" | "MEMORY_SHORT" | "DISK_SHORT" | "DRAINING" | "OFFLINE"
        );
        let want = (subject.queue.clone(), subject.demand());
        self.board()
            .refused(agent, &want, is_full, Instant::now() + keep_away);
        let mut attempts = self.attempts();
        attempts.given_back.insert(subject.attempt().clone());
        // The oldest has the least id.
        if attempts.given_back.len() > GIVEN_BACK {
            attempts.given_back.pop_first();
        }
    }

    /// Whether an attempt was given back here.
    pub(crate) fn gave_back(&self, attempt: &AttemptId) -> bool {
        self.attempts().given_back.contains(attempt)
    }

    /// Whether another agent is there that could ever run an item.
    pub(crate) fn another_could(&self, subject: &Subject, except: &AgentName) -> bool {
        lane_item(&subject.queue, &subject.demand())
            .is_ok_and(|item| self.board().another_could(&item, except))
    }

    /// An answer of the store was not heard: what it did is looked for from now on, for a while.
    pub(crate) fn sweep_later(&self) {
        let until = Instant::now() + SWEEP_FOR;
        lock(&self.shared.sweep)
            .get_or_insert_with(|| Sweep {
                until,
                missing: BTreeMap::new(),
            })
            .until = until;
    }

    /// Looks for attempts that the store says are this controller's, and nobody here looks after.
    pub(crate) async fn sweep_if_due(self: &Arc<Self>) {
        if lock(&self.shared.sweep).is_none() {
            return;
        }
        let held = match self.store().held(self.id()).await {
            Ok(held) => held,
            Err(error) => {
                tracing::debug!(error = %error, "what is held cannot be read");
                return;
            }
        };
        let missing: Vec<Held> = held
            .into_iter()
            .filter(|held| {
                self.live(&held.fence.attempt).is_none()
                    && !self.board().holds(&held.agent, &held.fence.attempt)
            })
            .collect();
        crate::scheduler::adopt(self, self.forgotten(missing));
    }

    /// What has been missing for long enough. Ends the sweep if nothing is missing.
    fn forgotten(&self, missing: Vec<Held>) -> Vec<Held> {
        let now = Instant::now();
        let mut guard = lock(&self.shared.sweep);
        let Some(sweep) = &mut *guard else {
            return Vec::new();
        };
        if missing.is_empty() && now > sweep.until {
            *guard = None;
            return missing;
        }
        let known = std::mem::take(&mut sweep.missing);
        sweep.missing = missing
            .iter()
            .map(|held| {
                let attempt = held.fence.attempt.clone();
                let since = known.get(&attempt).copied().unwrap_or(now);
                (attempt, since)
            })
            .collect();
        let is_forgotten = |held: &Held| {
            let since = sweep.missing.get(&held.fence.attempt);
            since.is_some_and(|since| now.duration_since(*since) >= SWEEP_AGE)
        };
        missing.into_iter().filter(is_forgotten).collect()
    }

    /// Sets the gauges.
    pub(crate) fn count(&self) {
        let (waiting, hopeless) = {
            let board = self.board();
            (board.waiting(), board.hopeless())
        };
        let attempts = self.attempts().count();
        let gauge = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        metrics::gauge!("helix_controller_waiting").set(gauge(waiting));
        metrics::gauge!("helix_controller_hopeless_wants").set(gauge(hopeless as u64));
        metrics::gauge!("helix_controller_attempts").set(gauge(attempts as u64));
        let handles: Vec<Arc<AgentHandle>> = self.handles().values().cloned().collect();
        for (liveness, name) in [
            (Liveness::Alive, "alive"),
            (Liveness::Silent, "silent"),
            (Liveness::Lost, "lost"),
        ] {
            let count = handles
                .iter()
                .filter(|handle| self.judge(handle) == liveness)
                .count();
            metrics::gauge!("helix_controller_agents", "liveness" => name).set(gauge(count as u64));
        }
    }

    /// Whether an agent is there.
    pub(super) fn judge(&self, handle: &AgentHandle) -> Liveness {
        match self.liveness_policy().judge(handle.known().heard.elapsed()) {
            // It was heard of a moment ago, but cannot be asked.
            Liveness::Alive if handle.link().is_none() => Liveness::Silent,
            liveness => liveness,
        }
    }
}
