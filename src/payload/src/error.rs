//! What can go wrong with a payload, and what its caller may do about it.
//!
//! One enum for the room. Every message reads after "failed to", names the object it was about, and
//! leaves its cause to [`std::error::Error::source`]. Errors can be cloned, because callers that
//! waited for one download together are told of its failure together.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::digest::Sha256;
use crate::source::{ArchiveSource, GitUrl, HttpUrl};

/// What a caller may do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The far side or the network failed in a way that may pass; the tries allowed were used up.
    Transient,
    /// The same request will fail the same way again, here and on other machines.
    Permanent,
    /// The caller asked to stop.
    Cancelled,
    /// This machine is in the way: disk, permissions, a missing program. Another may do better.
    Local,
}

/// Why a payload did not arrive.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked to stop.
    #[error("bring the payload: it was cancelled")]
    Cancelled,
    /// A download failed for good, or too often.
    #[error("download `{url}`")]
    Http {
        /// The address that was asked for.
        url: HttpUrl,
        /// What happened in the last try.
        #[source]
        problem: HttpProblem,
    },
    /// The archive is larger than one archive may be.
    #[error(
        "fetch `{origin}`: it is larger than the limit of {limit_bytes} bytes{}",
        announced(*announced_bytes)
    )]
    TooLarge {
        /// What was fetched.
        origin: ArchiveSource,
        /// The limit in force.
        limit_bytes: u64,
        /// The size the server announced; `None` when the limit was passed unannounced.
        announced_bytes: Option<u64>,
    },
    /// The content is not what the request named, also when fetched anew from the start.
    #[error("verify `{origin}`: its SHA-256 is {found}, not {expected}")]
    DigestMismatch {
        /// What was fetched.
        origin: ArchiveSource,
        /// What the request named.
        expected: Sha256,
        /// What arrived.
        found: Sha256,
    },
    /// The time allowed for the whole fetch ran out.
    #[error("fetch `{origin}` within {} s", .allowed.as_secs())]
    Deadline {
        /// What was fetched.
        origin: String,
        /// The time that was allowed.
        allowed: Duration,
        /// What went wrong last, if anything did before the time ran out.
        #[source]
        last: Option<Arc<Error>>,
    },
    /// The configuration does not let payloads come from this path.
    #[error("read `{}`: payloads may not be taken from there", .path.display())]
    LocalFileRefused {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// A payload file of this machine cannot be read.
    #[error("read `{}`", .path.display())]
    LocalFile {
        /// The path that was asked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file system is full (or the user's quota is), and the cache has nothing left to drop.
    #[error("{operation} `{}`: no space left", .path.display())]
    DiskFull {
        /// What was being done.
        operation: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Archives in use leave no room in the cache for another one.
    #[error(
        "make room for {needed_bytes} bytes in the payload cache: {in_use_bytes} of {limit_bytes} bytes are in use"
    )]
    CacheFull {
        /// The room the archive needs.
        needed_bytes: u64,
        /// What cannot be dropped, being in use or on its way.
        in_use_bytes: u64,
        /// The limit in force.
        limit_bytes: u64,
    },
    /// The HTTP client cannot be set up.
    #[error("set up the HTTP client: {detail}")]
    HttpSetup {
        /// The chain of causes.
        detail: String,
    },
    /// Another process has the cache directory open.
    #[error("open the payload cache `{}`: another process uses it", .root.display())]
    CacheInUse {
        /// The directory of the cache.
        root: PathBuf,
    },
    /// Something on this machine failed.
    #[error("{operation} `{}`", .path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The archive cannot be unpacked, or must not be.
    #[error("unpack {}", entry.as_deref().map_or_else(|| "the archive".to_owned(), |name| format!("entry `{name}`")))]
    Archive {
        /// The entry, as the archive names it, with unprintable characters escaped; `None` when
        /// it is about the archive as a whole.
        entry: Option<String>,
        /// What is wrong with it.
        #[source]
        problem: ArchiveProblem,
    },
    /// A tree holds something that is not copied, or too much.
    #[error("take `{}` over", .path.display())]
    Tree {
        /// Where in the tree it is.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: ArchiveProblem,
    },
    /// A commit could not be checked out.
    #[error("check out `{url}`")]
    Git {
        /// The repository.
        url: GitUrl,
        /// What happened.
        #[source]
        problem: GitProblem,
    },
    /// The runtime dropped the work, as it does when the program ends.
    #[error("{operation}: the program is ending")]
    Aborted {
        /// What was being done.
        operation: &'static str,
    },
}

