//! Sends the suites to the controller as one job, and shows what becomes of it.

use std::collections::HashMap;

use helix_api::client::{Client, Content, Until};
use helix_api::submit::JobRequest;
use helix_api::{
    Attempt, Item as ItemView, ItemDetail, ItemQuery, ItemState, JobEvent, JobEventKind,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::QUEUE;
use super::board::Board;
use super::report::{self, Record};
use super::suites::{Expected, Item};
use crate::error::Error;
use crate::exit::Exit;
use crate::jobs::failed;
use crate::render::{text, units};
use crate::signals::Interrupts;

/// Cancel everything, then leave at once.
const PATIENCE: u32 = 2;
/// Lines of output on their way to the board; what is too much is left out.
const LINES: usize = 256;

/// Takes the suites through a controller.
pub(super) struct Driver<'a> {
    client: &'a Client,
    board: Board,
    items: Vec<Item>,
    records: Vec<Record>,
    job: String,
    /// Places in `items` by the controller's ids.
    places: HashMap<String, usize>,
    readers: JoinSet<()>,
    lines: (mpsc::Sender<Line>, mpsc::Receiver<Line>),
}

/// The last line that an item has written.
struct Line {
    at: usize,
    text: String,
}

impl<'a> Driver<'a> {
    /// A driver that has not sent anything yet.
    pub(super) fn new(client: &'a Client, items: Vec<Item>, board: Board) -> Self {
        Self {
            client,
            board,
            records: items.iter().map(|_| Record::default()).collect(),
            items,
            job: format!("demo-{}", Uuid::new_v4().simple()),
            places: HashMap::new(),
            readers: JoinSet::new(),
            lines: mpsc::channel(LINES),
        }
    }

    /// Goes on until the job has ended.
    pub(super) async fn drive(mut self) -> Result<Exit, Error> {
        let mut interrupts = Interrupts::listen(PATIENCE)?;
        self.submit().await?;
        let mut events = self.client.follow_events(&self.job, 0);
        loop {
            tokio::select! {
                // Events first: what an attempt said last is of no interest once it has ended.
                biased;
                event = events.next() => match event.map_err(failed("follow the job"))? {
                    Some(event) => self.happened(event).await?,
                    None => break,
                },
                Some(line) = self.lines.1.recv() => self.board.doing(line.at, &line.text),
                _ = interrupts.next() => {
                    let reason = "the demonstration was interrupted";
                    let cancelled = self.client.cancel_job(&self.job, reason).await;
                    cancelled.map_err(failed("cancel the job"))?;
                    return Ok(Exit::Cancelled);
                }
            }
        }
        self.finish()
    }

    async fn submit(&mut self) -> Result<(), Error> {
        for item in &self.items {
            let is_there = self.client.has_payload(&item.sha256).await;
            if !is_there.map_err(failed("look for a payload"))? {
                let content = Content::File(item.archive.clone());
                let stored = self.client.put_payload(&item.sha256, &content).await;
                stored.map_err(failed("store a payload"))?;
            }
        }
        let request = JobRequest {
            queue: QUEUE.to_owned(),
            name: "test suites of downloaded crates".to_owned(),
            id: Some(self.job.clone()),
            source: "helix up --demo".to_owned(),
            retries: 1,
            items: self.items.iter().map(|item| item.request.clone()).collect(),
            ..JobRequest::default()
        };
        let submitted = self.client.submit(&request).await;
        submitted.map_err(failed("submit the job"))?;
        let query = ItemQuery::default();
        let page = self.client.items(&self.job, &query).await;
        let page = page.map_err(failed("list the items"))?;
        for view in page.items {
            let at = self.items.iter().position(|item| item.name == view.name);
            if let Some(at) = at {
                self.places.insert(view.id, at);
            }
        }
        self.board.text(&format!(
            "Test suites of crates that cargo had downloaded: {} in the queue `{QUEUE}`.\n\n",
            units::count(self.items.len() as u64, "work item"),
        ))
    }

