//! Following one attempt over as many connections as it takes.
//!
//! [`Follower::next`] may be dropped while it waits, and called again: no event
//! is lost. A call that was under way is then made anew, so it is better kept.

use std::time::Duration;

use helix_proto::agent::v1::{
    AttachRequest, AttachResponse, AttemptEvent, RunRequest, RunResponse, WorkItem,
};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::answer::{Answer, Broken, Refusal, reason};
use super::backoff::Backoff;
use super::cursor::{Cursor, is_terminal};
use super::{Client, Connection};

/// One thing that happened while following.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something new of the attempt.
    Event(Box<AttemptEvent>),
    /// The connection broke; the next try is made after the delay.
    Lost { cause: Broken, delay: Duration },
    /// The connection is back.
    Restored,
}

/// Why following ended before the attempt did.
#[derive(Debug)]
pub(crate) enum FollowError {
    /// The agent did not take the work item.
    Refused(Box<Refusal>),
    /// The agent, or somebody between, does not let us follow.
    Answer(Answer),
    /// The connection could not be had again in time.
    Lost(Broken),
}

/// Follows one attempt.
#[derive(Debug)]
pub(crate) struct Follower {
    client: Client,
    attempt_id: String,
    cursor: Cursor,
    patience: Duration,
    link: Link,
    trouble: Option<Trouble>,
}

/// What there is to read from.
#[derive(Debug)]
enum Link {
    /// The work item is to be offered; `offered` says whether it was before, so
    /// that the agent may have taken it without our hearing of it.
    Offering {
        work_item: Box<WorkItem>,
        offered: Offered,
    },
    /// The attempt is to be attached to.
    Attaching,
    /// Events arrive.
    Streaming(Box<EventStream>),
    /// The terminal event was seen.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    Never,
    Before,
}

/// A connection that is broken, from the first failure to the next progress.
#[derive(Debug)]
struct Trouble {
    give_up_at: Instant,
    retry_at: Instant,
    backoff: Backoff,
    call: Call,
}

/// Whether the call went through again after a failure.
#[derive(Debug, Clone, Copy)]
enum Call {
    /// Not yet.
    Down,
    /// It did, but nothing new was heard yet.
    Up { since: Instant },
}

/// A stream that was up for this long was not part of the same failure, even if
/// the attempt had nothing to say in that time.
const SOUND_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum EventStream {
    Run(Streaming<RunResponse>),
    Attach(Streaming<AttachResponse>),
}

impl Follower {
    /// Offers `work_item`, and follows it if it is taken.
    pub(crate) fn offer(connection: &Connection, work_item: WorkItem, patience: Duration) -> Self {
        let attempt_id = work_item.attempt_id.clone();
        let link = Link::Offering {
            work_item: Box::new(work_item),
            offered: Offered::Never,
        };
        Self::new(connection, attempt_id, Cursor::default(), patience, link)
    }

    /// Follows an attempt that exists, from `cursor` on.
    pub(crate) fn attach(
        connection: &Connection,
        attempt_id: String,
        cursor: Cursor,
        patience: Duration,
    ) -> Self {
        Self::new(connection, attempt_id, cursor, patience, Link::Attaching)
    }

    fn new(
        connection: &Connection,
        attempt_id: String,
        cursor: Cursor,
        patience: Duration,
        link: Link,
    ) -> Self {
        Self {
            client: connection.client(),
            attempt_id,
            cursor,
            patience,
            link,
            trouble: None,
        }
    }

