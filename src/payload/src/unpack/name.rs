//! The name of an entry: bytes a stranger chose, made into components below a root.

use crate::error::{ArchiveProblem, Error, Limit, NameProblem};

/// Longest name of one directory entry, in bytes, on every file system that matters here.
const MAX_COMPONENT: usize = 255;

/// Longest name of an entry, in bytes: somewhat under the 4096 that Linux takes as one path, so
/// that something of the destination's own path fits in front.
const MAX_NAME: usize = 4000;

/// What separates the components of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separators {
    /// `/` only, as in tar.
    Slash,
    /// `/` and `\`: some Windows senders write zip names with the latter.
    SlashOrBackslash,
}

/// A name that cannot lead outside: relative, without `..`, no component too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntryName {
    /// As the archive has it, for messages.
    raw: Vec<u8>,
    /// The components joined by single slashes; empty for the root itself.
    normal: Vec<u8>,
    /// Whether the name ends as only that of a directory does.
    shape: Shape,
}

/// What the end of a name says of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It ends in a separator, or is the root itself: a directory.
    Directory,
    /// It ends in a component: anything.
    Any,
}

impl EntryName {
    /// Judges `raw` and takes it apart.
    pub(super) fn parse(
        raw: &[u8],
        separators: Separators,
        max_depth: usize,
    ) -> Result<Self, ArchiveProblem> {
        let refuse = |problem| Err(ArchiveProblem::Name(problem));
        let is_separator = |byte: u8| {
            byte == b'/' || (byte == b'\\' && separators == Separators::SlashOrBackslash)
        };
        if raw.is_empty() {
            return refuse(NameProblem::Empty);
        }
        if raw.len() > MAX_NAME {
            return refuse(NameProblem::TooLong);
        }
        if raw.contains(&0) {
            return refuse(NameProblem::Nul);
        }
        if is_separator(raw[0]) || raw[0] == b'\\' && raw.get(1) == Some(&b'\\') {
            return refuse(NameProblem::Absolute);
        }
        // `C:`, `C:\x` and, where backslashes separate, `C:x`. A tar may well hold `a:b`.
        if let [letter, b':', rest @ ..] = raw
            && letter.is_ascii_alphabetic()
            && (separators == Separators::SlashOrBackslash
                || matches!(rest.first(), None | Some(b'/' | b'\\')))
        {
            return refuse(NameProblem::DriveLetter);
        }
        let mut normal = Vec::with_capacity(raw.len());
        let mut depth = 0;
        for component in raw.split(|byte| is_separator(*byte)) {
            match component {
                b"" | b"." => continue,
                b".." => return refuse(NameProblem::ParentDirectory),
                _ if component.len() > MAX_COMPONENT => {
                    return refuse(NameProblem::ComponentTooLong);
                }
                _ => {}
            }
            depth += 1;
            if !normal.is_empty() {
                normal.push(b'/');
            }
            normal.extend_from_slice(component);
        }
        if depth > max_depth {
            return Err(ArchiveProblem::Limit(Limit::Depth { levels: max_depth }));
        }
        let ends_open = raw.last().is_some_and(|last| is_separator(*last))
            || raw == b"."
            || raw.ends_with(b"/.");
        let shape = if ends_open || normal.is_empty() {
            Shape::Directory
        } else {
            Shape::Any
        };
        Ok(Self {
            raw: raw.to_vec(),
            normal,
            shape,
        })
    }

    /// The directories above the last component, and that component; `None` for the root itself.
    pub(super) fn split(&self) -> Option<(impl Iterator<Item = &[u8]>, &[u8])> {
        if self.normal.is_empty() {
            return None;
        }
        let (parents, leaf) = match self.normal.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.normal[..slash], &self.normal[slash + 1..]),
            None => (&self.normal[..0], &self.normal[..]),
        };
        Some((components(parents), leaf))
    }

    /// All components; none for the root itself.
    pub(super) fn components(&self) -> impl Iterator<Item = &[u8]> {
        components(&self.normal)
    }

    /// How many directories below the root the entry lies.
    pub(super) fn parents(&self) -> usize {
        self.components().count().saturating_sub(1)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// The name as the archive has it.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// `problem`, said of this entry.
    pub(super) fn refuse(&self, problem: ArchiveProblem) -> Error {
        Error::entry(&self.raw, problem)
    }
}

