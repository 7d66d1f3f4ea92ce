//! Attempts: one run of a work item each.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All attempts of a work item, first first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptList {
    /// The attempts.
    pub attempts: Vec<Attempt>,
}

/// An attempt as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Its place among the attempts of its item, counted from 1. What addresses ask for.
    pub number: u32,
    /// Its id, as agents know it.
    pub id: String,
    /// Its work item.
    pub item: String,
    /// Its job.
    pub job: String,
    /// Which delivery it is, counted from 1. An attempt that was given back uses none, so that two
    /// attempts may have the same.
    pub delivery: u32,
    /// How many retries had been used before it.
    pub retries_used: u32,
    /// Where it runs or ran.
    pub agent: String,
    /// The controller that looks after it.
    pub controller: String,
    /// Where it stands.
    pub state: AttemptState,
    /// What decided, in capitals, such as `EXIT_CODE`. Absent where it passed or has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The exit code, once it is judged: the command's, or a negative one where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// When it was written down, before the agent was asked.
    pub offered: Timestamp,
    /// When the agent had taken it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Timestamp>,
    /// When the command was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When its end was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How long the command ran, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_seconds: Option<f64>,
    /// CPU time of its tree, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Most memory of its tree, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Tests counted from its result files; none where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<TestCounts>,
    /// The first tests that failed, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<TestFailure>,
    /// What could not be read or stored, and other odd things.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Isolation that was missing, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// Files that it left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<StoredFile>,
    /// Where its log is read, relative to the server.
    pub log: String,
    /// Bytes of its log. While it runs, 0: how long it is by then, reading it tells.
    pub log_bytes: u64,
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// Its agent is being asked.
    Offered,
    /// Its agent has it.
    Running,
    /// Ended: it passed.
    Passed,
    /// Ended: the item is to blame.
    Failed,
    /// Ended: it took too long or fell silent.
    TimedOut,
    /// Ended: it was cancelled.
    Cancelled,
    /// Ended: machine, agent, network or payload is to blame; nothing was learned about the item.
    Infrastructure,
    /// Ended: the machine lacks what the item's files ask for. Costs no delivery.
    Refused,
    /// Ended: nobody will ever tell how.
    Lost,
}

/// Counts of test cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestCounts {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredFile {
    /// Its name, unique in the attempt, `/`-separated.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// In bytes.
    pub size: u64,
    /// SHA-256, 64 hexadecimal digits. Empty: not known.
    pub sha256: String,
    /// Where it is read, relative to the server.
    pub href: String,
}

/// What kind of file an attempt left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
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

impl AttemptState {
    /// Whether nothing more happens.
    #[must_use]
    pub fn is_ended(self) -> bool {
        !matches!(self, Self::Offered | Self::Running)
    }
}