    /// How far it was read.
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The next thing that happens; nothing after the terminal event.
    pub(crate) async fn next(&mut self) -> Result<Option<Step>, FollowError> {
        loop {
            if let Some(trouble) = &self.trouble
                && !matches!(self.link, Link::Streaming(_))
            {
                tokio::time::sleep_until(trouble.retry_at).await;
            }
            let result = match &mut self.link {
                Link::Offering { .. } => self.offer_once().await,
                Link::Attaching => self.attach_once().await,
                Link::Streaming(stream) => match stream.message().await {
                    Ok(Some(event)) => match self.receive(event) {
                        Some(step) => return Ok(Some(step)),
                        None => Ok(()),
                    },
                    Ok(None) => Err(Answer::Broken(Broken::ended_early())),
                    Err(status) => Err(Answer::from(status)),
                },
                Link::Ended => return Ok(None),
            };
            match result {
                Ok(()) => {
                    if let Some(trouble) = &mut self.trouble
                        && matches!(trouble.call, Call::Down)
                        && matches!(self.link, Link::Streaming(_))
                    {
                        trouble.call = Call::Up {
                            since: Instant::now(),
                        };
                        return Ok(Some(Step::Restored));
                    }
                }
                Err(Answer::Broken(cause)) => return self.broke(cause).map(Some),
                Err(answer) => return Err(FollowError::from(answer)),
            }
        }
    }

    async fn offer_once(&mut self) -> Result<(), Answer> {
        let Link::Offering { work_item, offered } = &mut self.link else {
            return Ok(());
        };
        let before = *offered;
        *offered = Offered::Before;
        let request = RunRequest {
            work_item: Some(work_item.as_ref().clone()),
        };
        match self.client.run(request).await {
            Ok(response) => {
                let stream = EventStream::Run(response.into_inner());
                self.link = Link::Streaming(Box::new(stream));
                Ok(())
            }
            Err(status) => match Answer::from(status) {
                Answer::Refused(refusal)
                    if before == Offered::Before && refusal.reason == reason::DUPLICATE_ATTEMPT =>
                {
                    self.link = Link::Attaching;
                    Ok(())
                }
                answer => Err(answer),
            },
        }
    }

    async fn attach_once(&mut self) -> Result<(), Answer> {
        let request = AttachRequest {
            attempt_id: self.attempt_id.clone(),
            after_event: self.cursor.after_event,
            console_offset: self.cursor.console_offset,
        };
        let response = self.client.attach(request).await.map_err(Answer::from)?;
        let stream = EventStream::Attach(response.into_inner());
        self.link = Link::Streaming(Box::new(stream));
        Ok(())
    }

    fn receive(&mut self, event: AttemptEvent) -> Option<Step> {
        let event = self.cursor.advance(event)?;
        self.trouble = None;
        if event.kind.as_ref().is_some_and(is_terminal) {
            self.link = Link::Ended;
        }
        Some(Step::Event(Box::new(event)))
    }

    fn broke(&mut self, cause: Broken) -> Result<Step, FollowError> {
        if matches!(self.link, Link::Streaming(_)) {
            self.link = Link::Attaching;
        }
        let now = Instant::now();
        if let Some(Trouble {
            call: Call::Up { since },
            ..
        }) = &self.trouble
            && now - *since >= SOUND_AFTER
        {
            self.trouble = None;
        }
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            give_up_at: now + self.patience,
            retry_at: now,
            backoff: Backoff::new(),
            call: Call::Down,
        });
        if now >= trouble.give_up_at {
            return Err(FollowError::Lost(cause));
        }
        let delay = trouble.backoff.next_delay().min(trouble.give_up_at - now);
        trouble.retry_at = now + delay;
        trouble.call = Call::Down;
        Ok(Step::Lost { cause, delay })
    }
}

impl EventStream {
    /// The next event. Nothing is lost if this is dropped while waiting.
    async fn message(&mut self) -> Result<Option<AttemptEvent>, Status> {
        let event = match self {
            Self::Run(stream) => stream.message().await?.map(|response| response.event),
            Self::Attach(stream) => stream.message().await?.map(|response| response.event),
        };
        match event {
            // What a later contract adds to the response arrives without event.
            Some(event) => Ok(Some(event.unwrap_or_default())),
            None => Ok(None),
        }
    }
}

impl From<Answer> for FollowError {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Refused(refusal) => Self::Refused(refusal),
            other => Self::Answer(other),
        }
    }
}
