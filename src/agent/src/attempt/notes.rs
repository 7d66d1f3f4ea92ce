//! The agent's own lines in the console of an attempt: before the command
//! starts and after it has ended. In between the supervisor is the writer.

use std::io;

use helix_exec::SpoolWriter;
use helix_exec::spool::{Piece, SpoolError, SpoolLimits, SpoolReader, Stream};

use super::handle::Attempt;

/// Writes lines of the agent into the console.
#[derive(Debug)]
pub(crate) struct Notes {
    writer: SpoolWriter,
}

impl Notes {
    /// Begins the console of an attempt.
    pub(crate) fn begin(attempt: &Attempt, limits: SpoolLimits) -> Result<Self, SpoolError> {
        Ok(Self {
            writer: SpoolWriter::create(&attempt.spool(), limits)?,
        })
    }

    /// Goes on with it, or begins it if an earlier life of the agent did not come to
    /// that. No supervisor may be there any more.
    pub(crate) fn resume(attempt: &Attempt, limits: SpoolLimits) -> Result<Self, SpoolError> {
        let notes = match SpoolWriter::resume(&attempt.spool(), limits) {
            Err(error) if is_missing(&error) => return Self::begin(attempt, limits),
            writer => Self { writer: writer? },
        };
        attempt.console_grew_to(notes.writer.position());
        Ok(notes)
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, attempt: &Attempt, text: &str) {
        self.append(attempt, &one_line(text));
    }

    /// Adds the last lines, unless an earlier life of the agent did: it may have
    /// died between them and the verdict.
    pub(crate) fn close(&mut self, attempt: &Attempt, lines: impl Iterator<Item = String>) {
        let text: String = lines.map(|line| one_line(&line)).collect();
        if !self.end_with(attempt, &text) {
            self.append(attempt, &text);
        }
    }

    fn append(&mut self, attempt: &Attempt, text: &str) {
        self.writer.append(Stream::Agent, text.as_bytes());
        attempt.console_grew_to(self.writer.position());
    }

    fn end_with(&self, attempt: &Attempt, text: &str) -> bool {
        let Some(begin) = self.writer.position().checked_sub(text.len() as u64) else {
            return false;
        };
        let read = SpoolReader::open(&attempt.spool())
            .and_then(|mut reader| reader.read_at(begin, text.len()));
        matches!(
            read,
            Ok(Piece::Chunk(chunk))
                if chunk.stream == Stream::Agent && chunk.bytes == text.as_bytes()
        )
    }
}

fn is_missing(error: &SpoolError) -> bool {
    error
        .io()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn one_line(text: &str) -> String {
    let mut line = text.replace(['\n', '\r'], " ");
    line.push('\n');
    line
}
