//! The end: what becomes of the item, in one transaction, and then the agent may forget.

use std::time::Duration;

use helix_model::dispatch::ItemEnd as ModelEnd;
use helix_model::dispatch::{
    AVOID_AFTER_FAILURE, AVOID_AFTER_RETURN, AttemptEnd, Follow, WaitBecause, agrees, follow,
};
use helix_store::{
    AttemptState, Avoid, ItemEnd, ItemEndKind, Judgement, Next, Progress, RetryPlace, Settlement,
    VerdictKind,
};
use tokio::time::Instant;

use super::{Attempt, Conclusion};
use crate::link::{CallError, Refused, Terminal};
use crate::log::{Kept, keep};

/// How long an agent is told that it may forget an attempt. It forgets by itself one day.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(600);

/// The first wait of an item that comes back from a machine where no other could run it, and the
/// longest: what ails the machine may pass.
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);

impl Attempt {
    /// Writes down how the attempt ended.
    pub(super) async fn conclude(&mut self, conclusion: Conclusion) -> Result<bool, Conclusion> {
        let _writing = self.core.writing();
        let terminal = Instant::now();
        match &conclusion {
            Conclusion::Ended(terminal) => self.settle(Some(terminal), terminal.end, "").await?,
            Conclusion::Lost(reason) => {
                tracing::warn!(reason, "attempt is lost");
                self.settle(None, AttemptEnd::Lost, reason).await?;
            }
            Conclusion::GivenBack(refused) => self.give_back(refused).await?,
            Conclusion::Fenced => return Err(Conclusion::Fenced),
        }
        metrics::histogram!("helix_controller_settle_seconds").record(terminal.elapsed());
        Ok(matches!(conclusion, Conclusion::Ended(_)))
    }

    /// Lets go of the attempt. `ended` says whether its end is stored and its agent may forget it.
    pub(super) fn finish(self, ended: Result<bool, Conclusion>) {
        self.log.end();
        self.core.deregister(self.id());
        self.core.released(&self.agent.name, self.id());
        match ended {
            Ok(true) => self.acknowledge(),
            Ok(false) => {}
            Err(_) => {
                metrics::counter!("helix_controller_fenced_total").increment(1);
                tracing::info!("attempt has another keeper, and is let go of");
            }
        }
    }

    async fn give_back(&mut self, refused: &Refused) -> Result<(), Conclusion> {
        let keep_away = Self::keep_away(refused);
        metrics::counter!("helix_controller_refusals_total", "reason" => refused.reason.clone())
            .increment(1);
        tracing::debug!(
            reason = refused.reason,
            message = refused.message,
            keep_away_ms = u64::try_from(keep_away.as_millis()).unwrap_or(u64::MAX),
            "agent does not take the attempt"
        );
        let refusal = self.refusal(&refused.reason, &refused.message, keep_away);
        let mut failures = 0;
        loop {
            let now = self.core.now();
            let given = self
                .core
                .store()
                .give_back(&self.subject.fence, &refusal, now)
                .await;
            match given {
                Ok(()) => break,
                Err(error) => self.after(&error, failures).await?,
            }
            failures = failures.saturating_add(1);
        }
        self.core
            .refused(&self.agent.name, &self.subject, &refused.reason, keep_away);
        Ok(())
    }

