//! What a machine offers, what a work item requires, and what of that is missing.

mod global_json;
mod requirement_file;

pub use requirement_file::{MAX_REQUIREMENT_FILE_BYTES, RequirementFile, RequirementFileError};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::version::{RangeError, Version, VersionRange};

/// The longest name and the longest text of a capability, in bytes.
pub const MAX_CAPABILITY_BYTES: usize = 128;

/// The name of a capability, such as `xcode` or `dotnet-sdk`; kept in lower case.
///
/// 1 to 128 characters of `a-z 0-9 . _ + -`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CapabilityName(String);

/// Why a text is not a name or a text of a capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// More than the limit was given.
    #[error("it has {length} bytes, the limit is {limit}", limit = MAX_CAPABILITY_BYTES)]
    TooLong {
        /// How long it is, in bytes.
        length: usize,
    },
    /// A character that is not allowed there.
    #[error(
        "it has the character {character:?} at position {position}, which is not allowed there"
    )]
    BadCharacter {
        /// The offending character.
        character: char,
        /// Where it stands, in characters, counted from 1.
        position: usize,
    },
}

impl CapabilityName {
    /// Checks a name and brings it into lower case.
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn new(text: &str) -> Result<Self, CapabilityError> {
        if text.is_empty() {
            return Err(CapabilityError::Empty);
        }
        if text.len() > MAX_CAPABILITY_BYTES {
            return Err(CapabilityError::TooLong { length: text.len() });
        }
        let bad = text.chars().enumerate().find(|(index, character)| {
            !(character.is_ascii_alphanumeric()
                || *index > 0 && matches!(character, '.' | '_' | '+' | '-'))
        });
        if let Some((index, character)) = bad {
            return Err(CapabilityError::BadCharacter {
                character,
                position: index + 1,
            });
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CapabilityName {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, CapabilityError> {
        Self::new(text)
    }
}

impl fmt::Display for CapabilityName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// What is known of a capability beside that it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CapabilityValue {
    /// Nothing: it is a label.
    Label,
    /// Texts, such as `linux` for `os`; compared without regard to case. Never empty.
    Texts(BTreeSet<String>),
    /// The versions that are installed. Never empty.
    Versions(BTreeSet<Version>),
}

impl CapabilityValue {
    /// One text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Texts(BTreeSet::from([text.into()]))
    }

    /// Some versions; a label if there are none.
    #[must_use]
    pub fn versions(versions: impl IntoIterator<Item = Version>) -> Self {
        let versions: BTreeSet<Version> = versions.into_iter().collect();
        if versions.is_empty() {
            Self::Label
        } else {
            Self::Versions(versions)
        }
    }

    /// Both together. Versions and texts become texts, which lose nothing: a range finds versions
    /// in them.
    #[must_use]
    fn joined(self, other: Self) -> Self {
        let texts = |versions: BTreeSet<Version>| {
            versions
                .into_iter()
                .map(|version| version.to_string())
                .collect::<BTreeSet<_>>()
        };
        match (self, other) {
            (Self::Label, other) | (other, Self::Label) => other,
            (Self::Texts(mut left), Self::Texts(right)) => {
                left.extend(right);
                Self::Texts(left)
            }
            (Self::Versions(mut left), Self::Versions(right)) => {
                left.extend(right);
                Self::Versions(left)
            }
            (Self::Texts(mut left), Self::Versions(right))
            | (Self::Versions(right), Self::Texts(mut left)) => {
                left.extend(texts(right));
                Self::Texts(left)
            }
        }
    }
}

impl fmt::Display for CapabilityValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label => formatter.write_str("present"),
            Self::Texts(texts) => write_list(texts, formatter),
            Self::Versions(versions) => write_list(versions, formatter),
        }
    }
}

fn write_list<T: fmt::Display>(
    items: &BTreeSet<T>,
    formatter: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        formatter.write_str(if index == 0 { "" } else { ", " })?;
        item.fmt(formatter)?;
    }
    Ok(())
}

/// What one machine offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapabilitySet(BTreeMap<CapabilityName, CapabilityValue>);

impl CapabilitySet {
    /// Offers nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a capability; joins it with what was known of that name.
    pub fn add(&mut self, name: CapabilityName, value: CapabilityValue) {
        let value = match self.0.remove(&name) {
            Some(known) => known.joined(value),
            None => value,
        };
        self.0.insert(name, value);
    }

    /// Forgets a capability and says what was known of it.
    pub fn remove(&mut self, name: &CapabilityName) -> Option<CapabilityValue> {
        self.0.remove(name)
    }

    /// What is known of a capability; none if the machine lacks it.
    #[must_use]
    pub fn get(&self, name: &CapabilityName) -> Option<&CapabilityValue> {
        self.0.get(name)
    }

    /// All capabilities in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&CapabilityName, &CapabilityValue)> {
        self.0.iter()
    }

    /// What the machine lacks of the requirements, in their order.
    #[must_use]
    pub fn missing(&self, requirements: &[Requirement]) -> Vec<Missing> {
        requirements
            .iter()
            .filter_map(|requirement| {
                let present = self.get(&requirement.name);
                match present {
                    Some(value) if requirement.wanted.is_met_by(value) => None,
                    Some(_) | None => Some(Missing {
                        name: requirement.name.clone(),
                        wanted: requirement.wanted.clone(),
                        present: present.cloned(),
                        asked_by: None,
                    }),
                }
            })
            .collect()
    }
}

