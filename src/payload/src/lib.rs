//! Brings payloads to a directory: fetch, verify, cache, unpack.
//!
//! A work item starts from files that somebody else packed and put somewhere. This room turns the
//! name of such a place into a directory on this machine. Start reading at [`Source`] (what can be
//! asked for), then [`Cache`] (archives, kept by content), [`unpack`](unpack()) (an archive becomes
//! a tree that stays inside its root), [`checkout`] (a git commit becomes a tree), and
//! [`place_tree`] and [`remove_tree`] (trees copied and removed without following a link).
//!
//! It knows nothing of work items, of how they are run, of the agent's wire or of any store. What
//! goes wrong is one [`Error`] whose [`Kind`] says whether another try may help; the caller decides
//! what that means for an attempt.
//!
//! # What holds
//!
//! * Nothing is ever written outside the directory the caller named, whatever an archive says, and
//!   no link that an archive planted leads outside it.
//! * An archive given with a SHA-256 is never handed out with other content.
//! * Secrets in an address (the query of a signed URL, a user and password) appear in no error, no
//!   debug output and no log line.
//! * Memory does not grow with the size of an archive or the number of its entries.
#![forbid(unsafe_code)]

mod blocking;
mod cache;
mod digest;
mod directory;
mod error;
mod git;
mod http;
mod progress;
mod source;
mod tree;
mod unpack;

pub use cache::{
    Cache, CacheLimits, CacheOptions, CacheUsage, Lease, LocalFiles, Origin, Request, Scope,
};
pub use digest::{InvalidDigest, Sha256};
pub use error::{
    ArchiveProblem, EntryKind, Error, GitProblem, HttpProblem, Kind, Limit, NameProblem,
};
pub use git::{GitDirectory, GitLimits, GitOptions, GitTransport, checkout};
pub use http::{HttpOptions, Proxy, RetryPolicy, TrustError};
pub use progress::{Progress, ProgressSender};
pub use source::{
    ArchiveSource, Commit, GitSource, GitUrl, HttpUrl, Source, SourceError, Submodules,
};
pub use tree::{Placed, TreeLimits, place_tree, remove_tree};
pub use unpack::{
    Format, NotAnArchive, UnpackLimits, UnpackOptions, Unpacked, unpack, unpack_blocking,
};
