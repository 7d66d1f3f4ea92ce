//! To the agent: offering, and attaching where it is open whether the offer was heard.

use std::sync::Arc;

use helix_model::dispatch::refusal_times;

use super::{Attempt, Conclusion, Step};
use crate::agent::Connection;
use crate::link::{AgentLink, CallError, Refused};
use crate::signal::Listener;

/// How often an offer is made of which the agent then knows nothing.
const OFFERS: u32 = 5;

/// A line, and what tells that it is not the one any more.
struct Line {
    link: Arc<dyn AgentLink>,
    number: u64,
    connection: Listener<Connection>,
}

/// Waits until a line is not the one to use any more.
pub(super) async fn gone(connection: &mut Listener<Connection>, number: u64) {
    let is_other = |connection: &Connection| !matches!(connection, Connection::Up { number: up, .. } if *up == number);
    connection.wait_for(is_other).await;
}

impl Attempt {
    /// Offers the item to the agent, until it has answered.
    pub(super) async fn offer(&mut self) -> Step {
        for _ in 0..OFFERS {
            if !self.may_be_there
                && let Some(reason) = self.orders.borrow().clone()
            {
                // The store ends it as cancelled, instead of giving it back.
                return give_back("CANCELLED", &reason);
            }
            let Some(Line {
                link,
                number,
                mut connection,
            }) = self.line().await
            else {
                return if self.may_be_there {
                    lost_line()
                } else {
                    give_back("SILENT", "the agent is not there any more")
                };
            };
            let work_item = self.subject.work_item(&self.core);
            self.may_be_there = true;
            let answer = tokio::select! {
                biased;
                answer = link.run(work_item) => answer,
                () = gone(&mut connection, number) => Err(CallError::Open("the line broke".to_owned())),
            };
            let answered = match &answer {
                Ok(_) => "taken",
                Err(CallError::Refused(_)) => "refused",
                Err(CallError::Duplicate) => "known",
                Err(_) => "open",
            };
            metrics::counter!("helix_controller_offers_total", "answer" => answered).increment(1);
            match answer {
                Ok(stream) => {
                    metrics::histogram!("helix_controller_offer_seconds")
                        .record(self.began.elapsed());
                    self.core.attached(&self.agent.name, self.id());
                    return Step::Stream(stream);
                }
                Err(CallError::Refused(refused)) => {
                    return Step::End(Conclusion::GivenBack(refused));
                }
                Err(
                    error @ (CallError::Duplicate
                    | CallError::Unknown
                    | CallError::BeyondEnd
                    | CallError::Unreadable(_)
                    | CallError::Open(_)),
                ) => {
                    tracing::debug!(error = %error, "attempt may be there; it is attached to");
                    match self.find().await {
                        Found::Stream(step) => return step,
                        Found::NotThere => {}
                    }
                }
            }
        }
        give_back("UNREACHABLE", "the agent did not hear the offer")
    }

    /// Goes on where the attempt was left, at the agent that has it; offers it where that turns out
    /// not to.
    pub(super) async fn attach(&mut self) -> Step {
        match self.find().await {
            Found::Stream(step) => step,
            Found::NotThere => self.offer().await,
        }
    }

    /// Attaches, until the agent has answered.
    async fn find(&mut self) -> Found {
        let mut failures = 0;
        loop {
            let Some(Line {
                link,
                number,
                mut connection,
            }) = self.line().await
            else {
                return Found::Stream(lost_line());
            };
            let (event, offset) = (self.last_event, self.log.console_offset());
            let answer = tokio::select! {
                biased;
                answer = link.attach(self.id(), event, offset) => answer,
                () = gone(&mut connection, number) => continue,
            };
            match answer {
                Ok(stream) => {
                    self.core.attached(&self.agent.name, self.id());
                    return Found::Stream(Step::Stream(stream));
                }
                Err(CallError::Unknown) if self.is_accepted => {
                    return Found::Stream(lost(
                        "the agent took the attempt and knows nothing of it any more",
                    ));
                }
                Err(CallError::Unknown) => return Found::NotThere,
                Err(CallError::BeyondEnd) => {
                    tracing::warn!("agent has less of the attempt than was seen; it is read anew");
                    self.last_event = 0;
                    self.log.restart();
                }
                Err(CallError::Unreadable(message)) => {
                    return Found::Stream(lost(&format!(
                        "the agent cannot read the attempt's history: {message}"
                    )));
                }
                Err(
                    error @ (CallError::Refused(_) | CallError::Duplicate | CallError::Open(_)),
                ) => {
                    tracing::debug!(error = %error, failures, "attempt cannot be attached to yet");
                }
            }
            self.pause(failures).await;
            failures = failures.saturating_add(1);
        }
    }

    /// The line to the agent, as soon as there is one; none once the agent is given up.
    async fn line(&self) -> Option<Line> {
        let mut connection = self.agent.connection();
        let present = connection
            .wait_for(|connection| !matches!(connection, Connection::Down))
            .await;
        let Connection::Up { link, number } = present else {
            return None;
        };
        Some(Line {
            link,
            number,
            connection,
        })
    }

    /// How long the agent is kept from what it refused.
    pub(super) fn keep_away(refused: &Refused) -> std::time::Duration {
        refusal_times(&refused.reason).bound(refused.retry_after)
    }
}

/// What came of looking for an attempt.
enum Found {
    Stream(Step),
    /// The agent does not have it.
    NotThere,
}

fn lost(reason: &str) -> Step {
    Step::End(Conclusion::Lost(reason.to_owned()))
}

fn lost_line() -> Step {
    lost("the agent has not been heard of for too long")
}

fn give_back(reason: &str, message: &str) -> Step {
    Step::End(Conclusion::GivenBack(Refused {
        reason: reason.to_owned(),
        message: message.to_owned(),
        retry_after: None,
    }))
}
