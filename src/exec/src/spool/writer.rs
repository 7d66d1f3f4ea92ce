//! The one writer of a spool: appends to the console, keeps its index, drops what is too much.
//!
//! Appending never fails and never waits for room: what the disk does not take is counted as lost,
//! and a new segment is tried a second later. Offsets go on as if it had been stored.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::directory::{Directory, system};
use super::index::{RECORD_BYTES, Record, Stream};
use super::layout::{self, SpoolLimits};
use super::status::{Ended, Launched, SpoolProblem, Status};
use super::time::UnixNanos;
use super::{SpoolError, reader};
use crate::sys;

/// Pieces of one stream that follow each other more closely than this share an index record.
const COALESCE_NANOSECONDS: u64 = 10_000_000;

/// How long nothing is tried after the disk refused.
const RETRY: Duration = Duration::from_secs(1);

/// Disk set aside for the final status, which has to fit even when the disk is full.
const STATUS_ROOM: i64 = 16 << 10;

/// Writes a spool, alone. Dropping it leaves a spool that [`SpoolWriter::resume`] can go on with.
#[derive(Debug)]
pub struct SpoolWriter {
    directory: Directory,
    limits: SpoolLimits,
    /// Offset of the next byte.
    position: u64,
    current: Option<Segment>,
    /// What the head has taken of its share, index included.
    head_cost: u64,
    /// Closed segments beyond the head, oldest first, as (start, console bytes, cost).
    tail: VecDeque<(u64, u64, u64)>,
    tail_cost: u64,
    dropped: u64,
    lost: u64,
    problems: Vec<SpoolProblem>,
    retry_at: Option<Instant>,
}

/// The segment that is being written.
#[derive(Debug)]
struct Segment {
    start: u64,
    console: File,
    index: File,
    console_bytes: u64,
    index_bytes: u64,
    /// Console and index bytes at which the next segment begins.
    capacity: u64,
    part: Part,
    last_record: Option<Record>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    Tail,
}

impl Segment {
    fn cost(&self) -> u64 {
        self.console_bytes + self.index_bytes
    }
}

impl SpoolWriter {
    /// Makes the directory `path`, which must not exist while its parent must, and begins a spool
    /// in it.
    pub fn create(path: &Path, limits: SpoolLimits) -> Result<Self, SpoolError> {
        DirBuilder::new()
            .mode(0o700)
            .create(path)
            .map_err(|source| system("create", &path.to_string_lossy(), source))?;
        let directory = Directory::at(path)?;
        let room = directory.create_file(layout::STATUS_NEXT)?;
        let mut writer = Self::empty(directory, limits);
        if let Err(error) = sys::set_room_aside(&room, STATUS_ROOM) {
            writer.note("set room aside for the status", &error);
        }
        Ok(writer)
    }

    /// Goes on with the spool at `path`, behind what is there. The caller has made sure that no
    /// supervisor writes to it any more.
    pub fn resume(path: &Path, limits: SpoolLimits) -> Result<Self, SpoolError> {
        let mut writer = Self::behind(Directory::at(path)?, limits)?;
        if let Some(Status::Ended(ended)) = reader::read_status(&writer.directory)? {
            writer.position = writer.position.max(ended.output.console_bytes);
        }
        Ok(writer)
    }

    /// Takes over a spool that no supervisor had before, behind what is there.
    pub(crate) fn take_over(directory: Directory, limits: SpoolLimits) -> Result<Self, SpoolError> {
        if directory.length(layout::STATUS)?.is_some() {
            let used = io::Error::new(io::ErrorKind::AlreadyExists, "the spool was used before");
            return Err(system("begin", layout::STATUS, used));
        }
        Self::behind(directory, limits)
    }

    fn behind(directory: Directory, limits: SpoolLimits) -> Result<Self, SpoolError> {
        let mut writer = Self::empty(directory, limits);
        for start in writer.directory.segments()? {
            let length = |name: &str| Ok(writer.directory.length(name)?.unwrap_or(0));
            let console_bytes = length(&layout::console_name(start))?;
            let cost = console_bytes + length(&layout::index_name(start))?;
            // Only what hangs together from the start is the head; a gap ends it.
            let is_head = start == writer.position
                && writer.tail.is_empty()
                && writer.head_cost < limits.head_bytes;
            if is_head {
                writer.head_cost += cost;
            } else {
                writer.tail.push_back((start, console_bytes, cost));
                writer.tail_cost += cost;
            }
            writer.position = start + console_bytes;
        }
        Ok(writer)
    }

