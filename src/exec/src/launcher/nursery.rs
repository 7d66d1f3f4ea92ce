//! Supervisors before they are on their own: forked ahead of need, given a job, listened to once.
//!
//! One spare supervisor is kept ready, so that a launch waits for neither a fork nor all that a
//! new process has to do before it is of use. A spare ends by itself when the launcher does.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::message::{Refusal, Reply};
use crate::frame::{self, Decoder, MAX_CONTROL_FRAME};
use crate::identity::ProcessId;
use crate::spool::status::WaitStatus;
use crate::supervisor::{Job, MAX_JOB_FRAME, SetUp, SetUpError};
use crate::sys::{self, Fork};

/// How long a spare may take to take its job; it does nothing but wait for it.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(10);

/// Which process this is after what may have been a fork.
pub(super) enum Side<T> {
    /// Still the launcher.
    Launcher(T),
    /// A new supervisor, with its end of the channel to the launcher.
    Supervisor(UnixStream),
}

/// All supervisors that the launcher still has to do with.
#[derive(Default)]
pub(super) struct Nursery {
    spare: Option<Spare>,
    /// Whether the next lull is to be used for a spare. A spare that died is not replaced
    /// before it is missed: whatever killed it would kill the next as well.
    wants_spare: bool,
    births: Vec<Birth>,
    /// Those with a job that have not ended.
    running: Vec<ProcessId>,
    /// Whether a supervisor was killed whose tree may not all have died yet.
    is_haunted: bool,
}

/// How supervisors have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All by themselves.
    InOrder,
    /// One was killed, and has left behind what it was to look after.
    Abruptly,
}

struct Spare {
    pid: ProcessId,
    channel: UnixStream,
}

/// A supervisor that has a job and has not said yet whether it runs.
struct Birth {
    client: u64,
    number: u64,
    channel: UnixStream,
    decoder: Decoder,
}

impl Nursery {
    pub(super) fn new() -> Self {
        Self {
            wants_spare: true,
            ..Self::default()
        }
    }

    /// Supervisors with a job that have not ended.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Channels on which something is to be heard.
    pub(super) fn polled(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.births.iter().map(|birth| birth.channel.as_fd())
    }

    /// Whether [`Nursery::breed`] is to be called once there is nothing else to do.
    pub(super) fn wants_spare(&self) -> bool {
        self.wants_spare && self.spare.is_none() && self.births.is_empty()
    }

    /// Forks a spare.
    pub(super) fn breed(&mut self) -> Side<()> {
        self.wants_spare = false;
        match fork() {
            Ok(Side::Launcher(spare)) => {
                self.spare = Some(spare);
                Side::Launcher(())
            }
            Ok(Side::Supervisor(channel)) => Side::Supervisor(channel),
            // Tried again when there is a job, and reported then.
            Err(_) => Side::Launcher(()),
        }
    }

    /// Gives a job to a supervisor; its answer is for the client's request of that number.
    pub(super) fn hand_over(
        &mut self,
        job: &Job,
        client: u64,
        number: u64,
    ) -> Result<Side<()>, Refusal> {
        let job = frame::encode(job, MAX_JOB_FRAME)
            .map_err(|error| SetUpError::new("hand over the job", io::Error::other(error)))?;
        self.wants_spare = true;
        // A spare may have died unnoticed; a new one has no reason to.
        if let Some(spare) = self.spare.take()
            && self.give(spare, &job, client, number).is_ok()
        {
            return Ok(Side::Launcher(()));
        }
        match fork().map_err(|error| SetUpError::new("fork", error))? {
            Side::Supervisor(channel) => Ok(Side::Supervisor(channel)),
            Side::Launcher(spare) => {
                self.give(spare, &job, client, number)
                    .map_err(|error| SetUpError::new("hand over the job", error))?;
                Ok(Side::Launcher(()))
            }
        }
    }

    /// What new supervisors have to say, and to which client.
    pub(super) fn hear(&mut self) -> Vec<(u64, Reply)> {
        let mut replies = Vec::new();
        self.births.retain_mut(|birth| match birth.hear() {
            None => true,
            Some(reply) => {
                replies.push((birth.client, reply));
                false
            }
        });
        replies
    }

    /// Collects those who have ended, and ends the children that a killed one has left to this
    /// process; how they ended.
    pub(super) fn collect(&mut self) -> Ended {
        let mut ended = Ended::InOrder;
        while let Ok(Some((pid, status))) = sys::peek_exit(None) {
            sys::reap(pid);
            let is_spare = self.spare.as_ref().is_some_and(|spare| spare.pid == pid);
            if is_spare {
                self.spare = None;
            }
            // A supervisor has no other exit codes: one that has panicked was cut off too.
            if self.running.contains(&pid) && !matches!(status, WaitStatus::Exited(0 | 1)) {
                ended = Ended::Abruptly;
            }
            self.running.retain(|running| *running != pid);
        }
        if ended == Ended::Abruptly {
            self.is_haunted = true;
        }
        if self.is_haunted {
            self.is_haunted = self.end_orphans();
        }
        ended
    }

    /// Kills the children of this process that it has not made; whether there were any. Theirs
    /// come to this process in turn when they die, and this is called again.
    fn end_orphans(&self) -> bool {
        let own = |pid| {
            self.running.contains(&pid) || self.spare.as_ref().is_some_and(|spare| spare.pid == pid)
        };
        let children = sys::children().unwrap_or_default();
        let orphans: Vec<_> = children.into_iter().filter(|pid| !own(*pid)).collect();
        for orphan in &orphans {
            // Not collected before this process does it, so the id is still theirs.
            let _ = kill(Pid::from_raw(orphan.0), Signal::SIGKILL);
        }
        !orphans.is_empty()
    }

    fn give(&mut self, spare: Spare, job: &[u8], client: u64, number: u64) -> io::Result<()> {
        let Spare { pid, mut channel } = spare;
        channel.write_all(job)?;
        channel.set_nonblocking(true)?;
        self.running.push(pid);
        let decoder = Decoder::new(MAX_CONTROL_FRAME);
        self.births.push(Birth {
            client,
            number,
            channel,
            decoder,
        });
        Ok(())
    }
}

impl Birth {
    /// What to reply, once that is known.
    fn hear(&mut self) -> Option<Reply> {
        let number = self.number;
        let mut buffer = [0; 1024];
        let problem = loop {
            match self.channel.read(&mut buffer) {
                Ok(0) => break io::Error::other("it ended without a word"),
                Ok(count) => self.decoder.feed(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break error,
            }
            match self.decoder.next_message() {
                Ok(Some(SetUp::Ready(supervisor))) => {
                    return Some(Reply::Launched { number, supervisor });
                }
                Ok(Some(SetUp::Reclaimed(transferred))) => {
                    return Some(Reply::Reclaimed {
                        number,
                        transferred,
                    });
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

fn fork() -> io::Result<Side<Spare>> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_write_timeout(Some(HAND_OVER_LIMIT))?;
    Ok(match sys::fork()? {
        Fork::Parent(pid) => Side::Launcher(Spare { pid, channel: ours }),
        Fork::Child => Side::Supervisor(theirs),
    })
}
