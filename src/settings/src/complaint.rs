//! What is wrong with one value, as its reader says it.

use std::ops::Range;

use crate::item::Item;

/// What is wrong with a value, said of it: whoever knows its key puts that in front.
///
/// `must be a whole number` becomes ``` `slots` must be a whole number ```.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Where, if not the whole value.
    pub(crate) span: Option<Range<usize>>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Whether the value is kept out of every report.
    pub(crate) is_secret: bool,
}

impl Complaint {
    /// What is wrong, such as `must be a whole number`: lower case, no full stop, and nothing that
    /// may be secret.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            span: None,
            message: message.into(),
            hint: None,
            is_secret: false,
        }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The same of a part of the value, in bytes of the text; one that is smaller yet stays.
    #[must_use]
    pub fn at(self, span: Range<usize>) -> Self {
        Self {
            span: self.span.or(Some(span)),
            ..self
        }
    }

    /// The same of a value that may be secret: where a report shows the line, it has stars in the
    /// place of the whole value.
    #[must_use]
    pub fn secret(self) -> Self {
        Self {
            is_secret: true,
            ..self
        }
    }

    /// A value of the wrong type: `must be {what}, not a list`.
    #[must_use]
    pub fn expected(what: &str, item: &Item<'_>) -> Self {
        Self::new(format!("must be {what}, not {}", item.kind()))
    }
}
