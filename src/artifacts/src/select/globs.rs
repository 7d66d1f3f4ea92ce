//! Globs over paths relative to a directory, which also tell into which directories it is worth
//! to go.

use std::fmt;
use std::path::Path;

use globset::{Candidate, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

/// Longest glob, in bytes.
const LONGEST_GLOB: usize = 4096;

/// Compiled globs. `*` and `?` stay within a component, `**` crosses directories, `[a-z]` and
/// `{a,b}` work as in a shell; case matters.
#[derive(Clone)]
pub struct Globs {
    texts: Vec<String>,
    set: GlobSet,
    descents: Vec<Descent>,
}

/// Why a text is no glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It is empty or longer than 4096 bytes.
    #[error("glob has {bytes} bytes, not 1 to {LONGEST_GLOB}")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// It begins at the root or has a `..`.
    #[error("glob `{glob}` leads out of the directory")]
    Outside {
        /// The glob.
        glob: String,
    },
    /// Its syntax is wrong, or it is too large once compiled.
    #[error("glob `{glob}` is not valid: {reason}")]
    Syntax {
        /// The glob.
        glob: String,
        /// What is wrong.
        reason: String,
    },
}

/// The directories that a glob leads into.
#[derive(Clone)]
struct Descent {
    /// What the first components must match.
    leading: Vec<GlobMatcher>,
    /// Whether anything may follow them, or only a file.
    open_ended: bool,
}

impl Globs {
    /// Compiles globs.
    ///
    /// # Errors
    ///
    /// See [`GlobError`]; the first wrong glob is named.
    pub fn new<G: AsRef<str>>(globs: impl IntoIterator<Item = G>) -> Result<Self, GlobError> {
        let mut texts = Vec::new();
        let mut set = GlobSetBuilder::new();
        let mut descents = Vec::new();
        for glob in globs {
            let text = glob.as_ref();
            if text.is_empty() || text.len() > LONGEST_GLOB {
                return Err(GlobError::Length { bytes: text.len() });
            }
            let syntax = |error: globset::Error| GlobError::Syntax {
                glob: text.to_owned(),
                reason: error.kind().to_string(),
            };
            let relative = text.trim_start_matches("./");
            if relative.starts_with('/') || relative.split('/').any(|part| part == "..") {
                return Err(GlobError::Outside {
                    glob: text.to_owned(),
                });
            }
            set.add(compile(relative).map_err(syntax)?);
            descents.push(Descent::of(relative).map_err(syntax)?);
            texts.push(text.to_owned());
        }
        let set = set.build().map_err(|error| GlobError::Syntax {
            glob: error.glob().unwrap_or("(all of them)").to_owned(),
            reason: error.kind().to_string(),
        })?;
        Ok(Self {
            texts,
            set,
            descents,
        })
    }

    /// Whether a file of this relative path matches.
    #[must_use]
    pub fn is_match(&self, path: &Path) -> bool {
        self.set.is_match_candidate(&Candidate::new(path))
    }

    /// Whether a match may lie beneath the directory of this relative path.
    #[must_use]
    pub fn may_match_beneath(&self, directory: &Path) -> bool {
        self.descents
            .iter()
            .any(|descent| descent.may_match_beneath(directory))
    }
}

impl Descent {
    fn of(glob: &str) -> Result<Self, globset::Error> {
        let mut leading = Vec::new();
        let mut parts = glob.split('/').peekable();
        while let Some(part) = parts.next() {
            let is_file = parts.peek().is_none();
            // Braces may hold slashes, and an escape or a class may hide what a part means.
            if part.contains("**") || glob.contains(['{', '\\']) || part.contains('[') {
                return Ok(Self {
                    leading,
                    open_ended: true,
                });
            }
            if is_file {
                break;
            }
            leading.push(compile(part)?.compile_matcher());
        }
        Ok(Self {
            leading,
            open_ended: false,
        })
    }

    fn may_match_beneath(&self, directory: &Path) -> bool {
        let mut matchers = self.leading.iter();
        directory.iter().all(|part| match matchers.next() {
            Some(matcher) => matcher.is_match(part),
            None => self.open_ended,
        })
    }
}

fn compile(glob: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(glob).literal_separator(true).build()
}

impl fmt::Debug for Globs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.texts).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    fn globs(texts: &[&str]) -> Globs {
        Globs::new(texts).expect("globs")
    }

    #[test]
    fn a_star_stays_within_a_component_and_two_cross() {
        let globs = globs(&["logs/*.txt", "**/*.binlog"]);
        for path in ["logs/a.txt", "a.binlog", "a/b/c.binlog"] {
            assert!(globs.is_match(Path::new(path)), "{path}");
        }
        for path in ["logs/deep/a.txt", "a.txt", "a.BINLOG"] {
            assert!(!globs.is_match(Path::new(path)), "{path}");
        }
        assert!(globs.is_match(Path::new(OsStr::from_bytes(b"caf\xe9/x.binlog"))));
    }

    #[test]
    fn directories_that_cannot_hold_a_match_are_told() {
        let globs = globs(&["./artifacts/*/log.txt", "out/**"]);
        for directory in ["artifacts", "artifacts/Debug", "out", "out/a/b/c"] {
            assert!(globs.may_match_beneath(Path::new(directory)), "{directory}");
        }
        for directory in ["node_modules", "artifacts/Debug/obj", "src/out"] {
            assert!(
                !globs.may_match_beneath(Path::new(directory)),
                "{directory}"
            );
        }
    }

    #[test]
    fn globs_that_lead_outside_or_make_no_sense_are_refused() {
        assert!(matches!(
            Globs::new(["/etc/*"]),
            Err(GlobError::Outside { .. })
        ));
        assert!(matches!(
            Globs::new(["a/../../b"]),
            Err(GlobError::Outside { .. })
        ));
        assert!(matches!(
            Globs::new([""]),
            Err(GlobError::Length { bytes: 0 })
        ));
        assert!(matches!(Globs::new(["a["]), Err(GlobError::Syntax { .. })));
        assert!(matches!(
            Globs::new(["{".repeat(4000)]),
            Err(GlobError::Syntax { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_match_lies_beneath_a_directory_that_is_passed_by(
            glob in "(([ab*?]|\\*\\*|\\{a,b/a\\}|\\[ab\\]){1,3}/){0,3}[ab*]{1,2}",
            path in "([ab]{1,2}/){0,4}[ab]{1,2}",
        ) {
            let Ok(globs) = Globs::new([&glob]) else { return Ok(()) };
            let path = Path::new(&path);
            if globs.is_match(path) {
                for directory in path.ancestors().skip(1) {
                    prop_assert!(globs.may_match_beneath(directory), "{glob} {directory:?}");
                }
            }
        }
    }
}