    fn empty(directory: Directory, limits: SpoolLimits) -> Self {
        let segment_bytes = limits.segment_bytes.clamp(
            SpoolLimits::MIN_SEGMENT_BYTES,
            SpoolLimits::MAX_SEGMENT_BYTES,
        );
        Self {
            directory,
            limits: SpoolLimits {
                segment_bytes,
                ..limits
            },
            position: 0,
            current: None,
            head_cost: 0,
            tail: VecDeque::new(),
            tail_cost: 0,
            dropped: 0,
            lost: 0,
            problems: Vec::new(),
            retry_at: None,
        }
    }

    /// Appends bytes of one stream, with the time of day now.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) {
        self.append_at(stream, UnixNanos::now(), bytes);
    }

    /// Appends bytes of one stream.
    pub(crate) fn append_at(&mut self, stream: Stream, time: UnixNanos, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let step = match self.segment_for(stream, time) {
                Some(segment) => segment.append(stream, time, bytes),
                None => {
                    let count = bytes.len() as u64;
                    self.position += count;
                    self.lost += count;
                    return;
                }
            };
            match step {
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.position += count as u64;
                }
                Err((operation, error)) => {
                    self.note(operation, &error);
                    self.give_up_segment();
                }
            }
        }
    }

    /// Offset of the next byte: the size of the console as it was produced.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes given up so far by this writer to stay within the limits.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped
    }

    /// Bytes that this writer could not store.
    pub fn lost_bytes(&self) -> u64 {
        self.lost
    }

    /// What went wrong for this writer, one entry for each kind.
    pub fn problems(&self) -> &[SpoolProblem] {
        &self.problems
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Says that the command was started. Written in place, in one go: a reader that comes in
    /// between sees nothing yet.
    pub(crate) fn write_launched(&mut self, launched: Launched) {
        let written = serde_json::to_vec(&Status::Launched(launched))
            .map_err(io::Error::from)
            .map_err(|source| system("encode", layout::STATUS, source))
            .and_then(|json| {
                self.directory
                    .create_file(layout::STATUS)?
                    .write_all(&json)
                    .map_err(|source| system("write", layout::STATUS, source))
            });
        if let Err(error) = written {
            self.note_spool("write the first status", &error);
        }
    }

    /// Says how it ended, for all to see. On disk, come what may, it is only when the file that
    /// is given back has been synchronised.
    pub(crate) fn write_ended(&mut self, mut ended: Ended) -> Result<File, SpoolError> {
        self.close_segment();
        ended.spool_problems = self.problems.clone();
        let json = serde_json::to_vec(&Status::Ended(Box::new(ended)))
            .map_err(|error| system("encode", layout::STATUS, error.into()))?;
        loop {
            let error = match self.replace_status(&json) {
                Ok(file) => return Ok(file),
                Err(error) => error,
            };
            // The room set aside was not enough, or there never was any. The youngest console
            // bytes go first: they are the ones that a full disk has cut already.
            let full = error.io().is_some_and(is_full);
            if !full || !self.remove_youngest_segment() {
                return Err(error);
            }
        }
    }

    fn replace_status(&self, json: &[u8]) -> Result<File, SpoolError> {
        let name = layout::STATUS_NEXT;
        let mut file = self.directory.open_or_create_file(name)?;
        file.write_all(json)
            .map_err(|source| system("write", name, source))?;
        self.directory.rename(name, layout::STATUS)?;
        Ok(file)
    }

    /// The segment that takes the next bytes; `None` while the disk does not take any.
    fn segment_for(&mut self, stream: Stream, time: UnixNanos) -> Option<&mut Segment> {
        if self
            .current
            .as_ref()
            .is_some_and(|segment| !segment.has_room_for(stream, time))
        {
            self.close_segment();
        }
        if self.current.is_none() {
            if self.retry_at.is_some_and(|at| Instant::now() < at) {
                return None;
            }
            match self.open_segment() {
                Ok(segment) => self.current = Some(segment),
                Err(error) => {
                    self.note_spool("begin a segment of the console", &error);
                    self.retry_at = Some(Instant::now() + RETRY);
                }
            }
        }
        self.current.as_mut()
    }

    fn open_segment(&self) -> Result<Segment, SpoolError> {
        let head_left = self.limits.head_bytes.saturating_sub(self.head_cost);
        let (part, capacity) = match head_left {
            0 => (Part::Tail, self.limits.segment_bytes),
            left => (Part::Head, self.limits.segment_bytes.min(left)),
        };
        let start = self.position;
        // A file of that name can only be one from a segment that took no byte. The index comes
        // first: no reader may find a console without one.
        let index = self
            .directory
            .create_or_empty_file(&layout::index_name(start))?;
        let console = self
            .directory
            .create_or_empty_file(&layout::console_name(start))?;
        Ok(Segment {
            start,
            console,
            index,
            console_bytes: 0,
            index_bytes: 0,
            capacity,
            part,
            last_record: None,
        })
    }

    fn close_segment(&mut self) {
        let Some(segment) = self.current.take() else {
            return;
        };
        match segment.part {
            Part::Head => self.head_cost += segment.cost(),
            Part::Tail => {
                self.tail
                    .push_back((segment.start, segment.console_bytes, segment.cost()));
                self.tail_cost += segment.cost();
            }
        }
        while let Some(&(start, console_bytes, cost)) = self.tail.front() {
            if self.tail_cost - cost < self.limits.tail_bytes {
                break;
            }
            self.tail.pop_front();
            self.tail_cost -= cost;
            self.dropped += console_bytes;
            self.remove_segment(start);
        }
    }

    /// Ends the segment that the disk refused to go on with.
    fn give_up_segment(&mut self) {
        self.retry_at = Some(Instant::now() + RETRY);
        match self.current.take() {
            Some(Segment {
                start,
                console_bytes: 0,
                ..
            }) => self.remove_segment(start),
            other => {
                self.current = other;
                self.close_segment();
            }
        }
    }

    fn remove_segment(&mut self, start: u64) {
        for name in [layout::console_name(start), layout::index_name(start)] {
            if let Err(error) = self.directory.remove(&name) {
                self.note_spool("remove a segment of the console", &error);
            }
        }
    }

    fn remove_youngest_segment(&mut self) -> bool {
        let Ok(segments) = self.directory.segments() else {
            return false;
        };
        let Some(&start) = segments.last() else {
            return false;
        };
        self.remove_segment(start);
        // One that cannot be removed would be found again for ever.
        self.directory
            .segments()
            .is_ok_and(|left| left.len() < segments.len())
    }

    fn note_spool(&mut self, operation: &str, error: &SpoolError) {
        let other = || io::Error::other(error.to_string());
        match error.io() {
            Some(source) => self.note(operation, source),
            None => self.note(operation, &other()),
        }
    }

    pub(crate) fn note(&mut self, operation: &str, error: &io::Error) {
        let known = self
            .problems
            .iter_mut()
            .find(|problem| problem.operation == operation);
        match known {
            Some(problem) => problem.times += 1,
            None => self.problems.push(SpoolProblem {
                operation: operation.to_owned(),
                errno: error.raw_os_error().unwrap_or(0),
                message: error.to_string(),
                times: 1,
            }),
        }
    }
}

