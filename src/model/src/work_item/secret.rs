//! Texts that must never be seen in a log.

use std::fmt;

/// The shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 3;

/// A text to be masked. Printing it never shows it; [`Secret::expose`] does.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a text cannot be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret has {length} bytes; anything shorter than {min} is refused, \
     since masking it would blank out most of the log",
    min = MIN_SECRET_BYTES
)]
pub struct SecretError {
    /// How long it is, without the blanks around it.
    pub length: usize,
}

impl Secret {
    /// Takes over a text to be masked.
    ///
    /// # Errors
    ///
    /// It has fewer than [`MIN_SECRET_BYTES`] bytes, blanks around it not counted.
    pub fn new(text: impl Into<String>) -> Result<Self, SecretError> {
        let text = text.into();
        let length = text.trim().len();
        if length < MIN_SECRET_BYTES {
            return Err(SecretError { length });
        }
        Ok(Self(text))
    }

    /// The text itself, for the one who masks it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_never_printed() {
        let secret = Secret::new("hunter2").expect("long enough");
        let printed = format!("{secret} {secret:?} {:?}", Some(&secret));
        assert_eq!(printed, "*** Secret(***) Some(Secret(***))");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn secret_that_would_blank_the_log_is_refused() {
        assert_eq!(Secret::new(""), Err(SecretError { length: 0 }));
        assert_eq!(Secret::new("ab"), Err(SecretError { length: 2 }));
        // Mostly blanks: masking it would mask every indentation.
        assert_eq!(Secret::new("    a    "), Err(SecretError { length: 1 }));
        assert!(Secret::new("abc").is_ok());
        assert!(!SecretError { length: 2 }.to_string().contains("ab "));
    }
}
