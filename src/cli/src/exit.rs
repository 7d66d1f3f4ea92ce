//! The exit codes of `helix`, all of them.
//!
//! `helix run` and `helix attach` exit as the work item did, so a command's own
//! code can coincide with one of the codes below. Who must tell them apart reads
//! the last line of `--json`.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: the work item passed, or the wish was fulfilled.
    Success,
    /// 1: the work item failed although its command exited with 0, because of
    /// its test results; or not all work items of a job passed.
    Failed,
    /// 2: `helix results` found no test, or something it was to read cannot be
    /// read, or its arguments make no sense.
    NoResults,
    /// 1 to 255: the work item's command exited with this code.
    Command(u8),
    /// 128 + n: signal n, which nobody of us sent, ended the command.
    Signal(u8),
    /// 64: the arguments make no sense, or the agent found the work item wrong.
    Usage,
    /// 66: the agent does not know the attempt, or a file is not there.
    NoInput,
    /// 69: the agent cannot be reached, or not any more.
    Unreachable,
    /// 70: the machine, the agent or the network is to blame; nothing was
    /// learned about the work item.
    Infrastructure,
    /// 74: standard output or a file cannot be written or read.
    InputOutput,
    /// 75: the agent refused the work item; standard error says why and when to
    /// come back.
    Refused,
    /// 77: the agent does not accept this client.
    NotPermitted,
    /// 124: the wall or the silence timeout ended the work item.
    TimedOut,
    /// 126: the work item's command could not be started.
    CouldNotStart,
    /// 130: the work item was cancelled, or the program interrupted.
    Cancelled,
}

/// The table that `--help` shows.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0       the work item passed, or the wish was fulfilled
  1..255  the work item's command exited with this code
  1       the command exited with 0, but tests failed; `helix results`: a test failed;
          `helix watch`: not every work item passed
  2       `helix results`: wrong arguments, no test found, or something cannot be read
  128+n   signal n ended the command
  64      wrong arguments, or the agent found the work item wrong
  66      no such attempt, job, work item or file
  69      the agent or controller cannot be reached
  70      infrastructure failed: nothing was learned about the work item
  74      a file or standard output cannot be read or written
  75      the agent refused the work item, or something is in the way; standard error says what
  77      the agent or controller does not accept this client
  124     the work item ran into its timeout
  126     the command could not be started
  130     cancelled or interrupted";

impl Exit {
    /// The code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::NoResults => 2,
            Self::Command(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
            Self::Usage => 64,
            Self::NoInput => 66,
            Self::Unreachable => 69,
            Self::Infrastructure => 70,
            Self::InputOutput => 74,
            Self::Refused => 75,
            Self::NotPermitted => 77,
            Self::TimedOut => 124,
            Self::CouldNotStart => 126,
            Self::Cancelled => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_help_names_every_fixed_code() {
        for exit in [
            Exit::Success,
            Exit::Failed,
            Exit::NoResults,
            Exit::Usage,
            Exit::NoInput,
            Exit::Unreachable,
            Exit::Infrastructure,
            Exit::InputOutput,
            Exit::Refused,
            Exit::NotPermitted,
            Exit::TimedOut,
            Exit::CouldNotStart,
            Exit::Cancelled,
        ] {
            let line = format!("\n  {:<8}", exit.code());
            assert!(
                EXIT_CODES.contains(&line),
                "{exit:?} is missing from the table"
            );
        }
    }

    #[test]
    fn signals_beyond_the_range_stay_in_it() {
        assert_eq!(Exit::Signal(9).code(), 137);
        assert_eq!(Exit::Signal(200).code(), 255);
    }
}
