//! Patterns that name the files a work item wants shipped.

use std::fmt;

/// The longest pattern, in bytes.
pub const MAX_GLOB_BYTES: usize = 1024;

/// A pattern of files below the working directory; relative, never climbing.
///
/// Only its reach is checked here. Its syntax is for the matcher that compiles it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactGlob(String);

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Nothing was given.
    #[error("the pattern is empty")]
    Empty,
    /// It starts at the root of the file system.
    #[error("the pattern is absolute, it must be relative to the working directory")]
    Absolute,
    /// A component is `..`.
    #[error("the pattern has a `..` component, it must stay below the working directory")]
    Climbs,
    /// It has a control character.
    #[error("the pattern has the character {character:?}, which is not allowed in it")]
    BadCharacter {
        /// The offending character.
        character: char,
    },
    /// It is too long.
    #[error("the pattern has {length} bytes, the limit is {limit}", limit = MAX_GLOB_BYTES)]
    TooLong {
        /// How many bytes it has.
        length: usize,
    },
}

impl ArtifactGlob {
    /// Checks a pattern.
    ///
    /// # Errors
    ///
    /// It could name files outside of the working directory, or is no pattern at all.
    pub fn new(text: impl Into<String>) -> Result<Self, GlobError> {
        let text = text.into();
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.len() > MAX_GLOB_BYTES {
            return Err(GlobError::TooLong { length: text.len() });
        }
        if text.starts_with('/') {
            return Err(GlobError::Absolute);
        }
        if let Some(character) = text.chars().find(|c| c.is_control()) {
            return Err(GlobError::BadCharacter { character });
        }
        // Braces can hide a component (`{..,a}/b`), so every separator of a pattern counts here.
        if text
            .split(['/', '{', '}', ',', '\\'])
            .any(|component| component == "..")
        {
            return Err(GlobError::Climbs);
        }
        Ok(Self(text))
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ArtifactGlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_must_stay_below_the_working_directory() {
        for good in ["**/*.log", "a..b", "*.{trx,xml}", "[!.]*", "..."] {
            assert!(ArtifactGlob::new(good).is_ok(), "{good}");
        }
        assert_eq!(ArtifactGlob::new(""), Err(GlobError::Empty));
        assert_eq!(ArtifactGlob::new("/etc/*"), Err(GlobError::Absolute));
        for climbing in ["..", "a/../b", "{..,a}/b", "{a,..}", "a\\..\\b", "../*"] {
            assert_eq!(
                ArtifactGlob::new(climbing),
                Err(GlobError::Climbs),
                "{climbing}"
            );
        }
        let nul = GlobError::BadCharacter { character: '\0' };
        assert_eq!(ArtifactGlob::new("a\0"), Err(nul));
        assert_eq!(
            ArtifactGlob::new("a".repeat(1025)),
            Err(GlobError::TooLong { length: 1025 })
        );
    }
}
