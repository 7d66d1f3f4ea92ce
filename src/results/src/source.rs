//! A bounded window over the decoded bytes of a file.
//!
//! Every reader looks at the file through one window of fixed size, so that memory does not depend on what the
//! file holds. The window gives bytes that are nearly always UTF-8: files in other encodings are transcoded on the
//! way in, while invalid sequences in UTF-8 files are left for the moment a text is kept, which is much rarer.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};

use crate::encoding::{self, Detected, Transcoder};
use crate::model::Position;
use crate::text::as_u64;

/// Size of the window. A tag that does not fit is cut down while it is read, see [`crate::xml`].
pub(crate) const WINDOW_BYTES: usize = 128 << 10;

/// Room in the window that counts as none.
const SLIVER_BYTES: usize = 16;

/// Why no more bytes come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InputEnd {
    /// The end of the file.
    EndOfFile,
    /// The caller said stop.
    Stopped,
    /// The file is larger than allowed.
    TooLarge,
    /// The input failed with this message.
    Failed(String),
}

/// What [`Source::fill`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// There are more bytes than before.
    More,
    /// The window is full of bytes that were not consumed.
    Full,
    /// There is nothing more to come.
    Ended,
}

pub(crate) struct Source<'a> {
    input: &'a mut dyn Read,
    stop: &'a dyn Fn() -> bool,
    window: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset of the first byte of the window in the decoded text.
    base: u64,
    lines: Lines,
    mark: u64,
    /// Where the mark is, known once its bytes have left the window.
    mark_position: Option<Position>,
    bytes_read: u64,
    byte_limit: u64,
    ended: Option<InputEnd>,
    transcoder: Option<Transcoder>,
}

/// Where lines begin. Line breaks are noted as bytes come in, which costs little since they are few; a place is
/// then found by stepping over those before it.
#[derive(Debug)]
struct Lines {
    line: u64,
    line_start: u64,
    /// Offsets of line breaks that were not stepped over.
    breaks: VecDeque<u64>,
}

impl Lines {
    /// Notes the line breaks in `bytes`, which begin at `offset`.
    fn add(&mut self, bytes: &[u8], offset: u64) {
        self.breaks
            .extend(memchr::memchr_iter(b'\n', bytes).map(|at| offset + as_u64(at)));
    }

    /// Steps over the line breaks before `offset` and gives its place. An offset before what was stepped over
    /// already gives the beginning of the line: near enough for a report.
    fn step_to(&mut self, offset: u64) -> Position {
        while let Some(at) = self.breaks.front().filter(|at| **at < offset) {
            self.line += 1;
            self.line_start = at + 1;
            self.breaks.pop_front();
        }
        Position {
            line: self.line,
            column: offset.max(self.line_start) - self.line_start + 1,
        }
    }
}

impl<'a> Source<'a> {
    /// Reads the first bytes and finds the encoding. The second value says what was odd about the encoding.
    pub(crate) fn open(
        input: &'a mut dyn Read,
        stop: &'a dyn Fn() -> bool,
        byte_limit: u64,
    ) -> Result<(Self, Option<String>), std::io::Error> {
        let mut source = Self {
            input,
            stop,
            window: vec![0; WINDOW_BYTES],
            start: 0,
            end: 0,
            base: 0,
            lines: Lines {
                line: 1,
                line_start: 0,
                breaks: VecDeque::new(),
            },
            mark: 0,
            mark_position: None,
            bytes_read: 0,
            byte_limit,
            ended: None,
            transcoder: None,
        };
        source.fill();
        if source.available().is_empty()
            && let Some(InputEnd::Failed(message)) = &source.ended
        {
            return Err(std::io::Error::other(message.clone()));
        }
        let Detected {
            skip,
            transcoder,
            odd,
        } = encoding::detect(source.available());
        source.start = skip;
        if let Some(mut transcoder) = transcoder {
            transcoder.feed(&source.window[skip..source.end]);
            source.start = 0;
            source.end = 0;
            source.lines.breaks.clear();
            source.transcoder = Some(transcoder);
            source.fill();
        }
        while source.available().starts_with(encoding::UTF8_BOM) {
            source.start += encoding::UTF8_BOM.len();
        }
        // Marks of the encoding are no part of the text: columns count from behind them.
        source.lines.line_start = as_u64(source.start);
        Ok((source, odd))
    }

    /// The bytes that are in the window and not consumed.
    pub(crate) fn available(&self) -> &[u8] {
        &self.window[self.start..self.end]
    }

    /// Takes the first `count` available bytes as read.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Why no more bytes come, once that is so.
    pub(crate) fn ended(&self) -> Option<&InputEnd> {
        self.ended.as_ref()
    }

    /// Bytes taken from the input.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Sequences that were invalid in the encoding of a transcoded file.
    pub(crate) fn replaced(&self) -> u64 {
        self.transcoder.as_ref().map_or(0, Transcoder::replaced)
    }

