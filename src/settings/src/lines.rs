//! The lines of a text, and what line and column a byte of it is at.

/// A text that knows where its lines start, so that a place is found without reading all of it
/// again.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    /// In bytes, ascending, the first being 0.
    starts: Vec<usize>,
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place<'t> {
    /// Counted from 1.
    pub(crate) line: usize,
    /// In characters, counted from 1.
    pub(crate) column: usize,
    /// The whole line, without its end.
    pub(crate) text: &'t str,
    /// Where the line starts in the text, in bytes.
    pub(crate) start: usize,
}

impl<'t> Lines<'t> {
    /// The lines of a text; an empty one has one, which is empty.
    pub(crate) fn of(text: &'t str) -> Self {
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    /// The line of a byte, counted from 1. Past the end, the last.
    pub(crate) fn number_at(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// The place of the character that a byte belongs to; past the end, the end.
    pub(crate) fn place(&self, offset: usize) -> Place<'t> {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.number_at(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let rest = &self.text[start..];
        let text = rest.split('\n').next().unwrap_or(rest);
        Place {
            line,
            column: self.text[start..offset].chars().count() + 1,
            text: text.strip_suffix('\r').unwrap_or(text),
            start,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Lines;

    #[track_caller]
    fn check(text: &str, offset: usize, expected: (usize, usize, &str)) {
        let place = Lines::of(text).place(offset);
        assert_eq!((place.line, place.column, place.text), expected, "{offset}");
    }

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        let text = "a = 1\r\nü = \"ß\"\n";
        check(text, 0, (1, 1, "a = 1"));
        check(text, 6, (1, 7, "a = 1"));
        check(text, 7, (2, 1, "ü = \"ß\""));
        check(text, 8, (2, 1, "ü = \"ß\""));
        check(text, 9, (2, 2, "ü = \"ß\""));
        check(text, 13, (2, 6, "ü = \"ß\""));
    }

    #[test]
    fn end_of_a_text_is_a_place() {
        check("", 0, (1, 1, ""));
        check("", 7, (1, 1, ""));
        check("a", 1, (1, 2, "a"));
        check("a\n", 2, (2, 1, ""));
        check("a\n", usize::MAX, (2, 1, ""));
    }

    proptest! {
        // The slow way to the same place.
        #[test]
        fn any_offset_has_the_place_that_counting_finds(text in "[a-cü\\r\\n]{0,60}", offset in 0..90_usize) {
            let place = Lines::of(&text).place(offset);
            let before = &text[..text.floor_char_boundary(offset)];
            let last = before.rsplit('\n').next().unwrap_or_default();
            prop_assert_eq!(place.line, before.matches('\n').count() + 1);
            prop_assert_eq!(place.column, last.chars().count() + 1);
            prop_assert!(text[place.start..].starts_with(place.text));
        }
    }
}
