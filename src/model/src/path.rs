//! Paths inside a work item's directories, as they travel between machines.

use std::fmt;
use std::path::PathBuf;

/// The longest relative path, in bytes.
pub const MAX_RELATIVE_PATH_BYTES: usize = 1024;

/// The longest single component, in bytes; the limit of every common file system.
pub const MAX_COMPONENT_BYTES: usize = 255;

/// A path below some root: relative, `/` between its components, without `.` and `..`.
///
/// The empty path is the root itself. Joining it to a directory cannot lead outside of that
/// directory by its text; links on disk are the business of whoever opens it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

/// Why a text is not a path that may be used below a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It starts at the root of the file system, or with a drive letter.
    #[error("the path is absolute, it must be relative")]
    Absolute,
    /// A component is `..`.
    #[error("the path has a `..` component, it must stay below its root")]
    Climbs,
    /// It has a NUL, another control character, or a backslash.
    #[error("the path has the character {character:?}, which is not allowed in it")]
    BadCharacter {
        /// The offending character.
        character: char,
    },
    /// The whole path is too long.
    #[error("the path has {length} bytes, the limit is {limit}", limit = MAX_RELATIVE_PATH_BYTES)]
    TooLong {
        /// How many bytes it has.
        length: usize,
    },
    /// One component is too long for a file system.
    #[error("a component of the path has {length} bytes, the limit is {limit}", limit = MAX_COMPONENT_BYTES)]
    ComponentTooLong {
        /// How many bytes it has.
        length: usize,
    },
}

impl RelativePath {
    /// The root itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks a path and brings it into its one spelling: no `.` components, no doubled or trailing
    /// `/`.
    ///
    /// # Errors
    ///
    /// What would let it leave its root, or could not be a file name.
    pub fn new(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_RELATIVE_PATH_BYTES {
            return Err(PathError::TooLong { length: text.len() });
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        // A backslash is a separator to senders on Windows and a plain character here. Taken
        // literally it would make odd names, taken as a separator it would be a second spelling.
        if let Some(character) = text.chars().find(|c| c.is_control() || *c == '\\') {
            return Err(PathError::BadCharacter { character });
        }
        let mut components = Vec::new();
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => return Err(PathError::Climbs),
                _ if component.len() > MAX_COMPONENT_BYTES => {
                    return Err(PathError::ComponentTooLong {
                        length: component.len(),
                    });
                }
                _ => components.push(component),
            }
        }
        Ok(Self(components.join("/")))
    }

    /// The path as text, with `/` between components; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components in order; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|component| !component.is_empty())
    }

    /// The path for the local system, still relative.
    #[must_use]
    pub fn to_path_buf(&self) -> PathBuf {
        self.components().collect()
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(if self.is_root() { "." } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<&str, PathError>) {
        let found = RelativePath::new(text);
        assert_eq!(
            found.as_ref().map(RelativePath::as_str),
            expected.as_ref().copied(),
            "{text:?}"
        );
    }

    #[test]
    fn path_has_one_spelling_and_stays_below_its_root() {
        check("", Ok(""));
        check(".", Ok(""));
        check("a/b", Ok("a/b"));
        check("./a//b/./", Ok("a/b"));
        check("a..b/..c", Ok("a..b/..c"));
        check("..", Err(PathError::Climbs));
        check("a/../b", Err(PathError::Climbs));
        check("/etc", Err(PathError::Absolute));
        check("//", Err(PathError::Absolute));
        check("a\0b", Err(PathError::BadCharacter { character: '\0' }));
        check("a\\..\\b", Err(PathError::BadCharacter { character: '\\' }));
        check("a\nb", Err(PathError::BadCharacter { character: '\n' }));
        check(
            &"a".repeat(256),
            Err(PathError::ComponentTooLong { length: 256 }),
        );
        check(&"a/".repeat(600), Err(PathError::TooLong { length: 1200 }));
    }

    #[test]
    fn root_is_empty_for_programs_and_a_dot_for_people() {
        let root = RelativePath::root();
        assert!(root.is_root());
        assert_eq!(root.to_path_buf(), Path::new(""));
        assert_eq!(root.to_string(), ".");
        assert_eq!(root.components().count(), 0);
    }

    proptest! {
        #[test]
        fn good_path_has_only_plain_components(text in "[a./\\\\ ]{0,16}|.{0,16}") {
            if let Ok(path) = RelativePath::new(&text) {
                let local = path.to_path_buf();
                prop_assert!(local.components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert_eq!(RelativePath::new(path.as_str()), Ok(path));
            }
        }
    }
}
