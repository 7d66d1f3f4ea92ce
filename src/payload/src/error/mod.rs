//! What can go wrong with a payload, and what its caller may do about it.
//!
//! One enum for the room. Every message reads after "failed to", names the object it was about, and
//! leaves its cause to [`std::error::Error::source`]. Errors can be cloned, because callers that
//! waited for one download together are told of its failure together.

mod archive;
mod git;
mod http;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::digest::Sha256;
use crate::source::{ArchiveSource, GitUrl, HttpUrl};

pub use archive::{ArchiveProblem, EntryKind, Limit, NameProblem};
pub use git::GitProblem;
pub use http::HttpProblem;

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
    /// The file system has less free space than must stay free, and the cache has nothing left to
    /// drop.
    #[error("keep space free on `{}`: {needed_bytes} bytes are needed, {free_bytes} are free", .path.display())]
    LowSpace {
        /// The directory of the cache.
        path: PathBuf,
        /// Bytes free.
        free_bytes: u64,
        /// Bytes needed, those that must stay free included.
        needed_bytes: u64,
    },
    /// A payload file changed while it was read.
    #[error("read `{}`: it changed meanwhile", .path.display())]
    LocalFileChanged {
        /// The path that was asked for.
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
            Self::Deadline { .. } | Self::LocalFileChanged { .. } | Self::Aborted { .. } => {
                Kind::Transient
            }
            Self::LocalFile { source, .. } => match source.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::NotADirectory => Kind::Permanent,
                _ => Kind::Local,
            },
            Self::DiskFull { .. }
            | Self::LowSpace { .. }
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
            Self::DiskFull { .. } | Self::LowSpace { .. } => Some("free space on that file system"),
            Self::CacheFull { .. } => Some("raise the size of the payload cache"),
            Self::CacheInUse { .. } => Some("stop the other agent, or give it a cache of its own"),
            Self::Archive { problem, .. } | Self::Tree { problem, .. } => problem.hint(),
            Self::Git { problem, .. } => problem.hint(),
            Self::Cancelled
            | Self::LocalFile { .. }
            | Self::LocalFileChanged { .. }
            | Self::HttpSetup { .. }
            | Self::Io { .. }
            | Self::Aborted { .. } => None,
        }
    }

    /// Whether it is for want of space on a disk of this machine.
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::LowSpace { .. })
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
