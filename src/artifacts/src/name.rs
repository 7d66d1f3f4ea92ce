//! Names of artifacts: what a file is called at the destination, whatever bytes its path has.
//!
//! A path on Unix is any bytes but NUL. A name is text that people read, that clients on other
//! systems turn into paths again, and that must not lie about itself. So a name is the path with
//! everything troublesome percent-encoded, byte by byte, and nothing else changed: the encoding
//! can be undone.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Longest name in bytes, once encoded. A path of PATH_MAX bytes, all of them encoded, fits.
const LONGEST_NAME: usize = 3 * 4096;

/// A relative, `/`-separated name of an artifact.
///
/// No component is empty, `.` or `..`. What is not UTF-8, control characters, characters that
/// turn the direction of text around, `%` and `\` (which clients take for a separator) stand as
/// `%XX`. Two names are equal exactly if the paths that they came from are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactName {
    encoded: String,
}

/// Why a path cannot be the name of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No component at all.
    #[error("name is empty")]
    Empty,
    /// It begins at the root.
    #[error("name `{name}` is an absolute path")]
    Absolute {
        /// The path, encoded.
        name: String,
    },
    /// It has a `..`.
    #[error("name `{name}` leads upwards")]
    Upwards {
        /// The path, encoded.
        name: String,
    },
    /// It is longer than any path can be.
    #[error("name of {bytes} bytes is longer than {LONGEST_NAME}")]
    TooLong {
        /// Its length, encoded.
        bytes: usize,
    },
}

impl ArtifactName {
    /// The name for a relative path. `.` components and repeated slashes are dropped.
    ///
    /// # Errors
    ///
    /// See [`NameError`].
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, NameError> {
        let path = path.as_ref();
        let shown = || encode(path.as_os_str().as_bytes());
        let mut encoded = String::new();
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::Normal(part) => {
                    if !encoded.is_empty() {
                        encoded.push('/');
                    }
                    encoded.push_str(&encode(part.as_bytes()));
                }
                Component::ParentDir => return Err(NameError::Upwards { name: shown() }),
                Component::RootDir | Component::Prefix(_) => {
                    return Err(NameError::Absolute { name: shown() });
                }
            }
        }
        if encoded.is_empty() {
            return Err(NameError::Empty);
        }
        if encoded.len() > LONGEST_NAME {
            return Err(NameError::TooLong {
                bytes: encoded.len(),
            });
        }
        Ok(Self { encoded })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.encoded
    }

    /// The path that the name came from.
    #[must_use]
    pub fn to_path(&self) -> PathBuf {
        self.components().collect()
    }

    /// The last component, as text.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.encoded.rsplit('/').next().unwrap_or(&self.encoded)
    }

    /// The components, decoded.
    pub(crate) fn components(&self) -> impl Iterator<Item = OsString> + '_ {
        self.encoded.split('/').map(decode)
    }

    /// The directories that the name leads through, the first one first.
    pub(crate) fn parents(&self) -> impl Iterator<Item = Self> + '_ {
        self.encoded.match_indices('/').map(|(slash, _)| Self {
            encoded: self.encoded[..slash].into(),
        })
    }

    /// This name as a directory, with the last component of `other` in it.
    pub(crate) fn join_last_of(&self, other: &Self) -> Self {
        Self {
            encoded: format!("{}/{}", self.encoded, other.file_name()),
        }
    }

    /// The name for another file of the same name: `a/b.xml` and 2 give `a/b (2).xml`.
    pub(crate) fn numbered(&self, number: usize) -> Self {
        let start = self.encoded.rfind('/').map_or(0, |slash| slash + 1);
        let (directory, file) = self.encoded.split_at(start);
        // A leading dot is part of the stem: `.bashrc` has no extension.
        let dot = file
            .char_indices()
            .rev()
            .find(|&(at, c)| c == '.' && at > 0);
        let (stem, extension) = file.split_at(dot.map_or(file.len(), |(at, _)| at));
        Self {
            encoded: format!("{directory}{stem} ({number}){extension}"),
        }
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.encoded)
    }
}

