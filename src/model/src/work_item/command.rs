//! What a work item runs: a program with arguments, or a line for the shell.

/// The longest single argument, in bytes: what Linux takes in one string of `execve`, less its NUL.
pub const MAX_ARGUMENT_BYTES: usize = 131_071;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments, started as they are.
    Argv(Argv),
    /// One line for the system's shell, as Helix job lists carry it.
    Shell(ShellLine),
}

/// A program and its arguments; never empty, without NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv {
    program: String,
    arguments: Vec<String>,
}

/// A command line for the shell; never blank, without NUL. It may have several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellLine(String);

/// Why a command cannot be run as given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No program, or one without a name.
    #[error("the command is empty")]
    Empty,
    /// A text with a NUL cannot be passed to a program.
    #[error("argument {index} has a NUL character at byte {position}")]
    Nul {
        /// Which argument, 0 being the program or the shell line.
        index: usize,
        /// Where in it, in bytes, counted from 0.
        position: usize,
    },
    /// The system would refuse a text this long.
    #[error("argument {index} has {length} bytes, the limit is {limit}", limit = MAX_ARGUMENT_BYTES)]
    TooLong {
        /// Which argument, 0 being the program or the shell line.
        index: usize,
        /// How long it is, in bytes.
        length: usize,
    },
}

fn check(index: usize, text: &str) -> Result<(), CommandError> {
    if let Some(position) = text.bytes().position(|byte| byte == 0) {
        return Err(CommandError::Nul { index, position });
    }
    if text.len() > MAX_ARGUMENT_BYTES {
        return Err(CommandError::TooLong {
            index,
            length: text.len(),
        });
    }
    Ok(())
}

impl Command {
    /// A program and its arguments.
    ///
    /// # Errors
    ///
    /// The list is empty, its first text is, or one of them cannot be passed to a program.
    pub fn argv(argv: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, CommandError> {
        let mut texts = argv.into_iter().map(Into::into);
        let program: String = texts.next().ok_or(CommandError::Empty)?;
        if program.is_empty() {
            return Err(CommandError::Empty);
        }
        check(0, &program)?;
        let arguments: Vec<String> = texts.collect();
        for (index, argument) in arguments.iter().enumerate() {
            check(index + 1, argument)?;
        }
        Ok(Self::Argv(Argv { program, arguments }))
    }

    /// A line for the shell.
    ///
    /// # Errors
    ///
    /// The line is blank or cannot be passed to a program.
    pub fn shell(line: impl Into<String>) -> Result<Self, CommandError> {
        let line = line.into();
        if line.trim().is_empty() {
            return Err(CommandError::Empty);
        }
        check(0, &line)?;
        Ok(Self::Shell(ShellLine(line)))
    }
}

impl Argv {
    /// The program, a path or a name to be looked up in `PATH`.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The arguments after the program.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

impl ShellLine {
    /// The line as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argv_needs_a_program_that_can_be_passed_on() {
        let Ok(Command::Argv(argv)) = Command::argv(["cargo", "test", ""]) else {
            panic!("a good command was refused");
        };
        assert_eq!((argv.program(), argv.arguments().len()), ("cargo", 2));
        assert_eq!(
            Command::argv(Vec::<String>::new()),
            Err(CommandError::Empty)
        );
        assert_eq!(Command::argv(["", "x"]), Err(CommandError::Empty));
        let nul = CommandError::Nul {
            index: 1,
            position: 2,
        };
        assert_eq!(Command::argv(["a", "bc\0"]), Err(nul));
        let long = "x".repeat(MAX_ARGUMENT_BYTES + 1);
        let error = CommandError::TooLong {
            index: 0,
            length: MAX_ARGUMENT_BYTES + 1,
        };
        assert_eq!(Command::argv([long.as_str()]), Err(error));
        assert!(Command::argv(["a", &long[1..]]).is_ok());
    }

    #[test]
    fn shell_line_must_say_something() {
        assert!(Command::shell("cd x\nmake test").is_ok());
        assert_eq!(Command::shell(" \n\t"), Err(CommandError::Empty));
        let nul = CommandError::Nul {
            index: 0,
            position: 1,
        };
        assert_eq!(Command::shell("a\0"), Err(nul));
    }
}
