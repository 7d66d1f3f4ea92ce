//! The command's output on its way from the pipes through the mask into the spool.

use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::mask::{Held, Masker};
use crate::spool::{SpoolWriter, Stream, UnixNanos};
use crate::sys;

/// What one read takes at most.
const BUFFER_BYTES: usize = 256 << 10;

/// Reads of one pipe before the others get their turn.
const READS_AT_A_TIME: usize = 4;

/// What is asked of the kernel for a pipe that is put to use, in bytes.
const WIDE_PIPE_BYTES: i32 = 1 << 20;

/// A read of so many bytes shows that the pipe is put to use: half of what a pipe holds at first.
const BUSY_READ_BYTES: usize = 32 << 10;

/// The reading ends of the command's pipes.
#[derive(Debug)]
pub(super) struct Output {
    pipes: Vec<Pipe>,
    masker: Option<Masker>,
    buffer: Vec<u8>,
    masked: Vec<u8>,
    raw_bytes: u64,
}

#[derive(Debug)]
struct Pipe {
    /// Does not block.
    reader: PipeReader,
    stream: Stream,
    held: Held,
    width: Width,
}

/// A pipe is widened only when there is much to read: most commands never need it, and the memory
/// that one user may have in pipes is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    AsMade,
    Widened,
}

enum ReadOnce {
    /// So many bytes; fewer than the buffer holds, so the pipe is empty now.
    Rest(usize),
    /// The buffer was filled.
    Full(usize),
    Nothing,
    Closed,
}

impl Output {
    /// Takes over reading ends that do not block.
    pub(super) fn new(pipes: Vec<(PipeReader, Stream)>, masker: Option<Masker>) -> Self {
        let pipes = pipes
            .into_iter()
            .map(|(reader, stream)| Pipe {
                reader,
                stream,
                held: Held::default(),
                width: Width::AsMade,
            })
            .collect();
        let buffer = vec![0; BUFFER_BYTES];
        Self {
            pipes,
            masker,
            buffer,
            masked: Vec::new(),
            raw_bytes: 0,
        }
    }

    /// The pipes that are still open, to be polled.
    pub(super) fn open_pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().map(|pipe| pipe.reader.as_fd())
    }

    /// Bytes read so far.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Hides the needles in something that is to be shown.
    pub(super) fn mask_text(&self, text: &str) -> String {
        self.masker
            .as_ref()
            .map_or_else(|| text.to_owned(), |masker| masker.mask_text(text))
    }

    /// Reads what there is, from each pipe a fair share.
    pub(super) fn read(&mut self, spool: &mut SpoolWriter) {
        self.read_up_to(READS_AT_A_TIME, spool);
    }

    /// Reads what the tree, which is gone, has left in the pipes, and closes them. Somebody else
    /// may still hold the other end; of what they write only so much as fits a pipe is read.
    pub(super) fn finish(&mut self, spool: &mut SpoolWriter) {
        let pipe_bytes = usize::try_from(WIDE_PIPE_BYTES).unwrap_or(BUFFER_BYTES);
        self.read_up_to(pipe_bytes / BUFFER_BYTES + 1, spool);
        while let Some(place) = self.pipes.len().checked_sub(1) {
            self.close(place, spool);
        }
    }

    fn read_up_to(&mut self, reads: usize, spool: &mut SpoolWriter) {
        // Backwards, as a pipe that closes is taken out.
        for place in (0..self.pipes.len()).rev() {
            for _ in 0..reads {
                match self.read_once(place) {
                    ReadOnce::Full(count) => self.store(place, count, spool),
                    ReadOnce::Rest(count) => {
                        self.store(place, count, spool);
                        break;
                    }
                    ReadOnce::Nothing => break,
                    ReadOnce::Closed => {
                        self.close(place, spool);
                        break;
                    }
                }
            }
        }
    }

    fn read_once(&mut self, place: usize) -> ReadOnce {
        loop {
            match self.pipes[place].reader.read(&mut self.buffer) {
                Ok(0) => return ReadOnce::Closed,
                Ok(count) if count == self.buffer.len() => return ReadOnce::Full(count),
                Ok(count) => return ReadOnce::Rest(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return ReadOnce::Nothing;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Not a thing that pipes do; whatever it is, there is no more to read.
                Err(_) => return ReadOnce::Closed,
            }
        }
    }

    fn store(&mut self, place: usize, count: usize, spool: &mut SpoolWriter) {
        self.raw_bytes += count as u64;
        let bytes = &self.buffer[..count];
        let pipe = &mut self.pipes[place];
        if count >= BUSY_READ_BYTES && pipe.width == Width::AsMade {
            sys::widen_pipe(&pipe.reader, WIDE_PIPE_BYTES);
            pipe.width = Width::Widened;
        }
        let shown = match &self.masker {
            None => bytes,
            Some(masker) => {
                self.masked.clear();
                masker.push(&mut pipe.held, bytes, &mut self.masked);
                &self.masked
            }
        };
        spool.append_at(pipe.stream, UnixNanos::now(), shown);
    }

    fn close(&mut self, place: usize, spool: &mut SpoolWriter) {
        let mut pipe = self.pipes.remove(place);
        if let Some(masker) = &self.masker {
            self.masked.clear();
            masker.finish(&mut pipe.held, &mut self.masked);
            spool.append_at(pipe.stream, UnixNanos::now(), &self.masked);
        }
    }
}
