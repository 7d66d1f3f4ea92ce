//! What is wrong with a configuration, all of it, and how a person is told.

use std::fmt;
use std::ops::Range;

/// How many characters of a line are shown.
const SHOWN_CHARACTERS: usize = 120;

/// How much of a long line is shown in front of the place that matters, in characters.
const SHOWN_BEFORE: usize = 40;

/// Everything that is wrong with a configuration; never nothing.
///
/// Printed, it is a report with one entry for each problem, in the order of the file:
///
/// ```text
/// /etc/helix/controller.toml:3:1: unknown key `slot`
///   3 | slot = 2
///     | ^^^^
///   hint: did you mean `slots`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblems {
    name: String,
    text: String,
    problems: Vec<Problem>,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is, in bytes. None: it is about the file as a whole.
    span: Option<Range<usize>>,
    /// What is wrong, a sentence in lower case without a full stop.
    message: String,
    /// What to do about it.
    hint: Option<String>,
    kind: Kind,
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Something is there that should not be, or not so.
    Presence,
    /// Something is not there.
    Absence,
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place<'a> {
    /// Counted from 1.
    line: usize,
    /// In characters, counted from 1.
    column: usize,
    /// The whole line, without its end.
    text: &'a str,
    /// Where the line starts in the text, in bytes.
    start: usize,
}

impl Problem {
    /// A problem at a place.
    pub(super) fn at(span: Range<usize>, message: String, hint: Option<String>) -> Self {
        Self {
            span: Some(span),
            message,
            hint,
            kind: Kind::Presence,
        }
    }

    /// Something that should be at a place and is not.
    pub(super) fn absence(span: Range<usize>, message: String) -> Self {
        Self {
            span: Some(span),
            message,
            hint: None,
            kind: Kind::Absence,
        }
    }

    /// A problem of the file as a whole.
    pub(super) fn of_file(message: String, hint: Option<String>) -> Self {
        Self {
            span: None,
            message,
            hint,
            kind: Kind::Presence,
        }
    }

    /// Where it starts, in bytes; none if it is about the file as a whole.
    pub(super) fn start(&self) -> Option<usize> {
        self.span.as_ref().map(|span| span.start)
    }

    /// Whether it is that something is not there.
    pub(super) fn is_absence(&self) -> bool {
        self.kind == Kind::Absence
    }

    /// What is wrong, a sentence in lower case without a full stop.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl ConfigProblems {
    /// The problems of a text, in its order. `name` is what people call it, such as its path.
    pub(super) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::start);
        // Two rules may stumble over the same thing.
        problems.dedup();
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            problems,
        }
    }

    /// The problems, in the order of the text.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// The line of a byte of a text, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    place(text, offset).line
}

fn place(text: &str, offset: usize) -> Place<'_> {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let start = before.rfind('\n').map_or(0, |position| position + 1);
    let line = &text[start..];
    let line = line.split('\n').next().unwrap_or(line);
    Place {
        line: before.matches('\n').count() + 1,
        column: text[start..offset].chars().count() + 1,
        text: line.strip_suffix('\r').unwrap_or(line),
        start,
    }
}

impl std::error::Error for ConfigProblems {}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = self.name.chars().map(visible).collect();
        for problem in &self.problems {
            let message: String = problem.message.chars().map(visible).collect();
            match &problem.span {
                None => writeln!(formatter, "{name}: {message}")?,
                Some(span) => {
                    let place = place(&self.text, span.start);
                    writeln!(
                        formatter,
                        "{name}:{}:{}: {message}",
                        place.line, place.column
                    )?;
                    write_excerpt(formatter, &place, span)?;
                }
            }
            if let Some(hint) = &problem.hint {
                let hint: String = hint.chars().map(visible).collect();
                writeln!(formatter, "  hint: {hint}")?;
            }
            writeln!(formatter)?;
        }
        match self.problems.len() {
            1 => write!(formatter, "{name}: 1 problem"),
            count => write!(formatter, "{name}: {count} problems"),
        }
    }
}