    /// Makes room and reads more, until the window is at least half full or the input ends.
    pub(crate) fn fill(&mut self) -> Fill {
        self.compact();
        // A transcoder writes whole characters only, and would take a sliver of room for no room at all.
        if self.window.len() - self.end < SLIVER_BYTES {
            return Fill::Full;
        }
        let before = self.end;
        let offset = self.base + as_u64(before);
        while self.end < self.window.len() / 2 || self.end == before {
            if !self.read_once() {
                break;
            }
        }
        if self.end == before {
            return Fill::Ended;
        }
        self.lines.add(&self.window[before..self.end], offset);
        Fill::More
    }

    /// Fills until `count` bytes are available or no more come; says whether they are.
    pub(crate) fn ensure(&mut self, count: usize) -> bool {
        while self.end - self.start < count {
            if self.fill() != Fill::More {
                return false;
            }
        }
        true
    }

    /// Reads one time; false once the input has ended.
    fn read_once(&mut self) -> bool {
        if let Some(transcoder) = &mut self.transcoder {
            let written = transcoder.drain_into(&mut self.window[self.end..], self.ended.is_some());
            if written > 0 {
                self.end += written;
                return true;
            }
        }
        if self.ended.is_some() {
            return false;
        }
        if (self.stop)() {
            self.ended = Some(InputEnd::Stopped);
            return true;
        }
        let room = self.byte_limit.saturating_sub(self.bytes_read);
        if room == 0 {
            // A file of exactly the limit is complete: one byte more tells.
            self.ended = Some(match self.input.read(&mut [0]) {
                Ok(0) => InputEnd::EndOfFile,
                _ => InputEnd::TooLarge,
            });
            return true;
        }
        let target = match &mut self.transcoder {
            Some(transcoder) => transcoder.space(),
            None => &mut self.window[self.end..],
        };
        let length = target
            .len()
            .min(usize::try_from(room).unwrap_or(usize::MAX));
        match self.input.read(&mut target[..length]) {
            Ok(0) => self.ended = Some(InputEnd::EndOfFile),
            Ok(count) => {
                self.bytes_read += as_u64(count);
                match &mut self.transcoder {
                    Some(transcoder) => transcoder.added(count),
                    None => self.end += count,
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => self.ended = Some(InputEnd::Failed(error.to_string())),
        }
        true
    }

    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        let start = self.offset();
        if self.mark_position.is_none() && self.mark < start {
            self.mark_position = Some(self.lines.step_to(self.mark));
        }
        self.lines.step_to(start);
        self.window.copy_within(self.start..self.end, 0);
        self.base = start;
        self.end -= self.start;
        self.start = 0;
    }

    /// How many bytes of the decoded text lie before the next one.
    pub(crate) fn offset(&self) -> u64 {
        self.base + as_u64(self.start)
    }

    /// Remembers the place of the next byte, for [`Source::marked`].
    pub(crate) fn mark(&mut self) {
        self.mark = self.offset();
        self.mark_position = None;
    }

    /// The place that was marked last.
    pub(crate) fn marked(&mut self) -> Position {
        match self.mark_position {
            Some(position) => position,
            None => self.lines.step_to(self.mark),
        }
    }

    /// The place of the next byte.
    pub(crate) fn position(&mut self) -> Position {
        self.lines.step_to(self.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes a few at a time, as a slow pipe does.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.len().min(buffer.len()).min(self.1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn positions_stay_right_across_refills_and_marks() {
        let text: String = (0..40_000)
            .map(|number| format!("line {number}\n"))
            .collect();
        let mut input = Drip(text.as_bytes(), 977);
        let (mut source, _) = Source::open(&mut input, &|| false, u64::MAX).expect("opens");
        let mut line = 1;
        while source.ensure(1) {
            source.mark();
            let length = loop {
                match memchr::memchr(b'\n', source.available()) {
                    Some(at) => break at + 1,
                    None => assert_ne!(source.fill(), Fill::Ended),
                }
            };
            source.consume(length);
            source.fill();
            assert_eq!(source.marked(), Position { line, column: 1 });
            line += 1;
            assert_eq!(source.position(), Position { line, column: 1 });
        }
        assert_eq!(line, 40_001);
        assert_eq!(source.ended(), Some(&InputEnd::EndOfFile));
    }

    #[test]
    fn file_of_exactly_the_limit_is_complete_and_one_byte_more_is_not() {
        for (limit, end) in [(5, InputEnd::EndOfFile), (4, InputEnd::TooLarge)] {
            let mut input = Drip(b"<abc>", 2);
            let (mut source, _) = Source::open(&mut input, &|| false, limit).expect("opens");
            while source.fill() == Fill::More {}
            assert_eq!(source.ended(), Some(&end));
        }
    }

    #[test]
    fn stop_ends_the_input() {
        let asked = std::cell::Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > 3
        };
        let mut input = std::io::repeat(b' ');
        let (mut source, _) = Source::open(&mut input, &stop, u64::MAX).expect("opens");
        for _ in 0..10 {
            source.consume(WINDOW_BYTES);
            source.fill();
        }
        assert_eq!(source.ended(), Some(&InputEnd::Stopped));
    }
}
