//! What the configuration takes from outside its own text: variables and files. Behind a trait, so
//! that tests need no process environment.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where variables and files come from.
pub trait Sources {
    /// The value of an environment variable.
    ///
    /// # Errors
    ///
    /// Why it has none.
    fn variable(&self, name: &str) -> Result<String, VariableError>;

    /// A file's text, of at most 1 MiB, and who may read it.
    ///
    /// # Errors
    ///
    /// That it is not there or cannot be read, is no regular file, is larger, or is no UTF-8.
    fn file(&self, path: &Path) -> io::Result<SmallFile>;
}

/// Why a variable has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableError {
    /// It is not set.
    Unset,
    /// It is no UTF-8.
    NotText,
}

/// A file that was read. It may be secret, and is not shown.
#[derive(Clone)]
pub struct SmallFile {
    /// All of it.
    pub text: String,
    /// Its permissions, as in `chmod`; more bits may be set.
    pub mode: u32,
}

/// The environment of this process and the files of this machine.
#[derive(Debug, Clone, Copy)]
pub struct ProcessSources;

/// An environment and files that are given, and no others: for a test, or for a configuration that
/// shall depend on nothing else.
#[derive(Debug, Clone, Default)]
pub struct GivenSources {
    variables: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, SmallFile>,
}

impl SmallFile {
    /// Whether everybody on the machine can read it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.mode & 0o004 != 0
    }
}

impl fmt::Debug for SmallFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SmallFile")
            .field("mode", &format_args!("{:#o}", self.mode))
            .finish_non_exhaustive()
    }
}

impl Sources for ProcessSources {
    fn variable(&self, name: &str) -> Result<String, VariableError> {
        std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => VariableError::Unset,
            std::env::VarError::NotUnicode(_) => VariableError::NotText,
        })
    }

    fn file(&self, path: &Path) -> io::Result<SmallFile> {
        let mut options = OpenOptions::new();
        // A pipe would not let the reader go on before somebody writes.
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            ));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let message = format!("it is larger than {MAX_FILE_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8 text"))?;
        Ok(SmallFile {
            text,
            mode: metadata.mode(),
        })
    }
}

impl GivenSources {
    /// The same with a variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same with a file; `mode` are its permissions.
    #[must_use]
    pub fn with_file(mut self, path: &str, text: &str, mode: u32) -> Self {
        let text = text.to_owned();
        self.files
            .insert(PathBuf::from(path), SmallFile { text, mode });
        self
    }
}

impl Sources for GivenSources {
    fn variable(&self, name: &str) -> Result<String, VariableError> {
        let value = self.variables.get(name);
        value.cloned().ok_or(VariableError::Unset)
    }

    fn file(&self, path: &Path) -> io::Result<SmallFile> {
        let file = self.files.get(path).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{MAX_FILE_BYTES, ProcessSources, Sources, VariableError};

    #[test]
    fn file_is_read_with_its_mode() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("secret");
        fs::write(&path, "word\n").expect("it can be written");
        for (mode, is_public) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it can be set");
            let file = ProcessSources.file(&path).expect("it can be read");
            assert_eq!(
                (file.text.as_str(), file.is_public()),
                ("word\n", is_public)
            );
        }
    }

    #[test]
    fn what_is_no_small_text_file_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("large");
        let large = vec![b'x'; usize::try_from(MAX_FILE_BYTES).expect("it is small") + 1];
        fs::write(&path, large).expect("it can be written");
        for path in [&path, directory.path(), &directory.path().join("absent")] {
            assert!(ProcessSources.file(path).is_err(), "{}", path.display());
        }
        let binary = directory.path().join("binary");
        fs::write(&binary, [b'a', 0xff]).expect("it can be written");
        let error = ProcessSources.file(&binary).expect_err("it is no text");
        assert_eq!(error.to_string(), "it is no UTF-8 text");
    }

    #[test]
    fn large_file_is_told_by_its_size_wherever_it_is_cut() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("large");
        let large = "ü".repeat(usize::try_from(MAX_FILE_BYTES).expect("it is small"));
        fs::write(&path, large).expect("it can be written");
        let error = ProcessSources.file(&path).expect_err("it is too large");
        assert_eq!(error.to_string(), "it is larger than 1048576 bytes");
    }

    #[test]
    fn pipe_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("it can be made");
        let error = ProcessSources.file(&path).expect_err("it is no file");
        assert_eq!(error.to_string(), "it is no regular file");
    }

    #[test]
    fn variable_is_read_or_unset() {
        assert!(ProcessSources.variable("PATH").is_ok());
        let unset = ProcessSources.variable("HELIX_NO_SUCH_VARIABLE");
        assert_eq!(unset, Err(VariableError::Unset));
        // Names that no variable can have.
        for name in ["", "=", "a=b", "a\0b"] {
            assert_eq!(ProcessSources.variable(name), Err(VariableError::Unset));
        }
    }
}
