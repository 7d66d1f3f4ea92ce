//! What the configuration takes from outside its own text: variables and files. Behind a trait, so
//! that tests need no process environment.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where variables and files come from.
pub(super) trait Sources {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Result<String, VariableError>;

    /// A file's text and who may read it.
    fn file(&self, path: &Path) -> io::Result<SmallFile>;
}

/// Why a variable has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VariableError {
    Unset,
    NotText,
}

/// A file that was read.
#[derive(Clone)]
pub(super) struct SmallFile {
    pub(super) text: String,
    /// Its permissions.
    pub(super) mode: u32,
}

impl SmallFile {
    /// Whether everybody on the machine can read it.
    pub(super) fn is_public(&self) -> bool {
        self.mode & 0o004 != 0
    }
}

/// The environment of this process and the files of this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessSources;

impl Sources for ProcessSources {
    fn variable(&self, name: &str) -> Result<String, VariableError> {
        std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => VariableError::Unset,
            std::env::VarError::NotUnicode(_) => VariableError::NotText,
        })
    }

    fn file(&self, path: &Path) -> io::Result<SmallFile> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            ));
        }
        let mut text = String::new();
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            let message = format!("it is larger than {MAX_FILE_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(SmallFile {
            text,
            mode: metadata.mode(),
        })
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
    }

    #[test]
    fn variable_is_read_or_unset() {
        assert!(ProcessSources.variable("PATH").is_ok());
        let unset = ProcessSources.variable("HELIX_NO_SUCH_VARIABLE");
        assert_eq!(unset, Err(VariableError::Unset));
    }
}
