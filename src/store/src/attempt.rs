//! Attempts: one run of a work item each, none ever overwritten by a later one.

use std::time::{Duration, SystemTime};

use helix_model::ids::{AttemptId, JobId, WorkItemId};
use helix_model::work_item::Delivery;

use crate::{AgentName, Avoid, ControllerId, ItemEnd};

/// An attempt as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The attempt.
    pub id: AttemptId,
    /// Its item.
    pub item: WorkItemId,
    /// Its job.
    pub job: JobId,
    /// Which delivery it is.
    pub delivery: Delivery,
    /// Where it runs or ran.
    pub agent: AgentName,
    /// Who looks after it.
    pub controller: ControllerId,
    /// Grows each time that somebody else takes it over.
    pub epoch: u64,
    /// Where it stands.
    pub state: AttemptState,
    /// When it was written down, before the agent was asked.
    pub offered: SystemTime,
    /// When the agent had taken it.
    pub accepted: Option<SystemTime>,
    /// When the command was started.
    pub started: Option<SystemTime>,
    /// When its end was stored.
    pub ended: Option<SystemTime>,
    /// How far its events are stored: the number of the last one.
    pub last_event: u64,
    /// Isolation that was missing, in words.
    pub degraded: Vec<String>,
    /// Tests counted from its result files.
    pub counts: Option<Counts>,
    /// The first tests that failed, at most 100.
    pub failures: Vec<TestFailure>,
    /// What could not be read or stored, and other odd things.
    pub warnings: Vec<String>,
    /// Files that it left.
    pub files: Vec<File>,
    /// Where its log is. None until it has ended, or if there never was one.
    pub log: Option<LogPlace>,
    /// Bytes of its log.
    pub log_bytes: u64,
}

/// Where an attempt stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptState {
    /// Its agent is being asked.
    Offered,
    /// Its agent has it.
    Running,
    /// Its agent judged it.
    Judged(Judgement),
    /// Its agent had it and found out after unpacking that it lacks what the files ask for. Costs no
    /// delivery.
    RefusedAfterUnpacking {
        /// What is missing, a sentence.
        message: String,
    },
    /// Nobody will ever tell how it ended.
    Lost {
        /// Why, a sentence.
        reason: String,
    },
}

/// What an agent made of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The class.
    pub kind: VerdictKind,
    /// What decided, in capitals. Empty where it passed.
    pub reason: String,
    /// The same in words.
    pub message: String,
    /// The exit code as Helix clients know it.
    pub helix_exit_code: i32,
    /// How long the command ran, if known.
    pub elapsed: Option<Duration>,
    /// CPU time of its tree, if known.
    pub cpu_time: Option<Duration>,
    /// Most memory of its tree in bytes, if known.
    pub peak_memory_bytes: Option<u64>,
}

/// The class of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VerdictKind {
    /// It passed.
    Passed,
    /// The item is to blame.
    Failed,
    /// It took too long or fell silent.
    TimedOut,
    /// It was cancelled.
    Cancelled,
    /// Machine, agent, network or payload is to blame.
    Infrastructure,
}

/// Counts of test cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub total: u64,
    /// Passed in the end.
    pub passed: u64,
    /// Failed in the end.
    pub failed: u64,
    /// Skipped or not run.
    pub skipped: u64,
    /// Those of the passed ones that failed before within the attempt.
    pub flaky: u64,
    /// None of these.
    pub inconclusive: u64,
}

/// A test that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// Full name of the case.
    pub name: String,
    /// Its message. May be empty.
    pub message: String,
    /// Its stack trace. May be empty.
    pub stack: String,
    /// The result file. May be empty.
    pub file: String,
}

/// A file that an attempt left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, unique in the attempt, `/`-separated.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// In bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Vec<u8>,
    /// Where the agent put it.
    pub url: String,
}

/// What kind of file an attempt left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// The log as the agent kept it.
    ConsoleLog,
    /// A test result file.
    TestResult,
    /// A file to be kept.
    Upload,
    /// A dump.
    Dump,
}

/// Where the log of an ended attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPlace {
    /// With the attempt, as it is short; read with [`crate::Store::short_log`].
    Here,
    /// In the object store, under this key.
    Object(String),
}

/// What is new about a running attempt. Absent fields change nothing; lists are added to, save that a
/// file with a known name replaces it. The times are kept where none was known, whatever the number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The agent has taken it, then.
    pub accepted: Option<SystemTime>,
    /// The command was started, then.
    pub started: Option<SystemTime>,
    /// The number of the last event that this covers. Where it is not above the stored one, all but
    /// the times is passed over.
    pub last_event: u64,
    /// Isolation that is missing.
    pub degraded: Vec<String>,
    /// Tests counted; replaces earlier counts and failures. Of the failures the first 100 are kept.
    pub results: Option<(Counts, Vec<TestFailure>)>,
    /// Odd things.
    pub warnings: Vec<String>,
    /// Files stored.
    pub files: Vec<File>,
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Judged, refused after unpacking or lost. Never offered or running.
    pub state: AttemptState,
    /// What else became known with its end.
    pub progress: Progress,
    /// Its log, where that is in the object store.
    pub log: Option<LogPlace>,
    /// Its log, where [`LogPlace::Here`] is said; else empty.
    pub short_log: Vec<u8>,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// What becomes of the item.
    pub next: Next,
}

/// What becomes of an item after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It has come to its end.
    End(ItemEnd),
    /// It waits again, at the end of its queue.
    Wait {
        /// As this delivery.
        delivery: Delivery,
        /// Not before then.
        not_before: Option<SystemTime>,
        /// Not on this machine.
        avoid: Option<Avoid>,
        /// Whether a failure is retried; else nothing was learned.
        retry: bool,
        /// Why, a sentence.
        reason: String,
    },
}
