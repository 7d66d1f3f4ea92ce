//! A tree that something else made is looked over: how much it is, and where its links lead.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::directory::{Directory, join, kind_of, unsafe_link_target};
use crate::error::{ArchiveProblem, EntryKind, Error, Limit, show_bytes};

use super::{Placed, TreeLimits};

/// What is made of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are counted.
    Count,
    /// One that could lead outside the tree is refused, and so is any special file.
    Judge,
}

/// Counts what is below `root`, and judges it if asked to.
///
/// Entries that vanish meanwhile are no error: the tree may still be growing.
pub(crate) fn survey(
    root: &Path,
    links: Links,
    limits: TreeLimits,
    cancellation: &CancellationToken,
) -> Result<Placed, Error> {
    survey_with(root, links, limits, cancellation, |_, _| {})
}

/// The same, telling `visit` of each entry: where it is below the root, and what.
pub(crate) fn survey_with(
    root: &Path,
    links: Links,
    limits: TreeLimits,
    cancellation: &CancellationToken,
    mut visit: impl FnMut(&Path, EntryKind),
) -> Result<Placed, Error> {
    let top = Directory::open(root).map_err(|error| Error::io("open", root, error))?;
    let mut found = Placed::default();
    let mut open = vec![Level::read(top, PathBuf::new(), root)?];
    while let Some(level) = open.last_mut() {
        if cancellation.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let Some(name) = level.names.pop() else {
            open.pop();
            continue;
        };
        let place = join(&level.path, &name);
        let failed = |error| Error::io("look at", root.join(&place), error);
        let Some(status) = level.directory.status(&name).map_err(failed)? else {
            continue;
        };
        found.entries += 1;
        if found.entries > limits.max_entries {
            return Err(refuse(
                &place,
                Limit::Entries {
                    count: limits.max_entries,
                },
            ));
        }
        let kind = kind_of(&status);
        visit(&place, kind);
        match kind {
            EntryKind::File => {
                found.bytes = found
                    .bytes
                    .saturating_add(u64::try_from(status.st_size).unwrap_or(0));
                if found.bytes > limits.max_total_bytes {
                    return Err(refuse(
                        &place,
                        Limit::TotalBytes {
                            bytes: limits.max_total_bytes,
                        },
                    ));
                }
            }
            EntryKind::Directory => {
                let depth = open.len();
                if depth > limits.max_depth {
                    return Err(refuse(
                        &place,
                        Limit::Depth {
                            levels: limits.max_depth,
                        },
                    ));
                }
                let Some(level) = open.last() else { continue };
                match level.directory.enter(&name) {
                    Ok(directory) => open.push(Level::read(directory, place, root)?),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            EntryKind::Symlink if links == Links::Judge => {
                let depth = open.len() - 1;
                let Some(level) = open.last() else { continue };
                let target = level.directory.read_link(&name).map_err(failed)?;
                if let Some(reason) = unsafe_link_target(&target, depth) {
                    let target = show_bytes(&target);
                    return Err(tree(&place, ArchiveProblem::LinkTarget { target, reason }));
                }
            }
            EntryKind::Symlink => {}
            special if links == Links::Judge => {
                return Err(tree(&place, ArchiveProblem::SpecialFile(special)));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// A directory on the way down, with what of it is still to be looked at.
struct Level {
    directory: Directory,
    /// Where it is, from the root.
    path: PathBuf,
    names: Vec<Vec<u8>>,
}

impl Level {
    fn read(directory: Directory, path: PathBuf, root: &Path) -> Result<Self, Error> {
        let names = directory
            .list()
            .and_then(|listed| listed.map(|entry| entry.map(|entry| entry.name)).collect())
            .map_err(|error| Error::io("list", root.join(&path), error))?;
        Ok(Self {
            directory,
            path,
            names,
        })
    }
}

fn refuse(place: &Path, limit: Limit) -> Error {
    tree(place, ArchiveProblem::Limit(limit))
}

fn tree(place: &Path, problem: ArchiveProblem) -> Error {
    Error::Tree {
        path: place.to_path_buf(),
        problem,
    }
}
