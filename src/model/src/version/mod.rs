//! Versions as tools print them, and ranges of them.
//!
//! There is no one grammar for versions in the wild, so reading is lenient and the order is one
//! that people expect: numbers compare as numbers, missing numbers are zeros, a pre-release comes
//! before its release.

mod range;

pub use range::{MAX_RANGE_BYTES, RangeError, VersionRange};

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The longest version, in bytes.
pub const MAX_VERSION_BYTES: usize = 128;

/// A version such as `16.1`, `17.0.15+6`, `9.0.100-rc.1.24452.12`, `14A309` or `v20.1`.
///
/// It starts with a digit, after an optional `v`. Its parts:
///
/// - the **release**: segments between `.` or `_`, each a run of numbers and letters (`14A309` is
///   one);
/// - a **pre-release** after `~`, after `-` and a letter (`-rc.1`), or with one of the customary
///   words glued to a number (`3.13.0rc1`, `3.13.0a4`);
/// - or a **revision** after `-` and a digit, as distributions use it (`5.15.0-1071-azure`);
/// - a **build** after `+`.
///
/// Pre-release < release < revision. Two versions are equal if nothing tells them apart: `16.1` and
/// `v16.1.0` are. Letters compare by case in the release and without it in a pre-release.
#[derive(Clone)]
pub struct Version {
    text: String,
    release: Vec<Segment>,
    tail: Tail,
    build: Vec<Token>,
}

/// The part of a release between two dots; never empty.
type Segment = Vec<Token>;

/// A run of digits or of letters. Numbers come before words, as in semantic versioning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Token {
    Number(Number),
    Letters(String),
}

/// A number of any length: its digits without leading zeros, none for zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Number(String);

/// What follows a release. The order of the variants is the order of versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Tail {
    PreRelease(Vec<Token>),
    None,
    Revision(Vec<Token>),
}

/// Why a text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Nothing was given.
    #[error("the version is empty")]
    Empty,
    /// More than the limit was given.
    #[error("the version has {length} bytes, the limit is {limit}", limit = MAX_VERSION_BYTES)]
    TooLong {
        /// How long the text is, in bytes.
        length: usize,
    },
    /// It does not start with a number.
    #[error(
        "at position {position} a version should start, with a digit or with `v` and a digit, \
         not with {character:?}"
    )]
    BadStart {
        /// The first character.
        character: char,
        /// Where it stands, in characters, counted from 1.
        position: usize,
    },
    /// A character that has no place in a version.
    #[error("the version has the character {character:?} at position {position}")]
    BadCharacter {
        /// The offending character.
        character: char,
        /// Where it stands, in characters, counted from 1.
        position: usize,
    },
    /// Nothing between two separators, or after the last one.
    #[error("the version has nothing at position {position}, where a number or a word is due")]
    EmptySegment {
        /// Where it is missing, in characters, counted from 1.
        position: usize,
    },
}

/// Words that make a pre-release when glued to a number.
const PRE_RELEASE_WORDS: [&str; 9] = [
    "alpha", "beta", "rc", "pre", "preview", "dev", "nightly", "snapshot", "ea",
];

/// Letters that make a pre-release when a number follows them, as Python has it.
const PRE_RELEASE_LETTERS: [&str; 3] = ["a", "b", "c"];

impl VersionError {
    /// The same error for a text of which the version is the part after `offset` characters.
    fn shifted(self, offset: usize) -> Self {
        match self {
            Self::BadCharacter {
                character,
                position,
            } => Self::BadCharacter {
                character,
                position: position.saturating_add(offset),
            },
            Self::EmptySegment { position } => Self::EmptySegment {
                position: position.saturating_add(offset),
            },
            Self::BadStart {
                character,
                position,
            } => Self::BadStart {
                character,
                position: position.saturating_add(offset),
            },
            Self::Empty | Self::TooLong { .. } => self,
        }
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        Self::parse(text)
    }
}

