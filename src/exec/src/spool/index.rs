//! The index of one console segment: who wrote which bytes when.
//!
//! A file of records of sixteen bytes, numbers least significant byte first:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | nanoseconds since 1970 |
//! | 8..12 | offset within the segment from which on this holds |
//! | 12 | stream: 1 agent, 2 output, 3 error output |
//! | 13..16 | zero |
//!
//! A record is written before the bytes it speaks of, so every byte that a reader sees has its
//! record. Offsets ascend; of two records with one offset the later holds (the first one's bytes
//! could not be written). A record that is cut or not valid ends the index: a crash did that.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};

use super::time::UnixNanos;

/// Bytes of one record.
pub(crate) const RECORD_BYTES: u64 = 16;

const WINDOW_RECORDS: u64 = 256;

/// Bytes of [`WINDOW_RECORDS`] records.
const WINDOW_BYTES: usize = 256 * 16;

/// Who wrote a piece of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Whoever prepared the attempt: lines before the command's first and after its last.
    Agent,
    /// The command's standard output; both streams when they are merged.
    Stdout,
    /// The command's standard error output.
    Stderr,
}

/// One record: from `offset` on the bytes are `stream`'s, written at `time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) time: UnixNanos,
    /// Within the segment.
    pub(crate) offset: u32,
    pub(crate) stream: Stream,
}

impl Record {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.time.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12] = match self.stream {
            Stream::Agent => 1,
            Stream::Stdout => 2,
            Stream::Stderr => 3,
        };
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let [
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
            t7,
            o0,
            o1,
            o2,
            o3,
            stream,
            0,
            0,
            0,
        ] = bytes
        else {
            return None;
        };
        let stream = match stream {
            1 => Stream::Agent,
            2 => Stream::Stdout,
            3 => Stream::Stderr,
            _ => return None,
        };
        Some(Self {
            time: UnixNanos(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
            offset: u32::from_le_bytes([o0, o1, o2, o3]),
            stream,
        })
    }
}

/// A stretch of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) stream: Stream,
    pub(crate) time: UnixNanos,
    /// End of the stretch within the segment; `u64::MAX` when no later record is there.
    pub(crate) end: u64,
}

/// Reads one index through a small window, whatever its size.
#[derive(Debug)]
pub(crate) struct IndexReader {
    file: File,
    /// Number of the first record in the window.
    first: u64,
    window: Vec<Record>,
    /// The record that the last answer began with: reading goes on from there as a rule.
    hint: u64,
}

impl IndexReader {
    pub(crate) fn new(file: File) -> Self {
        Self {
            file,
            first: 0,
            window: Vec::new(),
            hint: 0,
        }
    }

    /// The stretch of one stream around `offset`, joined from records as long as their times are
    /// within `resolution` nanoseconds of the first. `None` when no record covers the offset.
    pub(crate) fn run_at(&mut self, offset: u64, resolution: u64) -> io::Result<Option<Run>> {
        let Some(number) = self.last_up_to(offset)? else {
            return Ok(None);
        };
        let Some(first) = self.record(number)? else {
            return Ok(None);
        };
        self.hint = number;
        let mut next = number + 1;
        let end = loop {
            match self.record(next)? {
                None => break u64::MAX,
                Some(record)
                    if record.stream == first.stream
                        && record.time.0.abs_diff(first.time.0) < resolution =>
                {
                    next += 1;
                }
                Some(record) => break u64::from(record.offset),
            }
        };
        Ok(Some(Run {
            stream: first.stream,
            time: first.time,
            end,
        }))
    }

    /// Number of the last record whose offset is not beyond `offset`.
    fn last_up_to(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let holds = |record: Option<Record>| record.is_some_and(|r| u64::from(r.offset) <= offset);
        // Nearly always the answer is where the last one was, or a few records on.
        let mut low = if holds(self.record(self.hint)?) {
            self.hint
        } else {
            0
        };
        if !holds(self.record(low)?) {
            return Ok(None);
        }
        let mut step = 1;
        while holds(self.record(low + step)?) {
            low += step;
            step *= 2;
        }
        let mut high = low + step;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if holds(self.record(middle)?) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(Some(low))
    }

