//! `helix run`: one work item from the offer to its verdict, over as many
//! deliveries as it may have.

use std::sync::Arc;
use std::time::Duration;

use helix_proto::agent::v1::CancelRequest;
use tokio::sync::watch;
use tokio::time::Instant;

use super::view::{Stopped, View, Voice};
use crate::arguments::{Common, OutputFormat, RunArguments};
use crate::client::answer::{Answer, Refusal};
use crate::client::follow::Follower;
use crate::client::{Backoff, Client, Connection, to_wire};
use crate::error::Error;
use crate::exit::Exit;
use crate::json::Notice;
use crate::render::{text, units};
use crate::screen::Screen;
use crate::signals::Interrupts;
use crate::summary::{End, Summary};
use crate::work_item::{Numbers, Template};

/// Cancel, kill, leave.
const PATIENCE: u32 = 3;
/// A cancel that takes longer does not reach the agent.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// Runs the work item and exits as it did.
pub(crate) async fn execute(
    common: &Common,
    arguments: RunArguments,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    let connection = Connection::open(common).await?;
    let address = connection.address().clone();
    let voice = if arguments.quiet {
        Voice::CommandOnly
    } else {
        Voice::Full
    };
    let wait = arguments.wait;
    let packing = tokio::task::spawn_blocking(move || {
        Template::build(&arguments, &address, |name| std::env::var_os(name))
    });
    let template = packing.await.map_err(|error| Error::Runtime {
        source: error.into(),
    })??;
    let interrupts = Interrupts::listen(PATIENCE)?;
    let (target, watched) = watch::channel(None);
    tokio::spawn(cancel_on_interrupt(
        connection.client(),
        interrupts.clone(),
        watched,
        Arc::clone(screen),
    ));
    let run = Run {
        common,
        connection,
        screen,
        voice,
        template,
        interrupts,
        target,
    };
    run.until_over(wait).await
}

/// What stays the same over all deliveries.
struct Run<'a> {
    common: &'a Common,
    connection: Connection,
    screen: &'a Arc<Screen>,
    voice: Voice,
    template: Template,
    interrupts: Interrupts,
    /// The attempt that Ctrl-C is meant for; none while there is only waiting.
    target: watch::Sender<Option<String>>,
}

/// What follows from an attempt.
enum Next {
    /// The work item is over.
    Exit { attempt_id: String, exit: Exit },
    /// It is to be delivered again.
    Deliver(Numbers),
    /// The agent does not take it now, but may later.
    Refused {
        numbers: Numbers,
        refusal: Box<Refusal>,
    },
}

