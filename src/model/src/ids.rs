//! Identifiers and names, each its own type, checked once where they enter.
//!
//! Ids are made elsewhere (usually UUIDs) and only carried here. Their alphabet is narrow enough
//! that an id can stand in a file name, a log field, a URL path or a metric label as it is.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The longest identifier and queue name, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// The longest friendly name, in characters.
pub const MAX_FRIENDLY_NAME_CHARS: usize = 256;

/// Why a text is not a valid identifier or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// More than the limit was given.
    #[error("it has {length} characters, the limit is {limit}")]
    TooLong {
        /// How long the text is, in characters.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The first character is legal further on, but not in front.
    #[error("it must not start with {character:?}")]
    BadStart {
        /// The first character.
        character: char,
    },
    /// A character that is not allowed.
    #[error("it has the character {character:?} at position {position}, {allowed}")]
    BadCharacter {
        /// The offending character.
        character: char,
        /// Where it stands, in characters, counted from 1.
        position: usize,
        /// What is allowed instead, as the end of a sentence.
        allowed: &'static str,
    },
}

fn check_id(text: &str) -> Result<(), NameError> {
    let Some(first) = text.chars().next() else {
        return Err(NameError::Empty);
    };
    for (index, character) in text.chars().enumerate() {
        if !(character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')) {
            return Err(NameError::BadCharacter {
                character,
                position: index + 1,
                allowed: "allowed are the letters A to Z, digits, `.`, `_` and `-`",
            });
        }
    }
    // A leading dot would hide a file or climb a directory, a leading dash would read as an option.
    if matches!(first, '.' | '-') {
        return Err(NameError::BadStart { character: first });
    }
    if text.len() > MAX_ID_BYTES {
        return Err(NameError::TooLong {
            length: text.len(),
            limit: MAX_ID_BYTES,
        });
    }
    Ok(())
}

