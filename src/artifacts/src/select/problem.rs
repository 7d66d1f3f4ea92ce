//! What a selection left out, and why.

use std::fmt;

use nix::errno::Errno;

/// Something that was not selected although a rule asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path relative to the rule's directory, encoded as in
    /// [`ArtifactName`](crate::ArtifactName), after what stands before the rule's names; the
    /// rule's directory if it is the directory itself.
    pub path: String,
    /// Why.
    pub reason: LeftOut,
}

/// Why something was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// It is a symbolic link, which is never followed.
    SymbolicLink,
    /// A directory was expected, and it is a link or something else.
    NotADirectory,
    /// It is neither a file nor a directory.
    Special {
        /// What it is.
        what: &'static str,
    },
    /// It is, or lies in, another file system.
    OtherFileSystem,
    /// It is a hard link to a file whose owner does not own the rule's directory.
    ForeignHardLink,
    /// The directory lies deeper than [`Limits::depth`](crate::Limits::depth).
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// [`Limits::files`](crate::Limits::files) files were selected before.
    TooManyFiles {
        /// The limit.
        limit: usize,
        /// How many files that leaves out; more if the walk ended early.
        files: usize,
    },
    /// With it the files would have more bytes than
    /// [`Limits::total_bytes`](crate::Limits::total_bytes).
    TooManyBytes {
        /// The limit.
        limit: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// [`Limits::entries`](crate::Limits::entries) entries were looked at before; the rest was
    /// not.
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
    /// It has no name that could be used.
    Unnameable,
    /// The system refused.
    Unreadable {
        /// What was tried.
        operation: &'static str,
        /// The error number.
        errno: Errno,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.reason {
            LeftOut::SymbolicLink => write!(formatter, "`{path}` is a symbolic link"),
            LeftOut::NotADirectory => write!(formatter, "`{path}` is not a directory"),
            LeftOut::Special { what } => write!(formatter, "`{path}` is a {what}"),
            LeftOut::OtherFileSystem => {
                write!(formatter, "`{path}` is on another file system")
            }
            LeftOut::ForeignHardLink => {
                write!(formatter, "`{path}` is a hard link to somebody else's file")
            }
            LeftOut::TooDeep { limit } => {
                write!(
                    formatter,
                    "`{path}` lies more than {limit} directories deep"
                )
            }
            LeftOut::TooManyFiles { limit, files } => write!(
                formatter,
                "{files} files from `{path}` on are beyond the limit of {limit} files"
            ),
            LeftOut::TooManyBytes { limit, size } => write!(
                formatter,
                "`{path}` of {size} bytes is beyond the limit of {limit} bytes in all files"
            ),
            LeftOut::TooManyEntries { limit } => write!(
                formatter,
                "`{path}` and what follows is beyond the limit of {limit} directory entries"
            ),
            LeftOut::Unnameable => write!(formatter, "`{path}` has no usable name"),
            LeftOut::Unreadable { operation, errno } => {
                write!(formatter, "cannot {operation} `{path}`: {}", errno.desc())
            }
        }
    }
}
