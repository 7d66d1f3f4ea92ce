//! Colours, and their absence.

use std::fmt::{self, Display};

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Palette {
    /// With ANSI sequences.
    Colored,
    /// Without.
    Plain,
}

/// Text between two ANSI sequences.
#[derive(Debug)]
pub(crate) struct Painted<T> {
    code: &'static str,
    text: T,
}

impl Palette {
    /// For what matters less.
    pub(crate) fn dim<T: Display>(self, text: T) -> Painted<T> {
        self.paint("2", text)
    }

    /// For what matters more.
    pub(crate) fn bold<T: Display>(self, text: T) -> Painted<T> {
        self.paint("1", text)
    }

    /// For what went well.
    pub(crate) fn green<T: Display>(self, text: T) -> Painted<T> {
        self.paint("32;1", text)
    }

    /// For what went wrong.
    pub(crate) fn red<T: Display>(self, text: T) -> Painted<T> {
        self.paint("31;1", text)
    }

    /// For what is odd.
    pub(crate) fn yellow<T: Display>(self, text: T) -> Painted<T> {
        self.paint("33;1", text)
    }

    /// For what moves.
    pub(crate) fn cyan<T: Display>(self, text: T) -> Painted<T> {
        self.paint("36", text)
    }

    fn paint<T: Display>(self, code: &'static str, text: T) -> Painted<T> {
        let code = match self {
            Self::Colored => code,
            Self::Plain => "",
        };
        Painted { code, text }
    }
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code.is_empty() {
            return self.text.fmt(formatter);
        }
        write!(formatter, "\x1b[{}m", self.code)?;
        // The padding that the caller asked for applies to the text alone.
        self.text.fmt(formatter)?;
        formatter.write_str("\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_no_sequences_and_padding_counts_no_colour() {
        assert_eq!(format!("{:>6}|", Palette::Plain.red("a")), "     a|");
        assert_eq!(
            format!("{:>3}|", Palette::Colored.red("a")),
            "\x1b[31;1m  a\x1b[0m|"
        );
    }
}
