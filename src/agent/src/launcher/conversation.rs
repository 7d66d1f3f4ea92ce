//! The task that speaks with the launcher.
//!
//! A connection counts only once the launcher has said on it how far it holds
//! commands back, so that nothing is ever launched by one that is not known.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use helix_exec::frame::{self, Decoder, MAX_LAUNCHER_FRAME};
use helix_exec::launcher::{Isolation, Measure, Reply, Request, start_child};
use helix_exec::ownership::Transferred;
use helix_exec::{Directories, LaunchRequest, ProcessIdentity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::standing::in_words;
use super::{LaunchError, Place, SUBCOMMAND, Standing};

const READ_BYTES: usize = 4096;
/// A launcher answers at once; one that does not is none.
const DESCRIBES_WITHIN: Duration = Duration::from_secs(5);
/// Between two tries to connect; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

type Told<T> = oneshot::Sender<Result<T, LaunchError>>;

/// What the launcher is asked for.
#[derive(Debug)]
pub(super) enum Ask {
    Launch(Box<LaunchRequest>, Told<ProcessIdentity>),
    Reclaim(Directories, Told<Transferred>),
}

/// Who waits for an answer.
#[derive(Debug)]
enum Waiting {
    Launch(Told<ProcessIdentity>),
    Reclaim(Told<Transferred>),
}

impl Waiting {
    fn fail(self, error: LaunchError) {
        // Whoever asked may have gone.
        match self {
            Self::Launch(told) => drop(told.send(Err(error))),
            Self::Reclaim(told) => drop(told.send(Err(error))),
        }
    }
}

/// The task, and what it knows.
#[derive(Debug)]
pub(super) struct Conversation {
    place: Place,
    /// Without all of these nothing is launched.
    required: watch::Receiver<Vec<Measure>>,
    standing: watch::Sender<Standing>,
    next_number: u64,
    pause: Duration,
}

#[derive(Debug)]
struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: Decoder,
    /// Requests without an answer. Dropping them answers [`LaunchError::Lost`].
    open: HashMap<u64, Waiting>,
    child: Option<Child>,
}

impl Conversation {
    pub(super) fn new(
        place: Place,
        required: watch::Receiver<Vec<Measure>>,
        standing: watch::Sender<Standing>,
    ) -> Self {
        Self {
            place,
            required,
            standing,
            next_number: 1,
            pause: FIRST_PAUSE,
        }
    }

    /// Speaks with the launcher until nobody asks any more.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Ask>) {
        let mut connection = self.connect().await.ok();
        loop {
            let next = match &mut connection {
                None => tokio::select! {
                    next = requests.recv() => next,
                    () = tokio::time::sleep(self.pause) => {
                        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                        connection = self.connect().await.ok();
                        continue;
                    }
                },
                Some(open) => tokio::select! {
                    next = requests.recv() => next,
                    replied = open.take_reply() => {
                        if let Err(error) = replied {
                            tracing::warn!(error = %error, "connection to the launcher lost");
                            // Not at once: it may die of what it is sent.
                            connection = None;
                        }
                        continue;
                    }
                },
            };
            let Some(ask) = next else { return };
            self.ask(&mut connection, ask).await;
        }
    }

    async fn ask(&mut self, connection: &mut Option<Connection>, ask: Ask) {
        let number = self.take_number();
        let (request, waiting) = match ask {
            Ask::Launch(launch, told) => {
                (Request::Launch { number, launch }, Waiting::Launch(told))
            }
            Ask::Reclaim(directories, told) => {
                let request = Request::Reclaim {
                    number,
                    directories,
                };
                (request, Waiting::Reclaim(told))
            }
        };
        let bytes = match frame::encode(&request, MAX_LAUNCHER_FRAME) {
            Ok(bytes) => bytes,
            Err(error) => return waiting.fail(LaunchError::Encode(error)),
        };
        // A connection that the launcher closed while nobody asked is only
        // noticed on writing; a launcher that did not get the whole request has
        // started nothing, so that asking once more is safe.
        for last_try in [false, true] {
            let open = match connection {
                Some(open) => open,
                None => match self.connect().await {
                    Ok(new) => connection.insert(new),
                    Err(source) => return waiting.fail(self.unreachable(source)),
                },
            };
            if matches!(waiting, Waiting::Launch(_))
                && let Some(error) = self.not_isolated()
            {
                return waiting.fail(error);
            }
            match open.writer.write_all(&bytes).await {
                Ok(()) => {
                    open.open.insert(number, waiting);
                    return;
                }
                Err(source) => {
                    *connection = None;
                    if last_try {
                        return waiting.fail(self.unreachable(source));
                    }
                }
            }
        }
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn unreachable(&self, source: io::Error) -> LaunchError {
        LaunchError::Unreachable {
            place: self.place.to_string(),
            source,
        }
    }

    /// The launcher may be another one than when the work item was taken.
    fn not_isolated(&self) -> Option<LaunchError> {
        let missing = self.standing.borrow().missing(&self.required.borrow());
        (!missing.is_empty()).then(|| LaunchError::NotIsolated {
            missing: in_words(&missing),
        })
    }

    /// Connects, and asks how far commands are held back.
    async fn connect(&mut self) -> io::Result<Connection> {
        let described = match self.open() {
            Ok(mut open) => {
                let number = self.take_number();
                let described = open.describe(number);
                let described = tokio::time::timeout(DESCRIBES_WITHIN, described).await;
                described
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                    .map(|isolation| (open, isolation))
            }
            Err(error) => Err(error),
        };
        match described {
            Ok((open, isolation)) => {
                self.pause = FIRST_PAUSE;
                let known = Standing::Known(Arc::new(isolation));
                self.tell(known);
                Ok(open)
            }
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "it closes the connection".to_owned(),
                    _ => error.to_string(),
                };
                self.tell(Standing::Unknown {
                    why: format!("{} ({why})", self.place),
                });
                Err(error)
            }
        }
    }

    fn tell(&self, standing: Standing) {
        self.standing.send_if_modified(|known| {
            let is_news = *known != standing;
            *known = standing;
            is_news
        });
    }

    fn open(&self) -> io::Result<Connection> {
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
    async fn describe(&mut self, number: u64) -> io::Result<Isolation> {
        let request = Request::Describe { number };
        let bytes = frame::encode(&request, MAX_LAUNCHER_FRAME).map_err(io::Error::other)?;
        self.writer.write_all(&bytes).await?;
        loop {
            if let Reply::Described { isolation, .. } = self.next_reply().await? {
                return Ok(isolation);
            }
        }
    }

    /// Hands the next reply to whoever waits for it. Cancel safe.
    async fn take_reply(&mut self) -> io::Result<()> {
        match self.next_reply().await? {
            Reply::Launched { number, supervisor } => {
                if let Some(Waiting::Launch(told)) = self.open.remove(&number) {
                    // Nobody may want to know any more; the spool knows.
                    let _ = told.send(Ok(supervisor));
                }
            }
            Reply::Reclaimed {
                number,
                transferred,
            } => {
                if let Some(Waiting::Reclaim(told)) = self.open.remove(&number) {
                    let _ = told.send(Ok(transferred));
                }
            }
            Reply::Refused { number, refusal } => {
                if let Some(waiting) = self.open.remove(&number) {
                    waiting.fail(LaunchError::Refused(refusal));
                }
            }
            Reply::Described { .. } => {}
        }
        Ok(())
    }

    /// Cancel safe.
    async fn next_reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = self.decoder.next_message().map_err(io::Error::other)? {
                return Ok(reply);
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