/// What went wrong in one download.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpProblem {
    /// The server answered with a status that is no success.
    #[error("the server answered {code}{}", reason(*code))]
    Status {
        /// The HTTP status code.
        code: u16,
        /// The pause the server asked for, if it did.
        retry_after: Option<Duration>,
    },
    /// No connection came about (name, route, refusal, protocol).
    #[error("no connection: {detail}")]
    Connect {
        /// The chain of causes, without the address.
        detail: String,
    },
    /// The server's certificate is not trusted.
    #[error("the server's certificate is not trusted: {detail}")]
    Certificate {
        /// The chain of causes, without the address.
        detail: String,
    },
    /// Nothing arrived for too long.
    #[error("nothing arrived for {} s", .after.as_secs_f32())]
    Stalled {
        /// How long the silence was.
        after: Duration,
    },
    /// The connection broke before the end of the content.
    #[error("the connection broke after {bytes} bytes: {detail}")]
    Interrupted {
        /// Bytes of the archive on this machine by then.
        bytes: u64,
        /// The chain of causes, without the address.
        detail: String,
    },
    /// A redirect that is not followed.
    #[error("the redirect is not followed: {reason}")]
    Redirect {
        /// Why.
        reason: &'static str,
    },
    /// The answer contradicts itself or the request.
    #[error("the answer makes no sense: {reason}")]
    Nonsense {
        /// In what way.
        reason: &'static str,
    },
    /// The request could not be made.
    #[error("the request is impossible: {detail}")]
    Request {
        /// The chain of causes, without the address.
        detail: String,
    },
}

/// What is wrong with an archive or one entry of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveProblem {
    /// The content is none of the known formats.
    #[error("the file is no archive: neither zip nor tar, tar.gz or tar.zst")]
    NotAnArchive,
    /// The archive ends too early.
    #[error("the archive is truncated")]
    Truncated,
    /// The archive contradicts itself.
    #[error("the archive is corrupt: {detail}")]
    Corrupt {
        /// In what way.
        detail: String,
    },
    /// The entry is encrypted.
    #[error("the entry is encrypted")]
    Encrypted,
    /// The entry, or the archive, uses a feature that is not read.
    #[error("{feature} is not supported")]
    Unsupported {
        /// The feature.
        feature: String,
    },
    /// The name could lead outside the destination or cannot be a file name.
    #[error("the name is refused: {0}")]
    Name(NameProblem),
    /// A symbolic link that could lead outside the destination.
    #[error("the symbolic link is refused, its target `{target}` {reason}")]
    LinkTarget {
        /// The target, with unprintable characters escaped.
        target: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A hard link to something that is not a file unpacked before.
    #[error("the hard link is refused, `{target}` is not a regular file unpacked before it")]
    HardLinkTarget {
        /// The target, with unprintable characters escaped.
        target: String,
    },
    /// A kind of entry that is never created.
    #[error("{0} is never unpacked")]
    SpecialFile(EntryKind),
    /// Something else is already at a place that must be a directory.
    #[error("`{component}` on its way is {found}, not a directory")]
    NotADirectory {
        /// The component of the path, with unprintable characters escaped.
        component: String,
        /// What is there.
        found: EntryKind,
    },
    /// A directory is already at the place of a file or link.
    #[error("a directory is in its place")]
    DirectoryInTheWay,
    /// A limit was passed.
    #[error("{0}")]
    Limit(Limit),
}

/// Why the name of an entry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// Nothing is left of the name.
    #[error("it is empty")]
    Empty,
    /// It begins at a root.
    #[error("it is absolute")]
    Absolute,
    /// It climbs out of a directory.
    #[error("it contains `..`")]
    ParentDirectory,
    /// It begins with a drive letter.
    #[error("it begins with a drive letter")]
    DriveLetter,
    /// It contains a NUL byte.
    #[error("it contains a NUL byte")]
    Nul,
    /// One component is longer than a file system takes.
    #[error("one of its components is longer than 255 bytes")]
    ComponentTooLong,
    /// The whole is longer than the system takes.
    #[error("it is longer than 4000 bytes")]
    TooLong,
}

/// A kind of directory entry, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// Something this system has no name for.
    Unknown,
}

