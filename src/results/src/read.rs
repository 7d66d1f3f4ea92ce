//! The way in: bytes to cases.

use std::io::Read;
use std::sync::Arc;

use crate::formats;
use crate::limits::Limits;
use crate::model::Position;
use crate::problem::{ProblemKind, ReadError};
use crate::session::Session;
use crate::sink::Sink;
use crate::sniff::{Sniffed, sniff};
use crate::source::{InputEnd, Source};

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
    let file: Arc<str> = Arc::from(file);
    let (mut source, odd) =
        Source::open(input, stop, limits.file_bytes).map_err(|source| ReadError::Input {
            file: file.clone(),
            source,
        })?;
    let mut session = Session::new(sink, stop, limits, file.clone());
    if let Some(odd) = odd {
        session.problem(
            ProblemKind::Encoding,
            Position { line: 1, column: 1 },
            || odd,
        );
    }
    loop {
        let place = source.position();
        match sniff(&mut source) {
            Sniffed::Document {
                format,
                foreign_bytes,
            } => {
                if foreign_bytes > 0 {
                    session.problem(ProblemKind::ForeignText, place, || {
                        format!("{foreign_bytes} bytes before the document belong to nothing and were passed over")
                    });
                }
                let before = source.offset();
                session.begin_run(format);
                formats::read(format, &mut source, &mut session);
                session.finish_run();
                // A reader that takes nothing would be asked for ever.
                if source.offset() == before {
                    break;
                }
            }
            Sniffed::Foreign(_) if session.has_runs() => {
                session.problem_at(&mut source, ProblemKind::ForeignText, || {
                    "what follows the document belongs to nothing and was not read".to_owned()
                });
                break;
            }
            Sniffed::Foreign(found) => return Err(ReadError::Unrecognised { file, found }),
            Sniffed::Nothing if session.has_runs() => break,
            Sniffed::Nothing => {
                return Err(match source.ended() {
                    Some(InputEnd::Stopped) => ReadError::Stopped { file },
                    Some(InputEnd::Failed(message)) => ReadError::Input {
                        file,
                        source: std::io::Error::other(message.clone()),
                    },
                    Some(InputEnd::EndOfFile | InputEnd::TooLarge) | None => {
                        ReadError::Empty { file }
                    }
                });
            }
        }
        if session.is_over() {
            break;
        }
    }
    session.note_replaced_bytes(source.replaced());
    Ok(session.report(source.bytes_read()))
}
