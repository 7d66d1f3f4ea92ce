//! How a commit is checked out, and how much it may be.

use std::path::PathBuf;
use std::time::Duration;

use crate::progress::ProgressSender;

/// How a commit is checked out.
#[derive(Clone, Debug)]
pub struct GitOptions {
    /// The git program. Default `git`, looked up on the `PATH`.
    pub program: PathBuf,
    /// The ways a repository may be reached. Default HTTPS and SSH.
    pub transports: Vec<GitTransport>,
    /// What happens to the repository's own directory, `.git`.
    pub git_directory: GitDirectory,
    /// How much it may be.
    pub limits: GitLimits,
    /// Longest time for everything. Default 10 min.
    pub deadline: Duration,
    /// Told how far it has come.
    pub progress: Option<ProgressSender>,
}

/// How much a checkout may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GitLimits {
    /// Bytes on disk, the repository's own files included. Default 16 GiB.
    pub max_bytes: u64,
    /// Files, directories and links of the tree. Default 2,000,000.
    pub max_entries: u64,
}

/// A way to reach a git repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GitTransport {
    /// `https://`
    Https,
    /// `http://`
    Http,
    /// `ssh://`
    Ssh,
    /// `file://`
    File,
}

/// What happens to `.git` once the tree is checked out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GitDirectory {
    /// It is removed; the tree holds the commit's files only.
    #[default]
    Remove,
    /// It stays.
    Keep,
}

impl GitTransport {
    /// The scheme of the addresses it is for.
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }
}

impl Default for GitOptions {
    fn default() -> Self {
        Self {
            program: PathBuf::from("git"),
            transports: vec![GitTransport::Https, GitTransport::Ssh],
            git_directory: GitDirectory::default(),
            limits: GitLimits::default(),
            deadline: Duration::from_secs(600),
            progress: None,
        }
    }
}

impl Default for GitLimits {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 30,
            max_entries: 2_000_000,
        }
    }
}