/// A limit that an archive or tree passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limit {
    /// All content together.
    #[error("the content is larger than {bytes} bytes altogether")]
    TotalBytes {
        /// The limit.
        bytes: u64,
    },
    /// The content of one file.
    #[error("the file is larger than {bytes} bytes")]
    FileBytes {
        /// The limit.
        bytes: u64,
    },
    /// The number of entries.
    #[error("there are more than {count} entries")]
    Entries {
        /// The limit.
        count: u64,
    },
    /// The depth of directories.
    #[error("it lies deeper than {levels} directories")]
    Depth {
        /// The limit.
        levels: usize,
    },
    /// The content against the archive's own size.
    #[error("the content is more than {times} times as large as the archive")]
    Ratio {
        /// The limit.
        times: u32,
    },
    /// The headers that describe one entry.
    #[error("the description of one entry is longer than {bytes} bytes")]
    HeaderBytes {
        /// The limit.
        bytes: u64,
    },
}

/// Why a commit was not checked out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitProblem {
    /// The program could not be started.
    #[error("the program `{}` cannot be started", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The configuration does not allow this way to reach a repository.
    #[error("the transport `{scheme}` is not allowed")]
    TransportRefused {
        /// The scheme of the address.
        scheme: String,
    },
    /// A step failed.
    #[error("`git {step}` {outcome}: {message}")]
    Failed {
        /// The subcommand.
        step: &'static str,
        /// How it ended, such as "exited with 128".
        outcome: String,
        /// The end of what it said, without secrets.
        message: String,
        /// Whether the message is that of a network or server in trouble.
        transient: bool,
    },
    /// The time allowed ran out.
    #[error("it took longer than {} s", .allowed.as_secs())]
    Deadline {
        /// The time that was allowed.
        allowed: Duration,
    },
    /// Something else than the commit asked for was checked out.
    #[error("the commit checked out is `{found}`, not the one asked for")]
    WrongCommit {
        /// What git calls the commit.
        found: String,
    },
    /// The destination holds something already.
    #[error("the destination `{}` is not empty", .path.display())]
    DestinationNotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// The repository or the tree is too large.
    #[error("{0}")]
    Limit(Limit),
}

impl Error {
    /// What a caller may do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Cancelled => Kind::Cancelled,
            Self::Http { problem, .. } => problem.kind(),
            Self::TooLarge { .. }
            | Self::DigestMismatch { .. }
            | Self::LocalFileRefused { .. }
            | Self::Archive { .. }
            | Self::Tree { .. } => Kind::Permanent,
            Self::Deadline { .. } | Self::Aborted { .. } => Kind::Transient,
            Self::LocalFile { source, .. } => match source.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::NotADirectory => Kind::Permanent,
                _ => Kind::Local,
            },
            Self::DiskFull { .. }
            | Self::CacheFull { .. }
            | Self::CacheInUse { .. }
            | Self::HttpSetup { .. }
            | Self::Io { .. } => Kind::Local,
            Self::Git { problem, .. } => problem.kind(),
        }
    }

    /// What a person can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Http { problem, .. } => problem.hint(),
            Self::TooLarge { .. } => {
                Some("make the archive smaller, or raise the size limit of one archive")
            }
            Self::DigestMismatch { .. } => {
                Some("the archive changed after its SHA-256 was taken; send the new SHA-256")
            }
            Self::Deadline { .. } => Some("raise the deadline, or move the archive nearer"),
            Self::LocalFileRefused { .. } => {
                Some("allow the directory in the agent's configuration, or serve it over HTTP")
            }
            Self::DiskFull { .. } => Some("free space on that file system"),
            Self::CacheFull { .. } => Some("raise the size of the payload cache"),
            Self::CacheInUse { .. } => Some("stop the other agent, or give it a cache of its own"),
            Self::Archive { problem, .. } | Self::Tree { problem, .. } => problem.hint(),
            Self::Git { problem, .. } => problem.hint(),
            Self::Cancelled
            | Self::LocalFile { .. }
            | Self::HttpSetup { .. }
            | Self::Io { .. }
            | Self::Aborted { .. } => None,
        }
    }

    /// The whole chain in one line, causes after colons.
    pub fn chain(&self) -> String {
        chain_of(self)
    }

    /// An I/O error of this machine; "no space left" becomes [`Error::DiskFull`].
    pub(crate) fn io(operation: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        if is_disk_full(&source) {
            return Self::DiskFull { operation, path };
        }
        Self::Io {
            operation,
            path,
            source: Arc::new(source),
        }
    }

    pub(crate) fn archive(problem: ArchiveProblem) -> Self {
        Self::Archive {
            entry: None,
            problem,
        }
    }

    pub(crate) fn entry(name: &[u8], problem: ArchiveProblem) -> Self {
        Self::Archive {
            entry: Some(show_bytes(name)),
            problem,
        }
    }
}

