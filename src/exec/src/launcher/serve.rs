//! The launcher's loop: one thread around one `poll` over clients, new supervisors and signals.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::config::Config;
use super::ground::Ground;
use super::message::{Refusal, Reply, Request};
use super::nursery::{Ended, Nursery, Side};
use super::policy;
use super::stay::Stay;
use super::{LauncherError, Socket};
use crate::fault;
use crate::frame::{self, Decoder, MAX_LAUNCHER_FRAME};
use crate::request::{Directories, LaunchRequest};
use crate::supervisor::{Assignment, Job};
use crate::sys::{self, Received, Signals};

/// Connections at a time; the client needs one.
const MAX_CLIENTS: usize = 16;

/// What is read of one client before the others get their turn.
const READ_BYTES: usize = 64 << 10;

/// How long nothing may happen before a spare supervisor is made: by then the command just launched
/// has its processor, and the fork takes another.
const LULL: Duration = Duration::from_micros(100);

/// Replies that wait for a client which does not read; beyond it the client is let go.
const MAX_OUTGOING: usize = 1 << 20;

/// Why the loop has ended.
pub(super) enum Outcome {
    /// SIGTERM, or the one client is gone.
    Stop,
    /// This process is a fork, and to be a supervisor, with its channel to the launcher. Nothing
    /// else of the launcher is open any more.
    Supervise(UnixStream),
}

/// Serves until there is a reason not to.
pub(super) fn serve(
    config: &Config,
    ground: &Ground,
    socket: Socket,
) -> Result<Outcome, LauncherError> {
    let signals = Signals::new().map_err(|error| LauncherError::new("catch signals", error))?;
    let mut launcher = Launcher {
        config,
        ground,
        signals,
        socket: None,
        clients: Vec::new(),
        nursery: Nursery::new(),
        next_client: 0,
        buffer: vec![0; READ_BYTES],
    };
    // Whatever runs in slots that nobody holds was left by a supervisor that was killed.
    if let Some(slots) = &ground.slots {
        slots.sweep();
    }
    match socket {
        Socket::Listening(listener) => launcher.socket = Some(listener),
        Socket::Connected(stream) => launcher
            .admit(stream)
            .map_err(|error| LauncherError::new("serve its connection", error))?,
    }
    let mut moment = Moment::Lull;
    loop {
        match launcher.turn(moment) {
            Turn::Again if launcher.socket.is_none() && launcher.clients.is_empty() => {
                return Ok(Outcome::Stop);
            }
            Turn::Again => {}
            Turn::Stop => return Ok(Outcome::Stop),
            Turn::Supervise(channel) => return Ok(Outcome::Supervise(channel)),
        }
        moment = launcher.wait()?;
    }
}

/// What a wait has ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// There may be something to do.
    Busy,
    /// There has been nothing to do for a [`LULL`].
    Lull,
}

enum Turn {
    Again,
    Stop,
    Supervise(UnixStream),
}

struct Launcher<'a> {
    config: &'a Config,
    ground: &'a Ground,
    signals: Signals,
    /// `None` for a launcher of one connection.
    socket: Option<UnixListener>,
    clients: Vec<Client>,
    nursery: Nursery,
    next_client: u64,
    /// Kept and not cleared: each page written to costs a copy once a fork shares it.
    buffer: Vec<u8>,
}

struct Client {
    id: u64,
    stream: UnixStream,
    decoder: Decoder,
    outgoing: Vec<u8>,
}

