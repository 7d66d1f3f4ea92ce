//! Ranges of versions: how to write them, and which versions are in one.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem;
use std::str::FromStr;

use super::{Tail, Version, VersionError, zero};

/// The longest range, in bytes.
pub const MAX_RANGE_BYTES: usize = 1024;

/// A set of versions.
///
/// | written | means |
/// |---|---|
/// | `*` | every version, pre-releases too |
/// | `16.1`, `16.1.*` | 16.1 and all below it in the tree: 16.1.0, 16.1.7, but not 16.10 |
/// | `=16.1` | 16.1 and its other spellings: 16.1.0, but not 16.1.1 |
/// | `>16.1`, `>=16.1`, `<17`, `<=17` | by the order of versions |
/// | `~16.1.2` | at least that, within 16.1 (of two segments or one: within what is written) |
/// | `^16.1.2` | at least that, within 16; of 0.2.3 within 0.2, of 0.0.3 within 0.0.3 |
/// | `>=16, <17` | all of them; a blank does for the comma |
/// | `14 || >=16` | any of them |
///
/// A pre-release is in a range only if what it has to match all of names one (`>=17-rc.1`) or has a
/// `*` (`>=17, *`); and `<17` has no pre-release of 17 even then. A build (`+6`) is looked at only
/// where the range has one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VersionRange {
    /// Never empty.
    alternatives: Vec<Vec<Comparator>>,
}

#[derive(Debug, Clone)]
enum Comparator {
    Any,
    Below(Version),
    Exactly(Version),
    Greater(Version),
    AtLeast(Version),
    Less(Version),
    AtMost(Version),
    Tilde(Version),
    Caret(Version),
}

/// Why a text is not a range of versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Nothing was given, or nothing beside a `,` or `||`.
    #[error("a version is missing at position {position}")]
    Missing {
        /// Where, in characters, counted from 1.
        position: usize,
    },
    /// More than the limit was given.
    #[error("the range has {length} bytes, the limit is {limit}", limit = MAX_RANGE_BYTES)]
    TooLong {
        /// How long the text is, in bytes.
        length: usize,
    },
    /// A version in it cannot be read. The positions in the problem are those of the range.
    #[error(transparent)]
    Version(VersionError),
    /// Something like an operator that is none.
    #[error(
        "at position {position} is `{operator}`, which is none of the operators \
         `=`, `>`, `>=`, `<`, `<=`, `~` and `^`"
    )]
    Operator {
        /// Where it starts, in characters, counted from 1.
        position: usize,
        /// What is there.
        operator: String,
    },
    /// A `*` with an operator before it or something after it.
    #[error("the `*` at position {position} may only stand alone or end a version such as `16.*`")]
    Wildcard {
        /// Where the version with it starts, in characters, counted from 1.
        position: usize,
    },
}

impl VersionRange {
    /// The range of all versions.
    #[must_use]
    pub fn any() -> Self {
        Self {
            alternatives: vec![vec![Comparator::Any]],
        }
    }

    /// A version and all below it in the tree.
    #[must_use]
    pub fn below(version: Version) -> Self {
        Self {
            alternatives: vec![vec![Comparator::Below(version)]],
        }
    }

    /// A version and its other spellings only.
    #[must_use]
    pub fn exactly(version: Version) -> Self {
        Self {
            alternatives: vec![vec![Comparator::Exactly(version)]],
        }
    }

    /// At least `least`, and below `root` in the tree.
    pub(crate) fn at_least_within(least: Version, root: Version) -> Self {
        Self {
            alternatives: vec![vec![Comparator::AtLeast(least), Comparator::Below(root)]],
        }
    }

    /// At least `least`, and less than `bound`.
    pub(crate) fn at_least_less(least: Version, bound: Version) -> Self {
        Self {
            alternatives: vec![vec![Comparator::AtLeast(least), Comparator::Less(bound)]],
        }
    }

    /// At least `least`.
    pub(crate) fn at_least(least: Version) -> Self {
        Self {
            alternatives: vec![vec![Comparator::AtLeast(least)]],
        }
    }

    /// All versions but pre-releases.
    pub(crate) fn releases() -> Self {
        let zero = Version {
            text: "0".to_owned(),
            release: vec![zero()],
            tail: Tail::None,
            build: Vec::new(),
        };
        Self::at_least(zero)
    }

    /// The same range with the pre-releases between its bounds.
    pub(crate) fn with_pre_releases(mut self) -> Self {
        for comparators in &mut self.alternatives {
            comparators.push(Comparator::Any);
        }
        self
    }

    /// What is in this range or in the other.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.alternatives.extend(other.alternatives);
        self
    }

    /// Whether a version is in the range.
    #[must_use]
    pub fn contains(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|comparators| {
            let admits_pre_release =
                comparators
                    .iter()
                    .any(|comparator| match comparator.version() {
                        Some(bound) => bound.is_pre_release(),
                        None => true,
                    });
            (admits_pre_release || !version.is_pre_release())
                && comparators
                    .iter()
                    .all(|comparator| comparator.contains(version))
        })
    }

    /// Reads a range.
    ///
    /// # Errors
    ///
    /// What is wrong with the text and where.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        if text.len() > MAX_RANGE_BYTES {
            return Err(RangeError::TooLong { length: text.len() });
        }
        let mut alternatives = Vec::new();
        let mut offset = 0;
        for alternative in text.split("||") {
            alternatives.push(parse_alternative(alternative, offset)?);
            offset += alternative.chars().count() + 2;
        }
        Ok(Self { alternatives })
    }
}

impl FromStr for VersionRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        Self::parse(text)
    }
}

