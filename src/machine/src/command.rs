//! What may be run by configuration: a command line, an environment, and a command line with a
//! place for a version.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::{env, fmt};

use helix_model::version::Version;

/// The place for a version in the arguments of a [`CommandTemplate`].
pub const VERSION_PLACE: &str = "{version}";

/// Where programs are looked for if neither configuration nor the agent's own environment says.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin";

/// A language that every installation of the system has, so that output reads the same everywhere.
const LANGUAGE: &str = if cfg!(target_os = "macos") {
    "en_US.UTF-8"
} else {
    "C.UTF-8"
};

/// What is taken over from the agent's own environment: where programs and the user's files are.
const INHERITED: [&str; 5] = ["PATH", "HOME", "USER", "LOGNAME", "TMPDIR"];

/// A program and its arguments, passed on as they are, without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommandLine {
    program: String,
    arguments: Vec<String>,
}

/// Why there is no such command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// It does not name a program.
    #[error("a command needs a program to run")]
    NoProgram,
    /// A NUL character, which the system takes for the end.
    #[error("word {word} of the command has a NUL character")]
    Nul {
        /// Which word, counted from 1; the program is the first.
        word: usize,
    },
    /// The program depends on the version.
    #[error(
        "the program must not depend on the version; only arguments may have `{VERSION_PLACE}`"
    )]
    VersionInProgram,
}

impl CommandLine {
    /// Checks the words of a command line. A program without `/` is looked for in `PATH`.
    ///
    /// # Errors
    ///
    /// There is no program, or a word cannot be passed on.
    pub fn new(words: impl IntoIterator<Item = String>) -> Result<Self, CommandLineError> {
        let mut words = words.into_iter();
        let program = words
            .next()
            .filter(|program| !program.is_empty())
            .ok_or(CommandLineError::NoProgram)?;
        let arguments: Vec<String> = words.collect();
        let mut all = std::iter::once(&program).chain(&arguments);
        if let Some(index) = all.position(|word| word.contains('\0')) {
            return Err(CommandLineError::Nul { word: index + 1 });
        }
        Ok(Self { program, arguments })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// What is passed to it.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

impl fmt::Display for CommandLine {
    /// Prints the words with a blank between them, those with anything unusual quoted. For people;
    /// no shell is meant to read it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_./=+,:@%".contains(&byte))
        };
        for (index, word) in std::iter::once(&self.program)
            .chain(&self.arguments)
            .enumerate()
        {
            formatter.write_str(if index == 0 { "" } else { " " })?;
            if plain(word) {
                formatter.write_str(word)?
            } else {
                write!(formatter, "{word:?}")?
            }
        }
        Ok(())
    }
}

/// A command line whose arguments may have [`VERSION_PLACE`] in them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommandTemplate(CommandLine);

/// A version that is not put into a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the version `{version}` has no safe form for a command line")]
pub struct UnsafeVersion {
    /// The version.
    pub version: String,
}

impl CommandTemplate {
    /// Checks the words of a template.
    ///
    /// # Errors
    ///
    /// It is no command line, or the version is to name the program.
    pub fn new(words: impl IntoIterator<Item = String>) -> Result<Self, CommandLineError> {
        let command = CommandLine::new(words)?;
        if command.program.contains(VERSION_PLACE) {
            return Err(CommandLineError::VersionInProgram);
        }
        Ok(Self(command))
    }

    /// Whether a version has to be put in.
    #[must_use]
    pub fn wants_version(&self) -> bool {
        self.0
            .arguments
            .iter()
            .any(|argument| argument.contains(VERSION_PLACE))
    }

    /// The command line with a version in its places.
    ///
    /// What a work item asks for ends up here, as part of an argument of a program that runs as the
    /// agent, and perhaps of a script that such a program hands to a shell. So the alphabet of
    /// versions is checked once more, whatever [`Version`] allows: nothing that a shell would look
    /// at, and no dash in front that would make it an option.
    ///
    /// # Errors
    ///
    /// The version's text has anything else in it.
    pub fn with_version(&self, version: &Version) -> Result<CommandLine, UnsafeVersion> {
        let text = version.as_str();
        let safe = text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte));
        if !safe {
            return Err(UnsafeVersion {
                version: text.to_owned(),
            });
        }
        let arguments = self
            .0
            .arguments
            .iter()
            .map(|argument| argument.replace(VERSION_PLACE, text))
            .collect();
        Ok(CommandLine {
            program: self.0.program.clone(),
            arguments,
        })
    }

    /// The command line as it stands, for a template that wants no version.
    #[must_use]
    pub fn without_version(&self) -> &CommandLine {
        &self.0
    }
}

/// Variables that a command gets beside a small base: where programs and the user's files are
/// (`PATH`, `HOME`, `USER`, `LOGNAME` and `TMPDIR` of the agent) and a language that makes output
/// readable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Environment(BTreeMap<String, String>);