impl Version {
    /// Reads a version.
    ///
    /// # Errors
    ///
    /// What is wrong with the text and where.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let first = text.chars().next().ok_or(VersionError::Empty)?;
        if text.len() > MAX_VERSION_BYTES {
            return Err(VersionError::TooLong { length: text.len() });
        }
        for (index, character) in text.chars().enumerate() {
            if !(character.is_ascii_alphanumeric()
                || matches!(character, '.' | '_' | '-' | '~' | '+'))
            {
                return Err(VersionError::BadCharacter {
                    character,
                    position: index + 1,
                });
            }
        }
        // Only ASCII from here on, so bytes and characters are the same.
        let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
        if !bare.starts_with(|character: char| character.is_ascii_digit()) {
            return Err(VersionError::BadStart {
                character: first,
                position: 1,
            });
        }
        let start = text.len() - bare.len();
        let (main, build) = match bare.split_once('+') {
            Some((main, build)) => (
                main,
                words(build, &['.', '-', '_', '+'], start + main.len() + 1)?,
            ),
            None => (bare, Vec::new()),
        };
        let (release, tail) = match main.find(['-', '~']) {
            Some(at) => {
                let offset = start + at + 1;
                let tokens = words(&main[at + 1..], &['.', '-', '_', '~'], offset)?;
                let is_revision =
                    main[at..].starts_with('-') && matches!(tokens.first(), Some(Token::Number(_)));
                let tail = if is_revision {
                    Tail::Revision(tokens)
                } else {
                    Tail::PreRelease(lower(tokens))
                };
                (&main[..at], Some(tail))
            }
            None => (main, None),
        };
        let mut segments = Vec::new();
        let mut offset = start;
        for segment in release.split(['.', '_']) {
            if segment.is_empty() {
                return Err(VersionError::EmptySegment {
                    position: offset + 1,
                });
            }
            offset += segment.len() + 1;
            segments.push(tokens(segment));
        }
        let (release, glued) = split_glued(segments);
        // `1.0rc1-2` is a pre-release whatever follows.
        let tail = match (glued, tail) {
            (None, None) => Tail::None,
            (None, Some(tail)) => tail,
            (Some(glued), None | Some(Tail::None)) => Tail::PreRelease(glued),
            (Some(mut glued), Some(Tail::PreRelease(more) | Tail::Revision(more))) => {
                glued.extend(more);
                Tail::PreRelease(glued)
            }
        };
        Ok(Self {
            text: text.to_owned(),
            release,
            tail,
            build,
        })
    }

    /// The text that the version was read from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it comes before the release that it names.
    #[must_use]
    pub fn is_pre_release(&self) -> bool {
        match &self.tail {
            Tail::PreRelease(_) => true,
            Tail::None | Tail::Revision(_) => false,
        }
    }

    /// Compares without regard to the build.
    fn cmp_without_build(&self, other: &Self) -> Ordering {
        cmp_releases(&self.release, &other.release).then_with(|| self.tail.cmp(&other.tail))
    }

    /// Whether this is `root` or stands below it in the tree of versions: `16.1.2` and `16.1-rc.1`
    /// below `16.1`.
    fn is_below(&self, root: &Self) -> bool {
        let zero = zero();
        let own = |index: usize| self.release.get(index).unwrap_or(&zero);
        let same_release = root
            .release
            .iter()
            .enumerate()
            .all(|(index, segment)| own(index) == segment);
        let same_tail = match &root.tail {
            Tail::None => true,
            Tail::PreRelease(tokens) => match &self.tail {
                Tail::PreRelease(own) => self.has_release_of(root) && own.starts_with(tokens),
                Tail::None | Tail::Revision(_) => false,
            },
            Tail::Revision(tokens) => match &self.tail {
                Tail::Revision(own) => self.has_release_of(root) && own.starts_with(tokens),
                Tail::None | Tail::PreRelease(_) => false,
            },
        };
        same_release && same_tail && (root.build.is_empty() || self.build.starts_with(&root.build))
    }

    /// Whether the releases are the same, whatever follows them.
    fn has_release_of(&self, other: &Self) -> bool {
        cmp_releases(&self.release, &other.release) == Ordering::Equal
    }

    /// The version of the first `count` segments of the release, and nothing else.
    fn truncated(&self, count: usize) -> Self {
        let release: Vec<Segment> = self.release.iter().take(count.max(1)).cloned().collect();
        let text = release
            .iter()
            .map(|segment| segment_text(segment))
            .collect::<Vec<_>>()
            .join(".");
        Self {
            text,
            release,
            tail: Tail::None,
            build: Vec::new(),
        }
    }

    /// The number in a segment of the release; missing ones are zero, those with letters none.
    #[must_use]
    pub fn segment(&self, index: usize) -> Option<u64> {
        match self.release.get(index).map(Vec::as_slice) {
            None => Some(0),
            Some([Token::Number(number)]) if number.0.is_empty() => Some(0),
            Some([Token::Number(number)]) => number.0.parse().ok(),
            Some(_) => None,
        }
    }

    /// How many segments the release was written with.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.release.len()
    }
}

