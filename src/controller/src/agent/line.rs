//! Keeps a line to one agent, and hears from it how it is.
//!
//! A line is made, what the agent says of itself is followed, and when either breaks it is made
//! anew. An agent is silent when nothing was heard for a while: nothing new is offered then, what it
//! runs is kept. One that is silent beyond patience is given up with what it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use helix_model::ids::AttemptId;
use helix_model::liveness::Liveness;
use helix_store::{Agent, AgentName, AgentOrigin};
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::{AgentHandle, Connection};
use crate::config::AgentAddress;
use crate::core::Core;
use crate::link::{AgentLink, CallError, Dialer, Reported};
use crate::world::backoff;

/// How often an agent says how it is, if nothing changes. Three of them fit into the usual silence.
const INTERVAL: Duration = Duration::from_secs(10);

/// Between two tries to make a line.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Between two notes in the store of an agent about which only numbers change.
const SAVE_AFTER: Duration = Duration::from_secs(30);

/// How long what is known of a stranger among an agent's attempts holds good.
const STRANGER_AFTER: Duration = Duration::from_secs(60);

/// How a line comes about.
#[derive(Debug)]
pub(crate) struct Way {
    /// How the agent is known.
    pub(crate) origin: AgentOrigin,
    /// Where it is called; empty where it calls.
    pub(crate) address: String,
    /// Makes the lines.
    pub(crate) dialer: Arc<dyn Dialer>,
}

/// Keeps a line to an agent whose name it will say itself.
pub(crate) fn follow_address(core: &Arc<Core>, address: AgentAddress) {
    let dialer = core.dialer(address.clone());
    let way = Way {
        origin: AgentOrigin::Configured,
        address: address.0,
        dialer,
    };
    follow(core, None, way);
}

/// Keeps a line to an agent whose name is known.
pub(crate) fn follow_named(core: &Arc<Core>, name: &AgentName, way: Way) {
    let handle = core.handle(name, way.origin, &way.address);
    follow(core, Some(handle), way);
}

fn follow(core: &Arc<Core>, handle: Option<Arc<AgentHandle>>, way: Way) {
    let span = tracing::info_span!("line", address = way.address);
    let line = Line {
        core: Arc::clone(core),
        way,
        handle,
        strangers: BTreeMap::new(),
        saved: None,
    };
    core.tasks().spawn(line.keep().instrument(span));
}

