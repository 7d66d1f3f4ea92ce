//! How far a payload has come, for whoever waits for it.

use tokio::sync::watch;

/// The newest state of one piece of work; older states are overwritten, never queued.
///
/// A `tokio::sync::watch` sender: clone it into each request of the same payload. Sending never
/// blocks and never fails, whether or not anyone listens.
pub type ProgressSender = watch::Sender<Progress>;

/// How far one payload has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Nothing has happened yet.
    #[default]
    Waiting,
    /// An archive is on its way into the cache.
    Fetching {
        /// Bytes of the archive on this machine, those of an earlier, interrupted try included.
        bytes: u64,
        /// Size of the whole archive in bytes, where the server tells it.
        total: Option<u64>,
    },
    /// A try failed in a way that may pass; the next one starts after a pause.
    BackingOff {
        /// Bytes kept from the tries so far.
        bytes: u64,
        /// Milliseconds until the next try.
        pause_milliseconds: u64,
    },
    /// The archive is on this machine and complete.
    Fetched {
        /// Size of the archive in bytes.
        bytes: u64,
    },
    /// Entries of an archive are being written to the destination.
    Unpacking {
        /// Entries written so far.
        entries: u64,
        /// Bytes of content written so far.
        bytes: u64,
    },
    /// A git commit is being fetched or checked out.
    CheckingOut {
        /// Bytes on disk so far, the repository's own files included.
        bytes: u64,
    },
}
