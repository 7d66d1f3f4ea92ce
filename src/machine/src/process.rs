//! Runs one command to its end within bounds: its own process group, bounded time, bounded output.
//!
//! The group is killed as a whole, and always while its leader has not been reaped: as long as the
//! leader is a zombie, no other process can get its number, so the signal reaches nobody else. That
//! is why a leader's end is looked at without reaping it. What leaves the group (a daemon that
//! makes a session of its own) is not followed: this runs commands from the configuration, which
//! may well be meant to start one.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::command::{CommandLine, Environment};

/// How much is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long a killed leader may take to disappear before it is given up, such as one that waits for
/// a disk.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How much is still read of a pipe that somebody outside the group writes to without end.
const MAX_LATE_BYTES: usize = 1024 * 1024;

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) command: &'a CommandLine,
    pub(crate) environment: &'a Environment,
    /// How long it may take.
    pub(crate) time_limit: Duration,
    /// How long it has between being asked to stop and being killed, once the time is over. Zero:
    /// it is not asked.
    pub(crate) grace: Duration,
    /// Ends it early, as if its time were over. None: nothing does.
    pub(crate) stop: Option<&'a CancellationToken>,
}

/// Takes the output of a command, both streams as one.
pub(crate) trait Sink {
    /// Takes a piece of output. Must not fail: what cannot be kept is dropped.
    fn take(&mut self, bytes: &[u8]) -> impl Future<Output = ()> + Send;
}

/// How a command ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It took too long and was killed, or ended when asked to stop.
    TimedOut,
    /// The same before its time was over, because it was to end early.
    Stopped,
    /// It took too long and could not be killed, being someone else's or stuck in the kernel.
    Stuck,
}

/// Why a command did not run, or is not known to have.
#[derive(Debug)]
pub(crate) enum StartError {
    /// There is no such program.
    NotFound,
    /// Anything else.
    Failed(io::Error),
}

/// Runs a command. Dropping the future kills it.
pub(crate) async fn run(order: Order<'_>, sink: &mut impl Sink) -> Result<End, StartError> {
    // Before the start, so that no end is missed.
    let mut ends = signal(SignalKind::child()).map_err(StartError::Failed)?;
    let (mut group, mut output) = Group::start(&order)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut phase = Phase::Running;
    let mut deadline = later(order.time_limit);
    let mut is_open = true;
    loop {
        tokio::select! {
            read = read_some(&output, &mut buffer), if is_open => match read {
                Ok(0) | Err(_) => is_open = false,
                Ok(length) => sink.take(&buffer[..length]).await,
            },
            _ = ends.recv() => {
                if group.leader_has_ended().map_err(StartError::Failed)? {
                    break;
                }
            }
            () = stopped(order.stop), if matches!(phase, Phase::Running) => {
                (phase, deadline) = group.end(Reason::Stop, order.grace);
            }
            () = sleep_until(deadline) => {
                (phase, deadline) = match phase {
                    Phase::Running => group.end(Reason::TimeLimit, order.grace),
                    Phase::Asked(reason) => group.end(reason, Duration::ZERO),
                    Phase::Killed(_) => return Ok(End::Stuck),
                };
            }
        }
    }
    let status = group.finish().map_err(StartError::Failed)?;
    if is_open {
        take_rest(&mut output, &mut buffer, sink).await;
    }
    Ok(match phase {
        Phase::Running => End::Exited(status),
        Phase::Asked(Reason::TimeLimit) | Phase::Killed(Reason::TimeLimit) => End::TimedOut,
        Phase::Asked(Reason::Stop) | Phase::Killed(Reason::Stop) => End::Stopped,
    })
}

/// How far a command is from its end.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Running,
    /// It was asked to stop.
    Asked(Reason),
    /// It was killed.
    Killed(Reason),
}

/// Why a command does not end by itself.
#[derive(Debug, Clone, Copy)]
enum Reason {
    TimeLimit,
    Stop,
}

/// A time from now; one that the clock cannot name is never reached.
fn later(wait: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    Instant::now() + wait.min(NEVER)
}

