//! The launcher's loop: one thread around one `poll` over clients, new supervisors and signals.

use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::config::Config;
use super::message::{Refusal, Reply, Request};
use super::policy::{self, Places};
use super::{LauncherError, Socket};
use crate::frame::{self, Decoder, MAX_CONTROL_FRAME, MAX_LAUNCHER_FRAME};
use crate::request::LaunchRequest;
use crate::spool::Directory;
use crate::supervisor::{Job, SetUp, SetUpError};
use crate::sys::{self, Fork, Received, Signals};

/// Connections at a time; the client needs one.
const MAX_CLIENTS: usize = 16;

/// What is read of one client before the others get their turn.
const READ_BYTES: usize = 64 << 10;

/// Replies that wait for a client which does not read; beyond it the client is let go.
const MAX_OUTGOING: usize = 1 << 20;

/// Why the loop has ended.
pub(super) enum Outcome {
    /// SIGTERM, or the one client is gone.
    Stop,
    /// This process is a fork, and to be a supervisor. Nothing of the launcher is open any more.
    Supervise(Box<Job>),
}

/// Serves until there is a reason not to.
pub(super) fn serve(config: &Config, socket: Socket) -> Result<Outcome, LauncherError> {
    let signals = Signals::new().map_err(|error| LauncherError::new("catch signals", error))?;
    let mut launcher =
        Launcher { config, signals, socket: None, clients: Vec::new(), births: Vec::new(), running: 0, next_client: 0 };
    match socket {
        Socket::Listening(listener) => launcher.socket = Some(listener),
        Socket::Connected(stream) => launcher
            .admit(stream)
            .map_err(|error| LauncherError::new("serve its connection", error))?,
    }
    loop {
        launcher.wait()?;
        match launcher.turn() {
            Turn::Again if launcher.socket.is_none() && launcher.clients.is_empty() => {
                return Ok(Outcome::Stop);
            }
            Turn::Again => {}
            Turn::Stop => return Ok(Outcome::Stop),
            Turn::Supervise(job) => return Ok(Outcome::Supervise(job)),
        }
    }
}

enum Turn {
    Again,
    Stop,
    Supervise(Box<Job>),
}

struct Launcher<'a> {
    config: &'a Config,
    signals: Signals,
    /// `None` for a launcher of one connection.
    socket: Option<UnixListener>,
    clients: Vec<Client>,
    births: Vec<Birth>,
    /// Supervisors that have not ended.
    running: usize,
    next_client: u64,
}

struct Client {
    id: u64,
    stream: UnixStream,
    decoder: Decoder,
    outgoing: Vec<u8>,
}

/// A supervisor that has not said yet whether it runs.
struct Birth {
    client: u64,
    number: u64,
    pipe: PipeReader,
    decoder: Decoder,
}

impl Launcher<'_> {
    fn wait(&self) -> Result<(), LauncherError> {
        let reading = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled = vec![reading(self.signals.as_fd())];
        polled.extend(self.socket.as_ref().map(|socket| reading(socket.as_fd())));
        polled.extend(self.births.iter().map(|birth| reading(birth.pipe.as_fd())));
        polled.extend(self.clients.iter().map(|client| {
            let writing =
                if client.outgoing.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            let client: BorrowedFd<'_> = client.stream.as_fd();
            PollFd::new(client, PollFlags::POLLIN | writing)
        }));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR | nix::Error::EAGAIN) => Ok(()),
            Err(errno) => Err(LauncherError::new("wait", errno.into())),
        }
    }

    /// Looks at everything once. All of it is non-blocking, and there is little of it.
    fn turn(&mut self) -> Turn {
        while let Some(received) = self.signals.next() {
            match received {
                Received::Terminate => return Turn::Stop,
                Received::Child => self.collect(),
            }
        }
        self.hear_births();
        let mut requests = Vec::new();
        self.clients.retain_mut(|client| client.serve(&mut requests).is_ok());
        for (client, Request::Launch { number, launch }) in requests {
            match self.launch(client, number, *launch) {
                Ok(None) => {}
                Ok(Some(job)) => return Turn::Supervise(job),
                Err(refusal) => self.reply(client, &Reply::Refused { number, refusal }),
            }
        }
        self.accept();
        Turn::Again
    }

    /// Forks a supervisor. Gives its job in the fork, and nothing in the launcher.
    fn launch(
        &mut self,
        client: u64,
        number: u64,
        request: LaunchRequest,
    ) -> Result<Option<Box<Job>>, Refusal> {
        let Places { spool, work } = policy::check(&request, self.config)?;
        let limit = self.config.maxima.supervisors;
        if self.running >= limit {
            return Err(Refusal::Full { running: self.running, limit });
        }
        let spool = spool
            .open()
            .and_then(Directory::from_descriptor)
            .map_err(|error| SetUpError::new("open the spool", error))?;
        let (pipe, launcher) = new_pipe().map_err(|e| SetUpError::new("make a pipe", e))?;
        let fork = sys::fork().map_err(|error| SetUpError::new("fork", error))?;
        if fork == Fork::Child {
            let spool_path = request.spool.as_path().to_owned();
            let client_uid = self.config.client_uid;
            return Ok(Some(Box::new(Job { request, work, spool, spool_path, client_uid, launcher })));
        }
        self.running += 1;
        let decoder = Decoder::new(MAX_CONTROL_FRAME);
        self.births.push(Birth { client, number, pipe, decoder });
        Ok(None)
    }

    /// Passes on what new supervisors have to say.
    fn hear_births(&mut self) {
        let mut replies = Vec::new();
        self.births.retain_mut(|birth| match birth.hear() {
            None => true,
            Some(reply) => {
                replies.push((birth.client, reply));
                false
            }
        });
        for (client, reply) in replies {
            self.reply(client, &reply);
        }
    }

    fn collect(&mut self) {
        while let Ok(Some((pid, _))) = sys::peek_exit(None) {
            if sys::reap(pid) {
                self.running = self.running.saturating_sub(1);
            }
        }
    }

    fn reply(&mut self, client: u64, reply: &Reply) {
        // A client that is gone finds its answers in the spools.
        let Some(place) = self.clients.iter().position(|known| known.id == client) else { return };
        let sent = frame::encode(reply, MAX_LAUNCHER_FRAME).map_err(io::Error::other).and_then(
            |frame| {
                let client = &mut self.clients[place];
                client.outgoing.extend(frame);
                client.flush()
            },
        );
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
    fn serve(&mut self, requests: &mut Vec<(u64, Request)>) -> io::Result<()> {
        self.flush()?;
        let mut buffer = [0; READ_BYTES];
        match self.stream.read(&mut buffer) {
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

impl Birth {
    /// What to reply, once that is known.
    fn hear(&mut self) -> Option<Reply> {
        let number = self.number;
        let mut buffer = [0; 1024];
        let problem = loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => break io::Error::other("it ended without a word"),
                Ok(count) => self.decoder.feed(&buffer[..count]),
                Err(error) if is_later(&error) => return None,
                Err(error) => break error,
            }
            match self.decoder.next_message() {
                Ok(Some(SetUp::Ready(supervisor))) => {
                    return Some(Reply::Launched { number, supervisor });
                }
                Ok(Some(SetUp::Failed(refusal))) => {
                    return Some(Reply::Refused { number, refusal });
                }
                Ok(None) => {}
                Err(error) => break io::Error::other(error),
            }
        };
        let refusal = SetUpError::new("start", problem).into();
        Some(Reply::Refused { number, refusal })
    }
}

fn new_pipe() -> io::Result<(PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
