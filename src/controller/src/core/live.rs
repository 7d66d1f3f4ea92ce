//! What is going on now: agents, running attempts and their logs.

use std::ops::Range;
use std::sync::Arc;

use helix_model::ids::AttemptId;
use helix_store::{AgentName, Attempt, LogPlace};

use super::{AgentCallError, AgentStanding, Core};
use crate::agent::AgentHandle;
use crate::link::CallError;
use crate::log::{LiveLog, Log, LogError, LogReader, Mirror};

impl Core {
    /// Every agent that this controller knows, by name.
    pub(crate) fn agents(&self) -> Vec<AgentStanding> {
        let handles: Vec<Arc<AgentHandle>> = self.handles().values().cloned().collect();
        handles.iter().map(|handle| self.standing(handle)).collect()
    }

    /// One agent.
    pub(crate) fn agent(&self, name: &AgentName) -> Option<AgentStanding> {
        let handle = self.handles().get(name).cloned()?;
        Some(self.standing(&handle))
    }

    fn standing(&self, handle: &AgentHandle) -> AgentStanding {
        let known = handle.known();
        let (report, free) = self.board().agent(&handle.name);
        AgentStanding {
            name: handle.name.clone(),
            origin: known.origin,
            address: known.address,
            liveness: self.judge(handle),
            seen: known.seen,
            report,
            free,
        }
    }

    /// Has an agent take nothing new. Says how much still runs there.
    ///
    /// # Errors
    ///
    /// It is not known, not there, or does not do it.
    pub(crate) async fn drain(
        &self,
        agent: &AgentName,
        reason: &str,
    ) -> Result<u32, AgentCallError> {
        let drained = self.line(agent)?.drain(reason).await;
        drained.map_err(|error| refused(agent, &error))
    }

    /// Has an agent take work again. Says whether it does.
    ///
    /// # Errors
    ///
    /// It is not known, not there, or does not do it.
    pub(crate) async fn resume(&self, agent: &AgentName) -> Result<bool, AgentCallError> {
        let resumed = self.line(agent)?.resume().await;
        resumed.map_err(|error| refused(agent, &error))
    }

    fn line(&self, agent: &AgentName) -> Result<Arc<dyn crate::link::AgentLink>, AgentCallError> {
        let handle = self.handles().get(agent).cloned();
        let handle = handle.ok_or_else(|| AgentCallError::Unknown(agent.clone()))?;
        handle
            .link()
            .ok_or_else(|| AgentCallError::Unreachable(agent.clone()))
    }

    /// What there is of an attempt's log now, from `start` up to `end` or all; none if there is no
    /// such attempt. Of one that another controller looks after there is nothing before its end where
    /// its agent has no line to this one.
    ///
    /// # Errors
    ///
    /// The store or the object store does not answer.
    pub(crate) async fn log(
        &self,
        attempt: &AttemptId,
        start: u64,
        end: Option<u64>,
    ) -> Result<Option<Log>, LogError> {
        let stored = match self.whereabouts(attempt).await? {
            Whereabouts::Nowhere => return Ok(None),
            Whereabouts::Live(live) => {
                let length = live.state().borrow().length;
                let end = end.unwrap_or(length).min(length);
                return Ok(Some(Log {
                    length,
                    is_live: true,
                    reader: LogReader::live(live, start.min(end), Some(end)),
                }));
            }
            Whereabouts::Stored(stored) => stored,
        };
        self.stored_log(&stored, start, end).await.map(Some)
    }

    async fn stored_log(
        &self,
        stored: &Attempt,
        start: u64,
        end: Option<u64>,
    ) -> Result<Log, LogError> {
        let length = stored.log_bytes;
        let end = end.unwrap_or(length).min(length);
        let range: Range<u64> = start.min(end)..end;
        let reader = match &stored.log {
            None => LogReader::bytes(Vec::new(), &range),
            Some(LogPlace::Here) => {
                let bytes = self.store().short_log(&stored.id).await?;
                LogReader::bytes(bytes.unwrap_or_default(), &range)
            }
            Some(LogPlace::Object(key)) => LogReader::object(self.storage(), key, range).await?,
        };
        Ok(Log {
            length,
            is_live: stored.ended.is_none(),
            reader,
        })
    }

    /// An attempt's log from `start` on, followed to its end for as long as it runs; any number of
    /// readers. Of one that has ended it is what [`Core::log`] gives.
    ///
    /// # Errors
    ///
    /// The store or the object store does not answer.
    pub(crate) async fn live_log(
        &self,
        attempt: &AttemptId,
        start: u64,
    ) -> Result<Option<Log>, LogError> {
        match self.whereabouts(attempt).await? {
            Whereabouts::Nowhere => Ok(None),
            Whereabouts::Live(live) => Ok(Some(Log {
                length: live.state().borrow().length,
                is_live: true,
                reader: LogReader::live(live, start, None),
            })),
            Whereabouts::Stored(stored) => self.stored_log(&stored, start, None).await.map(Some),
        }
    }

    async fn whereabouts(&self, attempt: &AttemptId) -> Result<Whereabouts, LogError> {
        if let Some(live) = self.live(attempt) {
            return Ok(Whereabouts::Live(live));
        }
        let Some(stored) = self.store().attempt(attempt).await? else {
            return Ok(Whereabouts::Nowhere);
        };
        if stored.ended.is_none()
            && let Some(mirror) = self.mirror(&stored).await
            && let Some(live) = mirror.log().await
        {
            return Ok(Whereabouts::Live(live));
        }
        Ok(Whereabouts::Stored(Box::new(stored)))
    }

    /// The log of an attempt that another controller looks after, if its agent tells it here too.
    async fn mirror(&self, stored: &Attempt) -> Option<Mirror> {
        if let Some(mirror) = self.mirrors().find(&stored.id) {
            return Some(mirror);
        }
        let line = self.line(&stored.agent).ok()?;
        let events = line.attach(&stored.id, 0, 0).await.ok()?;
        let mirrors = self.mirrors();
        Some(mirrors.begin(self.tasks(), self.logs(), &stored.id, events))
    }
}

/// Where a log is to be read.
enum Whereabouts {
    /// There is none.
    Nowhere,
    /// It is being written.
    Live(Arc<LiveLog>),
    /// With its attempt, or not told here.
    Stored(Box<Attempt>),
}

fn refused(agent: &AgentName, error: &CallError) -> AgentCallError {
    match error {
        CallError::Open(_) => AgentCallError::Unreachable(agent.clone()),
        error => AgentCallError::Refused {
            agent: agent.clone(),
            message: error.to_string(),
        },
    }
}
