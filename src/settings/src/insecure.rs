//! The one key by which somebody says that they do without TLS, knowing what that means.

use crate::complaint::Complaint;
use crate::item::Value;
use crate::section::Section;

/// The key. Its value is one long word that says what may happen.
pub const KEY: &str = "insecure_without_tls";

/// Whether somebody wants to do without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// The key is not there.
    Absent,
    /// The word is there.
    Given,
    /// Something else is there, which was complained about.
    Wrong,
}

impl Consent {
    /// Whether the word is in a table. `word` is not repeated where another one is.
    #[must_use]
    pub fn read(section: &Section<'_>, word: &'static str) -> Self {
        if !section.has(KEY) {
            return Self::Absent;
        }
        let given = section.get(KEY, |item| match item.value() {
            Value::String(text) if text == word => Ok(Self::Given),
            _ => Err(
                Complaint::new("takes only the one word that cannot be written by mistake")
                    .hint(format!("`{KEY} = \"{word}\"`, or leave it out")),
            ),
        });
        given.unwrap_or(Self::Wrong)
    }

    /// Complains if the word is in a table that has a table `tls`, too: `hint` says what that would
    /// mean without the word.
    pub fn check_against_tls(self, section: &Section<'_>, hint: &str) {
        if self == Self::Given && section.has("tls") {
            let (key, tls) = (section.called(KEY), section.called("tls"));
            let message = format!("{key} and {tls} contradict each other");
            section.complain(section.span_of(KEY), message, Some(hint.to_owned()));
        }
    }
}