async fn stopped(stop: Option<&CancellationToken>) {
    match stop {
        Some(stop) => stop.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn read_some(output: &pipe::Receiver, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        output.readable().await?;
        match output.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

/// Takes what is in the pipe after the end, without waiting for its other end to be closed.
async fn take_rest(output: &mut pipe::Receiver, buffer: &mut [u8], sink: &mut impl Sink) {
    // Asks the kernel directly: the runtime may not yet know that there is something to read.
    let Ok(descriptor) = rustix::io::dup(&output) else {
        return;
    };
    let mut taken = 0;
    while taken < MAX_LATE_BYTES {
        match rustix::io::read(&descriptor, &mut *buffer) {
            Ok(length) if length > 0 => {
                taken += length;
                sink.take(&buffer[..length]).await;
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// A process group with its leader, killed on drop.
#[derive(Debug)]
struct Group {
    leader: Option<Child>,
    pid: Pid,
}

impl Group {
    fn start(order: &Order<'_>) -> Result<(Self, pipe::Receiver), StartError> {
        let (reader, writer) = io::pipe().map_err(StartError::Failed)?;
        let output =
            pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(StartError::Failed)?;
        let mut command = Command::new(order.command.program());
        command
            .args(order.command.arguments())
            .env_clear()
            .envs(order.environment.complete())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(StartError::Failed)?)
            .stderr(writer)
            .process_group(0);
        // The environment's `PATH` counts, for that is the one that the configuration can set.
        let leader = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if !is_there(order.command.program()) => StartError::NotFound,
            _ => StartError::Failed(error),
        })?;
        let pid = Pid::from_child(&leader);
        Ok((
            Self {
                leader: Some(leader),
                pid,
            },
            output,
        ))
    }

    /// Whether the leader has ended; it stays unreaped.
    fn leader_has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(status) => return Ok(status.is_some()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks the group to stop and says until when it has time for that; without any time kills it.
    fn end(&self, reason: Reason, grace: Duration) -> (Phase, Instant) {
        if grace.is_zero() {
            self.signal(Signal::KILL);
            (Phase::Killed(reason), later(KILL_PATIENCE))
        } else {
            self.signal(Signal::TERM);
            (Phase::Asked(reason), later(grace))
        }
    }

    fn signal(&self, signal: Signal) {
        if self.leader.is_some() {
            // Fails if all members are gone, which is what is wanted, or are someone else's, which
            // the patience after it is for.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Kills what is left of the group, and reaps its leader, which must have ended.
    fn finish(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        match self.leader.take() {
            Some(mut leader) => leader.wait(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let Some(mut leader) = self.leader.take() else {
            return;
        };
        if let Ok(None) = leader.try_wait() {
            // It dies any moment. A drop cannot wait for that, but somebody has to, or it stays a
            // zombie. Without a thread it does so until this program ends.
            let _ = thread::Builder::new()
                .name("reaper".to_owned())
                .spawn(move || leader.wait());
        }
    }
}

/// Whether a program named by a path exists: then it is the interpreter of the script that was not
/// found.
fn is_there(program: &str) -> bool {
    program.contains('/') && fs::symlink_metadata(Path::new(program)).is_ok()
}

/// Says how a command ended that did not end well; none if it did.
pub(crate) fn failure(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exit code {code}")),
        (None, Some(number)) => Some(format!("killed by signal {number}")),
        (None, None) => Some("ended in an unknown way".to_owned()),
    }
}

/// Keeps the beginning of the output.
#[derive(Debug)]
pub(crate) struct Head {
    bytes: Vec<u8>,
    limit: usize,
}

impl Head {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
        }
    }

    /// What was kept as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Sink for Head {
    async fn take(&mut self, bytes: &[u8]) {
        let room = self.limit - self.bytes.len();
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// The last line with anything in it, fit to stand in a sentence: without control characters, and
/// not long.
pub(crate) fn last_words(output: &str) -> Option<String> {
    const LONGEST: usize = 200;
    let line = output
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())?;
    let mut words: String = line
        .chars()
        .filter(|character| !character.is_control())
        .take(LONGEST)
        .collect();
    if line.chars().count() > LONGEST {
        words.push('…');
    }
    Some(words)
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
