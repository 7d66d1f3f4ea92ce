//! Watching a command through its supervisor, to its end.
//!
//! The control socket is a comfort, the spool is the truth: whenever the socket
//! is gone, the status file and the identity of the supervisor's process decide
//! what became of the command. So it makes no difference whether the agent was
//! there all the time or came back in the middle.

use std::io;
use std::time::{Duration, Instant};

use helix_exec::Liveness;
use helix_exec::control::{Notice, StopReason};
use helix_exec::spool::SpoolReader;
use helix_exec::spool::status::{Ended, Ending as Spooled, Launched, RunAs, Status};
use helix_model::outcome::{CancelledBy, InfrastructureCause};
use tokio::sync::mpsc;

use super::command_end::CommandEnd;
use super::handle::{Attempt, Order};
use super::workspace::Workspace;
use crate::launcher::Supervision;

/// Between two looks at a supervisor that runs but does not answer.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// How long a supervisor that was asked for may take to appear. Only waited for
/// when agent or launcher died between asking and answering.
const LATE_SUPERVISOR: Duration = Duration::from_secs(2);
/// The same for one that has begun with the directories, which can be large.
const BUSY_SUPERVISOR: Duration = Duration::from_secs(15);
const LOOK_FOR_IT_AFTER: Duration = Duration::from_millis(20);

/// What is known of a command that was started.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Its process id; 0 where it had ended before anybody could look.
    pub(crate) pid: u32,
    /// The user it runs as; none where that is the launcher's own, or not known.
    pub(crate) run_as: Option<RunAs>,
}

impl Begun {
    fn launched(launched: Launched) -> Self {
        Self {
            pid: u32::try_from(launched.command.0).unwrap_or_default(),
            run_as: launched.run_as,
        }
    }

    fn ended(ended: &Ended) -> Self {
        let pid = ended.command.and_then(|pid| u32::try_from(pid.0).ok());
        Self {
            pid: pid.unwrap_or_default(),
            run_as: ended.run_as.clone(),
        }
    }
}

/// Watches until the command's tree is gone.
///
/// `on_start` is called once, when it is known that the command was started.
/// `program` is for messages. `kill_grace` is the work item's own.
pub(crate) async fn watch(
    attempt: &Attempt,
    orders: &mut mpsc::Receiver<Order>,
    kill_grace: Duration,
    program: &str,
    on_start: impl FnOnce(Begun),
) -> CommandEnd {
    let mut watched = Watched {
        attempt,
        kill_grace,
        cancelled: None,
        on_start: Some(on_start),
    };
    loop {
        match Supervision::connect(&attempt.spool()) {
            Ok(supervision) => watched.listen(supervision, orders).await,
            Err(error) => tracing::debug!(
                attempt = %attempt.identity.attempt,
                error = %error,
                "supervisor does not answer"
            ),
        }
        match watched.look() {
            Look::Ended(ended) => {
                // The last notice before the end may not have told of all of it.
                attempt.console_grew_to(ended.output.console_bytes);
                if !matches!(ended.ending, Spooled::CouldNotStart { .. }) {
                    watched.started(Begun::ended(&ended));
                }
                return CommandEnd::of(ended, watched.cancelled, program);
            }
            Look::Lost(cause) => return CommandEnd::infrastructure(cause),
            Look::Running => tokio::time::sleep(RECONNECT_AFTER).await,
        }
    }
}

struct Watched<'attempt, S> {
    attempt: &'attempt Attempt,
    kill_grace: Duration,
    /// The first wish counts; the supervisor knows only that there was one.
    cancelled: Option<CancelledBy>,
    /// Taken when it is called.
    on_start: Option<S>,
}

enum Look {
    Running,
    Ended(Box<Ended>),
    Lost(InfrastructureCause),
}

impl<S: FnOnce(Begun)> Watched<'_, S> {
    fn started(&mut self, begun: Begun) {
        if let Some(on_start) = self.on_start.take() {
            on_start(begun);
        }
    }

    /// Follows one connection until the supervisor has closed it.
    async fn listen(&mut self, mut supervision: Supervision, orders: &mut mpsc::Receiver<Order>) {
        // A wish that was passed on over an earlier connection may not have
        // arrived, and repeating it does no harm.
        if self.cancelled.is_some()
            && supervision
                .stop(StopReason::Cancel, self.kill_grace)
                .await
                .is_err()
        {
            return;
        }
        loop {
            tokio::select! {
                notice = supervision.next() => match notice {
                    Ok(Some(Notice::Progress { console_bytes })) => {
                        // The supervisor answers once the command is started.
                        if self.on_start.is_some()
                            && let Ok(Some(Status::Launched(launched))) = self.status()
                        {
                            self.started(Begun::launched(launched));
                        }
                        self.attempt.console_grew_to(console_bytes);
                    }
                    Ok(Some(Notice::Ended) | None) | Err(_) => return,
                },
                Some(Order::Cancel { by, grace }) = orders.recv() => {
                    self.cancelled.get_or_insert(by);
                    let grace = grace.unwrap_or(self.kill_grace);
                    if supervision.stop(StopReason::Cancel, grace).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// What the spool says, once nobody answers on the socket.
    fn look(&self) -> Look {
        match self.status() {
            Ok(Some(Status::Ended(ended))) => Look::Ended(ended),
            Ok(Some(Status::Launched(launched))) => match launched.supervisor.liveness() {
                Liveness::Alive | Liveness::Unknown => Look::Running,
                // It may have written its last word between the two looks.
                Liveness::Dead => match self.status() {
                    Ok(Some(Status::Ended(ended))) => Look::Ended(ended),
                    Ok(_) | Err(_) if rebooted_since(&launched.supervisor) => {
                        Look::Lost(InfrastructureCause::MachineRebooted)
                    }
                    Ok(_) | Err(_) => Look::Lost(InfrastructureCause::SupervisorLost {
                        detail: format!(
                            "process {} is gone and left no final status",
                            launched.supervisor.pid
                        ),
                    }),
                },
            },
            Ok(None) => Look::Lost(InfrastructureCause::SupervisorLost {
                detail: "it is gone and left no status at all".to_owned(),
            }),
            Err(error) => Look::Lost(InfrastructureCause::SpoolDamaged {
                detail: crate::error_chain(&error),
            }),
        }
    }

    fn status(&self) -> Result<Option<Status>, helix_exec::spool::SpoolError> {
        SpoolReader::open(&self.attempt.spool())?.status()
    }
}

fn rebooted_since(supervisor: &helix_exec::ProcessIdentity) -> bool {
    helix_exec::ProcessIdentity::of_self().is_ok_and(|own| own.boot_id != supervisor.boot_id)
}

/// Whether there is a supervisor, or what one left.
pub(super) async fn appears(attempt: &Attempt, workspace: Option<&Workspace>) -> bool {
    let began = Instant::now();
    while never_launched(attempt) {
        let limit = match workspace {
            Some(workspace) if workspace.is_handed_over() => BUSY_SUPERVISOR,
            Some(_) | None => LATE_SUPERVISOR,
        };
        if began.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(LOOK_FOR_IT_AFTER).await;
    }
    true
}

/// Whether no supervisor can be there: none answers and none left a status.
fn never_launched(attempt: &Attempt) -> bool {
    let spool = attempt.spool();
    let unanswered = match Supervision::connect(&spool) {
        Ok(_) => false,
        Err(error) => {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            )
        }
    };
    unanswered
        && matches!(
            SpoolReader::open(&spool).map(|reader| reader.status()),
            Ok(Ok(None))
        )
}