impl Segment {
    fn has_room_for(&self, stream: Stream, time: UnixNanos) -> bool {
        let record = if self.needs_record(stream, time) {
            RECORD_BYTES
        } else {
            0
        };
        // The very first piece always fits, so that a tiny share does not go round for ever.
        self.console_bytes == 0 || self.cost() + record < self.capacity
    }

    fn needs_record(&self, stream: Stream, time: UnixNanos) -> bool {
        self.last_record.is_none_or(|last| {
            last.stream != stream
                || time
                    .0
                    .checked_sub(last.time.0)
                    .is_none_or(|passed| passed >= COALESCE_NANOSECONDS)
        })
    }

    /// Stores a first part of `bytes`; how many of them.
    fn append(
        &mut self,
        stream: Stream,
        time: UnixNanos,
        bytes: &[u8],
    ) -> Result<usize, (&'static str, io::Error)> {
        if self.needs_record(stream, time) {
            // Segments are far smaller than 4 GiB, as their greatest size sees to.
            let offset = u32::try_from(self.console_bytes).unwrap_or(u32::MAX);
            let record = Record {
                time,
                offset,
                stream,
            };
            self.index
                .write_all(&record.to_bytes())
                .map_err(|error| ("append to the index", error))?;
            self.index_bytes += RECORD_BYTES;
            self.last_record = Some(record);
        }
        let room = self.capacity.saturating_sub(self.cost()).max(1);
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        loop {
            match self.console.write(&bytes[..count]) {
                Ok(0) => {
                    return Err(("append to the console", io::ErrorKind::WriteZero.into()));
                }
                Ok(written) => {
                    self.console_bytes += written as u64;
                    return Ok(written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(("append to the console", error)),
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
