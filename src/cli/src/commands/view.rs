//! Showing an attempt while it is followed; shared by `run` and `attach`.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use helix_proto::agent::v1::{AttemptEvent, ConsoleStream, attempt_event::Kind};

use tokio::time::{Interval, MissedTickBehavior};

use crate::arguments::{Common, OutputFormat};
use crate::client::answer::Refusal;
use crate::client::follow::{FollowError, Follower, Step};
use crate::client::{Address, Connection};
use crate::error::Error;
use crate::json::{EventLine, Notice};
use crate::render::{self, units};
use crate::screen::Screen;
use crate::summary::Summary;

const TICK: Duration = Duration::from_millis(250);

/// Shows one attempt.
#[derive(Debug)]
pub(super) struct View {
    screen: Arc<Screen>,
    voice: Voice,
    address: Address,
    patience: Duration,
    attempt_id: String,
    summary: Summary,
    activity: String,
    since: Instant,
}

/// How much is said besides what the command says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// What happens, and a summary.
    Full,
    /// Nothing.
    CommandOnly,
}

/// Why an attempt was not seen to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The agent did not take it.
    Refused(Box<Refusal>),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl View {
    /// A view of `attempt_id` that has seen nothing yet.
    pub(super) fn new(
        screen: &Arc<Screen>,
        voice: Voice,
        connection: &Connection,
        common: &Common,
        attempt_id: String,
    ) -> Self {
        Self {
            screen: Arc::clone(screen),
            voice,
            address: connection.address().clone(),
            patience: common.patience,
            attempt_id,
            summary: Summary::default(),
            activity: "offering".to_owned(),
            since: Instant::now(),
        }
    }

    /// Shows everything up to the terminal event, and what it comes to.
    pub(super) async fn follow(&mut self, follower: &mut Follower) -> Result<Summary, Stopped> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match self.wait(follower, &mut tick).await {
                Ok(Some(Step::Event(event))) => self.event(&event)?,
                Ok(Some(Step::Lost { cause, delay })) => self.lost(&cause.to_string(), delay)?,
                Ok(Some(Step::Restored)) => self.restored()?,
                Ok(None) => break,
                Err(error) => {
                    self.screen.end_status();
                    return Err(self.stopped(error, follower));
                }
            }
        }
        self.screen.end_status();
        Ok(std::mem::take(&mut self.summary))
    }

    /// The next step, with the clock running meanwhile. The waiting itself is
    /// not broken off for the clock, or every tick would repeat a call.
    async fn wait(
        &self,
        follower: &mut Follower,
        tick: &mut Interval,
    ) -> Result<Option<Step>, FollowError> {
        let mut next = pin!(follower.next());
        loop {
            tokio::select! {
                step = &mut next => return step,
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn event(&mut self, event: &AttemptEvent) -> Result<(), Error> {
        self.summary.observe(event);
        if self.screen.format() == OutputFormat::Json {
            self.screen.json(&EventLine::new(&self.attempt_id, event))?;
            return Ok(());
        }
        if let Some(Kind::Console(chunk)) = &event.kind {
            let stream = chunk.stream();
            let is_command = matches!(stream, ConsoleStream::Stdout | ConsoleStream::Stderr);
            if is_command || self.voice == Voice::Full {
                self.screen.console(stream, &chunk.data)?;
            }
            return Ok(());
        }
        if self.voice == Voice::CommandOnly {
            return Ok(());
        }
        if let Some(activity) = render::event::activity(event) {
            self.activity = activity;
            self.since = Instant::now();
        }
        let palette = self.screen.error_palette();
        let Some(line) = render::event::line(event, &self.attempt_id, palette) else {
            return Ok(());
        };
        // Steps come and go; where there is a status line, they belong there.
        let passing = matches!(&event.kind, Some(Kind::Preparing(_) | Kind::Started(_)));
        if !(passing && self.screen.has_status()) {
            self.screen.note(&line)?;
        }
        Ok(())
    }

    fn tick(&self) {
        if self.voice == Voice::Full {
            let clock = units::stopwatch(self.since.elapsed());
            self.screen.status(format!("{} {clock}", self.activity));
            self.screen.tick();
        }
    }

    fn lost(&self, cause: &str, delay: Duration) -> Result<(), Error> {
        if self.screen.format() == OutputFormat::Json {
            self.screen.json(&Notice::ConnectionLost {
                attempt_id: &self.attempt_id,
                cause: cause.to_owned(),
                delay_seconds: delay.as_secs_f64(),
            })?;
        } else if self.voice == Voice::Full {
            let cause = render::text::line(cause, 200);
            let delay = units::duration(delay);
            self.screen
                .note(&format!("lost the agent: {cause}; trying again in {delay}"))?;
        }
        Ok(())
    }

    fn restored(&self) -> Result<(), Error> {
        if self.screen.format() == OutputFormat::Json {
            self.screen.json(&Notice::ConnectionRestored {
                attempt_id: &self.attempt_id,
            })?;
        } else if self.voice == Voice::Full {
            self.screen
                .note("the agent is back; going on where it broke")?;
        }
        Ok(())
    }

    fn stopped(&self, error: FollowError, follower: &Follower) -> Stopped {
        match error {
            FollowError::Refused(refusal) => Stopped::Refused(refusal),
            FollowError::Answer(answer) => Stopped::Failed(Error::Call {
                what: format!("follow `{}`", self.attempt_id),
                answer,
            }),
            FollowError::Lost(cause) => Stopped::Failed(Error::Lost {
                address: Box::new(self.address.clone()),
                patience: self.patience,
                attempt_id: self.attempt_id.clone(),
                console_offset: follower.cursor().console_offset,
                cause,
            }),
        }
    }
}
