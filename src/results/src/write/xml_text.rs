//! Text as XML 1.0 can carry it.

use std::fmt;

/// Writes itself as the text of an element.
pub(crate) struct ElementText<'t>(pub(crate) &'t str);

/// Writes itself as an attribute value, to be put between double quotes.
pub(crate) struct AttributeText<'t>(pub(crate) &'t str);

impl fmt::Display for ElementText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f, |character| match character {
            '<' => Some("&lt;"),
            '>' => Some("&gt;"),
            '&' => Some("&amp;"),
            // A bare carriage return would be read back as a line feed.
            '\r' => Some("&#13;"),
            _ => None,
        })
    }
}

impl fmt::Display for AttributeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f, |character| match character {
            '<' => Some("&lt;"),
            '>' => Some("&gt;"),
            '&' => Some("&amp;"),
            '"' => Some("&quot;"),
            '\r' => Some("&#13;"),
            '\n' => Some("&#10;"),
            '\t' => Some("&#9;"),
            _ => None,
        })
    }
}

fn escape(
    text: &str,
    f: &mut fmt::Formatter<'_>,
    reference: fn(char) -> Option<&'static str>,
) -> fmt::Result {
    let mut written = 0;
    for (at, character) in text.char_indices() {
        let reference = reference(character);
        if reference.is_none() && is_allowed(character) {
            continue;
        }
        f.write_str(&text[written..at])?;
        written = at + character.len_utf8();
        match reference {
            Some(reference) => f.write_str(reference)?,
            // No reference can stand for these, so they become visible.
            None => write!(f, "\\x{:02x}", u32::from(character))?,
        }
    }
    f.write_str(&text[written..])
}

/// Whether XML 1.0 allows the character at all.
fn is_allowed(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_for_their_place() {
        let text = "<a b=\"1\">&\r\n\t\u{1b}[0m\u{ffff}\0 \u{e9}";
        assert_eq!(
            ElementText(text).to_string(),
            "&lt;a b=\"1\"&gt;&amp;&#13;\n\t\\x1b[0m\\xffff\\x00 \u{e9}"
        );
        assert_eq!(
            AttributeText(text).to_string(),
            "&lt;a b=&quot;1&quot;&gt;&amp;&#13;&#10;&#9;\\x1b[0m\\xffff\\x00 \u{e9}"
        );
    }
}
