//! Options of a destination: names and values, credentials among them, that stay out of sight.

use std::collections::BTreeMap;
use std::fmt;

/// Options for [`Destination::open`](crate::Destination::open), by name.
///
/// For `az://` and `s3://` the names are those that the `object_store` crate knows, such as
/// `account_name`, `account_key`, `sas_token`, `endpoint`, `use_emulator` and `access_key_id`,
/// `secret_access_key`, `session_token`, `region`, `endpoint`, `virtual_hosted_style_request`;
/// names are compared without regard to case. Its options for the HTTP client are not among them,
/// save `allow_http`.
///
/// Values are never shown: not by `Debug`, not in errors, not in URLs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    values: BTreeMap<String, String>,
}

impl Options {
    /// No options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These options and one more. A name given twice keeps the last value.
    #[must_use]
    pub fn with(mut self, name: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.set(name.as_ref(), value.into());
        self
    }

    /// The names, in lower case, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Names and values, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn set(&mut self, name: &str, value: String) {
        self.values.insert(name.to_ascii_lowercase(), value);
    }
}

impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for Options {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut options = Self::new();
        for (name, value) in pairs {
            options.set(name.as_ref(), value.into());
        }
        options
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}