    async fn happened(&mut self, event: JobEvent) -> Result<(), Error> {
        let item = event.item.unwrap_or_default();
        let Some(at) = self.places.get(&item).copied() else {
            return Ok(());
        };
        match event.kind {
            JobEventKind::AttemptStarted => {
                self.records[at].started += 1;
                let machine = text::line(&event.agent.unwrap_or_default(), 60);
                let line = match self.records[at].started {
                    1 => format!("accepted by {machine}"),
                    more => format!("delivery {more} accepted by {machine}"),
                };
                self.board.happened(at, "accepted", &line)?;
                self.board.begin(at);
                self.read(at, &item, &event.attempt.unwrap_or_default());
            }
            JobEventKind::ItemRetried | JobEventKind::ItemReturned => {
                self.board.end(at);
                let detail = self.detail(&item).await?;
                let told = event.attempt.as_deref();
                let attempt = detail
                    .attempts
                    .iter()
                    .find(|attempt| Some(attempt.id.as_str()) == told);
                if let Some(attempt) = attempt {
                    self.ended(at, attempt)?;
                }
                let requeued = self.board.palette().yellow("requeued");
                let line = format!("{requeued} at the end of the queue");
                self.board.happened(at, "requeued", &line)?;
            }
            JobEventKind::ItemEnded => {
                self.board.end(at);
                let detail = self.detail(&item).await?;
                self.settle(at, &detail.item, detail.attempts)?;
                self.give_up_on_the_rest().await?;
            }
            JobEventKind::Submitted | JobEventKind::JobEnded | JobEventKind::Other => {}
        }
        Ok(())
    }

    async fn detail(&self, item: &str) -> Result<ItemDetail, Error> {
        let detail = self.client.item(&self.job, item).await;
        detail.map_err(failed("look at an item"))
    }

    fn settle(&mut self, at: usize, item: &ItemView, attempts: Vec<Attempt>) -> Result<(), Error> {
        match attempts.last() {
            Some(attempt) if item.state != ItemState::Cancelled => self.ended(at, attempt)?,
            Some(_) | None => {
                let reason = item.message.as_deref().unwrap_or("cancelled");
                self.board.happened(at, "ended", &text::clean(reason))?;
            }
        }
        self.records[at].settle(item.state, attempts);
        Ok(())
    }

    fn ended(&self, at: usize, attempt: &Attempt) -> Result<(), Error> {
        let line = report::sentence(attempt, self.board.palette());
        self.board.happened(at, "ended", &line)
    }

    /// Once nothing is left but what no machine here can run, asks why and ends it.
    async fn give_up_on_the_rest(&mut self) -> Result<(), Error> {
        let open = |at: &usize| !self.records[*at].is_settled();
        let rest: Vec<usize> = (0..self.items.len()).filter(open).collect();
        if !rest
            .iter()
            .all(|at| self.items[*at].expected == Expected::NobodyCan)
        {
            return Ok(());
        }
        for at in rest {
            let name = &self.items[at].name;
            let explained = self.client.explain(&self.job, name).await;
            let explained = explained.map_err(failed("ask why an item does not run"))?;
            self.records[at].prospect = Some(explained.prospect);
            let message = self.board.palette().yellow(text::clean(&explained.message));
            self.board.happened(at, "explained", &message.to_string())?;
            for near in &explained.nearest {
                let near = self.board.palette().dim(text::clean(near));
                self.board.happened(at, "explained", &near.to_string())?;
            }
            let reason = "nobody can run it";
            let cancelled = self.client.cancel_item(&self.job, name, reason).await;
            cancelled.map_err(failed("cancel an item"))?;
        }
        Ok(())
    }

    /// Shows what an attempt writes while it runs.
    fn read(&mut self, at: usize, item: &str, attempt: &str) {
        let lines = self.lines.0.clone();
        let mut log = self.client.log(&self.job, item, attempt, 0, Until::End);
        self.readers.spawn(async move {
            // Whatever is wrong with the log, the end of the attempt is told elsewhere.
            while let Ok(Some(bytes)) = log.next().await {
                let output = String::from_utf8_lossy(&bytes);
                if let Some(line) = output.lines().rfind(|line| !line.trim().is_empty()) {
                    let text = line.to_owned();
                    let _ = lines.try_send(Line { at, text });
                }
            }
        });
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
}