/// What an item wants of a capability.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// That it is there.
    Present,
    /// One of these versions.
    Range(VersionRange),
    /// This text, without regard to case.
    Text(String),
}

impl Wanted {
    /// Reads what is wanted: nothing for [`Wanted::Present`], a range of versions, or a text, with
    /// or without `=` before it.
    ///
    /// What can be a range is one, for versions are what an item mostly asks for; a label whose
    /// text is such a version satisfies it too.
    ///
    /// # Errors
    ///
    /// Neither a range nor a text.
    pub fn parse(text: &str) -> Result<Self, RequirementError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::Present);
        }
        let error = match VersionRange::parse(text) {
            Ok(range) => return Ok(Self::Range(range)),
            Err(error) => error,
        };
        let value = match text.strip_prefix('=') {
            Some(value) => value.trim(),
            // A range with a slip in it must not pass for a text that no machine has.
            None if text.starts_with(|first: char| first.is_ascii_alphabetic())
                && !text.contains(|c: char| c.is_whitespace() || "<>=~^*|,".contains(c)) =>
            {
                text
            }
            None => return Err(RequirementError::Range(error)),
        };
        check_text(value)?;
        Ok(Self::Text(value.to_owned()))
    }

    /// Whether what a machine has is what is wanted.
    #[must_use]
    pub fn is_met_by(&self, value: &CapabilityValue) -> bool {
        match (self, value) {
            (Self::Present, _) => true,
            (Self::Range(range), CapabilityValue::Versions(versions)) => {
                versions.iter().any(|version| range.contains(version))
            }
            (Self::Range(range), CapabilityValue::Texts(texts)) => texts
                .iter()
                .any(|text| Version::parse(text).is_ok_and(|version| range.contains(&version))),
            (Self::Text(wanted), CapabilityValue::Texts(texts)) => {
                texts.iter().any(|text| text.eq_ignore_ascii_case(wanted))
            }
            (Self::Text(_), CapabilityValue::Versions(_)) => false,
            // A label says that the thing is there, not which.
            (Self::Range(_) | Self::Text(_), CapabilityValue::Label) => false,
        }
    }
}

fn check_text(text: &str) -> Result<(), RequirementError> {
    if text.is_empty() {
        return Err(RequirementError::Text(CapabilityError::Empty));
    }
    if text.len() > MAX_CAPABILITY_BYTES {
        return Err(RequirementError::Text(CapabilityError::TooLong {
            length: text.len(),
        }));
    }
    match text
        .chars()
        .enumerate()
        .find(|(_, character)| character.is_control())
    {
        Some((index, character)) => Err(RequirementError::Text(CapabilityError::BadCharacter {
            character,
            position: index + 1,
        })),
        None => Ok(()),
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => Ok(()),
            Self::Range(range) => range.fmt(formatter),
            Self::Text(text) => write!(formatter, "={text}"),
        }
    }
}

/// A capability that a work item requires.
///
/// Written as the name and what is wanted of it: `gpu`, `os=linux`, `xcode 16.1`, `dotnet-sdk >=9,
/// <11`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// Which capability.
    pub name: CapabilityName,
    /// What of it.
    pub wanted: Wanted,
}

/// Why a text is not a requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    /// The name is wrong.
    #[error("the name of the capability is wrong: {0}")]
    Name(CapabilityError),
    /// What follows the name is no range.
    #[error(
        "what is wanted of the capability is neither a range of versions nor `=` and a text: {0}"
    )]
    Range(RangeError),
    /// The text after `=` is wrong.
    #[error("the text wanted of the capability is wrong: {0}")]
    Text(CapabilityError),
}

impl Requirement {
    /// Reads a requirement from its two parts.
    ///
    /// # Errors
    ///
    /// What is wrong with either.
    pub fn parse(name: &str, wanted: &str) -> Result<Self, RequirementError> {
        Ok(Self {
            name: CapabilityName::new(name).map_err(RequirementError::Name)?,
            wanted: Wanted::parse(wanted)?,
        })
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let text = text.trim();
        let end = text
            .find(|character: char| character.is_whitespace() || "=<>~^*".contains(character))
            .unwrap_or(text.len());
        let (name, wanted) = text.split_at(end);
        Self::parse(name, wanted)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wanted {
            Wanted::Present => self.name.fmt(formatter),
            Wanted::Range(range) => write!(formatter, "{} {range}", self.name),
            Wanted::Text(text) => write!(formatter, "{}={text}", self.name),
        }
    }
}

/// A requirement that a machine does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which capability.
    pub name: CapabilityName,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// What the machine has of it; none if it has nothing of that name.
    pub present: Option<CapabilityValue>,
    /// The file of the payload that asks for it; none if the work item itself does.
    pub asked_by: Option<String>,
}

impl Missing {
    /// What is required.
    #[must_use]
    pub fn requirement(&self) -> Requirement {
        Requirement {
            name: self.name.clone(),
            wanted: self.wanted.clone(),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`", self.requirement())?;
        if let Some(file) = &self.asked_by {
            write!(formatter, " for `{file}`")?;
        }
        match &self.present {
            None => formatter.write_str(" (it has none)"),
            Some(present) => write!(formatter, " (it has {present})"),
        }
    }
}

#[cfg(test)]
mod tests;
