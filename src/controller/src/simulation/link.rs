//! The network between a controller and a simulated machine: slow, lossy, and not always in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use helix_model::ids::AttemptId;
use helix_proto::agent::v1;
use helix_store::{MemoryStore, Store};

use super::agent::Machine;
use crate::config::AgentAddress;
use crate::link::{
    AddressBook, AgentLink, CallError, Dialer, Event, EventStream, ReportStream, Reported,
};
use crate::signal::Listener;

/// The ways to all machines.
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) machines: Vec<Machine>,
    pub(super) store: MemoryStore,
    pub(super) is_faulty: Arc<AtomicBool>,
}

/// The way to one machine.
#[derive(Debug, Clone)]
struct Wire {
    machine: Machine,
    store: MemoryStore,
    is_faulty: Arc<AtomicBool>,
}

impl AddressBook for Wires {
    fn dialer(&self, address: AgentAddress) -> Arc<dyn Dialer> {
        let machine = self
            .machines
            .iter()
            .find(|machine| address.0.ends_with(&machine.name))
            .expect("a machine of that address");
        Arc::new(Wire {
            machine: machine.clone(),
            store: self.store.clone(),
            is_faulty: Arc::clone(&self.is_faulty),
        })
    }
}

fn open(message: &str) -> CallError {
    CallError::Open(message.to_owned())
}

impl Wire {
    fn fails(&self, per_mille: u64) -> bool {
        self.is_faulty.load(Ordering::Relaxed) && self.machine.chance.per_mille(per_mille)
    }

    /// A way from one end to the other.
    async fn cross(&self) -> Result<(), CallError> {
        tokio::time::sleep(self.machine.chance.millis(8)).await;
        if !self.machine.is_up() {
            return Err(open("connection refused"));
        }
        if !self.machine.answers() {
            // Whoever waits for an answer does so for long.
            tokio::time::sleep(Duration::from_secs(5) + self.machine.chance.millis(30_000)).await;
            return Err(open("no answer"));
        }
        if self.fails(20) {
            return Err(open("connection reset"));
        }
        Ok(())
    }

    /// What happened to an attempt after a place in its history, as it gets through.
    fn history(&self, attempt: &AttemptId, after_event: u64, console_offset: u64) -> EventStream {
        struct Reading {
            wire: Wire,
            attempt: AttemptId,
            after_event: u64,
            console_offset: u64,
            position: usize,
            changes: Listener<u64>,
            is_over: bool,
        }
        let reading = Reading {
            wire: self.clone(),
            attempt: attempt.clone(),
            after_event,
            console_offset,
            position: 0,
            changes: self.machine.changes.listen(),
            is_over: false,
        };
        stream::unfold(reading, async |mut reading| {
            if reading.is_over {
                return None;
            }
            loop {
                reading.changes.get();
                let wire = &reading.wire;
                if !wire.machine.is_up() {
                    reading.is_over = true;
                    return Some((Err(open("connection reset")), reading));
                }
                let run = wire.machine.run(&reading.attempt);
                let Some(run) = run.filter(|run| run.history.len() >= reading.position) else {
                    reading.is_over = true;
                    return Some((Err(open("connection reset")), reading));
                };
                if wire.machine.answers()
                    && let Some(event) = run.history.get(reading.position).cloned()
                {
                    // A message may get lost or come twice where the other side is to notice.
                    match wire.machine.chance.below(1000) {
                        0..10 if wire.fails(1000) => {
                            reading.position += 1;
                            continue;
                        }
                        10..20 if wire.fails(1000) && reading.position > 0 => reading.position -= 1,
                        20..30 if wire.fails(1000) => {
                            reading.is_over = true;
                            return Some((Err(open("stream broke")), reading));
                        }
                        _ => reading.position += 1,
                    }
                    let (after, offset) = (reading.after_event, reading.console_offset);
                    if let Some(event) = remaining(event, after, offset) {
                        tokio::time::sleep(reading.wire.machine.chance.millis(3)).await;
                        reading.is_over = matches!(
                            &event,
                            Event::Numbered {
                                kind: crate::link::EventKind::Ended(_),
                                ..
                            }
                        );
                        return Some((Ok(event), reading));
                    }
                    continue;
                }
                if run.terminal.is_some() && reading.position >= run.history.len() {
                    return None;
                }
                reading.changes.changed().await;
            }
        })
        .boxed()
    }
}

