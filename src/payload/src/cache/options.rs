//! What is asked of the cache, and within which limits.

use std::path::PathBuf;

use crate::digest::Sha256;
use crate::http::HttpOptions;
use crate::progress::ProgressSender;
use crate::source::ArchiveSource;

/// What the cache may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes of all archives together, half ones included. Default 20 GiB.
    pub max_bytes: u64,
    /// Bytes of one archive. Default 8 GiB.
    pub max_archive_bytes: u64,
    /// Bytes that stay free on the file system: below that, archives that nobody holds go, and a
    /// fetch that would need more room fails. Default 1 GiB.
    pub min_free_bytes: u64,
}

/// How the cache behaves.
#[derive(Clone, Debug, Default)]
pub struct CacheOptions {
    /// What it may take.
    pub limits: CacheLimits,
    /// How it downloads.
    pub http: HttpOptions,
    /// Which files of this machine it may be asked for.
    pub local_files: LocalFiles,
}

/// Which files of this machine may be payloads.
///
/// Whoever may send work could otherwise have the agent read files that only the agent may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LocalFiles {
    /// None.
    #[default]
    Refused,
    /// Those below one of these directories, after all links are resolved.
    Under(Vec<PathBuf>),
    /// All that this process can read.
    Anywhere,
}

/// How full the cache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// Whole archives.
    pub archives: usize,
    /// Their bytes.
    pub archive_bytes: u64,
    /// Bytes of the archives that somebody holds.
    pub held_bytes: u64,
    /// Bytes of half archives, being fetched or waiting to be continued.
    pub partial_bytes: u64,
    /// The limit on all of them together.
    pub max_bytes: u64,
}

/// What is wanted from the cache.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the archive comes from when it is not here.
    pub source: ArchiveSource,
    /// The SHA-256 it must have. Without one, the source is asked each time whether it is still
    /// the same, and what it gave is not shared beyond `scope`.
    pub sha256: Option<Sha256>,
    /// Who shares the answer of a source without a SHA-256.
    pub scope: Scope,
    /// Told how far it has come.
    pub progress: Option<ProgressSender>,
}

/// Who shares what a source without a SHA-256 gave: requests with the same scope.
///
/// A job's id is the right scope: its work items want the same payload once, while another job
/// that names the same address must not be given what this one saw there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(String);

impl Scope {
    /// The scope of this name; any text will do.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for CacheLimits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            max_bytes: 20 * GIB,
            max_archive_bytes: 8 * GIB,
            min_free_bytes: GIB,
        }
    }
}
