//! Reading a spool, while it is written or after, from any process and any number at once.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::SpoolError;
use super::directory::{Directory, system};
use super::index::{IndexReader, Stream};
use super::layout;
use super::status::Status;
use super::time::UnixNanos;

/// Longest status file that is read, in bytes.
const MAX_STATUS: u64 = 1 << 20;

const COPY_BUFFER: usize = 256 << 10;

/// What there is at an offset of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of one stream.
    Chunk(Chunk),
    /// Bytes that were produced and are gone.
    Gap(Gap),
    /// Nothing yet; nothing ever if the status says ended.
    End,
}

/// Bytes of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Offset of the first byte.
    pub offset: u64,
    /// Whose bytes they are.
    pub stream: Stream,
    /// When the first of them were written; zero when the index is damaged there, and the stream
    /// is a guess then.
    pub time: UnixNanos,
    /// At least one.
    pub bytes: Vec<u8>,
}

/// Bytes that were produced and are gone: dropped between head and tail, or lost to a full disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Offset of the first byte missing.
    pub offset: u64,
    /// How many are missing from there on; at least one.
    pub bytes: u64,
}

/// What [`SpoolReader::write_log`] has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WrittenLog {
    /// Bytes handed on, marks included.
    pub written_bytes: u64,
    /// Console bytes that were not there any more.
    pub missing_bytes: u64,
}

/// Reads a spool. Cheap to keep: a directory, and at most one segment open.
#[derive(Debug)]
pub struct SpoolReader {
    directory: Directory,
    current: Option<OpenSegment>,
    time_resolution: Duration,
}

#[derive(Debug)]
struct OpenSegment {
    start: u64,
    console: File,
    index: Option<IndexReader>,
}

enum Place {
    /// In the current segment, with so many bytes from the offset on.
    Bytes(u64),
    Gap(Gap),
    End,
}