    async fn settle(
        &mut self,
        terminal: Option<&Terminal>,
        end: AttemptEnd,
        lost: &str,
    ) -> Result<(), Conclusion> {
        let delivery = self.subject.delivery;
        let follow = follow(end, &delivery);
        if let Some(terminal) = terminal
            && !agrees(terminal.announced, &follow)
        {
            metrics::counter!("helix_controller_disagreements_total").increment(1);
            tracing::warn!(
                announced = ?terminal.announced,
                follows = ?follow,
                "agent counts otherwise; the controller's own numbers stand"
            );
        }
        let kept = self.keep_log().await;
        let settlement = Settlement {
            state: self.state(terminal, end, lost),
            progress: Progress {
                last_event: self.last_event,
                ..std::mem::take(&mut self.pending)
            },
            log: kept.place,
            short_log: kept.short,
            log_bytes: kept.length,
            next: self.next(terminal, end, &follow, lost),
        };
        let mut failures = 0;
        loop {
            let now = self.core.now();
            let settled = self
                .core
                .store()
                .settle(&self.subject.fence, settlement.clone(), now)
                .await;
            match settled {
                Ok(()) => break,
                Err(error) => self.after(&error, failures).await?,
            }
            failures = failures.saturating_add(1);
        }
        let became = match &settlement.next {
            Next::End(end) => end_name(end.kind),
            Next::Wait { retry: true, .. } => "requeued",
            Next::Wait { retry: false, .. } => "returned",
        };
        metrics::counter!("helix_controller_attempts_ended_total", "became" => became).increment(1);
        tracing::debug!(became, "attempt settled");
        Ok(())
    }

    /// Brings the log to its place, for as long as that takes: the agent still has it.
    async fn keep_log(&self) -> Kept {
        let mut failures = 0_u32;
        loop {
            match keep(&self.log, self.core.storage(), &self.subject.job, self.id()).await {
                Ok(kept) => return kept,
                Err(error) => {
                    if failures.is_power_of_two() {
                        tracing::error!(
                            error = crate::error_chain(&error),
                            failures,
                            "log of an attempt cannot be stored"
                        );
                    }
                }
            }
            failures = failures.saturating_add(1);
            self.pause(failures).await;
        }
    }

    fn state(&self, terminal: Option<&Terminal>, end: AttemptEnd, lost: &str) -> AttemptState {
        let Some(terminal) = terminal else {
            return AttemptState::Lost {
                reason: lost.to_owned(),
            };
        };
        let kind = match end {
            AttemptEnd::Passed => VerdictKind::Passed,
            AttemptEnd::Failed => VerdictKind::Failed,
            AttemptEnd::TimedOut => VerdictKind::TimedOut,
            AttemptEnd::Cancelled => VerdictKind::Cancelled,
            AttemptEnd::Superseded | AttemptEnd::Infrastructure | AttemptEnd::Lost => {
                VerdictKind::Infrastructure
            }
            AttemptEnd::Refused => {
                return AttemptState::RefusedAfterUnpacking {
                    message: terminal.message.clone(),
                };
            }
        };
        AttemptState::Judged(Judgement {
            kind,
            reason: terminal.reason.clone(),
            message: terminal.message.clone(),
            helix_exit_code: self.exit_code(terminal),
            elapsed: self.used.elapsed,
            cpu_time: self.used.cpu_time,
            peak_memory_bytes: self.used.peak_memory_bytes,
        })
    }

    /// The exit code of the attempt itself.
    fn exit_code(&self, terminal: &Terminal) -> i32 {
        use helix_model::outcome::{
            HELIX_EXIT_CANCELLED, HELIX_EXIT_INFRASTRUCTURE, HELIX_EXIT_TIMEOUT,
        };
        match terminal.end {
            AttemptEnd::Passed => 0,
            AttemptEnd::Failed => terminal.exit_code.unwrap_or(1),
            AttemptEnd::TimedOut => HELIX_EXIT_TIMEOUT,
            AttemptEnd::Cancelled => HELIX_EXIT_CANCELLED,
            AttemptEnd::Superseded
            | AttemptEnd::Infrastructure
            | AttemptEnd::Refused
            | AttemptEnd::Lost => HELIX_EXIT_INFRASTRUCTURE,
        }
    }