/// The parts every checked name has in common: construction, text access, printing.
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $check:path, derive($($derive:ident),*)) => {
        $(#[$doc])*
        #[derive(Clone, $($derive),*)]
        pub struct $name(String);

        impl $name {
            /// Checks the text and takes it over.
            ///
            /// # Errors
            ///
            /// What is wrong with the text, as a fragment that starts with `it`.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The text as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({:?})"), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

checked_name!(
    /// A work item: one command on one machine, the unit of retry. The same through all its
    /// attempts.
    ///
    /// 1 to 128 characters of `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`.
    WorkItemId, check_id, derive(PartialEq, Eq, PartialOrd, Ord, Hash)
);
checked_name!(
    /// A job: one submission of work items to a queue.
    ///
    /// 1 to 128 characters of `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`.
    JobId, check_id, derive(PartialEq, Eq, PartialOrd, Ord, Hash)
);
checked_name!(
    /// An attempt: one run of a work item. It is a fence: an agent never runs one twice.
    ///
    /// 1 to 128 characters of `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`.
    AttemptId, check_id, derive(PartialEq, Eq, PartialOrd, Ord, Hash)
);
checked_name!(
    /// A queue: a pool of like machines. Keeps its spelling, compares without regard to case.
    ///
    /// 1 to 128 characters of `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`.
    QueueName, check_id, derive()
);
checked_name!(
    /// What people call a work item: free text of 1 to 256 characters on one line.
    FriendlyName, check_friendly_name, derive(PartialEq, Eq, PartialOrd, Ord, Hash)
);

fn check_friendly_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    for (index, character) in text.chars().enumerate() {
        if character.is_control() || is_invisible_control(character) {
            return Err(NameError::BadCharacter {
                character,
                position: index + 1,
                allowed: "control characters are not allowed",
            });
        }
    }
    let length = text.chars().count();
    if length > MAX_FRIENDLY_NAME_CHARS {
        return Err(NameError::TooLong {
            length,
            limit: MAX_FRIENDLY_NAME_CHARS,
        });
    }
    Ok(())
}

/// Line separators and the marks that reorder text: they are no `Cc` characters, but they let a
/// name break a log line or show as something else than it is.
fn is_invisible_control(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

impl PartialEq for QueueName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for QueueName {}

impl PartialOrd for QueueName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for QueueName {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = (self.0.bytes(), other.0.bytes());
        left.map(|byte| byte.to_ascii_lowercase())
            .cmp(right.map(|byte| byte.to_ascii_lowercase()))
    }
}

impl Hash for QueueName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::hash_of;

    fn check(text: &str, expected: Result<(), &str>) {
        let found = WorkItemId::new(text).map(|id| assert_eq!(id.as_str(), text));
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(ToOwned::to_owned), "{text:?}");
    }

    #[test]
    fn id_of_the_narrow_alphabet_is_taken_and_others_say_why_not() {
        check("0f8fad5b-d9cb-469f-a165-70867728950e", Ok(()));
        check("System.Net.Http_1", Ok(()));
        check("_x", Ok(()));
        check(&"a".repeat(128), Ok(()));
        check(
            &"a".repeat(129),
            Err("it has 129 characters, the limit is 128"),
        );
        check("", Err("it is empty"));
        check(".hidden", Err("it must not start with '.'"));
        check("..", Err("it must not start with '.'"));
        check("-rf", Err("it must not start with '-'"));
        let allowed = "allowed are the letters A to Z, digits, `.`, `_` and `-`";
        check(
            "a/b",
            Err(&format!(
                "it has the character '/' at position 2, {allowed}"
            )),
        );
        check(
            "é",
            Err(&format!(
                "it has the character 'é' at position 1, {allowed}"
            )),
        );
        check(
            "a\0",
            Err(&format!(
                "it has the character '\\0' at position 2, {allowed}"
            )),
        );
    }

    #[test]
    fn queues_compare_without_case_and_keep_their_spelling() {
        let upper = QueueName::new("Windows.11.Amd64.Open").expect("a good name");
        let lower = QueueName::new("windows.11.amd64.open").expect("a good name");
        assert_eq!(upper, lower);
        assert_eq!(hash_of(&upper), hash_of(&lower));
        assert_eq!(upper.to_string(), "Windows.11.Amd64.Open");
        assert!(QueueName::new("osx").expect("good") < QueueName::new("UBUNTU").expect("good"));
    }

    #[test]
    fn friendly_name_is_one_line_of_text() {
        for good in [
            "System.Net.Tests (net9.0)",
            "a/b c",
            "Prüfung ✓",
            &"ü".repeat(256),
        ] {
            assert!(FriendlyName::new(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "two\nlines",
            "nul\0",
            "bell\u{7}",
            "a\u{2028}b",
            "a\u{202E}b",
        ] {
            assert!(FriendlyName::new(bad).is_err(), "{bad:?}");
        }
        let long = FriendlyName::new("ü".repeat(257)).expect_err("too long");
        assert_eq!(
            long,
            NameError::TooLong {
                length: 257,
                limit: 256
            }
        );
    }

    proptest! {
        #[test]
        fn ids_are_exactly_the_texts_of_their_grammar(text in "[A-Za-z0-9._/ é-]{0,12}|.{0,8}") {
            let good = !text.is_empty()
                && !text.starts_with(['.', '-'])
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            prop_assert_eq!(AttemptId::new(text.as_str()).is_ok(), good);
        }

        #[test]
        fn queue_order_and_hash_agree_with_equality(left in "[aAbB]{1,3}", right in "[aAbB]{1,3}") {
            let left = QueueName::new(left).expect("good");
            let right = QueueName::new(right).expect("good");
            prop_assert_eq!(left.cmp(&right).is_eq(), left == right);
            if left == right {
                prop_assert_eq!(hash_of(&left), hash_of(&right));
            }
        }

        #[test]
        fn friendly_name_never_panics_and_never_breaks_a_line(text in ".{0,300}") {
            if let Ok(name) = FriendlyName::new(text) {
                prop_assert!(!name.as_str().contains(['\n', '\r', '\0']));
            }
        }
    }
}
