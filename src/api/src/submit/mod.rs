//! A submission: a whole job in one request.
//!
//! [`JobRequest`] is written by clients and read, by [`JobRequest::read`], field by field, so that an
//! answer can name everything that is wrong at once and not only the first thing.

mod fields;
mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most work items of a job.
pub const MAX_ITEMS: usize = 100_000;
/// The most wrong fields that are named.
pub const MAX_ERRORS: usize = 100;
/// What the address of an uploaded payload begins with; its SHA-256 follows.
pub const PAYLOAD_SCHEME: &str = "payload:";

/// A job to be submitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct JobRequest {
    /// The queue that it is sent to.
    pub queue: String,
    /// For people, one line of at most 256 characters. Left out: the id.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub name: String,
    /// Recognises a repeated submission, which changes nothing more: 1 to 128 of `[A-Za-z0-9._-]`,
    /// not beginning with `.` or `-`. Left out: the server makes one, and a repeated submission is
    /// another job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where it comes from, such as a repository and branch. At most 1024 bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub source: String,
    /// Higher goes first within a queue: -1000 to 1000, usually 0.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false, minimum = -1000, maximum = 1000)]
    pub priority: i32,
    /// Whatever else the sender wants to find again: at most 64 entries, names of at most 128 bytes,
    /// values of at most 4096.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub properties: BTreeMap<String, String>,
    /// How often an item is tried again when it fails. The queue may grant less.
    #[serde(skip_serializing_if = "is_none_asked")]
    #[schema(required = false)]
    pub retries: u32,
    /// Whether an item is tried again on another machine than the last, for as long as there is hope
    /// of one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub retry_on_another_machine: bool,
    /// What holds for all items.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    #[schema(required = false)]
    pub defaults: Settings,
    /// The work items, 1 to 100,000.
    pub items: Vec<ItemRequest>,
}

/// A work item to be submitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct ItemRequest {
    /// What people call it, unique in the job: 1 to 256 characters on one line.
    pub name: String,
    /// What it runs.
    pub command: CommandRequest,
    /// How often it is tried again when it fails. Left out: as the job says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Whether it is tried again on another machine. Left out: as the job says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on_another_machine: Option<bool>,
    /// What holds for this item besides the job's defaults.
    #[serde(flatten)]
    pub settings: Settings,
}

/// What a work item runs: exactly one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandRequest {
    /// Program and arguments, passed on as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// A text for `/bin/sh -c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
}

/// How items are run. In an item: variables win over the job's of the same name, numbers and choices
/// over the job's, and lists are added to the job's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Settings {
    /// Variables of the command's environment. Names beginning with `HELIX_` are refused.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub environment: BTreeMap<String, String>,
    /// Values that are masked in the log and never shown again. 3 to 65,536 bytes each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub secrets: Vec<String>,
    /// Archives unpacked for each item alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub payloads: Vec<PayloadRequest>,
    /// Archives unpacked once for each job and machine, read-only for the command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub correlation_payloads: Vec<PayloadRequest>,
    /// Time and output limits.
    #[serde(skip_serializing_if = "LimitsRequest::is_empty")]
    #[schema(required = false)]
    pub limits: LimitsRequest,
    /// What an item needs while it runs, and is held to.
    #[serde(skip_serializing_if = "ResourcesRequest::is_empty")]
    #[schema(required = false)]
    pub resources: ResourcesRequest,
    /// Tools and properties that the machine must have, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub requirements: Vec<RequirementRequest>,
    /// Files to keep besides results, dumps and uploads: globs relative to the item's directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub artifact_globs: Vec<String>,
    /// Which network the command sees. Left out: that of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// How the two output streams are captured. Left out: apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputMode>,
}

/// Where files come from and where they go: exactly one of `url` and `git`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayloadRequest {
    /// An archive at an `http`, `https` or `file` address, or `payload:` and the SHA-256 of one that
    /// was uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A commit of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitRequest>,
    /// Directory beneath the payload's root. Left out: the root itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub destination: String,
    /// SHA-256 of the archive, 64 hexadecimal digits. Left out: not verified, or that of the upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A commit of a git repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GitRequest {
    /// `https`, `http`, `ssh` or `file` address.
    pub url: String,
    /// Full name of the commit, 40 or 64 hexadecimal digits.
    pub commit: String,
    /// Whether submodules, and theirs, are fetched too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub submodules: bool,
}

/// Time and output limits of one attempt. What is left out takes its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsRequest {
    /// From the start of the command: 0.001 to 2,592,000, usually 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_timeout_seconds: Option<f64>,
    /// The longest time without any output: 0.001 to 2,592,000. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_timeout_seconds: Option<f64>,
    /// Between asking to end and killing: 0 to 600, usually 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_grace_seconds: Option<f64>,
    /// The most that the command may write: 4096 to 1,099,511,627,776. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
}

/// What an item needs while it runs, and is held to. What is left out is neither reserved nor limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesRequest {
    /// Places: 1 or more, usually 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Thousandths of a CPU: 10 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Main memory, bytes: 1,048,576 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Disk space, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Processes and threads at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
}

/// Something that the machine must have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequirementRequest {
    /// Name of a capability, such as `xcode`, `dotnet-sdk` or `os`.
    pub name: String,
    /// A range of versions such as `>=16, <17`, or a text such as `=linux`. Left out: that it is there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub range: String,
}

/// Which network a command sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// That of the machine.
    Machine,
    /// A loopback device of its own and nothing else.
    None,
}

/// How standard output and standard error are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputMode {
    /// Apart.
    Separate,
    /// Through one pipe, in exactly the order of writing.
    Merged,
}

impl Settings {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl LimitsRequest {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ResourcesRequest {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_none_asked(number: &u32) -> bool {
    *number == 0
}