    fn next(
        &self,
        terminal: Option<&Terminal>,
        end: AttemptEnd,
        follow: &Follow,
        lost: &str,
    ) -> Next {
        let reason = terminal.map_or("LOST", |terminal| terminal.reason.as_str());
        let message = terminal.map_or(lost, |terminal| terminal.message.as_str());
        match follow {
            Follow::End(item_end) => {
                let code = terminal.map_or(0, |terminal| self.exit_code(terminal));
                Next::End(ItemEnd {
                    kind: end_kind(*item_end),
                    helix_exit_code: item_end.helix_exit_code().unwrap_or(code),
                    reason: reason.to_owned(),
                    message: message.to_owned(),
                })
            }
            Follow::Wait { delivery, because } => {
                let (avoid, rest) = self.keep_from(terminal, end, *because, reason, message);
                Next::Wait {
                    delivery: *delivery,
                    not_before: rest.and_then(|rest| self.core.now().checked_add(rest)),
                    avoid,
                    retry: *because == WaitBecause::Retry,
                    reason: if message.is_empty() { reason } else { message }.to_owned(),
                }
            }
        }
    }

    /// Whom the item is kept from, and how long it rests.
    fn keep_from(
        &self,
        terminal: Option<&Terminal>,
        end: AttemptEnd,
        because: WaitBecause,
        reason: &str,
        message: &str,
    ) -> (Option<Avoid>, Option<Duration>) {
        let avoid = |reason: &str, keep_away| {
            Some(Avoid {
                refusal: self.refusal(reason, message, keep_away),
            })
        };
        let another_could = || self.core.another_could(&self.subject, &self.agent.name);
        match because {
            WaitBecause::Refused => {
                let refused = terminal.and_then(|terminal| terminal.refused.as_ref());
                let keep_away = refused.map_or(AVOID_AFTER_RETURN, Self::keep_away);
                (avoid(reason, keep_away), None)
            }
            WaitBecause::Retry if self.subject.retry_place == RetryPlace::AnotherMachine => {
                let keep_away = another_could().then_some(AVOID_AFTER_FAILURE);
                (
                    keep_away.and_then(|keep_away| avoid("RETRY_ELSEWHERE", keep_away)),
                    None,
                )
            }
            WaitBecause::Retry => (None, None),
            WaitBecause::Returned if another_could() => (avoid(reason, AVOID_AFTER_RETURN), None),
            // The machine is gone: there is nothing that could recover meanwhile.
            WaitBecause::Returned if end == AttemptEnd::Lost => (None, None),
            WaitBecause::Returned => {
                let times = self.subject.delivery.number().saturating_sub(1).min(8);
                (None, Some((FIRST_REST * (1 << times)).min(LONGEST_REST)))
            }
        }
    }

    /// Tells the agent that it may forget, in the background.
    fn acknowledge(&self) {
        let (core, agent) = (
            std::sync::Arc::clone(&self.core),
            std::sync::Arc::clone(&self.agent),
        );
        let attempt = self.id().clone();
        self.core.tasks().spawn(async move {
            let until = Instant::now() + ACKNOWLEDGE_WITHIN;
            let mut failures = 0;
            while Instant::now() < until {
                if let Some(link) = agent.link() {
                    match link.acknowledge(&attempt).await {
                        Ok(()) | Err(CallError::Unknown) => return,
                        Err(error) => {
                            tracing::debug!(error = %error, "attempt cannot be acknowledged yet");
                        }
                    }
                }
                let wait =
                    crate::world::backoff(core.world(), super::FIRST_WAIT, FIRST_REST, failures);
                tokio::time::sleep(wait).await;
                failures = failures.saturating_add(1);
            }
        });
    }
}

fn end_kind(end: ModelEnd) -> ItemEndKind {
    match end {
        ModelEnd::Passed => ItemEndKind::Passed,
        ModelEnd::PassedOnRetry => ItemEndKind::PassedOnRetry,
        ModelEnd::Failed => ItemEndKind::Failed,
        ModelEnd::TimedOut => ItemEndKind::TimedOut,
        ModelEnd::Cancelled => ItemEndKind::Cancelled,
        ModelEnd::Dead => ItemEndKind::Dead,
    }
}

fn end_name(kind: ItemEndKind) -> &'static str {
    match kind {
        ItemEndKind::Passed => "passed",
        ItemEndKind::PassedOnRetry => "passed_on_retry",
        ItemEndKind::Failed => "failed",
        ItemEndKind::TimedOut => "timed_out",
        ItemEndKind::Cancelled => "cancelled",
        ItemEndKind::Dead => "dead",
    }
}