/// What of an event has not been seen.
fn remaining(event: Event, after_event: u64, console_offset: u64) -> Option<Event> {
    match event {
        Event::Numbered { number, .. } => (number > after_event).then_some(event),
        Event::Gap { .. } => Some(event),
        Event::Console { offset, mut data } => {
            let seen = console_offset.saturating_sub(offset);
            let seen = usize::try_from(seen).unwrap_or(usize::MAX).min(data.len());
            let data = data.split_off(seen);
            (!data.is_empty()).then(|| Event::Console {
                offset: offset + seen as u64,
                data,
            })
        }
    }
}

#[async_trait]
impl Dialer for Wire {
    async fn dial(&self) -> Result<Arc<dyn AgentLink>, CallError> {
        self.cross().await?;
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl AgentLink for Wire {
    async fn run(&self, work_item: v1::WorkItem) -> Result<EventStream, CallError> {
        let attempt: AttemptId = work_item.attempt_id.parse().expect("a good id");
        if self.fails(15) {
            // Heard late, after whoever asked has given up waiting for an answer.
            let (machine, late) = (self.machine.clone(), self.machine.chance.millis(4000));
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                if machine.answers() {
                    let _ = machine.admit(work_item);
                }
            });
            return Err(open("connection reset"));
        }
        self.cross().await?;
        let admitted = self.machine.admit(work_item);
        // The answer may get lost.
        self.cross().await?;
        admitted?;
        Ok(self.history(&attempt, 0, 0))
    }

    async fn attach(
        &self,
        attempt: &AttemptId,
        after_event: u64,
        console_offset: u64,
    ) -> Result<EventStream, CallError> {
        self.cross().await?;
        let found = self.machine.find(attempt, after_event, console_offset);
        self.cross().await?;
        found?;
        Ok(self.history(attempt, after_event, console_offset))
    }

    async fn acknowledge(&self, attempt: &AttemptId) -> Result<(), CallError> {
        self.cross().await?;
        let stored = self.store.attempt(attempt).await;
        if !matches!(stored, Ok(Some(attempt)) if attempt.ended.is_some()) {
            self.machine.complain(format!(
                "{attempt} is acknowledged before its end is stored"
            ));
        }
        let acknowledged = self.machine.acknowledge(attempt);
        self.cross().await?;
        acknowledged
    }

    async fn cancel(&self, attempt: &AttemptId, _: &str) -> Result<(), CallError> {
        self.cross().await?;
        let cancelled = self.machine.cancel(attempt);
        self.cross().await?;
        cancelled
    }

    async fn watch(&self, interval: Duration) -> Result<ReportStream, CallError> {
        self.cross().await?;
        let first = (self.clone(), self.machine.changes.listen(), false, interval);
        let reports = stream::unfold(
            first,
            async |(wire, mut changes, mut is_later, interval)| {
                if is_later {
                    // At most ten times a second, and at least once an interval.
                    let _ = tokio::time::timeout(interval, changes.changed()).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                is_later = true;
                changes.get();
                if !wire.machine.is_up() {
                    return Some((
                        Err(open("connection reset")),
                        (wire, changes, is_later, interval),
                    ));
                }
                while !wire.machine.answers() {
                    changes.changed().await;
                }
                let reported = Reported {
                    machine: wire.machine.name.clone(),
                    report: wire.machine.report(),
                    bytes: Vec::new(),
                };
                Some((Ok(reported), (wire, changes, is_later, interval)))
            },
        );
        Ok(reports.boxed())
    }

    async fn drain(&self, _: &str) -> Result<u32, CallError> {
        Err(open("not simulated"))
    }

    async fn resume(&self) -> Result<bool, CallError> {
        Err(open("not simulated"))
    }
}
