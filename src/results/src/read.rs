//! The way in: bytes to cases.

use std::io::Read;
use std::sync::Arc;

use crate::limits::Limits;
use crate::problem::ReadError;
use crate::sink::Sink;

/// How the reading of a file went, beside what the sink was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadReport {
    /// Documents in the file.
    pub runs: u64,
    /// Cases handed out.
    pub cases: u64,
    /// Problems found.
    pub problems: u64,
    /// Problems handed out; the rest were more than [`Limits::problems`].
    pub problems_told: u64,
    /// Bytes read from the input.
    pub bytes: u64,
    /// Why the reading ended.
    pub end: ReadEnd,
}

/// Why the reading of a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadEnd {
    /// The last document was complete.
    Complete,
    /// The file ended inside a document.
    Truncated,
    /// The `stop` of the caller answered true.
    Stopped,
    /// The sink broke off.
    SinkBroke,
    /// The file has more bytes or cases than [`Limits`] allow.
    LimitReached,
    /// The input failed in mid-file.
    InputFailed,
}

/// Reads a result file: finds its format from its content and hands every case to `sink` while reading.
///
/// `file` is the name to use in runs and problems; it is not opened, and only breaks ties of the detection.
/// `stop` is asked at least once per 128 KiB of input and once per 100 cases; once it answers true the reading ends
/// with what there is and [`ReadEnd::Stopped`].
///
/// # Errors
///
/// When the file gives no document at all: it is empty, unreadable or not a test result. A file that is recognised
/// and then turns out damaged is no error; see [`ReadReport::end`] and the problems given to the sink.
pub fn read(
    input: &mut dyn Read,
    file: &str,
    limits: &Limits,
    stop: &dyn Fn() -> bool,
    sink: &mut dyn Sink,
) -> Result<ReadReport, ReadError> {
    let _ = (input, limits, stop, sink);
    Err(ReadError::Empty {
        file: Arc::from(file),
    })
}