/// Gives an agent up when it is silent for too long, and no sooner.
pub(crate) fn watch_over(core: &Arc<Core>, handle: Arc<AgentHandle>) {
    let (core_of_task, policy) = (Arc::clone(core), core.liveness_policy());
    core.tasks().spawn(async move {
        let mut connection = handle.connection();
        loop {
            let silent_for = handle.known().heard.elapsed();
            let is_down = matches!(connection.get(), Connection::Down);
            if is_down && policy.judge(silent_for) == Liveness::Lost {
                tracing::warn!(
                    agent = %handle.name,
                    silent_ms = u64::try_from(silent_for.as_millis()).unwrap_or(u64::MAX),
                    "agent is given up, with what it runs"
                );
                handle.connection.set(Connection::Lost);
                core_of_task.wake();
            }
            let wait = policy.next_judgement_in(silent_for).unwrap_or(INTERVAL);
            tokio::select! {
                biased;
                () = connection.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    });
}

struct Line {
    core: Arc<Core>,
    way: Way,
    handle: Option<Arc<AgentHandle>>,
    /// Attempts there that are not this controller's, and until when that need not be looked at.
    strangers: BTreeMap<AttemptId, Instant>,
    saved: Option<(Instant, String)>,
}

impl Line {
    async fn keep(mut self) {
        let mut failures = 0_u32;
        loop {
            let began = Instant::now();
            let error = match self.follow_once().await {
                Ok(()) => "the stream ended".to_owned(),
                Err(error) => error.to_string(),
            };
            // A line that held is not a failure of making one.
            if began.elapsed() > LONGEST_WAIT {
                failures = 0;
            }
            if failures.is_power_of_two() || failures == 0 {
                let name = self.handle.as_ref().map(|handle| handle.name.to_string());
                tracing::info!(agent = name, error, failures, "no line to the agent");
            }
            let wait = backoff(self.core.world(), FIRST_WAIT, LONGEST_WAIT, failures);
            tokio::time::sleep(wait).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Makes a line and follows what the agent says, until it breaks.
    async fn follow_once(&mut self) -> Result<(), CallError> {
        let silence = self.core.liveness_policy().silence;
        let link = self.way.dialer.dial().await?;
        let interval = INTERVAL.min(silence / 3).max(Duration::from_secs(1));
        let mut reports = within(silence, link.watch(interval)).await??;
        let first = within(silence, reports.next()).await?;
        let first = first.ok_or_else(|| open("the stream ended"))??;
        let handle = self.identify(&first)?;
        let number = self.core.next_line();
        tracing::info!(agent = %handle.name, version = first.report.version, "line to the agent");
        handle.reached_by(self.way.origin, &self.way.address);
        let up = Up {
            core: Arc::clone(&self.core),
            handle: Arc::clone(&handle),
            number,
        };
        self.take_in(&handle, &link, first);
        handle.connection.set(Connection::Up {
            link: Arc::clone(&link),
            number,
        });
        self.core.wake();
        loop {
            let next = within(silence, reports.next()).await?;
            let Some(reported) = next.transpose()? else {
                drop(up);
                return Ok(());
            };
            if reported.machine != handle.name.0 {
                return Err(open("the agent has another name now"));
            }
            // A later line took this one's place.
            if !up.is_present() {
                return Err(open("the agent is reached in another way"));
            }
            self.take_in(&handle, &link, reported);
        }
    }

    /// Whose line it is.
    fn identify(&mut self, first: &Reported) -> Result<Arc<AgentHandle>, CallError> {
        if first.machine.is_empty() {
            return Err(open("the agent does not say what its machine is called"));
        }
        let name = AgentName(first.machine.clone());
        if let Some(handle) = self.handle.as_ref().filter(|handle| handle.name != name) {
            return Err(open(&format!(
                "it calls itself `{name}`, and `{}` was expected",
                handle.name
            )));
        }
        let handle = self.core.handle(&name, self.way.origin, &self.way.address);
        let (before, _) = self.core.board().agent(&name);
        let is_up = matches!(handle.connection.get(), Connection::Up { .. });
        let is_other = before.is_some_and(|before| {
            before.boot_id != first.report.boot_id && !first.report.boot_id.is_empty()
        });
        if is_up && is_other {
            return Err(open(&format!(
                "another machine is called `{name}` as well; give one of them another `machine_name`"
            )));
        }
        self.handle = Some(Arc::clone(&handle));
        Ok(handle)
    }

    fn take_in(&mut self, handle: &Arc<AgentHandle>, link: &Arc<dyn AgentLink>, said: Reported) {
        handle.heard(self.core.now());
        self.save(handle, &said);
        let strangers = self.core.board().reported(&handle.name, said.report);
        self.core.wake();
        let now = Instant::now();
        self.strangers
            .retain(|attempt, _| strangers.contains(attempt));
        for stranger in strangers {
            match self.strangers.get(&stranger) {
                // Seen for the first time it may be one that is ending, or beginning, just now.
                None => {
                    self.strangers.insert(stranger, now + INTERVAL);
                }
                Some(until) if *until > now => {}
                Some(_) => {
                    self.strangers
                        .insert(stranger.clone(), now + STRANGER_AFTER);
                    self.look_at(stranger, Arc::clone(link));
                }
            }
        }
    }

    /// Ends an attempt that runs although it was given up: its item is somebody else's by now.
    fn look_at(&self, attempt: AttemptId, link: Arc<dyn AgentLink>) {
        let core = Arc::clone(&self.core);
        self.core.tasks().spawn(async move {
            let is_given_up = match core.store().attempt(&attempt).await {
                Ok(Some(stored)) => stored.ended.is_some(),
                // Nobody's that this controller knows of: somebody runs it by hand.
                Ok(None) => core.gave_back(&attempt),
                Err(error) => {
                    tracing::debug!(error = %error, "attempt cannot be looked up");
                    return;
                }
            };
            if is_given_up {
                tracing::info!(attempt = %attempt, "attempt that was given up still runs, and is ended");
                let reason = "superseded: the controller had given this attempt up";
                if let Err(error) = link.cancel(&attempt, reason).await {
                    tracing::debug!(error = %error, "attempt cannot be ended");
                }
            }
        });
    }

    /// Notes in the store how the agent is, for other controllers and later lives.
    fn save(&mut self, handle: &AgentHandle, said: &Reported) {
        let is_due = self
            .saved
            .as_ref()
            .is_none_or(|(at, boot)| at.elapsed() >= SAVE_AFTER || *boot != said.report.boot_id);
        if !is_due {
            return;
        }
        self.saved = Some((Instant::now(), said.report.boot_id.clone()));
        let agent = Agent {
            name: handle.name.clone(),
            origin: self.way.origin,
            address: self.way.address.clone(),
            controller: self.core.id().clone(),
            capacity: said.bytes.clone(),
            boot_id: said.report.boot_id.clone(),
            seen: self.core.now(),
        };
        let core = Arc::clone(&self.core);
        self.core.tasks().spawn(async move {
            if let Err(error) = core.store().save_agent(agent).await {
                tracing::debug!(error = %error, "agent cannot be noted in the store");
            }
        });
    }
}

/// A line that is up, and is not any more when this is dropped.
struct Up {
    core: Arc<Core>,
    handle: Arc<AgentHandle>,
    number: u64,
}

impl Up {
    fn is_present(&self) -> bool {
        matches!(
            self.handle.connection.get(),
            Connection::Up { number, .. } if number == self.number
        )
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.is_present() {
            self.handle.connection.set(Connection::Down);
            self.core.board().disconnected(&self.handle.name);
        }
    }
}

/// Waits for an answer, but not beyond silence.
async fn within<T>(silence: Duration, answer: impl Future<Output = T>) -> Result<T, CallError> {
    timeout(silence, answer)
        .await
        .map_err(|_| open("the agent says nothing"))
}

fn open(message: &str) -> CallError {
    CallError::Open(message.to_owned())
}
