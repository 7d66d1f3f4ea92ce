//! Watching a command through its supervisor, to its end.
//!
//! The control socket is a comfort, the spool is the truth: whenever the socket
//! is gone, the status file and the identity of the supervisor's process decide
//! what became of the command. So it makes no difference whether the agent was
//! there all the time or came back in the middle.

use std::io;
use std::time::Duration;

use helix_exec::control::{Notice, StopReason};
use helix_exec::spool::SpoolReader;
use helix_exec::spool::status::{Ended, Ending as Spooled, StartStep, Status, WaitStatus};
use helix_exec::{Liveness, ProcessId};
use helix_model::outcome::{CancelledBy, Ending, InfrastructureCause, StartFailure, TimeoutKind};
use helix_proto::agent::v1::{Exited, LeftoverProcess};
use nix::errno::Errno;
use tokio::sync::mpsc;

use super::handle::{Attempt, Order};
use crate::launcher::Supervision;

/// Between two looks at a supervisor that runs but does not answer.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// How a command ended, and what is known besides.
#[derive(Debug)]
pub(crate) struct CommandEnd {
    pub(crate) ending: Ending,
    /// What the system said of the command, whatever ended it.
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// Time from the command's start to its end.
    pub(crate) elapsed: Duration,
    pub(crate) usage: Option<Box<Ended>>,
}

impl CommandEnd {
    /// An end that only the agent knows of.
    pub(crate) fn without_command(ending: Ending) -> Self {
        Self {
            ending,
            exit_code: None,
            signal: None,
            elapsed: Duration::ZERO,
            usage: None,
        }
    }

    /// An end for which the machinery is to blame.
    pub(crate) fn infrastructure(cause: InfrastructureCause) -> Self {
        Self::without_command(Ending::Infrastructure(cause))
    }

    fn of(ended: Box<Ended>, cancelled: Option<CancelledBy>, program: &str) -> Self {
        let (exit_code, signal) = match ended.wait_status {
            Some(WaitStatus::Exited(code)) => (Some(code), None),
            Some(WaitStatus::Signalled { signal, .. }) => (None, Some(signal)),
            None => (None, None),
        };
        let ending = ending(&ended.ending, cancelled, program);
        Self {
            ending,
            exit_code,
            signal,
            elapsed: ended.elapsed,
            usage: Some(ended),
        }
    }

    /// The same in the words of the wire.
    pub(crate) fn wire_ending(&self) -> helix_proto::agent::v1::Ending {
        helix_proto::outcome::ending(&self.ending, self.exit_code, self.signal)
    }

    /// Whether the console should say how it ended: the exit code alone would
    /// not.
    pub(crate) fn is_worth_a_note(&self) -> bool {
        !matches!(self.ending, Ending::Exited(_))
    }

    /// The event that tells of it.
    pub(crate) fn event(&self) -> Exited {
        let wire = |duration: Duration| duration.try_into().ok();
        let usage = self.usage.as_ref();
        Exited {
            ending: Some(self.wire_ending()),
            elapsed: wire(self.elapsed),
            cpu_time: usage.and_then(|end| wire(end.usage.user_time + end.usage.system_time)),
            peak_memory_bytes: usage.map_or(0, |end| end.usage.max_resident_bytes),
            leftovers: usage
                .map(|end| end.leftovers.as_slice())
                .unwrap_or_default()
                .iter()
                .map(|process| LeftoverProcess {
                    pid: u32::try_from(process.pid.0).unwrap_or_default(),
                    name: process.name.clone(),
                    age: wire(process.age),
                })
                .collect(),
        }
    }
}

/// Watches until the command's tree is gone.
///
/// `on_start` is called once with the command's process id, when it is known
/// that the command was started (0: it ended before anybody could look).
/// `program` is for messages. `kill_grace` is the work item's own.
pub(crate) async fn watch(
    attempt: &Attempt,
    orders: &mut mpsc::Receiver<Order>,
    kill_grace: Duration,
    program: &str,
    on_start: impl FnOnce(u32),
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
                    watched.started(ended.command);
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

impl<S: FnOnce(u32)> Watched<'_, S> {
    fn started(&mut self, command: Option<ProcessId>) {
        if let Some(on_start) = self.on_start.take() {
            on_start(
                command
                    .and_then(|pid| u32::try_from(pid.0).ok())
                    .unwrap_or_default(),
            );
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
                            self.started(Some(launched.command));
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

fn ending(spooled: &Spooled, cancelled: Option<CancelledBy>, program: &str) -> Ending {
    match spooled {
        Spooled::Exited { code } => Ending::Exited(*code),
        Spooled::Signalled {
            signal,
            core_dumped,
        } => Ending::Signalled {
            signal: *signal,
            core_dumped: *core_dumped,
        },
        Spooled::WallTimeout { limit } => Ending::TimedOut(TimeoutKind::Wall(*limit)),
        Spooled::SilenceTimeout { limit } => Ending::TimedOut(TimeoutKind::Silence(*limit)),
        Spooled::OutputLimit { .. } => Ending::OutputLimit,
        Spooled::OutOfMemory { .. } => Ending::Signalled {
            signal: nix::sys::signal::Signal::SIGKILL as i32,
            core_dumped: false,
        },
        Spooled::Cancelled => Ending::Cancelled {
            by: cancelled.unwrap_or(CancelledBy::Client {
                reason: String::new(),
            }),
        },
        Spooled::Interrupted => Ending::Infrastructure(InfrastructureCause::AgentShutDown),
        Spooled::CouldNotStart {
            step,
            errno,
            message,
        } => Ending::CouldNotStart(start_failure(*step, *errno, message, program)),
    }
}

fn start_failure(step: StartStep, errno: i32, message: &str, program: &str) -> StartFailure {
    let reason = message.to_owned();
    match (step, Errno::from_raw(errno)) {
        (_, Errno::EAGAIN | Errno::ENOMEM | Errno::ENOSPC | Errno::EMFILE | Errno::ENFILE) => {
            StartFailure::NoRoom { reason }
        }
        (StartStep::Execute, Errno::ENOENT) => StartFailure::NotFound {
            program: program.to_owned(),
        },
        (StartStep::Execute, Errno::E2BIG) => StartFailure::ArgumentsTooLarge,
        (StartStep::Execute, _) => StartFailure::NotExecutable {
            program: program.to_owned(),
            reason,
        },
        (
            StartStep::Pipes
            | StartStep::WorkingDirectory
            | StartStep::Process
            | StartStep::Session
            | StartStep::StandardStreams
            | StartStep::PrivateDirectories
            | StartStep::Network
            | StartStep::Limits
            | StartStep::Identity
            | StartStep::EnterDirectory
            | StartStep::Signals,
            _,
        ) => StartFailure::SetUp { reason },
    }
}

/// Whether no supervisor can be there: none answers and none left a status.
pub(crate) fn never_launched(attempt: &Attempt) -> bool {
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
