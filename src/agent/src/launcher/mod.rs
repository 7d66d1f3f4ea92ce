//! The agent's end of the launcher: asks it to start commands, and finds it
//! again when it is gone.
//!
//! The launcher is either a service of its own, reached by a socket, or a child
//! process of the agent with the agent's own rights. Either may die at any time:
//! supervisors live on by themselves, and the next request makes a new
//! connection (or a new child).

mod supervision;

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use helix_exec::frame::{self, Decoder, MAX_LAUNCHER_FRAME};
use helix_exec::launcher::{
    Config, Listen, Refusal, Reply, Request, inherited_connection, start_child,
};
use helix_exec::{LaunchRequest, ProcessIdentity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

pub(crate) use supervision::Supervision;

/// The hidden subcommand that turns a program into a launcher on its standard
/// input, which is a connected socket.
pub const SUBCOMMAND: &str = "launcher";

const WAITING_REQUESTS: usize = 64;
const READ_BYTES: usize = 4096;

/// Where the launcher is found.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A service that listens on this socket.
    Service(PathBuf),
    /// A child process: this program, with the hidden subcommand.
    Child(PathBuf),
}

/// Why a command was not launched.
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
    /// The connection broke before the answer came: something may have been
    /// started, and the spool says whether.
    #[error("the launcher went away before it answered")]
    Lost,
    /// The request does not fit a frame.
    #[error("encode the request")]
    Encode(#[source] frame::FrameError),
}

type Answer = oneshot::Sender<Result<ProcessIdentity, LaunchError>>;

/// A handle to the task that speaks with the launcher.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    requests: mpsc::Sender<(Box<LaunchRequest>, Answer)>,
    isolation: Arc<Isolation>,
}

/// What stands between a work item and everything else on the machine.
#[derive(Debug, Clone)]
pub(crate) struct Isolation {
    /// What is in force, in words.
    pub(crate) in_force: Vec<String>,
    /// What is not, in words.
    pub(crate) degraded: Vec<String>,
}

impl Isolation {
    fn of_this_build() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            in_force: words(&[
                "a session and process group for each work item",
                "an environment from nothing",
                "no inherited descriptors",
            ]),
            degraded: words(&[
                "work items run as the user of the launcher",
                "no limits on CPU, memory and processes of a work item",
            ]),
        }
    }
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
    /// Starts the task. Connects when the first request comes.
    pub(crate) fn start(place: Place) -> Self {
        let (requests, receiver) = mpsc::channel(WAITING_REQUESTS);
        tokio::spawn(
            Conversation {
                place,
                next_number: 1,
            }
            .run(receiver),
        );
        Self {
            requests,
            isolation: Arc::new(Isolation::of_this_build()),
        }
    }

    /// What stands between a work item and the rest of the machine.
    pub(crate) fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Has a supervisor started for a request.
    pub(crate) async fn launch(
        &self,
        request: LaunchRequest,
    ) -> Result<ProcessIdentity, LaunchError> {
        let (sender, receiver) = oneshot::channel();
        self.requests
            .send((Box::new(request), sender))
            .await
            .map_err(|_| LaunchError::Lost)?;
        receiver.await.unwrap_or(Err(LaunchError::Lost))
    }
}

struct Conversation {
    place: Place,
    next_number: u64,
}

struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: Decoder,
    /// Requests without an answer. Dropping them answers [`LaunchError::Lost`].
    open: HashMap<u64, Answer>,
    child: Option<Child>,
}

impl Conversation {
    async fn run(mut self, mut requests: mpsc::Receiver<(Box<LaunchRequest>, Answer)>) {
        let mut connection: Option<Connection> = None;
        loop {
            let next = match &mut connection {
                None => requests.recv().await,
                Some(open) => tokio::select! {
                    next = requests.recv() => next,
                    replied = open.take_reply() => {
                        if let Err(error) = replied {
                            tracing::warn!(error = %error, "connection to the launcher lost");
                            connection = None;
                        }
                        continue;
                    }
                },
            };
            let Some((launch, answer)) = next else { return };
            self.ask(&mut connection, launch, answer).await;
        }
    }

    async fn ask(
        &mut self,
        connection: &mut Option<Connection>,
        launch: Box<LaunchRequest>,
        answer: Answer,
    ) {
        let number = self.next_number;
        self.next_number += 1;
        let request = Request::Launch { number, launch };
        let bytes = match frame::encode(&request, MAX_LAUNCHER_FRAME) {
            Ok(bytes) => bytes,
            Err(error) => {
                // Nobody waits for an answer any more if this fails.
                let _ = answer.send(Err(LaunchError::Encode(error)));
                return;
            }
        };
        // A connection that the launcher closed while nobody asked is only
        // noticed on writing; a launcher that did not get the whole request has
        // started nothing, so that asking once more is safe.
        for last_try in [false, true] {
            let open = match connection {
                Some(open) => open,
                None => match self.connect() {
                    Ok(new) => connection.insert(new),
                    Err(source) => {
                        let place = self.place.to_string();
                        let _ = answer.send(Err(LaunchError::Unreachable { place, source }));
                        return;
                    }
                },
            };
            match open.writer.write_all(&bytes).await {
                Ok(()) => {
                    open.open.insert(number, answer);
                    return;
                }
                Err(source) => {
                    *connection = None;
                    if last_try {
                        let place = self.place.to_string();
                        let _ = answer.send(Err(LaunchError::Unreachable { place, source }));
                        return;
                    }
                }
            }
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        let (stream, child) = match &self.place {
            Place::Service(path) => (StdUnixStream::connect(path)?, None),
            Place::Child(program) => {
                let mut command = Command::new(program);
                // Its environment is there to be read for whoever runs as the same
                // user, and the agent's may hold credentials.
                command.arg(SUBCOMMAND).env_clear().stdout(Stdio::null());
                let (stream, child) = start_child(command)?;
                (stream, Some(child))
            }
        };
        stream.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(stream)?.into_split();
        Ok(Connection {
            reader,
            writer,
            decoder: Decoder::new(MAX_LAUNCHER_FRAME),
            open: HashMap::new(),
            child,
        })
    }
}

impl Drop for Connection {
    /// A launcher that lost its one client ends; collect it when it does.
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            std::thread::spawn(move || child.wait());
        }
    }
}

impl Connection {
    /// Hands the next reply to whoever waits for it. Cancel safe.
    async fn take_reply(&mut self) -> io::Result<()> {
        loop {
            if let Some(reply) = self.decoder.next_message().map_err(io::Error::other)? {
                let (number, result) = match reply {
                    Reply::Launched { number, supervisor } => (number, Ok(supervisor)),
                    Reply::Refused { number, refusal } => {
                        (number, Err(LaunchError::Refused(refusal)))
                    }
                    // Nobody has asked.
                    Reply::Described { .. } | Reply::Reclaimed { .. } => continue,
                };
                if let Some(answer) = self.open.remove(&number) {
                    let _ = answer.send(result);
                }
                return Ok(());
            }
            let mut buffer = [0; READ_BYTES];
            let count = self.reader.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.decoder.feed(&buffer[..count]);
        }
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
