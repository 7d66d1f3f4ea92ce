//! How a command ended, as its supervisor has written it down: in the words of the
//! model, of the wire, and of the console.

use std::time::Duration;

use helix_exec::ProcessId;
use helix_exec::spool::status::{
    Ended, Ending as Spooled, ListedProcess, OutOfMemory, StartStep, WaitStatus,
};
use helix_model::outcome::{CancelledBy, Ending, InfrastructureCause, StartFailure, TimeoutKind};
use helix_proto::agent::v1::{
    DiskUse, Exited, FilesLeft, KilledProcess, LeftoverProcess, MemoryKills,
};
use nix::errno::Errno;

/// Processes that a line of the console names before it only counts.
const MAX_NAMED: usize = 10;

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

    /// The end that a supervisor has written down.
    pub(super) fn of(ended: Box<Ended>, cancelled: Option<CancelledBy>, program: &str) -> Self {
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

    /// What the console should say of it that the exit code alone would not, one line
    /// each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !matches!(self.ending, Ending::Exited(_)) {
            notes.push(self.wire_ending().message);
        }
        if let Some(ended) = &self.usage {
            notes.extend(memory_note(&ended.out_of_memory));
            notes.extend(survivors_note(&ended.survivors));
        }
        notes
    }

    /// Whether the directories of the command are the agent's again, or always were.
    pub(super) fn is_given_back(&self) -> bool {
        self.usage.as_ref().is_some_and(|ended| {
            ended
                .given_back
                .as_ref()
                .is_none_or(|given_back| given_back.failed == 0)
        })
    }

    /// The event that tells of it.
    pub(crate) fn event(&self) -> Exited {
        let Some(ended) = &self.usage else {
            return Exited {
                ending: Some(self.wire_ending()),
                elapsed: wire(self.elapsed),
                ..Exited::default()
            };
        };
        let usage = &ended.usage;
        Exited {
            ending: Some(self.wire_ending()),
            elapsed: wire(self.elapsed),
            cpu_time: wire(usage.user_time + usage.system_time),
            peak_memory_bytes: usage.max_resident_bytes,
            peak_tree_memory_bytes: usage.peak_memory_bytes.unwrap_or(0),
            disk: usage.io_bytes.map(|io| DiskUse {
                read_bytes: io.read,
                written_bytes: io.written,
            }),
            peak_processes: usage.peak_processes.unwrap_or(0),
            refused_forks: usage.refused_forks,
            memory_kills: memory_kills(&ended.out_of_memory),
            leftovers: ended.leftovers.iter().map(process).collect(),
            leftovers_total: ended.leftovers_total,
            survivors: ended.survivors.iter().map(process).collect(),
            files_left: ended.given_back.as_ref().and_then(|given_back| {
                (given_back.failed > 0).then(|| FilesLeft {
                    count: given_back.failed,
                    problems: given_back.problems.clone(),
                })
            }),
        }
    }
}

