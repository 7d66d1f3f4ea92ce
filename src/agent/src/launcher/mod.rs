//! The agent's end of the launcher: asks it to start commands and to bring back
//! what they left, knows how far it holds them back, and finds it again when it is
//! gone.
//!
//! The launcher is either a service of its own, reached by a socket, or a child
//! process of the agent with the agent's own rights. Either may die at any time:
//! supervisors live on by themselves, and a new connection (or a new child) is
//! made at once and, while that fails, again and again.

mod conversation;
mod standing;
mod supervision;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use helix_exec::frame;
use helix_exec::launcher::{Config, Listen, Measure, Refusal, inherited_connection};
use helix_exec::ownership::Transferred;
use helix_exec::{Directories, LaunchRequest, ProcessIdentity};
use tokio::sync::{mpsc, oneshot, watch};

use conversation::{Ask, Conversation};
pub(crate) use standing::{Standing, in_words};
pub(crate) use supervision::Supervision;

/// The hidden subcommand that turns a program into a launcher on its standard
/// input, which is a connected socket.
pub const SUBCOMMAND: &str = "launcher";

const WAITING_REQUESTS: usize = 64;
/// A launcher has no room while supervisors that are done have not ended yet.
const ROOM_WITHIN: Duration = Duration::from_secs(5);
const LOOK_FOR_ROOM_AFTER: Duration = Duration::from_millis(50);

/// Where the launcher is found.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A service that listens on this socket.
    Service(PathBuf),
    /// A child process: this program, with the hidden subcommand.
    Child(PathBuf),
}

/// Why a launcher did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// The launcher says no. Nothing was started.
    #[error("the launcher refuses")]
    Refused(#[source] Refusal),
    /// The launcher cannot be reached. Nothing was started.
    #[error("reach the launcher at {place}")]
    Unreachable {
        /// Where it was looked for.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It does not hold commands back as the configuration requires. Nothing was
    /// started.
    #[error("the launcher does not hold commands back as it must: {missing}")]
    NotIsolated {
        /// What is not in force, and why.
        missing: String,
    },
    /// The connection broke before the answer came: something may have been
    /// started, and the spool says whether.
    #[error("the launcher went away before it answered")]
    Lost,
    /// The request does not fit a frame.
    #[error("encode the request")]
    Encode(#[source] frame::FrameError),
}

/// A handle to the task that speaks with the launcher.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    requests: mpsc::Sender<Ask>,
    standing: watch::Receiver<Standing>,
    required: watch::Sender<Vec<Measure>>,
}

/// Turns this process into a launcher for the process that started it, until
/// that one is gone.
///
/// Must be called before the program has made a thread, and be the last thing
/// that it does.
///
/// # Errors
///
/// Standard input is no connection, or a system call fails.
pub fn launcher_main() -> Result<(), Box<dyn std::error::Error>> {
    let connection = inherited_connection()?;
    let config = Config::unprivileged(nix::unistd::geteuid().as_raw());
    helix_exec::launcher::run(&config, Listen::Connected(connection))?;
    Ok(())
}

impl Launcher {
    /// Starts the task, which connects at once. It launches nothing while a measure
    /// of `required` is not in force.
    pub(crate) fn start(place: Place, required: Vec<Measure>) -> Self {
        let (requests, receiver) = mpsc::channel(WAITING_REQUESTS);
        let (sender, standing) = watch::channel(Standing::not_heard_of());
        let (required, heard) = watch::channel(required);
        tokio::spawn(Conversation::new(place, heard, sender).run(receiver));
        Self {
            requests,
            standing,
            required,
        }
    }

    /// Launches nothing from now on while one of other measures is not in force.
    pub(crate) fn require(&self, required: Vec<Measure>) {
        self.required.send_replace(required);
    }

    /// What stands between a work item and the rest of the machine.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// The same, and word of changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Waits until it is known whether the launcher is there, for so long.
    pub(crate) async fn first_word(&self, limit: Duration) {
        let mut standing = self.standing.clone();
        let heard = standing.wait_for(|standing| *standing != Standing::not_heard_of());
        // What is not known in time is told when it comes.
        let _ = tokio::time::timeout(limit, heard).await;
    }

    /// Has a supervisor started for a request.
    pub(crate) async fn launch(
        &self,
        request: LaunchRequest,
    ) -> Result<ProcessIdentity, LaunchError> {
        let give_up_at = tokio::time::Instant::now() + ROOM_WITHIN;
        loop {
            let request = Box::new(request.clone());
            match self.ask(|answer| Ask::Launch(request, answer)).await {
                Err(LaunchError::Refused(Refusal::Full { .. }))
                    if tokio::time::Instant::now() < give_up_at =>
                {
                    tokio::time::sleep(LOOK_FOR_ROOM_AFTER).await;
                }
                answer => return answer,
            }
        }
    }

    /// Has directories made the agent's again whose supervisor is gone.
    pub(crate) async fn reclaim(
        &self,
        directories: Directories,
    ) -> Result<Transferred, LaunchError> {
        self.ask(|answer| Ask::Reclaim(directories, answer)).await
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, LaunchError>>) -> Ask,
    ) -> Result<T, LaunchError> {
        let (sender, receiver) = oneshot::channel();
        self.requests
            .send(ask(sender))
            .await
            .map_err(|_| LaunchError::Lost)?;
        receiver.await.unwrap_or(Err(LaunchError::Lost))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(path) => write!(formatter, "`{}`", path.display()),
            Self::Child(program) => write!(formatter, "`{} {SUBCOMMAND}`", program.display()),
        }
    }
}