/// Writes the line of a problem, and below it what of the line is meant.
fn write_excerpt(
    formatter: &mut fmt::Formatter<'_>,
    place: &Place<'_>,
    span: &Range<usize>,
) -> fmt::Result {
    let before = place.column - 1;
    let end = span.end.saturating_sub(place.start).min(place.text.len());
    let meant = (0..=end)
        .rev()
        .find_map(|end| place.text.get(..end))
        .map_or(0, |text| text.chars().count().saturating_sub(before));
    // Of a line that is longer than a terminal is wide, the part that matters.
    let skipped = if before > SHOWN_CHARACTERS - SHOWN_BEFORE {
        before - SHOWN_BEFORE
    } else {
        0
    };
    let shown: String = place
        .text
        .chars()
        .map(visible)
        .skip(skipped)
        .take(SHOWN_CHARACTERS)
        .collect();
    let (mark, indent) = if skipped > 0 { ("…", 1) } else { ("", 0) };
    let carets = meant.clamp(1, SHOWN_CHARACTERS - (before - skipped));
    let number = place.line.to_string();
    writeln!(formatter, "  {number} | {mark}{shown}")?;
    writeln!(
        formatter,
        "  {:width$} | {:blanks$}{}",
        "",
        "",
        "^".repeat(carets),
        width = number.len(),
        blanks = before - skipped + indent,
    )
}

/// A character that takes one place and does nothing to a terminal.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        character if character.is_control() => '\u{fffd}',
        character => character,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ConfigProblems, Problem};

    fn problem(text: &str, meant: &str, hint: Option<&str>) -> Problem {
        let start = text.find(meant).expect("it is in the text");
        let span = start..start + meant.len();
        Problem::at(
            span,
            "something is wrong".to_owned(),
            hint.map(str::to_owned),
        )
    }

    #[test]
    fn report_shows_place_line_caret_and_hint_in_the_order_of_the_file() {
        let text = "slots = 1\nname\t= \"größe\" # x\r\nslot = 2\n";
        let problems = vec![
            problem(text, "slot = 2", Some("did you mean `slots`?")),
            problem(text, "\"größe\"", None),
            Problem::of_file("it is odd".to_owned(), None),
        ];
        let report = ConfigProblems::new("controller.toml", text, problems).to_string();
        assert_eq!(
            report,
            "controller.toml: it is odd\n\
             \n\
             controller.toml:2:8: something is wrong\n\
             \x20 2 | name = \"größe\" # x\n\
             \x20   |        ^^^^^^^\n\
             \n\
             controller.toml:3:1: something is wrong\n\
             \x20 3 | slot = 2\n\
             \x20   | ^^^^^^^^\n\
             \x20 hint: did you mean `slots`?\n\
             \n\
             controller.toml: 3 problems",
        );
    }

    #[test]
    fn long_line_is_shown_where_it_matters() {
        let text = format!("x = [{}] # bad {}", "1, ".repeat(100), "tail ".repeat(100));
        let report = ConfigProblems::new("c", &text, vec![problem(&text, "bad", None)]).to_string();
        let lines: Vec<&str> = report.lines().collect();
        assert!(lines[1].chars().count() < 140, "{report}");
        let caret = lines[2].find("^^^").expect("there is a caret");
        let shown: String = lines[1].chars().skip(caret).take(3).collect();
        assert_eq!(shown, "bad", "{report}");
    }

    #[test]
    fn nothing_in_the_file_reaches_the_terminal_as_a_command() {
        let text = "a = \"\x1b[2J\"";
        let report =
            ConfigProblems::new("\x1b]0;", text, vec![problem(text, "a", None)]).to_string();
        assert!(!report.contains('\x1b'), "{report:?}");
    }

    #[test]
    fn same_problem_is_told_once() {
        let text = "a = 1";
        let problems = vec![problem(text, "a", None), problem(text, "a", None)];
        assert_eq!(ConfigProblems::new("c", text, problems).problems().len(), 1);
    }

    proptest! {
        #[test]
        fn any_span_of_any_text_can_be_shown(text in "\\PC{0,200}|[\\x00-\\xff\\n]{0,300}", start in 0..400_usize, length in 0..400_usize) {
            let problem = Problem::at(start..start + length, "x".to_owned(), None);
            let report = ConfigProblems::new("c", &text, vec![problem]).to_string();
            prop_assert!(report.contains('^'));
        }
    }
}
