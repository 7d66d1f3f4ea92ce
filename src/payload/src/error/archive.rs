//! What is wrong with an archive, or with a tree.

use std::fmt;

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

impl ArchiveProblem {
    pub(super) fn hint(&self) -> Option<&'static str> {
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