impl SpoolReader {
    /// Opens the spool at `path`.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        Ok(Self {
            directory: Directory::at(path)?,
            current: None,
            time_resolution: Duration::from_millis(100),
        })
    }

    /// Bytes of one stream written within this time become one chunk, as far as they are
    /// contiguous. 100 ms unless set; zero keeps every index record apart (10 ms).
    #[must_use]
    pub fn with_time_resolution(self, time_resolution: Duration) -> Self {
        Self {
            time_resolution,
            ..self
        }
    }

    /// What there is at `offset`: at most `max` bytes (at least one is read), all of one stream.
    ///
    /// The next offset to ask for is that of the chunk or gap plus its length.
    pub fn read_at(&mut self, offset: u64, max: usize) -> Result<Piece, SpoolError> {
        let available = match self.place(offset)? {
            Place::Bytes(available) => available,
            Place::Gap(gap) => return Ok(Piece::Gap(gap)),
            Place::End => return Ok(Piece::End),
        };
        let resolution = u64::try_from(self.time_resolution.as_nanos()).unwrap_or(u64::MAX);
        let Some(segment) = &mut self.current else {
            return Ok(Piece::End);
        };
        let within = offset - segment.start;
        let run = match &mut segment.index {
            Some(index) => index
                .run_at(within, resolution)
                .map_err(|source| system("read", &layout::index_name(segment.start), source))?,
            None => None,
        };
        let (stream, time, end) = match run {
            Some(run) => (run.stream, run.time, run.end),
            None => (Stream::Stdout, UnixNanos::default(), u64::MAX),
        };
        let count = available
            .min(end.saturating_sub(within))
            .min(max as u64)
            .max(1);
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(max)];
        let read = segment.read(within, &mut bytes)?;
        bytes.truncate(read);
        if bytes.is_empty() {
            // Only a file that was cut from outside gets shorter.
            return Ok(Piece::End);
        }
        Ok(Piece::Chunk(Chunk {
            offset,
            stream,
            time,
            bytes,
        }))
    }

    /// Bytes of console produced so far, kept or not. While a supervisor runs on a full disk, its
    /// progress notices know better.
    pub fn size(&self) -> Result<u64, SpoolError> {
        let mut size = match self.directory.segments()?.last() {
            Some(&start) => start + self.open_segment(start)?.map_or(Ok(0), |s| s.length())?,
            None => 0,
        };
        if let Some(Status::Ended(ended)) = self.status()? {
            size = size.max(ended.output.console_bytes);
        }
        Ok(size)
    }

    /// Where the attempt stands; `None` before the command was started, and when the file was cut
    /// by a crash.
    pub fn status(&self) -> Result<Option<Status>, SpoolError> {
        read_status(&self.directory)
    }

    /// Writes all that is kept of the console, as raw bytes, with a mark on a line of its own
    /// where bytes are missing: `[... 12,345,678 bytes dropped ...]`.
    pub fn write_log(&mut self, to: &mut impl Write) -> Result<WrittenLog, SpoolError> {
        let mut buffer = vec![0; COPY_BUFFER];
        let mut log = WrittenLog::default();
        let mut offset = 0;
        let mut at_line_start = true;
        loop {
            match self.place(offset)? {
                Place::End => return Ok(log),
                Place::Gap(gap) => {
                    let mark = format!("[... {} bytes dropped ...]\n", grouped(gap.bytes));
                    let mark = if at_line_start {
                        mark
                    } else {
                        format!("\n{mark}")
                    };
                    to.write_all(mark.as_bytes()).map_err(SpoolError::Output)?;
                    log.written_bytes += mark.len() as u64;
                    log.missing_bytes += gap.bytes;
                    offset += gap.bytes;
                    at_line_start = true;
                }
                Place::Bytes(_) => {
                    let Some(segment) = &self.current else {
                        return Ok(log);
                    };
                    let count = segment.read(offset - segment.start, &mut buffer)?;
                    let bytes = &buffer[..count];
                    let Some(last) = bytes.last() else {
                        return Ok(log);
                    };
                    at_line_start = *last == b'\n';
                    to.write_all(bytes).map_err(SpoolError::Output)?;
                    log.written_bytes += count as u64;
                    offset += count as u64;
                }
            }
        }
    }

    /// Finds the offset and makes its segment the current one.
    fn place(&mut self, offset: u64) -> Result<Place, SpoolError> {
        if let Some(segment) = &self.current
            && let Some(available) = segment.available(offset)?
        {
            return Ok(Place::Bytes(available));
        }
        // A segment may be removed between the listing and the opening. Every time round that
        // has happened once, and the writer needs a whole segment for the next.
        loop {
            let starts = self.directory.segments()?;
            let next = starts.partition_point(|&start| start <= offset);
            let after = starts.get(next).copied();
            if let Some(&start) = next.checked_sub(1).and_then(|place| starts.get(place)) {
                let Some(segment) = self.open_segment(start)? else {
                    continue;
                };
                // Looked at after the listing: if that shows a successor, this one is complete.
                let available = segment.available(offset)?;
                self.current = Some(segment);
                if let Some(available) = available {
                    return Ok(Place::Bytes(available));
                }
            }
            let end = match after {
                Some(start) => Some(start),
                None => match self.status()? {
                    Some(Status::Ended(ended)) => Some(ended.output.console_bytes),
                    Some(Status::Launched(_)) | None => None,
                },
            };
            return Ok(match end.and_then(|end| end.checked_sub(offset)) {
                None | Some(0) => Place::End,
                Some(bytes) => Place::Gap(Gap { offset, bytes }),
            });
        }
    }

    fn open_segment(&self, start: u64) -> Result<Option<OpenSegment>, SpoolError> {
        let is_absent = |error: &SpoolError| {
            error
                .io()
                .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let console = match self.directory.open_file(&layout::console_name(start)) {
            Ok(console) => console,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let index = match self.directory.open_file(&layout::index_name(start)) {
            Ok(index) => Some(IndexReader::new(index)),
            Err(error) if is_absent(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Some(OpenSegment {
            start,
            console,
            index,
        }))
    }
}

impl OpenSegment {
    fn length(&self) -> Result<u64, SpoolError> {
        self.console
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(|source| system("look at", &layout::console_name(self.start), source))
    }

    /// Bytes from the offset to the end of this segment, if it holds that offset.
    fn available(&self, offset: u64) -> Result<Option<u64>, SpoolError> {
        let Some(within) = offset.checked_sub(self.start) else {
            return Ok(None);
        };
        Ok(self
            .length()?
            .checked_sub(within)
            .filter(|available| *available > 0))
    }

    fn read(&self, within: u64, buffer: &mut [u8]) -> Result<usize, SpoolError> {
        loop {
            match self.console.read_at(buffer, within) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    return result.map_err(|source| {
                        system("read", &layout::console_name(self.start), source)
                    });
                }
            }
        }
    }
}

/// The status in a spool's directory; see [`SpoolReader::status`].
pub(super) fn read_status(directory: &Directory) -> Result<Option<Status>, SpoolError> {
    let bytes = match directory.read_small(layout::STATUS, MAX_STATUS) {
        Ok(bytes) => bytes,
        Err(error)
            if error
                .io()
                .is_some_and(|e| e.kind() == io::ErrorKind::NotFound) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    // After a power cut a file can have its length and none of its bytes.
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    match serde_json::from_slice(&bytes) {
        Ok(status) => Ok(Some(status)),
        Err(error) if error.is_eof() => Ok(None),
        Err(error) => Err(SpoolError::Status(error)),
    }
}

/// The number with a comma between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