    fn record(&mut self, number: u64) -> io::Result<Option<Record>> {
        if let Some(record) = self.in_window(number) {
            return Ok(Some(record));
        }
        self.first = number - number % WINDOW_RECORDS;
        self.window.clear();
        let mut bytes = [0; WINDOW_BYTES];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = self.first * RECORD_BYTES + filled as u64;
            match self.file.read_at(&mut bytes[filled..], at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let (records, _) = bytes[..filled].as_chunks::<16>();
        self.window.extend(
            records
                .iter()
                .map_while(|record| Record::from_bytes(*record)),
        );
        Ok(self.in_window(number))
    }

    fn in_window(&self, number: u64) -> Option<Record> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.window.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn reader(records: &[Record], rest: &[u8]) -> IndexReader {
        let mut file = tempfile::tempfile().unwrap();
        for record in records {
            file.write_all(&record.to_bytes()).unwrap();
        }
        file.write_all(rest).unwrap();
        IndexReader::new(file)
    }

    fn record(time: u64, offset: u32, stream: Stream) -> Record {
        Record {
            time: UnixNanos(time),
            offset,
            stream,
        }
    }

    #[test]
    fn records_read_back_and_anything_else_is_refused() {
        let written = record(u64::MAX - 1, 7, Stream::Stderr);
        assert_eq!(Record::from_bytes(written.to_bytes()), Some(written));
        assert_eq!(Record::from_bytes([0; 16]), None);
        let mut padded = written.to_bytes();
        padded[15] = 1;
        assert_eq!(Record::from_bytes(padded), None);
    }

    #[test]
    fn every_offset_of_a_long_index_finds_its_record_in_any_order() {
        let count = 3 * u32::try_from(WINDOW_RECORDS).unwrap() + 5;
        let records: Vec<_> = (0..count)
            .map(|n| {
                record(
                    u64::from(n),
                    n * 10,
                    [Stream::Stdout, Stream::Stderr][n as usize % 2],
                )
            })
            .collect();
        let mut index = reader(&records, b"cut");
        let offsets = (0..count * 10).map(|n| u64::from(n * 7919 % (count * 10)));
        for offset in offsets.chain([0]) {
            let run = index.run_at(offset, 1000).unwrap().unwrap();
            let expected = records[usize::try_from(offset / 10).unwrap()];
            assert_eq!(
                (run.stream, run.time),
                (expected.stream, expected.time),
                "{offset}"
            );
            let last = offset / 10 == u64::from(count) - 1;
            assert_eq!(
                run.end,
                if last {
                    u64::MAX
                } else {
                    (offset / 10 + 1) * 10
                }
            );
        }
    }

    #[test]
    fn records_of_one_stream_join_within_the_resolution_only() {
        let mut index = reader(
            &[
                record(100, 0, Stream::Stdout),
                record(149, 10, Stream::Stdout),
                record(150, 20, Stream::Stdout),
                record(151, 30, Stream::Stderr),
            ],
            b"",
        );
        assert_eq!(index.run_at(0, 50).unwrap().unwrap().end, 20);
        assert_eq!(index.run_at(0, 51).unwrap().unwrap().end, 30);
        assert_eq!(index.run_at(35, 50).unwrap().unwrap().end, u64::MAX);
    }

    #[test]
    fn later_record_of_one_offset_holds_and_damage_ends_the_index() {
        let mut index = reader(
            &[record(1, 0, Stream::Stdout), record(2, 0, Stream::Stderr)],
            &[0; 32],
        );
        let run = index.run_at(5, 1).unwrap().unwrap();
        assert_eq!(
            (run.stream, run.time.0, run.end),
            (Stream::Stderr, 2, u64::MAX)
        );
        assert_eq!(reader(&[], &[9; 40]).run_at(0, 1).unwrap(), None);
    }

    #[test]
    fn index_that_grows_is_seen_to_grow() {
        let mut index = reader(&[record(1, 0, Stream::Stdout)], b"");
        assert_eq!(index.run_at(4, 1).unwrap().unwrap().end, u64::MAX);
        let more = record(9, 3, Stream::Stderr);
        index.file.write_all(&more.to_bytes()).unwrap();
        assert_eq!(index.run_at(4, 1).unwrap().unwrap().stream, Stream::Stderr);
    }
}
