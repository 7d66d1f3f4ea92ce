//! One git commit becomes a tree, with the help of the `git` program.
//!
//! Processes are started by the room `exec` and by nobody else, with this one exception: `git` is
//! a helper of the agent's own, not work that somebody sent, and needs none of what `exec` is for.
//! What it is given is hostile all the same, and so:
//!
//! * its environment is built from nothing, and no configuration of the machine or a user is read;
//! * hooks, prompts, credential helpers and all transports but those allowed are off;
//! * addresses and commits are types that cannot be mistaken for options, and user and password of
//!   an address reach it by the environment, since a command line can be read by everybody;
//! * it has a process group, which is killed as a whole when it is cancelled, late, or too greedy;
//! * the commit is compared in the end, and the tree is looked over: no link of it may lead outside.

mod command;
mod options;

use std::path::Path;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocking::{self, run_to_the_end};
use crate::directory::Directory;
use crate::error::{ArchiveProblem, EntryKind, Error, GitProblem, Limit};
use crate::source::{Commit, GitSource, Submodules};
use crate::tree::{Links, TreeLimits, remove_tree, survey, survey_with};

use command::Git;

pub use options::{GitDirectory, GitLimits, GitOptions, GitTransport};

/// Depth of directories in a tree.
const MAX_DEPTH: usize = 256;

/// Checks out the commit of `source` into the directory `destination`, which must be empty or
/// missing.
///
/// Only that commit is fetched, without its history, and its submodules if the source says so. When
/// it fails, is cancelled, or the future is dropped, what is there by then stays, for the caller to
/// remove.
pub async fn checkout(
    source: &GitSource,
    destination: &Path,
    options: &GitOptions,
    cancellation: &CancellationToken,
) -> Result<(), Error> {
    let failed = |problem| Error::Git {
        url: source.url.clone(),
        problem,
    };
    let scheme = source.url.expose().scheme();
    if !options
        .transports
        .iter()
        .any(|transport| transport.scheme() == scheme)
    {
        return Err(failed(GitProblem::TransportRefused {
            scheme: scheme.to_owned(),
        }));
    }
    if cancellation.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let path = destination.to_path_buf();
    let empty = run_to_the_end("open the destination", move || {
        let directory = Directory::open_or_create(&path)
            .map_err(|error| Error::io("open the destination", &path, error))?;
        let mut entries = directory
            .list()
            .map_err(|error| Error::io("list", &path, error))?;
        Ok(entries.next().is_none())
    });
    if !empty.await? {
        let path = destination.to_path_buf();
        return Err(failed(GitProblem::DestinationNotEmpty { path }));
    }

    let git = Git {
        url: &source.url,
        destination,
        options,
        cancellation,
        deadline: Instant::now() + options.deadline,
    };
    fetch(&git, source).await?;

    if options.git_directory == GitDirectory::Remove {
        remove_tree(&destination.join(".git")).await?;
    }
    look_over(source, destination, options, cancellation).await
}

async fn fetch(git: &Git<'_>, source: &GitSource) -> Result<(), Error> {
    let commit = source.commit.as_str();
    let format = match commit.len() {
        64 => "--object-format=sha256",
        _ => "--object-format=sha1",
    };
    git.run("init", &["init", "--quiet", "--template=", format])
        .await?;
    let url = git.address();
    git.run("remote", &["remote", "add", "--", "origin", &url])
        .await?;
    git.run(
        "fetch",
        &[
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--end-of-options",
            "origin",
            commit,
        ],
    )
    .await?;
    git.run(
        "checkout",
        &["checkout", "--quiet", "--detach", "--force", commit, "--"],
    )
    .await?;
    let head = git
        .run("rev-parse", &["rev-parse", "--verify", "HEAD^{commit}"])
        .await?;
    check_commit(git, &source.commit, &head)?;
    if source.submodules == Submodules::Recurse {
        git.run(
            "submodule",
            &[
                "submodule",
                "--quiet",
                "update",
                "--init",
                "--recursive",
                "--depth=1",
                "--jobs=1",
            ],
        )
        .await?;
    }
    Ok(())
}

fn check_commit(git: &Git<'_>, commit: &Commit, head: &[u8]) -> Result<(), Error> {
    let head = String::from_utf8_lossy(head);
    let head = head.trim();
    if head == commit.as_str() {
        return Ok(());
    }
    let found = head
        .chars()
        .take(64)
        .collect::<String>()
        .escape_debug()
        .to_string();
    Err(git.failed(GitProblem::WrongCommit { found }))
}

/// Judges the tree, and removes the small files that tie submodules to the repository.
async fn look_over(
    source: &GitSource,
    destination: &Path,
    options: &GitOptions,
    cancellation: &CancellationToken,
) -> Result<(), Error> {
    let limits = TreeLimits {
        max_total_bytes: options.limits.max_bytes,
        max_entries: match options.git_directory {
            GitDirectory::Remove => options.limits.max_entries,
            // The repository's own files are counted along.
            GitDirectory::Keep => options.limits.max_entries.saturating_mul(2),
        },
        max_depth: MAX_DEPTH,
    };
    let root = destination.to_path_buf();
    let keep = options.git_directory;
    let looked = blocking::run("look over the tree", cancellation, move |cancellation| {
        let mut ties = Vec::new();
        survey_with(&root, Links::Judge, limits, cancellation, |place, kind| {
            let is_tie = place.file_name().is_some_and(|name| name == ".git");
            if is_tie && kind == EntryKind::File {
                ties.push(root.join(place));
            }
        })?;
        if keep == GitDirectory::Remove {
            for tie in ties {
                std::fs::remove_file(&tie).map_err(|error| Error::io("remove", &tie, error))?;
            }
        }
        Ok(())
    });
    looked.await.map_err(|error| in_git(source, error))
}

/// A limit passed in a checkout, said of the repository.
fn in_git(source: &GitSource, error: Error) -> Error {
    match error {
        Error::Tree {
            problem: ArchiveProblem::Limit(limit),
            ..
        } => Error::Git {
            url: source.url.clone(),
            problem: GitProblem::Limit(limit),
        },
        other => other,
    }
}

/// How much is on disk below `destination`, as long as that is allowed.
async fn weigh(
    destination: &Path,
    limits: GitLimits,
    cancellation: &CancellationToken,
) -> Result<u64, Limit> {
    let root = destination.to_path_buf();
    let limits = TreeLimits {
        max_total_bytes: limits.max_bytes,
        max_entries: u64::MAX,
        max_depth: MAX_DEPTH,
    };
    let weighed = blocking::run("weigh the tree", cancellation, move |cancellation| {
        survey(&root, Links::Count, limits, cancellation)
    });
    match weighed.await {
        Ok(found) => Ok(found.bytes),
        Err(Error::Tree {
            problem: ArchiveProblem::Limit(limit),
            ..
        }) => Err(limit),
        // It is being written to; the last look, once it is not, is the one that counts.
        Err(_) => Ok(0),
    }
}