impl Run<'_> {
    async fn until_over(mut self, wait: Duration) -> Result<Exit, Error> {
        let mut numbers = Numbers::first();
        let give_up_at = Instant::now() + wait;
        let mut backoff = Backoff::new();
        loop {
            match self.deliver(numbers).await? {
                Next::Exit { attempt_id, exit } => {
                    let exit_code = exit.code();
                    self.tell(&Notice::Ended {
                        attempt_id: &attempt_id,
                        exit_code,
                    })?;
                    return Ok(exit);
                }
                Next::Deliver(next) => numbers = next,
                Next::Refused {
                    numbers: next,
                    refusal,
                } => {
                    let now = Instant::now();
                    if !refusal.is_temporary() || now >= give_up_at {
                        let name = self.template.name().to_owned();
                        return Err(Error::Refused { name, refusal });
                    }
                    let delay = refusal.retry_after.unwrap_or_else(|| backoff.next_delay());
                    let delay = delay.max(SHORTEST_WAIT).min(give_up_at - now);
                    if self.wait(&refusal, delay, numbers).await? == Waited::Interrupted {
                        return Ok(Exit::Cancelled);
                    }
                    numbers = next;
                }
            }
        }
    }

    async fn deliver(&self, numbers: Numbers) -> Result<Next, Error> {
        let work_item = self.template.attempt(numbers);
        let attempt_id = work_item.attempt_id.clone();
        self.tell(&Notice::Offered {
            attempt_id: &attempt_id,
            work_item_id: &work_item.work_item_id,
            job_id: &work_item.job_id,
            name: self.template.name(),
            delivery: numbers.delivery,
        })?;
        self.target.send_replace(Some(attempt_id.clone()));
        let patience = self.common.patience;
        let mut follower = Follower::offer(&self.connection, work_item, patience);
        let mut view = View::new(
            self.screen,
            self.voice,
            &self.connection,
            self.common,
            attempt_id.clone(),
        );
        let followed = view.follow(&mut follower).await;
        self.target.send_replace(None);
        match followed {
            Ok(summary) => self.ended(attempt_id, &summary, numbers),
            // It never ran, so that the same attempt may be offered again.
            Err(Stopped::Refused(refusal)) => Ok(Next::Refused { numbers, refusal }),
            Err(Stopped::Failed(error)) => Err(error),
        }
    }

    fn ended(
        &self,
        attempt_id: String,
        summary: &Summary,
        numbers: Numbers,
    ) -> Result<Next, Error> {
        let attempt = numbers.attempt.saturating_add(1);
        let end = summary.end();
        if let Some(refusal) = end.and_then(End::refusal) {
            return Ok(Next::Refused {
                numbers: Numbers { attempt, ..numbers },
                refusal: Box::new(refusal),
            });
        }
        if self.voice == Voice::Full {
            for line in summary.lines(self.screen.error_palette()) {
                self.screen.note(&line)?;
            }
        }
        match end {
            Some(End::Requeued(requeued)) => Ok(Next::Deliver(Numbers {
                attempt,
                delivery: requeued.next_delivery_number,
                retries_used: requeued.next_retries_used,
            })),
            Some(End::Returned(returned)) if returned.next_delivery_number > 0 => {
                let delivery = returned.next_delivery_number;
                Ok(Next::Deliver(Numbers {
                    attempt,
                    delivery,
                    ..numbers
                }))
            }
            Some(end @ (End::Returned(_) | End::Finished(_))) => Ok(Next::Exit {
                attempt_id,
                exit: end.exit(),
            }),
            None => Ok(Next::Exit {
                attempt_id,
                exit: Exit::Infrastructure,
            }),
        }
    }

    async fn wait(
        &mut self,
        refusal: &Refusal,
        delay: Duration,
        numbers: Numbers,
    ) -> Result<Waited, Error> {
        let attempt_id = self.template.attempt(numbers).attempt_id;
        self.tell(&Notice::Waiting {
            attempt_id: &attempt_id,
            refusal: refusal.into(),
            delay_seconds: delay.as_secs_f64(),
        })?;
        if self.voice == Voice::Full {
            let why = text::line(&refusal.to_string(), 300);
            let delay = units::duration(delay);
            self.screen
                .note(&format!("refused for now, coming back in {delay}: {why}"))?;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(Waited::Through),
            _ = self.interrupts.next() => Ok(Waited::Interrupted),
        }
    }

    /// Says it to a program; a person is told in other ways.
    fn tell(&self, notice: &Notice<'_>) -> Result<(), Error> {
        if self.screen.format() == OutputFormat::Json {
            self.screen.json(notice)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    Through,
    Interrupted,
}

/// Turns Ctrl-C into a cancel of the attempt that is followed. It runs beside
/// the following, which may hang in a write to a terminal that was stopped.
async fn cancel_on_interrupt(
    mut client: Client,
    mut interrupts: Interrupts,
    target: watch::Receiver<Option<String>>,
    screen: Arc<Screen>,
) {
    loop {
        let number = interrupts.next().await;
        let Some(attempt_id) = target.borrow().clone() else {
            continue;
        };
        let (grace, said) = match number {
            0 | 1 => (None, "asked the attempt to end; Ctrl-C again kills it"),
            _ => (
                Some(Duration::ZERO),
                "killing the attempt; Ctrl-C again leaves it alone",
            ),
        };
        let request = CancelRequest {
            attempt_id,
            grace: grace.map(to_wire),
            reason: "interrupted at the command line".to_owned(),
        };
        let note = match tokio::time::timeout(CANCEL_TIMEOUT, client.cancel(request)).await {
            Ok(Ok(_)) => said.to_owned(),
            Ok(Err(status)) => {
                let why = text::line(&Answer::from(status).to_string(), 200);
                format!("cannot cancel the attempt: {why}; Ctrl-C again tries once more")
            }
            Err(_) => "the agent does not answer; Ctrl-C again tries once more".to_owned(),
        };
        // Not waited for: somebody may hang in a write, and the next press of the
        // keys must get through. If it cannot be said, the wish was passed on all
        // the same.
        let screen = Arc::clone(&screen);
        drop(tokio::task::spawn_blocking(move || screen.note(&note)));
    }
}