impl HttpProblem {
    /// What a caller may do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Status {
                code: 408 | 425 | 429 | 500 | 502 | 503 | 504,
                ..
            } => Kind::Transient,
            Self::Status { .. }
            | Self::Certificate { .. }
            | Self::Redirect { .. }
            | Self::Nonsense { .. }
            | Self::Request { .. } => Kind::Permanent,
            Self::Connect { .. } | Self::Stalled { .. } | Self::Interrupted { .. } => {
                Kind::Transient
            }
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Status {
                code: 401 | 403, ..
            } => Some("the address may have expired; send the job again with a fresh one"),
            Self::Status {
                code: 404 | 410, ..
            } => Some("the archive is gone; send the job again"),
            Self::Certificate { .. } => {
                Some("add the authority to the machine's trust store, and check the clock")
            }
            Self::Connect { .. } => Some("check name resolution, routes, firewall and proxy"),
            Self::Status { .. }
            | Self::Stalled { .. }
            | Self::Interrupted { .. }
            | Self::Redirect { .. }
            | Self::Nonsense { .. }
            | Self::Request { .. } => None,
        }
    }
}

impl ArchiveProblem {
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Encrypted => Some("send the archive without a password"),
            Self::Unsupported { .. } => Some("pack it as a plain zip (deflate), tar.gz or tar.zst"),
            Self::Limit(_) => Some("make the payload smaller, or raise the limit"),
            Self::NotAnArchive
            | Self::Truncated
            | Self::Corrupt { .. }
            | Self::Name(_)
            | Self::LinkTarget { .. }
            | Self::HardLinkTarget { .. }
            | Self::SpecialFile(_)
            | Self::NotADirectory { .. }
            | Self::DirectoryInTheWay => None,
        }
    }
}

impl GitProblem {
    /// What a caller may do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Start { .. } => Kind::Local,
            Self::Failed {
                transient: true, ..
            }
            | Self::Deadline { .. } => Kind::Transient,
            Self::Failed {
                transient: false, ..
            }
            | Self::TransportRefused { .. }
            | Self::WrongCommit { .. }
            | Self::DestinationNotEmpty { .. }
            | Self::Limit(_) => Kind::Permanent,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start { .. } => Some("install git on this machine"),
            Self::TransportRefused { .. } => Some("allow the transport in the configuration"),
            Self::Deadline { .. } => Some("raise the deadline"),
            Self::Limit(_) => Some("raise the limit"),
            Self::Failed { .. } | Self::WrongCommit { .. } | Self::DestinationNotEmpty { .. } => {
                None
            }
        }
    }
}

impl EntryKind {
    /// The kind in the file type bits of a Unix mode.
    pub(crate) fn of_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Self::File,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o020_000 => Self::CharacterDevice,
            0o060_000 => Self::BlockDevice,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::CharacterDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
            Self::Unknown => "an unknown kind of file",
        })
    }
}

/// Whether `error` says that the disk, or the quota on it, is used up.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) || matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::ENOSPC | Errno::EDQUOT)
    )
}

/// `error` and its causes in one line.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let shown = error.to_string();
        // Some libraries repeat the cause in the message of the error above it.
        if !text.ends_with(&shown) {
            text.push_str(": ");
            text.push_str(&shown);
        }
        cause = error.source();
    }
    text
}

/// A name from an archive, fit for a log line: escaped where unprintable, cut where endless.
pub(crate) fn show_bytes(name: &[u8]) -> String {
    const SHOWN: usize = 256;
    let mut shown: String = String::from_utf8_lossy(name.get(..SHOWN).unwrap_or(name))
        .escape_debug()
        .to_string();
    if name.len() > SHOWN {
        shown.push('…');
    }
    shown
}

fn announced(bytes: Option<u64>) -> String {
    bytes
        .map(|bytes| format!(" ({bytes} announced)"))
        .unwrap_or_default()
}

fn reason(code: u16) -> String {
    reqwest::StatusCode::from_u16(code)
        .ok()
        .and_then(|status| status.canonical_reason())
        .map(|reason| format!(" {reason}"))
        .unwrap_or_default()
}
