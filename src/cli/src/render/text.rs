//! Text from elsewhere, made safe and short enough to show.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` without anything that a terminal would obey. Line ends and tabs stay.
///
/// Names of tests, machines and files come from outside; an escape sequence in
/// one of them must not move the cursor, and an override of the writing
/// direction must not turn a name around.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            // Writing to a string cannot fail.
            let _ = write!(clean, "\\u{{{:x}}}", u32::from(character));
        } else {
            clean.push(character);
        }
    }
    Cow::Owned(clean)
}

/// The same on one line, at most `width` characters long, shortened in the end.
pub(crate) fn line(text: &str, width: usize) -> String {
    let clean = clean(text);
    let joined = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if joined.chars().count() <= width {
        return joined;
    }
    let mut short: String = joined.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Each line of `text` indented, at most `lines` of them.
pub(crate) fn indented(text: &str, indent: &str, lines: usize) -> String {
    let clean = clean(text);
    let mut rest = clean.trim_end().lines();
    let mut shown: Vec<String> = rest
        .by_ref()
        .take(lines)
        .map(|line| format!("{indent}{}", line.trim_end()))
        .collect();
    match rest.count() {
        0 => {}
        more => shown.push(format!(
            "{indent}… {}",
            super::units::count(more as u64, "more line")
        )),
    }
    shown.join("\n")
}

fn is_unsafe(character: char) -> bool {
    (character.is_control() && character != '\n' && character != '\t')
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_no_orders() {
        assert_eq!(clean("plain\n\tü"), "plain\n\tü");
        assert_eq!(
            clean("a\x1b[2Jb\r\u{202e}c\u{9b}"),
            "a\\u{1b}[2Jb\\u{d}\\u{202e}c\\u{9b}"
        );
    }

    #[test]
    fn a_line_is_one_line_of_bounded_width() {
        assert_eq!(line("a\n  b\tc", 80), "a b c");
        assert_eq!(line("äöüäöü", 4), "äöü…");
        assert_eq!(line("abc", 0), "…");
    }

    #[test]
    fn long_texts_say_how_much_is_left_out() {
        assert_eq!(
            indented("a\nb\nc\nd\n", "  ", 2),
            "  a\n  b\n  … 2 more lines"
        );
        assert_eq!(indented("a\nb", "  ", 2), "  a\n  b");
    }
}
