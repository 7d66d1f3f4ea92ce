//! Keeps each event on one line and harmless, so that text from outside can neither forge an event
//! nor command a terminal.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Makes writers to stderr that keep each event on one line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OneLineStderr {
    /// Whether events are printed in colour.
    pub(crate) colour: bool,
}

impl MakeWriter<'_> for OneLineStderr {
    type Writer = OneLine<io::Stderr>;

    fn make_writer(&self) -> Self::Writer {
        OneLine {
            writer: io::stderr(),
            colour: self.colour,
        }
    }
}

/// A writer that takes each call for one whole event, which ends with a line feed, and escapes
/// every other control character in it save tabs and, where colour is wanted, the sequences that
/// set it.
///
/// The names of work items, paths and texts of errors appear in fields. One with a line feed in it
/// could otherwise pass off what follows as an event of ours, and one with an escape sequence could
/// rewrite what is already on the terminal.
#[derive(Debug)]
pub(crate) struct OneLine<W> {
    writer: W,
    colour: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let body = event.strip_suffix(b"\n").unwrap_or(event);
        let text = String::from_utf8_lossy(body);
        if text.contains(is_active) {
            let mut line = self.escaped(&text);
            line.push_str(if body.len() < event.len() { "\n" } else { "" });
            self.writer.write_all(line.as_bytes())?;
        } else {
            self.writer.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<W> OneLine<W> {
    fn escaped(&self, text: &str) -> String {
        let mut line = String::with_capacity(text.len() + 16);
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let colour = if self.colour { colour_length(rest) } else { 0 };
            let (part, after) = rest.split_at(colour.max(first.len_utf8()));
            if colour == 0 && is_active(first) {
                line.extend(first.escape_default());
            } else {
                line.push_str(part);
            }
            rest = after;
        }
        line
    }
}

/// Whether a character does something instead of being shown.
fn is_active(character: char) -> bool {
    character.is_control() && character != '\t'
}

/// How long the sequence is that sets a colour and starts a text, in bytes; 0 if there is none.
fn colour_length(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else {
        return 0;
    };
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'));
    match end.map(|end| (end, parameters[end..].starts_with('m'))) {
        Some((end, true)) => end + "\x1b[m".len(),
        Some((_, false)) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::OneLine;

    fn written(event: &[u8], colour: bool) -> Vec<u8> {
        let mut writer = OneLine {
            writer: Vec::new(),
            colour,
        };
        writer.write_all(event).expect("a vector takes everything");
        writer.writer
    }

    #[track_caller]
    fn check(event: &str, expected: &str) {
        let written = String::from_utf8(written(event.as_bytes(), false));
        assert_eq!(written.as_deref(), Ok(expected));
    }

    #[test]
    fn event_of_one_line_is_left_alone() {
        check(
            "started\tattempt=1 name=größe 试\n",
            "started\tattempt=1 name=größe 试\n",
        );
        check("", "");
        check("\n", "\n");
    }

    #[test]
    fn line_feed_inside_an_event_is_escaped() {
        check(
            "refused name=a\n2026-01-01 INFO accepted\r\n",
            "refused name=a\\n2026-01-01 INFO accepted\\r\n",
        );
        check("ends twice\n\n", "ends twice\\n\n");
    }

    #[test]
    fn control_characters_are_escaped() {
        check("\x1b[2J\x07\x7f\0\n", "\\u{1b}[2J\\u{7}\\u{7f}\\u{0}\n");
        // The introducer of the same sequences in one character.
        check("\u{9b}2J\n", "\\u{9b}2J\n");
    }

    #[test]
    fn colour_stays_where_it_is_wanted_and_nothing_else_does() {
        let event = "\x1b[1;32mINFO\x1b[0m \x1b[2J \x1b]0;title\x07 \x1b[31";
        let expected = "\x1b[1;32mINFO\x1b[0m \\u{1b}[2J \\u{1b}]0;title\\u{7} \\u{1b}[31";
        assert_eq!(written(event.as_bytes(), true), expected.as_bytes());
    }

    proptest! {
        #[test]
        fn an_event_is_never_more_than_one_line(event: Vec<u8>, colour: bool) {
            let written = written(&event, colour);
            let body = written.strip_suffix(b"\n").unwrap_or(&written);
            prop_assert!(!body.contains(&b'\n') && !body.contains(&b'\r'));
            prop_assert_eq!(written.ends_with(b"\n"), event.ends_with(b"\n"));
        }

        #[test]
        fn without_colour_no_control_character_gets_through(event: String) {
            let written = String::from_utf8(written(event.as_bytes(), false));
            let text = written.expect("text stays text");
            let body = text.strip_suffix('\n').unwrap_or(&text);
            prop_assert!(!body.contains(|c: char| c.is_control() && c != '\t'), "{body:?}");
        }
    }
}