impl Launcher<'_> {
    fn wait(&self) -> Result<Moment, LauncherError> {
        let reading = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled = vec![reading(self.signals.as_fd())];
        polled.extend(self.socket.as_ref().map(|socket| reading(socket.as_fd())));
        polled.extend(self.nursery.polled().map(reading));
        polled.extend(self.clients.iter().map(|client| {
            let writing = if client.outgoing.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::POLLOUT
            };
            PollFd::new(client.stream.as_fd(), PollFlags::POLLIN | writing)
        }));
        let ready = if self.nursery.wants_spare() {
            sys::poll_briefly(&mut polled, LULL)
        } else {
            poll(&mut polled, PollTimeout::NONE)
        };
        match ready {
            Ok(0) => Ok(Moment::Lull),
            Ok(_) | Err(nix::Error::EINTR | nix::Error::EAGAIN) => Ok(Moment::Busy),
            Err(errno) => Err(LauncherError::new("wait", errno.into())),
        }
    }

    /// Looks at everything once. All of it is non-blocking, and there is little of it.
    fn turn(&mut self, moment: Moment) -> Turn {
        while let Some(received) = self.signals.next() {
            match received {
                Received::Terminate => return Turn::Stop,
                Received::Child => {
                    if self.nursery.collect() == Ended::Abruptly
                        && let Some(slots) = &self.ground.slots
                    {
                        slots.sweep();
                    }
                }
            }
        }
        for (client, reply) in self.nursery.hear() {
            fault::point("launcher-heard");
            self.reply(client, &reply);
        }
        let mut requests = Vec::new();
        let buffer = &mut self.buffer;
        self.clients
            .retain_mut(|client| client.serve(buffer, &mut requests).is_ok());
        for (client, request) in requests {
            fault::point("launcher-asked");
            let (number, result) = match request {
                Request::Launch { number, launch } => {
                    (number, self.launch(client, number, *launch))
                }
                Request::Reclaim {
                    number,
                    directories,
                } => (number, self.reclaim(client, number, directories)),
                Request::Describe { number } => {
                    let isolation = self.ground.isolation.clone();
                    self.reply(client, &Reply::Described { number, isolation });
                    continue;
                }
            };
            match result {
                Ok(Side::Launcher(())) => {}
                Ok(Side::Supervisor(channel)) => return Turn::Supervise(channel),
                Err(refusal) => self.reply(client, &Reply::Refused { number, refusal }),
            }
        }
        self.accept();
        if moment == Moment::Lull
            && self.nursery.wants_spare()
            && let Side::Supervisor(channel) = self.nursery.breed()
        {
            return Turn::Supervise(channel);
        }
        Turn::Again
    }

    /// Has a supervisor do what the request says, if it may be done.
    fn launch(
        &mut self,
        client: u64,
        number: u64,
        request: LaunchRequest,
    ) -> Result<Side<()>, Refusal> {
        let places = policy::check(&request, self.config, self.ground)?;
        self.employ(client, number, |config| {
            Job::Supervise(Box::new(Assignment {
                request,
                places,
                client_uid: config.client_uid,
            }))
        })
    }

    /// Has a supervisor bring back what a dead one has left.
    fn reclaim(
        &mut self,
        client: u64,
        number: u64,
        directories: Directories,
    ) -> Result<Side<()>, Refusal> {
        let parent = policy::check_directories(&directories, self.config)?;
        self.employ(client, number, |_| {
            Job::Reclaim(Stay {
                parent,
                names: directories.names,
            })
        })
    }

    /// Gives a supervisor something to do, unless there are too many already.
    fn employ(
        &mut self,
        client: u64,
        number: u64,
        job: impl FnOnce(&Config) -> Job,
    ) -> Result<Side<()>, Refusal> {
        let (running, limit) = (self.nursery.running(), self.config.maxima.supervisors);
        if running >= limit {
            return Err(Refusal::Full { running, limit });
        }
        let handed_over = self.nursery.hand_over(&job(self.config), client, number);
        if matches!(handed_over, Ok(Side::Launcher(()))) {
            fault::point("launcher-job-given");
        }
        handed_over
    }

    fn reply(&mut self, client: u64, reply: &Reply) {
        // A client that is gone finds its answers in the spools.
        let Some(place) = self.clients.iter().position(|known| known.id == client) else {
            return;
        };
        let sent = frame::encode(reply, MAX_LAUNCHER_FRAME)
            .map_err(io::Error::other)
            .and_then(|frame| {
                let client = &mut self.clients[place];
                client.outgoing.extend(frame);
                client.flush()
            });
        if sent.is_err() {
            self.clients.remove(place);
        }
    }

    fn accept(&mut self) {
        while let Some(Ok((stream, _))) = self.socket.as_ref().map(UnixListener::accept) {
            // Whoever is not let in sees the connection close; there is nobody else to tell.
            let _ = self.admit(stream);
        }
    }

    fn admit(&mut self, stream: UnixStream) -> io::Result<()> {
        if sys::peer_uid(&stream)? != self.config.client_uid {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if self.clients.len() >= MAX_CLIENTS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        stream.set_nonblocking(true)?;
        self.next_client += 1;
        self.clients.push(Client {
            id: self.next_client,
            stream,
            decoder: Decoder::new(MAX_LAUNCHER_FRAME),
            outgoing: Vec::new(),
        });
        Ok(())
    }
}

impl Client {
    /// Writes what waits and reads what has come; an error when the client is of no more use.
    fn serve(&mut self, buffer: &mut [u8], requests: &mut Vec<(u64, Request)>) -> io::Result<()> {
        self.flush()?;
        match self.stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.decoder.feed(&buffer[..count]),
            Err(error) if is_later(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        while let Some(request) = self.decoder.next_message().map_err(io::Error::other)? {
            requests.push((self.id, request));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => {
                    self.outgoing.drain(..count);
                }
                Err(error) if is_later(&error) => break,
                Err(error) => return Err(error),
            }
        }
        if self.outgoing.len() > MAX_OUTGOING {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(())
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