/// Reads comparators that must all hold. `offset` is where the text starts, in characters.
fn parse_alternative(text: &str, offset: usize) -> Result<Vec<Comparator>, RangeError> {
    let mut comparators = Vec::new();
    let mut offset = offset;
    for part in text.split(',') {
        let before = comparators.len();
        let mut rest = part;
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                break;
            }
            let operator_length = rest
                .find(|c: char| !"<>=~^".contains(c))
                .unwrap_or(rest.len());
            let (operator, after) = rest.split_at(operator_length);
            let version = after.trim_start();
            let place = |rest: &str| offset + part.chars().count() - rest.chars().count() + 1;
            let Some(make) = maker(operator) else {
                let operator = operator.to_owned();
                return Err(RangeError::Operator {
                    position: place(rest),
                    operator,
                });
            };
            let position = place(version);
            let end = version.find(|c: char| c.is_whitespace() || "<>=^".contains(c));
            let (version, remaining) = version.split_at(end.unwrap_or(version.len()));
            comparators.push(match wildcard(operator, version, position)? {
                Some(comparator) => comparator,
                None => {
                    let bare = version.strip_suffix(".*").unwrap_or(version);
                    let version = Version::parse(bare)
                        .map_err(|error| RangeError::Version(error.shifted(position - 1)))?;
                    make(version)
                }
            });
            rest = remaining;
        }
        if comparators.len() == before {
            return Err(RangeError::Missing {
                position: offset + 1,
            });
        }
        offset += part.chars().count() + 1;
    }
    Ok(comparators)
}

/// What an operator makes of a version.
fn maker(operator: &str) -> Option<fn(Version) -> Comparator> {
    match operator {
        "" => Some(Comparator::Below),
        "=" | "==" => Some(Comparator::Exactly),
        ">" => Some(Comparator::Greater),
        ">=" => Some(Comparator::AtLeast),
        "<" => Some(Comparator::Less),
        "<=" => Some(Comparator::AtMost),
        "~" => Some(Comparator::Tilde),
        "^" => Some(Comparator::Caret),
        _ => None,
    }
}

/// Checks where a `*` stands. Gives the comparator of a lone one.
fn wildcard(operator: &str, text: &str, position: usize) -> Result<Option<Comparator>, RangeError> {
    if text.is_empty() {
        return Err(RangeError::Missing { position });
    }
    let bare = text.strip_suffix(".*").unwrap_or(text);
    if operator.is_empty() && text == "*" {
        return Ok(Some(Comparator::Any));
    }
    if bare.contains('*') || bare != text && !operator.is_empty() {
        return Err(RangeError::Wildcard { position });
    }
    Ok(None)
}

/// Told apart by their text: `16.1` and `16.1.0` are equal versions, but not the same part of the
/// tree.
impl PartialEq for Comparator {
    fn eq(&self, other: &Self) -> bool {
        mem::discriminant(self) == mem::discriminant(other)
            && self.version().map(Version::as_str) == other.version().map(Version::as_str)
    }
}

impl Eq for Comparator {}

impl Hash for Comparator {
    fn hash<H: Hasher>(&self, state: &mut H) {
        mem::discriminant(self).hash(state);
        self.version().map(Version::as_str).hash(state);
    }
}

impl Comparator {
    fn version(&self) -> Option<&Version> {
        match self {
            Self::Any => None,
            Self::Below(version)
            | Self::Exactly(version)
            | Self::Greater(version)
            | Self::AtLeast(version)
            | Self::Less(version)
            | Self::AtMost(version)
            | Self::Tilde(version)
            | Self::Caret(version) => Some(version),
        }
    }

    fn contains(&self, version: &Version) -> bool {
        match self {
            Self::Any => true,
            Self::Below(root) => version.is_below(root),
            Self::Exactly(bound) => compare(version, bound).is_eq(),
            Self::Greater(bound) => compare(version, bound).is_gt(),
            Self::AtLeast(bound) => compare(version, bound).is_ge(),
            // Less than 17 has nothing of 17 in it, and so no pre-release of 17 either.
            Self::Less(bound) => {
                compare(version, bound).is_lt()
                    && (bound.is_pre_release()
                        || !version.is_pre_release()
                        || !version.has_release_of(bound))
            }
            Self::AtMost(bound) => compare(version, bound).is_le(),
            Self::Tilde(bound) => {
                compare(version, bound).is_ge() && version.is_below(&bound.truncated(2))
            }
            Self::Caret(bound) => {
                let leading_zeros = (0..bound.segment_count())
                    .take_while(|i| bound.segment(*i) == Some(0))
                    .count();
                let root = bound.truncated((leading_zeros + 1).min(bound.segment_count()));
                compare(version, bound).is_ge() && version.is_below(&root)
            }
        }
    }
}

/// Compares with a bound, looking at the build only where the bound has one.
fn compare(version: &Version, bound: &Version) -> Ordering {
    if bound.build.is_empty() {
        version.cmp_without_build(bound)
    } else {
        version.cmp(bound)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, comparators) in self.alternatives.iter().enumerate() {
            formatter.write_str(if index == 0 { "" } else { " || " })?;
            for (index, comparator) in comparators.iter().enumerate() {
                formatter.write_str(if index == 0 { "" } else { ", " })?;
                comparator.fmt(formatter)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Comparator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("*"),
            Self::Below(version) => version.fmt(formatter),
            Self::Exactly(version) => write!(formatter, "={version}"),
            Self::Greater(version) => write!(formatter, ">{version}"),
            Self::AtLeast(version) => write!(formatter, ">={version}"),
            Self::Less(version) => write!(formatter, "<{version}"),
            Self::AtMost(version) => write!(formatter, "<={version}"),
            Self::Tilde(version) => write!(formatter, "~{version}"),
            Self::Caret(version) => write!(formatter, "^{version}"),
        }
    }
}
