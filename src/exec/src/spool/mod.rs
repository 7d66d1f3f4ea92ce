//! The spool: one directory per attempt that holds its console, an index of it, and its status.
//!
//! There is one writer at a time: whoever prepares the attempt writes its first lines
//! ([`SpoolWriter::create`]), then the supervisor, and when that has ended, the preparer again
//! ([`SpoolWriter::resume`]). Any number of [`SpoolReader`]s may look on from any process; none of
//! them can slow the writer.
//!
//! **Offsets** count the console as it was produced (after masking), from 0, whether a byte was
//! kept or not. The head of the console is kept for ever; beyond it only the tail is, in segments
//! of which the oldest is removed when enough newer bytes are there. So the disk is bounded, a
//! reader that keeps pace sees every byte, and one that comes late is told of the gap.
//!
//! **Failures**: a full or failing disk never blocks and never ends a command. What could not be
//! stored is a gap as well, is counted, and the cause stands in the status. Readers expect that a
//! crash cut any file anywhere.

mod directory;
mod index;
pub(crate) mod layout;
mod reader;
pub mod status;
mod time;
mod writer;

pub(crate) use directory::Directory;
pub use index::Stream;
pub use layout::SpoolLimits;
pub use reader::{Chunk, Gap, Piece, SpoolReader, WrittenLog};
pub use time::UnixNanos;
pub use writer::SpoolWriter;

use std::io;
use std::path::{Path, PathBuf};

/// Path of the file with the first bytes of the console of the spool at `spool`: all of it, until
/// it is longer than one segment.
pub fn head_segment(spool: &Path) -> PathBuf {
    spool.join(layout::console_name(0))
}

/// Why a spool could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A system call failed.
    #[error("{operation} `{name}` of the spool")]
    System {
        /// What was being done, as in "open".
        operation: &'static str,
        /// The file's name within the spool; the spool's path for the directory itself.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The status is whole but not one that is understood here.
    #[error("read the status of the spool")]
    Status(#[source] serde_json::Error),
    /// The log could not be handed on; the spool itself is fine.
    #[error("write out the log of the spool")]
    Output(#[source] io::Error),
}

impl SpoolError {
    /// The system's own error, where a system call failed.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::System { source, .. } | Self::Output(source) => Some(source),
            Self::Status(_) => None,
        }
    }
}