fn wire(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

fn pid(pid: ProcessId) -> u32 {
    u32::try_from(pid.0).unwrap_or_default()
}

fn process(process: &ListedProcess) -> LeftoverProcess {
    LeftoverProcess {
        pid: pid(process.pid),
        name: process.name.clone(),
        age: wire(process.age),
    }
}

fn memory_kills(out_of_memory: &OutOfMemory) -> Option<MemoryKills> {
    (out_of_memory.kills > 0).then(|| MemoryKills {
        count: out_of_memory.kills,
        victims: out_of_memory
            .victims
            .iter()
            .map(|victim| KilledProcess {
                pid: pid(victim.pid),
                name: victim.name.clone(),
            })
            .collect(),
    })
}

/// What the system killed for want of memory, the command itself or others, which
/// may be all there is to say why it failed.
fn memory_note(out_of_memory: &OutOfMemory) -> Option<String> {
    let were_killed = match out_of_memory.kills {
        0 => return None,
        1 => "1 process was killed for want of memory".to_owned(),
        kills => format!("{kills} processes were killed for want of memory"),
    };
    let victims = out_of_memory.victims.iter();
    let names = victims.map(|victim| (victim.name.as_str(), victim.pid));
    Some(with_names(were_killed, names, out_of_memory.kills))
}

fn survivors_note(survivors: &[ListedProcess]) -> Option<String> {
    let could_not = match survivors.len() {
        0 => return None,
        1 => "1 process could not be killed".to_owned(),
        count => format!("{count} processes could not be killed"),
    };
    let names = survivors.iter().map(|it| (it.name.as_str(), it.pid));
    let total = u64::try_from(survivors.len()).unwrap_or(u64::MAX);
    Some(with_names(could_not, names, total))
}

/// A sentence with the names of the first few processes behind it.
fn with_names<'a>(
    sentence: String,
    processes: impl Iterator<Item = (&'a str, ProcessId)>,
    total: u64,
) -> String {
    let mut names: Vec<String> = processes
        .take(MAX_NAMED)
        .map(|(name, pid)| format!("{} (pid {pid})", plain(name)))
        .collect();
    if names.is_empty() {
        return sentence;
    }
    let named = u64::try_from(names.len()).unwrap_or(u64::MAX);
    match total.saturating_sub(named) {
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    format!("{sentence}: {}", names.join(", "))
}

/// A name that a process chose for itself, as it may stand in a line.
fn plain(name: &str) -> String {
    let shown = |character: char| {
        if character.is_control() {
            '?'
        } else {
            character
        }
    };
    name.chars().map(shown).collect()
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
        Spooled::OutOfMemory { limit } => Ending::OutOfMemory {
            limit_bytes: *limit,
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

#[cfg(test)]
mod tests {
    use helix_exec::ProcessIdentity;
    use helix_exec::spool::UnixNanos;
    use helix_exec::spool::status::{OutputTotals, Usage, Victim};

    use super::*;

    fn ended(ending: Spooled, change: impl FnOnce(&mut Ended)) -> CommandEnd {
        let mut ended = Ended {
            supervisor: ProcessIdentity::of_self().expect("a process"),
            command: None,
            run_as: None,
            ending,
            wait_status: None,
            started_at: UnixNanos::now(),
            ended_at: UnixNanos::now(),
            elapsed: Duration::from_secs(1),
            output: OutputTotals::default(),
            leftovers: Vec::new(),
            leftovers_total: 0,
            survivors: Vec::new(),
            usage: Usage::default(),
            out_of_memory: OutOfMemory::default(),
            given_back: None,
            spool_problems: Vec::new(),
        };
        change(&mut ended);
        CommandEnd::of(Box::new(ended), None, "make")
    }

    fn killed(kills: u64, names: &[&str]) -> OutOfMemory {
        OutOfMemory {
            kills,
            victims: names
                .iter()
                .zip(4242..)
                .map(|(name, pid)| Victim {
                    pid: ProcessId(pid),
                    name: (*name).to_owned(),
                })
                .collect(),
        }
    }

    #[test]
    fn child_that_was_killed_for_want_of_memory_is_named_though_the_command_went_on() {
        let end = ended(Spooled::Exited { code: 2 }, |ended| {
            ended.out_of_memory = killed(3, &["cc1plus", "l\x1bd"]);
        });
        assert_eq!(
            end.notes(),
            [
                "3 processes were killed for want of memory: cc1plus (pid 4242), l?d (pid 4243), and \
              1 more"
            ]
        );
        assert_eq!(end.ending, Ending::Exited(2));
        let kills = end.event().memory_kills.expect("some");
        assert_eq!((kills.count, kills.victims.len()), (3, 2));
    }

    #[test]
    fn command_that_was_killed_for_want_of_memory_says_its_limit() {
        let limit = Some(64 << 20);
        let end = ended(Spooled::OutOfMemory { limit }, |ended| {
            ended.out_of_memory = killed(1, &[]);
        });
        assert_eq!(
            end.notes(),
            [
                "killed for want of memory: it may have 67108864 bytes",
                "1 process was killed for want of memory"
            ]
        );
        assert_eq!(
            end.event().ending.expect("one").memory_limit_bytes,
            64 << 20
        );
    }

    #[test]
    fn command_that_just_ended_needs_no_note() {
        let end = ended(Spooled::Exited { code: 0 }, |_| {});
        assert!(end.notes().is_empty());
        assert!(end.is_given_back());
        assert!(end.event().memory_kills.is_none());
    }

    #[test]
    fn files_that_stay_with_another_user_are_told() {
        let end = ended(Spooled::Exited { code: 0 }, |ended| {
            ended.given_back = Some(helix_exec::ownership::Transferred {
                changed: 5,
                strangers: 1,
                failed: 2,
                problems: vec!["open `x`: gone".to_owned()],
            });
        });
        assert!(!end.is_given_back());
        assert_eq!(end.event().files_left.expect("some").count, 2);
    }
}