/// What a segment that is not there counts as.
fn zero() -> Segment {
    vec![Token::Number(Number(String::new()))]
}

fn segment_text(segment: &[Token]) -> String {
    segment.iter().map(ToString::to_string).collect()
}

/// Splits a text of ASCII letters and digits into runs.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest
            .find(|character: char| character.is_ascii_digit() != is_digit)
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        tokens.push(if is_digit {
            Token::Number(Number(run.trim_start_matches('0').to_owned()))
        } else {
            Token::Letters(run.to_owned())
        });
        rest = after;
    }
    tokens
}

/// The runs of a text between separators. `offset` is where the text starts, for messages.
fn words(text: &str, separators: &[char], offset: usize) -> Result<Vec<Token>, VersionError> {
    let mut found = Vec::new();
    let mut offset = offset;
    for word in text.split(separators) {
        if word.is_empty() {
            return Err(VersionError::EmptySegment {
                position: offset + 1,
            });
        }
        offset += word.len() + 1;
        found.extend(tokens(word));
    }
    Ok(found)
}

fn lower(tokens: Vec<Token>) -> Vec<Token> {
    tokens
        .into_iter()
        .map(|token| match token {
            Token::Letters(letters) => Token::Letters(letters.to_ascii_lowercase()),
            Token::Number(number) => Token::Number(number),
        })
        .collect()
}

/// Cuts a release where a pre-release word is glued to it: `3.13.0rc1` is `3.13.0` and `rc1`.
fn split_glued(segments: Vec<Segment>) -> (Vec<Segment>, Option<Vec<Token>>) {
    let found = segments.iter().enumerate().find_map(|(index, segment)| {
        segment.iter().enumerate().find_map(|(position, token)| {
            let is_last = position + 1 == segment.len();
            let starts = match token {
                Token::Letters(letters) => {
                    PRE_RELEASE_WORDS.contains(&letters.to_ascii_lowercase().as_str())
                        || (!is_last && PRE_RELEASE_LETTERS.contains(&letters.as_str()))
                }
                Token::Number(_) => false,
            };
            starts.then_some((index, position))
        })
    });
    let Some((index, position)) = found else {
        return (segments, None);
    };
    let mut release = segments;
    let rest: Vec<Segment> = release.split_off(index);
    let mut glued: Vec<Token> = rest.concat();
    let head: Segment = glued.drain(..position).collect();
    if !head.is_empty() {
        release.push(head);
    }
    (release, Some(lower(glued)))
}

/// Compares segment by segment; missing ones are zeros.
fn cmp_releases(left: &[Segment], right: &[Segment]) -> Ordering {
    let zero = zero();
    (0..left.len().max(right.len()))
        .map(|index| {
            left.get(index)
                .unwrap_or(&zero)
                .cmp(right.get(index).unwrap_or(&zero))
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0
            .len()
            .cmp(&other.0.len())
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.cmp_without_build(other)
            .then_with(|| self.build.cmp(&other.build))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let zero = zero();
        let significant = self
            .release
            .iter()
            .rposition(|segment| *segment != zero)
            .map_or(0, |last| last + 1);
        self.release[..significant].hash(state);
        self.tail.hash(state);
        self.build.hash(state);
    }
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letters(letters) => formatter.write_str(letters),
            Self::Number(Number(digits)) if digits.is_empty() => formatter.write_str("0"),
            Self::Number(Number(digits)) => formatter.write_str(digits),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Version({})", self.text)
    }
}

#[cfg(test)]
mod tests;
