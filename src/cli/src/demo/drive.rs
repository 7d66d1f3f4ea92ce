//! The loop between the queue and the agent.
//!
//! Every attempt is followed by a task of its own; this loop alone knows the
//! queue, the records and the board.

use std::time::Instant;

use helix_proto::agent::v1::{
    AttemptEvent, CancelRequest, ConsoleStream, GetCapacityRequest, attempt_event::Kind,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::board::Board;
use super::report::{self, Record};
use super::suites::{Expected, Item};
use crate::arguments::{Common, OutputFormat};
use crate::client::follow::{FollowError, Follower, Step};
use crate::client::{Connection, failed, to_wire};
use crate::error::Error;
use crate::exit::Exit;
use crate::json::EventLine;
use crate::queue::{Queue, Settlement, Ticket, Transition, Turn};
use crate::render::{event, text, units, verdict};
use crate::signals::Interrupts;
use crate::summary::{End, Summary};
use crate::work_item::numbered;

/// Cancel everything, then leave at once.
const PATIENCE: u32 = 2;
/// Events on their way to the board; who sends waits when it is full.
const EVENTS: usize = 256;

/// Takes the items of a queue through an agent.
pub(super) struct Driver<'a> {
    common: &'a Common,
    connection: &'a Connection,
    items: Vec<Item>,
    records: Vec<Record>,
    board: Board,
    queue: Queue<usize>,
    attempts: JoinSet<Ended>,
    events: (mpsc::Sender<Seen>, mpsc::Receiver<Seen>),
    /// Attempts that were offered and have not ended, to be cancelled.
    offered: Vec<(usize, String)>,
}

/// An event of an item's attempt.
struct Seen {
    at: usize,
    delivery: u32,
    attempt_id: String,
    event: Box<AttemptEvent>,
}

/// What became of an offer.
struct Ended {
    ticket: Ticket<usize>,
    result: Result<Summary, FollowError>,
}

/// Whether to go on.
enum Course {
    On,
    Interrupted,
}

impl<'a> Driver<'a> {
    /// A driver with all items in the queue, in their order.
    pub(super) fn new(
        common: &'a Common,
        connection: &'a Connection,
        items: Vec<Item>,
        board: Board,
    ) -> Self {
        let records = items.iter().map(|_| Record::default()).collect();
        let mut queue = Queue::new();
        for at in 0..items.len() {
            queue.push(at);
        }
        Self {
            common,
            connection,
            items,
            records,
            board,
            queue,
            attempts: JoinSet::new(),
            events: mpsc::channel(EVENTS),
            offered: Vec::new(),
        }
    }

    /// Goes on until the queue is empty. `between` is called when an item was
    /// requeued, so that it finds a better world.
    pub(super) async fn drive(
        mut self,
        between: impl Fn() -> Result<(), Error>,
    ) -> Result<Exit, Error> {
        match self.until_empty(between).await {
            Ok(Course::On) => self.finish(),
            Ok(Course::Interrupted) => {
                self.cancel_all().await;
                Ok(Exit::Cancelled)
            }
            Err(error) => {
                self.cancel_all().await;
                Err(error)
            }
        }
    }

    async fn until_empty(
        &mut self,
        between: impl Fn() -> Result<(), Error>,
    ) -> Result<Course, Error> {
        let mut interrupts = Interrupts::listen(PATIENCE)?;
        let slots = self.slots().await?;
        self.board.text(&format!(
            "Test suites of crates that cargo had downloaded: {} in a queue, {} on the agent.\n\n",
            units::count(self.items.len() as u64, "work item"),
            units::count(slots as u64, "slot"),
        ))?;
        loop {
            let wake = self.offer(slots)?;
            if self.attempts.is_empty() && wake.is_none() {
                return Ok(Course::On);
            }
            if let Course::Interrupted = self.wait(wake, &mut interrupts, &between).await? {
                return Ok(Course::Interrupted);
            }
        }
    }

