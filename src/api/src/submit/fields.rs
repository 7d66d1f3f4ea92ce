//! Objects of JSON taken apart field by field.
//!
//! Everything is borrowed from the request until it is known to be good: a body of the largest size
//! costs little more than itself, however it is made up.

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::MAX_ERRORS;
use crate::FieldError;

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: Vec<FieldError>,
}

/// The fields of one object.
pub(super) struct Fields<'a> {
    path: String,
    entries: Vec<(String, &'a RawValue)>,
}

/// The fields of an object in their order, twice where they stand twice.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

/// The most fields of an object that is not a map of the sender's own. More are not looked at.
const MAX_FIELDS: usize = 256;

impl Problems {
    pub(super) fn say(&mut self, path: impl Into<String>, message: impl ToString) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FieldError::new(path, message));
        }
    }

    pub(super) fn are_many(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }
}

impl<'a> Fields<'a> {
    /// Takes an object apart. Says why there is none, and which fields stand twice.
    pub(super) fn new(problems: &mut Problems, path: &str, raw: &'a RawValue) -> Option<Self> {
        let entries = match serde_json::from_str::<Entries<'a>>(raw.get()) {
            Ok(Entries(entries)) => entries,
            Err(error) => {
                problems.say(path, wording(&error));
                return None;
            }
        };
        for (index, (name, _)) in entries.iter().enumerate() {
            if entries[..index].iter().any(|(other, _)| other == name) {
                problems.say(child(path, name), "it is given twice");
            }
        }
        Some(Self {
            path: path.to_owned(),
            entries,
        })
    }

    /// The raw field of this name, if it is there and not `null`.
    pub(super) fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.entries.iter().position(|(other, _)| other == name)?;
        let (_, raw) = self.entries.remove(at);
        // One that stands twice was complained about; what is left of it is not unknown.
        self.entries.retain(|(other, _)| other != name);
        (raw.get() != "null").then_some(raw)
    }

    /// The path of a field.
    pub(super) fn path_of(&self, name: &str) -> String {
        child(&self.path, name)
    }

    /// The field of this name, or the default where it is left out or wrong.
    pub(super) fn take<T: DeserializeOwned + Default>(
        &mut self,
        problems: &mut Problems,
        name: &str,
    ) -> T {
        let Some(raw) = self.raw(name) else {
            return T::default();
        };
        value(problems, &self.path_of(name), raw).unwrap_or_default()
    }

    /// The field of this name, which must be there.
    pub(super) fn require<T: DeserializeOwned + Default>(
        &mut self,
        problems: &mut Problems,
        name: &str,
    ) -> T {
        match self.raw(name) {
            Some(raw) => value(problems, &self.path_of(name), raw).unwrap_or_default(),
            None => {
                problems.say(self.path_of(name), "it is missing");
                T::default()
            }
        }
    }

    /// Complains about what is left.
    pub(super) fn finish(self, problems: &mut Problems) {
        for (name, _) in self.entries {
            problems.say(child(&self.path, &name), "nobody knows this field");
        }
    }
}

/// Reads one value; says what is wrong with it, and where in it.
pub(super) fn value<T: DeserializeOwned>(
    problems: &mut Problems,
    path: &str,
    raw: &RawValue,
) -> Option<T> {
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    match serde_path_to_error::deserialize(&mut reader) {
        Ok(value) => Some(value),
        Err(error) => {
            let mut at = path.to_owned();
            for segment in error.path() {
                match segment {
                    serde_path_to_error::Segment::Seq { index } => {
                        at.push_str(&format!("[{index}]"));
                    }
                    serde_path_to_error::Segment::Map { key } => at = child(&at, key),
                    serde_path_to_error::Segment::Enum { .. }
                    | serde_path_to_error::Segment::Unknown => {}
                }
            }
            problems.say(at, wording(error.inner()));
            None
        }
    }
}

/// The elements of a list, raw; at most `most`, more are counted and complained about.
pub(super) fn list<'a>(
    problems: &mut Problems,
    path: &str,
    raw: &'a RawValue,
    most: usize,
) -> Vec<&'a RawValue> {
    struct Elements {
        most: usize,
    }
    impl<'de> Visitor<'de> for Elements {
        type Value = (Vec<&'de RawValue>, usize);

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while elements.len() < self.most {
                match access.next_element()? {
                    Some(element) => elements.push(element),
                    None => {
                        let count = elements.len();
                        return Ok((elements, count));
                    }
                }
            }
            let mut count = elements.len();
            while access.next_element::<IgnoredAny>()?.is_some() {
                count += 1;
            }
            Ok((elements, count))
        }
    }
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    match reader.deserialize_seq(Elements { most }) {
        Ok((elements, count)) => {
            if count > most {
                problems.say(path, format!("it has {count} entries, the limit is {most}"));
            }
            elements
        }
        Err(error) => {
            problems.say(path, wording(&error));
            Vec::new()
        }
    }
}

/// The path of a field of an object: `$.name`, or `$['na.me']` where the name is no plain one.
pub(super) fn child(path: &str, name: &str) -> String {
    let plain = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_');
    if plain {
        return format!("{path}.{name}");
    }
    let mut quoted = String::new();
    for character in name.chars().take(128) {
        match character {
            '\'' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.extend(control.escape_unicode()),
            other => quoted.push(other),
        }
    }
    format!("{path}['{quoted}']")
}

/// What the parser says, without the place, which the path says better, and without the value, which
/// may be a secret.
fn wording(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    if let Some((_, expected)) = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        return format!("it should be {}", plain(expected));
    }
    if let Some((_, expected)) = text
        .strip_prefix("unknown variant ")
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        return format!("it should be {expected}");
    }
    if let Some((_, known)) = text
        .strip_prefix("unknown field ")
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        return format!("it has a field that nobody knows; known are {known}");
    }
    text.to_owned()
}

/// A type in words.
fn plain(expected: &str) -> &str {
    match expected {
        "i32" | "i64" => "a whole number",
        "u32" | "u64" => "a whole number, 0 or more, within its range",
        "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    if entries.len() >= MAX_FIELDS {
                        return Err(serde::de::Error::custom("it has too many fields"));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