/// A variable that the system cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// The name is empty, or has `=` or NUL in it.
    #[error("`{name}` cannot be the name of a variable")]
    Name {
        /// The name.
        name: String,
    },
    /// The value has NUL in it.
    #[error("the value of the variable `{name}` has a NUL character")]
    Value {
        /// The name.
        name: String,
    },
}

impl Environment {
    /// Adds a variable, in place of one of that name.
    ///
    /// # Errors
    ///
    /// The system cannot hold it. Nothing has been added.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), EnvironmentError> {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(EnvironmentError::Name {
                name: name.to_owned(),
            });
        }
        if value.contains('\0') {
            return Err(EnvironmentError::Value {
                name: name.to_owned(),
            });
        }
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// The value of a variable that was added.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All variables of a command: the base, and over it what was added.
    pub(crate) fn complete(&self) -> BTreeMap<OsString, OsString> {
        let mut all = BTreeMap::from([
            (OsString::from("PATH"), OsString::from(DEFAULT_PATH)),
            (OsString::from("LC_ALL"), OsString::from(LANGUAGE)),
        ]);
        for name in INHERITED {
            if let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) {
                all.insert(name.into(), value);
            }
        }
        all.extend(
            self.0
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        all
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use helix_model::version::Version;
    use proptest::prelude::*;

    use super::{CommandLine, CommandLineError, CommandTemplate, Environment, EnvironmentError};

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn command_without_a_program_is_refused() {
        assert_eq!(
            CommandLine::new(words(&[])),
            Err(CommandLineError::NoProgram)
        );
        assert_eq!(
            CommandLine::new(words(&["", "a"])),
            Err(CommandLineError::NoProgram)
        );
        assert_eq!(
            CommandLine::new(words(&["a", "b\0"])),
            Err(CommandLineError::Nul { word: 2 })
        );
    }

    #[test]
    fn command_prints_unusual_words_quoted() {
        let command = CommandLine::new(words(&["sh", "-c", "echo $HOME", ""])).expect("it is one");
        assert_eq!(command.to_string(), r#"sh -c "echo $HOME" """#);
    }

    #[test]
    fn version_takes_every_place_in_the_arguments() {
        let template =
            CommandTemplate::new(words(&["xcodes", "install", "{version}", "--as={version}"]))
                .expect("it is a template");
        assert!(template.wants_version());
        let version = Version::parse("16.1").expect("it is a version");
        let command = template.with_version(&version).expect("it is safe");
        assert_eq!(
            command.arguments(),
            words(&["install", "16.1", "--as=16.1"])
        );
    }

    #[test]
    fn version_does_not_choose_the_program() {
        let template = CommandTemplate::new(words(&["/opt/{version}/install"]));
        assert_eq!(template, Err(CommandLineError::VersionInProgram));
    }

    #[test]
    fn template_without_a_place_wants_no_version() {
        let template = CommandTemplate::new(words(&["install-gpu"])).expect("it is a template");
        assert!(!template.wants_version());
        assert_eq!(template.without_version().program(), "install-gpu");
    }

    #[test]
    fn environment_overrides_the_base_and_has_nothing_else() {
        let mut environment = Environment::default();
        environment.set("PATH", "/opt/bin").expect("it can be held");
        environment
            .set("DEVELOPER_DIR", "")
            .expect("it can be held");
        let all = environment.complete();
        let value = |name: &str| all.get(OsStr::new(name)).and_then(|value| value.to_str());
        assert_eq!(value("PATH"), Some("/opt/bin"));
        assert_eq!(value("DEVELOPER_DIR"), Some(""));
        // Cargo sets this for tests; it must not get through.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert_eq!(value("CARGO_MANIFEST_DIR"), None);
    }

    #[test]
    fn variable_that_the_system_cannot_hold_is_refused() {
        let mut environment = Environment::default();
        for name in ["", "A=B", "A\0"] {
            let error = EnvironmentError::Name {
                name: name.to_owned(),
            };
            assert_eq!(environment.set(name, "x"), Err(error));
        }
        let error = EnvironmentError::Value {
            name: "A".to_owned(),
        };
        assert_eq!(environment.set("A", "x\0"), Err(error));
        assert_eq!(environment, Environment::default());
    }

    proptest! {
        // Whatever passes for a version, the argument is never an option and never anything to a
        // shell.
        #[test]
        fn version_in_an_argument_is_inert(text in "[v0-9][ -~]{0,12}|\\PC{0,12}|-{1,2}[a-z]{0,8}") {
            let Ok(version) = Version::parse(&text) else { return Ok(()) };
            let template = CommandTemplate::new(words(&["install", "{version}"])).expect("it is one");
            let Ok(command) = template.with_version(&version) else { return Ok(()) };
            let argument = &command.arguments()[0];
            prop_assert_eq!(argument, &text);
            prop_assert!(!argument.starts_with('-'));
            let is_active =
                |c: char| c.is_whitespace() || "$`'\"\\;&|<>(){}[]*?!#/=:%".contains(c);
            prop_assert!(!argument.contains(is_active), "{argument:?}");
        }
    }
}