fn components(normal: &[u8]) -> impl Iterator<Item = &[u8]> {
    normal
        .split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[u8], separators: Separators, expected: Result<&str, NameProblem>) {
        let found = EntryName::parse(raw, separators, 16).map(|name| name.normal);
        let expected = expected
            .map(|name| name.as_bytes().to_vec())
            .map_err(ArchiveProblem::Name);
        assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(raw));
    }

    #[test]
    fn ordinary_names_lose_only_what_means_nothing() {
        for separators in [Separators::Slash, Separators::SlashOrBackslash] {
            check(b"a", separators, Ok("a"));
            check(b"./a//b/./c/", separators, Ok("a/b/c"));
            check(b"./", separators, Ok(""));
            check(b".", separators, Ok(""));
            check(b"...", separators, Ok("..."));
            check(b"..a/b..", separators, Ok("..a/b.."));
            check(b" /-", separators, Ok(" /-"));
        }
    }

    #[test]
    fn backslash_separates_in_zip_and_is_an_ordinary_character_in_tar() {
        check(br"a\b\c.txt", Separators::SlashOrBackslash, Ok("a/b/c.txt"));
        check(br"a\b\c.txt", Separators::Slash, Ok(r"a\b\c.txt"));
        check(
            br"a\..\b",
            Separators::SlashOrBackslash,
            Err(NameProblem::ParentDirectory),
        );
        check(
            br"..\b",
            Separators::SlashOrBackslash,
            Err(NameProblem::ParentDirectory),
        );
        check(
            br"\b",
            Separators::SlashOrBackslash,
            Err(NameProblem::Absolute),
        );
        check(
            br"\\server\share",
            Separators::SlashOrBackslash,
            Err(NameProblem::Absolute),
        );
        check(
            br"\\server\share",
            Separators::Slash,
            Err(NameProblem::Absolute),
        );
    }

    #[test]
    fn names_that_lead_outside_are_refused() {
        for separators in [Separators::Slash, Separators::SlashOrBackslash] {
            check(b"", separators, Err(NameProblem::Empty));
            check(b"/", separators, Err(NameProblem::Absolute));
            check(b"/etc/passwd", separators, Err(NameProblem::Absolute));
            check(b"..", separators, Err(NameProblem::ParentDirectory));
            check(b"../a", separators, Err(NameProblem::ParentDirectory));
            check(b"a/../b", separators, Err(NameProblem::ParentDirectory));
            check(b"a/..", separators, Err(NameProblem::ParentDirectory));
            check(b"a\0b", separators, Err(NameProblem::Nul));
            check(b"C:", separators, Err(NameProblem::DriveLetter));
            check(br"C:\a", separators, Err(NameProblem::DriveLetter));
            check(b"c:/a", separators, Err(NameProblem::DriveLetter));
        }
        check(
            b"c:a",
            Separators::SlashOrBackslash,
            Err(NameProblem::DriveLetter),
        );
        check(b"c:a", Separators::Slash, Ok("c:a"));
    }

    #[test]
    fn endless_names_are_refused() {
        check(&[b'a'; 255], Separators::Slash, Ok(&"a".repeat(255)));
        check(
            &[b'a'; 256],
            Separators::Slash,
            Err(NameProblem::ComponentTooLong),
        );
        check(
            &b"a/".repeat(2001),
            Separators::Slash,
            Err(NameProblem::TooLong),
        );
        assert_eq!(
            EntryName::parse(&b"a/".repeat(17), Separators::Slash, 16),
            Err(ArchiveProblem::Limit(Limit::Depth { levels: 16 }))
        );
    }

    #[test]
    fn trailing_separator_makes_a_directory() {
        let shape = |raw: &[u8], separators| {
            EntryName::parse(raw, separators, 16)
                .map(|name| name.shape())
                .unwrap()
        };
        assert_eq!(shape(b"a/", Separators::Slash), Shape::Directory);
        assert_eq!(shape(b"a/.", Separators::Slash), Shape::Directory);
        assert_eq!(shape(b"./", Separators::Slash), Shape::Directory);
        assert_eq!(
            shape(br"a\", Separators::SlashOrBackslash),
            Shape::Directory
        );
        assert_eq!(shape(br"a\", Separators::Slash), Shape::Any);
        assert_eq!(shape(b"a", Separators::Slash), Shape::Any);
    }
}