    async fn slots(&self) -> Result<usize, Error> {
        let capacity = self
            .connection
            .client()
            .get_capacity(GetCapacityRequest {})
            .await
            .map_err(failed("read the agent's capacity"))?
            .into_inner()
            .capacity
            .unwrap_or_default();
        let slots = capacity.total.unwrap_or_default().slots;
        Ok(usize::try_from(slots).unwrap_or(1).max(1))
    }

    /// Offers what may be offered while there are slots. Says when somebody in
    /// the queue may be offered that may not now.
    fn offer(&mut self, slots: usize) -> Result<Option<Instant>, Error> {
        while self.attempts.len() < slots {
            match self.queue.next(Instant::now()) {
                Turn::Offer(ticket) => self.offer_one(ticket)?,
                Turn::Wait(time) => return Ok(Some(time)),
                Turn::Empty => return Ok(None),
            }
        }
        Ok(None)
    }

    fn offer_one(&mut self, ticket: Ticket<usize>) -> Result<(), Error> {
        let at = ticket.item;
        let Some(item) = self.items.get(at) else {
            return Ok(());
        };
        let work_item = numbered(&item.work_item, ticket.numbers);
        let attempt_id = work_item.attempt_id.clone();
        let delivery = ticket.numbers.delivery;
        self.board.begin(at);
        self.offered.push((at, attempt_id.clone()));
        let mut follower = Follower::offer(self.connection, work_item, self.common.patience);
        let events = self.events.0.clone();
        self.attempts.spawn(async move {
            let mut summary = Summary::default();
            let result = loop {
                match follower.next().await {
                    Ok(Some(Step::Event(event))) => {
                        summary.observe(&event);
                        let attempt_id = attempt_id.clone();
                        let seen = Seen {
                            at,
                            delivery,
                            attempt_id,
                            event,
                        };
                        // The board is gone only when the program is ending.
                        let _ = events.send(seen).await;
                    }
                    Ok(Some(Step::Lost { .. } | Step::Restored)) => {}
                    Ok(None) => break Ok(summary),
                    Err(error) => break Err(error),
                }
            };
            Ended { ticket, result }
        });
        Ok(())
    }