impl fmt::Debug for ArtifactName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`", self.encoded)
    }
}

/// The bytes as text, with everything that a name must not hold as `%XX`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    encode_with(bytes, |character| {
        matches!(character, '%' | '\\') || deceives(character)
    })
}

/// The bytes as text, with whatever is not UTF-8 and what `refuse` names as `%XX`.
pub(crate) fn encode_with(bytes: &[u8], refuse: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if refuse(character) {
                let mut buffer = [0; 4];
                for &byte in character.encode_utf8(&mut buffer).as_bytes() {
                    push_encoded(&mut text, byte);
                }
            } else {
                text.push(character);
            }
        }
        for &byte in chunk.invalid() {
            push_encoded(&mut text, byte);
        }
    }
    text
}

/// Whether a character can make text look like something that it is not: controls, line
/// separators, marks that turn the direction of text around, and the invisible ones.
pub(crate) fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

fn push_encoded(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
}

fn decode(component: &str) -> OsString {
    let mut bytes = Vec::with_capacity(component.len());
    let mut rest = component.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%'
            && let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    OsString::from_vec(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use proptest::prelude::*;

    use super::*;

    fn check(path: &[u8], expected: &str) {
        let name = ArtifactName::from_path(OsStr::from_bytes(path)).expect("a name");
        assert_eq!(name.as_str(), expected);
        assert_eq!(name.to_path().as_os_str().as_bytes(), path);
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        check(b"results/C# tests #1.trx", "results/C# tests #1.trx");
        check("Prüfung/試験.xml".as_bytes(), "Prüfung/試験.xml");
        check(b"..hidden/a..b", "..hidden/a..b");
    }

    #[test]
    fn troublesome_bytes_are_encoded_and_come_back() {
        check(b"100%", "100%25");
        check(b"%41", "%2541");
        check(b"a\\..\\b", "a%5C..%5Cb");
        check(b"caf\xe9", "caf%E9");
        check(b"two\nlines\x7f", "two%0Alines%7F");
        check("exe.\u{202e}txt".as_bytes(), "exe.%E2%80%AEtxt");
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        assert_eq!(ArtifactName::from_path(""), Err(NameError::Empty));
        assert_eq!(ArtifactName::from_path("./."), Err(NameError::Empty));
        assert!(matches!(
            ArtifactName::from_path("/etc"),
            Err(NameError::Absolute { .. })
        ));
        assert!(matches!(
            ArtifactName::from_path("a/../../b"),
            Err(NameError::Upwards { .. })
        ));
        let long = "x/".repeat(LONGEST_NAME);
        assert!(matches!(
            ArtifactName::from_path(long),
            Err(NameError::TooLong { .. })
        ));
    }

    #[test]
    fn a_second_file_of_a_name_keeps_its_extension() {
        let numbered =
            |path: &str| ArtifactName::from_path(path).map(|name| name.numbered(2).encoded);
        assert_eq!(numbered("a.d/b.tar.gz").as_deref(), Ok("a.d/b.tar (2).gz"));
        assert_eq!(numbered("a.d/b").as_deref(), Ok("a.d/b (2)"));
        assert_eq!(numbered(".bashrc").as_deref(), Ok(".bashrc (2)"));
    }

    proptest! {
        #[test]
        fn any_path_comes_back_from_its_name(
            parts in prop::collection::vec(prop::collection::vec(1u8.., 1..20), 1..5)
        ) {
            let path: PathBuf = parts
                .iter()
                .map(|part| {
                    let part: Vec<u8> = part.iter().map(|&byte| if byte == b'/' { b'_' } else { byte }).collect();
                    OsString::from_vec(part)
                })
                .filter(|part| part != "." && part != "..")
                .collect();
            prop_assume!(!path.as_os_str().is_empty());
            let name = ArtifactName::from_path(&path).expect("a name");
            prop_assert_eq!(name.to_path(), path);
            prop_assert!(!name.as_str().chars().any(deceives));
        }
    }
}
