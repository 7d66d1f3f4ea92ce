//! The agent's own lines in the console of an attempt: before the command
//! starts and after it has ended. In between the supervisor is the writer.

use helix_exec::SpoolWriter;
use helix_exec::spool::{SpoolError, SpoolLimits, Stream};

use super::handle::Attempt;

/// Writes lines of the agent into the console.
#[derive(Debug)]
pub(crate) struct Notes {
    writer: SpoolWriter,
}

impl Notes {
    /// Begins the console of an attempt.
    pub(crate) fn begin(attempt: &Attempt, limits: SpoolLimits) -> Result<Self, SpoolError> {
        Ok(Self { writer: SpoolWriter::create(&attempt.spool(), limits)? })
    }

    /// Goes on with it. No supervisor may be there any more.
    pub(crate) fn resume(attempt: &Attempt, limits: SpoolLimits) -> Result<Self, SpoolError> {
        let notes = Self { writer: SpoolWriter::resume(&attempt.spool(), limits)? };
        attempt.console_grew_to(notes.writer.position());
        Ok(notes)
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, attempt: &Attempt, text: &str) {
        let mut line = text.replace(['\n', '\r'], " ");
        line.push('\n');
        self.writer.append(Stream::Agent, line.as_bytes());
        attempt.console_grew_to(self.writer.position());
    }
}