    async fn wait(
        &mut self,
        wake: Option<Instant>,
        interrupts: &mut Interrupts,
        between: &impl Fn() -> Result<(), Error>,
    ) -> Result<Course, Error> {
        let sleep = async {
            match wake {
                Some(time) => tokio::time::sleep_until(time.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Events first: what an attempt said is shown before its end.
            biased;
            Some(seen) = self.events.1.recv() => self.show(&seen)?,
            Some(ended) = self.attempts.join_next() => match ended {
                Ok(ended) => self.settle(ended, between)?,
                Err(error) => return Err(Error::Runtime { source: error.into() }),
            },
            () = sleep => {}
            _ = interrupts.next() => return Ok(Course::Interrupted),
        }
        Ok(Course::On)
    }

    fn show(&self, seen: &Seen) -> Result<(), Error> {
        if self.board.format() == OutputFormat::Json {
            self.board
                .screen()
                .json(&EventLine::new(&seen.attempt_id, &seen.event))?;
            return Ok(());
        }
        match &seen.event.kind {
            Some(Kind::Console(chunk)) if chunk.stream() != ConsoleStream::Agent => {
                let output = String::from_utf8_lossy(&chunk.data);
                if let Some(line) = output.lines().rfind(|line| !line.trim().is_empty()) {
                    self.board.doing(seen.at, line);
                }
            }
            Some(Kind::Accepted(accepted)) => {
                let machine = text::line(&accepted.machine, 60);
                let line = match seen.delivery {
                    1 => format!("accepted by {machine}"),
                    more => format!("delivery {more} accepted by {machine}"),
                };
                self.board.happened(seen.at, "accepted", &line)?;
            }
            _ => {
                if let Some(activity) = event::activity(&seen.event) {
                    self.board.doing(seen.at, &activity);
                }
            }
        }
        Ok(())
    }

    fn settle(
        &mut self,
        ended: Ended,
        between: &impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Ended { ticket, result } = ended;
        let at = ticket.item;
        let name = self
            .items
            .get(at)
            .map(|item| item.name.clone())
            .unwrap_or_default();
        self.offered.retain(|(other, _)| *other != at);
        self.board.end(at);
        let settlement = match result {
            Ok(summary) => {
                self.records[at].ended(&summary);
                self.board.happened(at, "ended", &self.verdict(&summary))?;
                report::after(&summary)
            }
            Err(FollowError::Refused(refusal)) => {
                self.records[at].refused(&refusal);
                let palette = self.board.palette();
                let reason = palette.yellow(text::clean(&refusal.reason));
                self.board
                    .happened(at, "refused", &format!("refused: {reason}"))?;
                let why = palette.dim(text::clean(&refusal.message));
                self.board.happened(at, "explained", &why.to_string())?;
                report::after_refusal(&refusal)
            }
            Err(FollowError::Answer(answer)) => {
                return Err(Error::Call {
                    what: format!("follow `{name}`"),
                    answer,
                });
            }
            Err(FollowError::Lost(cause)) => {
                return Err(Error::Lost {
                    address: Box::new(self.connection.address().clone()),
                    patience: self.common.patience,
                    attempt_id: name,
                    console_offset: 0,
                    cause,
                });
            }
        };
        let requeued = matches!(settlement, Settlement::Requeued { .. });
        match self.queue.settle(ticket, settlement, Instant::now()) {
            Transition::Out => {}
            Transition::Held { delay } => {
                let line = format!("comes back in {}", units::duration(delay));
                self.board.happened(at, "held", &line)?;
            }
            Transition::ToTheEnd { delivery } => {
                let requeued = self.board.palette().yellow("requeued");
                let line = format!("{requeued} as delivery {delivery}, at the end of the queue");
                self.board.happened(at, "requeued", &line)?;
            }
        }
        if requeued {
            between()?;
            let line = "meanwhile the compiler that its tests call is installed";
            self.board.happened(at, "repaired", line)?;
        }
        Ok(())
    }

    fn verdict(&self, summary: &Summary) -> String {
        let palette = self.board.palette();
        let mut line = match summary.end().and_then(End::verdict) {
            Some(verdict) => verdict::sentence(verdict, palette),
            None => palette.yellow("ended without a verdict").to_string(),
        };
        if let Some(counts) = summary.results().and_then(|results| results.counts) {
            line.push_str(&format!(", {}", verdict::counts(&counts, palette)));
        }
        line
    }

    fn finish(self) -> Result<Exit, Error> {
        let names = self.items.iter().map(|item| item.name.as_str());
        let table = report::table(names.zip(&self.records), self.board.palette());
        self.board.text(&format!("\n{table}\n"))?;
        let wrong: Vec<&str> = self
            .items
            .iter()
            .zip(&self.records)
            .filter(|(item, record)| !record.is_as(item.expected))
            .map(|(item, _)| item.name.as_str())
            .collect();
        if wrong.is_empty() {
            let retried = self
                .items
                .iter()
                .filter(|item| item.expected == Expected::PassesOnRetry)
                .count();
            self.board.text(&format!(
                "All went as it was meant to: {} needed a retry and passed.\n",
                units::count(retried as u64, "suite")
            ))?;
            return Ok(Exit::Success);
        }
        self.board.text(&format!(
            "This did not go as it was meant to: {}\n",
            wrong.join(", ")
        ))?;
        Ok(Exit::Failed)
    }

    /// Kills what runs, and waits for it, so that nothing outlives us.
    async fn cancel_all(&mut self) {
        for (_, attempt_id) in std::mem::take(&mut self.offered) {
            let request = CancelRequest {
                attempt_id,
                grace: Some(to_wire(std::time::Duration::ZERO)),
                reason: "the demonstration was interrupted".to_owned(),
            };
            // Who is not known any more has ended.
            let _ = self.connection.client().cancel(request).await;
        }
        self.events.1.close();
        while self.attempts.join_next().await.is_some() {}
    }
}
