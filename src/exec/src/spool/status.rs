//! The status of an attempt as it stands in its spool: launched, then ended.
//!
//! The file is replaced as a whole, so a reader sees one or the other. It carries nothing of the
//! command line, the environment or the needles.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::{ProcessId, ProcessIdentity};
use crate::ownership::Transferred;
use crate::spool::time::UnixNanos;

/// Where an attempt stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Status {
    /// The command was started. Whether it still runs is for
    /// [`ProcessIdentity::liveness`] of the supervisor to say.
    Launched(Launched),
    /// Nothing runs any more, and the console is complete.
    Ended(Box<Ended>),
}

/// The command was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launched {
    /// The supervisor.
    pub supervisor: ProcessIdentity,
    /// The command: leader of the session and process group of its tree.
    pub command: ProcessId,
    /// When the command was started.
    pub started_at: UnixNanos,
    /// The user that it runs as; `None` when that is the supervisor's own.
    #[serde(default)]
    pub run_as: Option<RunAs>,
}

/// The user that a command runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// Place in the launcher's pool, from 0.
    pub slot: u32,
    /// The user's id.
    pub uid: u32,
    /// The user's name; its id in digits when it has none.
    pub name: String,
}

/// How it ended, and what it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The supervisor that writes this.
    pub supervisor: ProcessIdentity,
    /// The command; `None` when it was never started.
    pub command: Option<ProcessId>,
    /// The user that it ran as, or was to; `None` when that is the supervisor's own.
    #[serde(default)]
    pub run_as: Option<RunAs>,
    /// What ended it.
    pub ending: Ending,
    /// What the kernel said about the command itself, whatever ended it: a command that exits 0
    /// within the grace period after its time was up has timed out all the same. `None` when it
    /// was never started or could not be killed.
    pub wait_status: Option<WaitStatus>,
    /// When the command was started, or was to be.
    pub started_at: UnixNanos,
    /// When its tree was gone.
    pub ended_at: UnixNanos,
    /// Time from start to end on a clock that nobody sets.
    pub elapsed: Duration,
    /// Bytes of output.
    pub output: OutputTotals,
    /// What else was alive in the tree when the command had ended (or, after a stop, when the
    /// grace period was over) and was killed for it; at most [`MAX_LISTED`].
    pub leftovers: Vec<ListedProcess>,
    /// How many there were, listed or not.
    pub leftovers_total: u32,
    /// What could not be killed and was left behind; at most [`MAX_LISTED`].
    pub survivors: Vec<ListedProcess>,
    /// What the tree used.
    pub usage: Usage,
    /// Processes of the tree that the kernel killed as there was no memory for them; at most
    /// [`MAX_LISTED`]. Only known where the tree's memory is limited.
    #[serde(default)]
    pub out_of_memory: OutOfMemory,
    /// The directories given back to the client; `None` when none were handed over.
    #[serde(default)]
    pub given_back: Option<Transferred>,
    /// What went wrong with the spool itself; empty as a rule, at most one for each operation.
    pub spool_problems: Vec<SpoolProblem>,
}

/// Most processes that a status lists by name.
pub const MAX_LISTED: usize = 32;

/// What ended a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ending {
    /// It exited by itself.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// A signal killed it that this supervisor did not send.
    Signalled {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
    /// It ran for longer than [`crate::Limits::wall`] and was stopped.
    WallTimeout {
        /// The limit.
        limit: Duration,
    },
    /// It was silent for longer than [`crate::Limits::silence`] and was stopped.
    SilenceTimeout {
        /// The limit.
        limit: Duration,
    },
    /// It produced more than [`crate::Limits::output_bytes`] and was stopped.
    OutputLimit {
        /// The limit in bytes.
        limit: u64,
    },
    /// The kernel killed it because its tree wanted more memory than it may have.
    OutOfMemory {
        /// The limit in bytes; `None` when it was the machine's own.
        limit: Option<u64>,
    },
    /// A client had it stopped with [`crate::control::StopReason::Cancel`].
    Cancelled,
    /// A client had it stopped with [`crate::control::StopReason::Interrupt`], or the supervisor
    /// itself was told to end (SIGTERM: the machine goes down).
    Interrupted,
    /// It never ran.
    CouldNotStart {
        /// The step that failed.
        step: StartStep,
        /// The system's error number.
        errno: i32,
        /// What the system says about it, with what was tried.
        message: String,
    },
}

