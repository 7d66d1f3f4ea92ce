//! From the agent: what an attempt prints and what happens to it, in order and nothing twice.

use std::time::{Duration, SystemTime};

use futures::StreamExt;
use helix_store::Progress;
use tokio::time::Instant;

use super::offer::gone;
use super::{Attempt, Conclusion};
use crate::agent::Connection;
use crate::core::Core;
use crate::link::{CallError, Event, EventKind, EventStream, Terminal};

/// How long what is known may wait for more to be stored with it.
const GATHER: Duration = Duration::from_millis(100);

/// How often in a row a hole in what is heard is asked for again before it is taken as it is.
const HOLES: u32 = 3;

/// What following came to.
pub(super) enum Followed {
    /// The attempt's end.
    Ended(Box<Terminal>),
    /// The stream's end.
    Broken,
    /// Another controller looks after it.
    Fenced,
}

/// What is heard.
enum Heard {
    Event(Option<Result<Event, CallError>>),
    Order,
    Due,
    Gone,
}

impl Attempt {
    /// Follows a stream to its end.
    pub(super) async fn follow(&mut self, mut stream: EventStream) -> Followed {
        let mut connection = self.agent.connection();
        let number = match connection.get() {
            Connection::Up { number, .. } => number,
            Connection::Down | Connection::Lost => return Followed::Broken,
        };
        let mut is_told = false;
        let mut holes = 0;
        loop {
            let due = self.pending_since.map(|since| since + GATHER);
            let heard = tokio::select! {
                biased;
                Ok(_) = self.orders.wait_for(Option::is_some), if !is_told => Heard::Order,
                () = sleep_until(due) => Heard::Due,
                event = stream.next() => Heard::Event(event),
                () = gone(&mut connection, number) => Heard::Gone,
            };
            match heard {
                Heard::Order => {
                    is_told = true;
                    self.tell_to_end();
                }
                Heard::Due => {
                    if let Err(conclusion) = self.store_pending().await {
                        return followed(conclusion);
                    }
                }
                Heard::Gone | Heard::Event(None) => return Followed::Broken,
                Heard::Event(Some(Err(error))) => {
                    tracing::debug!(error = %error, "stream of the attempt broke");
                    // An agent that ends each stream at once must not be asked without rest.
                    self.pause(0).await;
                    return Followed::Broken;
                }
                Heard::Event(Some(Ok(event))) => {
                    self.agent.heard(self.core.now());
                    if self.has_hole_before(&event) {
                        holes += 1;
                        self.pause(holes).await;
                        if holes < HOLES {
                            return Followed::Broken;
                        }
                    }
                    if let Some(terminal) = self.take_in(event).await {
                        return Followed::Ended(terminal);
                    }
                }
            }
        }
    }

    /// Whether something is missing between what was heard before and this.
    fn has_hole_before(&self, event: &Event) -> bool {
        match event {
            Event::Console { offset, .. } | Event::Gap { offset, .. } => {
                *offset > self.log.console_offset()
            }
            Event::Numbered {
                number, console, ..
            } => {
                *number > self.last_event.saturating_add(1) || *console > self.log.console_offset()
            }
        }
    }

    async fn take_in(&mut self, event: Event) -> Option<Box<Terminal>> {
        match event {
            Event::Console { offset, data } => {
                let mut failures = 0;
                while let Err(error) = self.log.append(offset, data.clone()).await {
                    self.log_is_stuck(&error, &mut failures).await;
                }
                None
            }
            Event::Gap { offset, dropped } => {
                let mut failures = 0;
                while let Err(error) = self.log.gap(offset, dropped).await {
                    self.log_is_stuck(&error, &mut failures).await;
                }
                None
            }
            // Heard before.
            Event::Numbered { number, .. } if number <= self.last_event => None,
            Event::Numbered {
                number, at, kind, ..
            } => {
                self.last_event = number;
                self.note(kind, at)
            }
        }
    }

    /// A log that cannot be written makes the agent wait, which has it on its own disk.
    async fn log_is_stuck(&self, error: &std::io::Error, failures: &mut u32) {
        if failures.is_power_of_two() {
            tracing::error!(error = %error, "log of an attempt cannot be written");
        }
        self.pause(*failures).await;
        *failures = failures.saturating_add(1);
    }

    fn note(&mut self, kind: EventKind, at: Option<SystemTime>) -> Option<Box<Terminal>> {
        let now = self.core.now();
        let pending = &mut self.pending;
        let was_accepted = self.is_accepted;
        self.is_accepted = true;
        if !was_accepted {
            pending.accepted = Some(at.unwrap_or(now));
        }
        match kind {
            EventKind::Accepted { degraded } => pending.degraded = degraded,
            EventKind::Started => pending.started = Some(at.unwrap_or(now)),
            EventKind::Exited(exited) => self.used = exited,
            EventKind::Results {
                counts,
                failures,
                problems,
            } => {
                pending.results = Some((counts, failures));
                pending.warnings.extend(problems);
            }
            EventKind::Stored(file) => pending.files.push(file),
            EventKind::Warning(message) => pending.warnings.push(message),
            EventKind::Step => return None,
            EventKind::Ended(terminal) => return Some(terminal),
        }
        self.pending_since.get_or_insert_with(Instant::now);
        None
    }

    /// Stores what is known.
    async fn store_pending(&mut self) -> Result<(), Conclusion> {
        self.pending_since = None;
        let progress = Progress {
            last_event: self.last_event,
            ..std::mem::take(&mut self.pending)
        };
        let mut failures = 0;
        loop {
            let recorded = self
                .core
                .store()
                .record(&self.subject.fence, progress.clone())
                .await;
            match recorded {
                Ok(()) => return Ok(()),
                Err(error) => self.after(&error, failures).await?,
            }
            failures = failures.saturating_add(1);
        }
    }

    /// Has the agent told that the attempt is to end, for as long as it takes.
    fn tell_to_end(&self) {
        let reason = self.orders.borrow().clone().unwrap_or_default();
        let (core, agent) = (
            std::sync::Arc::clone(&self.core),
            std::sync::Arc::clone(&self.agent),
        );
        let attempt = self.id().clone();
        self.core.tasks().spawn(async move {
            let mut failures = 0;
            while core.live(&attempt).is_some() {
                if let Some(link) = agent.link() {
                    match link.cancel(&attempt, &reason).await {
                        Ok(()) | Err(CallError::Unknown) => return,
                        Err(error) => {
                            tracing::debug!(error = %error, "attempt cannot be cancelled yet")
                        }
                    }
                }
                rest(&core, failures).await;
                failures = failures.saturating_add(1);
            }
        });
    }
}

async fn rest(core: &Core, failures: u32) {
    let wait = crate::world::backoff(
        core.world(),
        super::FIRST_WAIT,
        super::LONGEST_WAIT,
        failures,
    );
    tokio::time::sleep(wait).await;
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn followed(conclusion: Conclusion) -> Followed {
    match conclusion {
        Conclusion::Ended(terminal) => Followed::Ended(terminal),
        Conclusion::Fenced | Conclusion::Lost(_) | Conclusion::GivenBack(_) => Followed::Fenced,
    }
}
