//! Which files of an attempt are kept: rules in, files out, and what was left out and why.
//!
//! The directories were written by a command that may be hostile, perhaps with processes of it
//! still alive. So nothing is ever opened by a path: every directory is opened beneath its parent,
//! never through a link, every file is looked at before it is opened, and only regular files of
//! the same file system count. A [`Selected`] file is opened, when its turn comes, by the same
//! steps, and must still be the one that was selected.

mod globs;
mod problem;
mod selected;
mod walk;

use std::path::PathBuf;

pub use globs::{GlobError, Globs};
pub use problem::{LeftOut, Problem};
pub use selected::{Selected, TakeError};

use crate::name::ArtifactName;
use walk::Walk;

/// Why a file is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The console log.
    ConsoleLog,
    /// Test results.
    TestResult,
    /// Put into the upload root, or asked for by a glob.
    Upload,
    /// Put into the dump folder.
    Dump,
}

/// Files to keep: those beneath one directory.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The directory. Its own path is trusted up to the last component, which may be no link. A
    /// directory that does not exist holds nothing.
    pub directory: PathBuf,
    /// What its files are kept as.
    pub kind: Kind,
    /// Which of them.
    pub take: Take,
    /// What stands before their names: `dumps` makes `core.1` into `dumps/core.1`.
    pub beneath: Option<ArtifactName>,
}

/// Which files beneath a directory.
#[derive(Debug, Clone)]
pub enum Take {
    /// All of them.
    Everything,
    /// Those whose path relative to the directory matches.
    Matching(Globs),
}

/// Bounds of a selection, over all its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Files selected. Default 10,000.
    pub files: usize,
    /// Bytes in all selected files. Default 16 GiB.
    pub total_bytes: u64,
    /// Directories between a rule's directory and a file. Default 64, at most 256: each level
    /// that is being walked holds a descriptor.
    pub depth: usize,
    /// Directory entries looked at. Default 300,000: their names are held while a directory is
    /// walked.
    pub entries: usize,
    /// Problems listed one by one; further ones are counted. Default 100.
    pub problems: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files: 10_000,
            total_bytes: 16 << 30,
            depth: 64,
            entries: 300_000,
            problems: 100,
        }
    }
}

/// The outcome of [`select()`].
#[derive(Debug, Default)]
pub struct Selection {
    /// The files, in the order of the rules and within a rule by path.
    pub files: Vec<Selected>,
    /// Sum of their sizes, in bytes, when they were selected.
    pub total_bytes: u64,
    /// What was left out and why.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub unlisted_problems: usize,
}

/// Selects files by rules.
///
/// A file that several rules or hard links reach is taken once, by the first. Two different
/// files of one name are both taken, the second as `name (2).ext`; no file gets a name of
/// `reserved`, and none a name that another has as a directory.
///
/// Blocks on the file system; call it where that is allowed.
#[must_use]
pub fn select(rules: &[Rule], reserved: &[ArtifactName], limits: &Limits) -> Selection {
    let mut walk = Walk::new(reserved, limits);
    for rule in rules {
        walk.rule(rule);
    }
    walk.finish()
}