/// The steps between the request and the command's first instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartStep {
    /// Making the pipes for its output.
    Pipes,
    /// Opening its working directory.
    WorkingDirectory,
    /// Creating its process.
    Process,
    /// Giving it a session of its own.
    Session,
    /// Connecting its standard streams.
    StandardStreams,
    /// Giving it a `/tmp` of its own.
    PrivateDirectories,
    /// Setting up its own loopback device.
    Network,
    /// Setting its limits.
    Limits,
    /// Becoming its user, for good.
    Identity,
    /// Entering its working directory.
    EnterDirectory,
    /// Setting signals back to what a fresh process expects.
    Signals,
    /// Executing its program: not found, not executable, no interpreter.
    Execute,
}

/// What the kernel said about the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitStatus {
    /// It exited with this code, 0 to 255.
    Exited(i32),
    /// This signal killed it.
    Signalled {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
}

/// Bytes of output. What was kept is for [`crate::SpoolReader`] to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OutputTotals {
    /// Size of the console when the command had ended, as an offset of the spool: what was
    /// written before its start, and all that it wrote, masked, kept or not.
    pub console_bytes: u64,
    /// Bytes the command wrote, before masking.
    pub raw_bytes: u64,
    /// Console bytes given up between head and tail, as the limits want it.
    pub dropped_bytes: u64,
    /// Console bytes that could not be stored, as for a full disk.
    pub lost_bytes: u64,
}

/// A process that outlived its command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedProcess {
    /// Its id.
    pub pid: ProcessId,
    /// Its name as the process table has it; bytes that are not UTF-8 replaced.
    pub name: String,
    /// How long it had been running.
    pub age: Duration,
}

/// What the whole tree used: counted by its control group where there is one, else as far as its
/// processes were collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode.
    pub user_time: Duration,
    /// CPU time in the kernel.
    pub system_time: Duration,
    /// Largest resident size of any one process, in bytes.
    pub max_resident_bytes: u64,
    /// Most memory that the tree had at a time, in bytes, with the cache of its files. `None`: not
    /// counted here.
    #[serde(default)]
    pub peak_memory_bytes: Option<u64>,
    /// Bytes read from and written to disks; on macOS those of the command's first process alone.
    /// `None`: not counted here.
    #[serde(default)]
    pub io_bytes: Option<IoBytes>,
    /// Most processes and threads at a time. `None`: not counted here.
    #[serde(default)]
    pub peak_processes: Option<u32>,
    /// How often a process could not be made because there were too many. `None`: not counted.
    #[serde(default)]
    pub refused_forks: Option<u64>,
}

/// Bytes that went between memory and disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IoBytes {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

/// What the kernel killed for want of memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OutOfMemory {
    /// How many processes.
    pub kills: u64,
    /// Those of them that the kernel's log still named, with their names; at most [`MAX_LISTED`].
    pub victims: Vec<Victim>,
}

/// A process that the kernel killed for want of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// Its id.
    pub pid: ProcessId,
    /// Its name; bytes that are not UTF-8 replaced.
    pub name: String,
}

/// Something that went wrong with the spool while the command ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolProblem {
    /// What was being done, as in "append to the console".
    pub operation: String,
    /// The system's error number.
    pub errno: i32,
    /// What the system says about it.
    pub message: String,
    /// How often it happened.
    pub times: u64,
}
