//! What is wrong with a configuration, all of it, and how a person is told.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use crate::lines::{Lines, Place};

/// How many problems are shown. Who has more has named the wrong file.
const SHOWN_PROBLEMS: usize = 100;

/// How many characters of a message, a hint or a name are shown; a value in it may be any long.
const SHOWN_OF_MESSAGE: usize = 1000;

/// How many characters of a line are shown.
const SHOWN_CHARACTERS: usize = 120;

/// How much of a long line is shown in front of the place that matters, in characters.
const SHOWN_BEFORE: usize = 40;

/// Everything that is wrong with a configuration; never nothing.
///
/// Printed, it is a report with one entry for each of the first 100 problems, in the order of the
/// file:
///
/// ```text
/// /etc/kettle.toml:3:1: unknown key `cup`
///   3 | cup = 2
///     | ^^^
///   hint: did you mean `cups`?
/// ```
///
/// Nothing of the file gets into it that would do something to a terminal, and of values that were
/// called [secret](crate::Complaint::secret) only their length.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigProblems {
    name: String,
    text: String,
    problems: Vec<Problem>,
    /// What of the text may be secret, in bytes.
    secrets: Vec<Range<usize>>,
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

/// Collects problems while everything is read.
#[derive(Debug, Default)]
pub(crate) struct Found {
    problems: RefCell<Vec<Problem>>,
    secrets: RefCell<Vec<Range<usize>>>,
}

impl Found {
    pub(crate) fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Keeps a part of the text out of every report, whatever that is about.
    pub(crate) fn conceal(&self, span: Range<usize>) {
        self.secrets.borrow_mut().push(span);
    }

    /// The problems, and what may be secret.
    pub(crate) fn into_parts(self) -> (Vec<Problem>, Vec<Range<usize>>) {
        (self.problems.into_inner(), self.secrets.into_inner())
    }
}

impl Problem {
    /// A problem at a place.
    pub(crate) fn at(span: Range<usize>, message: String, hint: Option<String>) -> Self {
        Self {
            span: Some(span),
            message,
            hint,
            kind: Kind::Presence,
        }
    }

    /// Something that should be in a table and is not, or in the file as a whole.
    pub(crate) fn absence(table: Option<Range<usize>>, message: String) -> Self {
        Self {
            span: table,
            message,
            hint: None,
            kind: Kind::Absence,
        }
    }

    /// A problem of the file as a whole.
    pub(crate) fn of_file(message: String, hint: Option<String>) -> Self {
        Self {
            span: None,
            message,
            hint,
            kind: Kind::Presence,
        }
    }

    #[cfg(test)]
    pub(crate) fn span(&self) -> Option<&Range<usize>> {
        self.span.as_ref()
    }

    /// Where it starts, in bytes; none if it is about the file as a whole.
    pub(crate) fn start(&self) -> Option<usize> {
        self.span.as_ref().map(|span| span.start)
    }

    /// Whether it is that something is not there.
    pub(crate) fn is_absence(&self) -> bool {
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
    pub(crate) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::start);
        // Two rules may stumble over the same thing.
        problems.dedup();
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            problems,
            secrets: Vec::new(),
        }
    }

    /// The same without what may be secret, in bytes of the text.
    pub(crate) fn without(self, secrets: Vec<Range<usize>>) -> Self {
        Self { secrets, ..self }
    }

    /// The problems, in the order of the text.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for ConfigProblems {}

impl fmt::Debug for ConfigProblems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may have secrets in it.
        formatter
            .debug_struct("ConfigProblems")
            .field("name", &self.name)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = shown(&self.name);
        let lines = Lines::of(&self.text);
        for problem in self.problems.iter().take(SHOWN_PROBLEMS) {
            let message = shown(&problem.message);
            match &problem.span {
                None => writeln!(formatter, "{name}: {message}")?,
                Some(span) => {
                    let place = lines.place(span.start);
                    let (line, column) = (place.line, place.column);
                    writeln!(formatter, "{name}:{line}:{column}: {message}")?;
                    write_excerpt(formatter, &place, span, &self.secrets)?;
                }
            }
            if let Some(hint) = &problem.hint {
                writeln!(formatter, "  hint: {}", shown(hint))?;
            }
            writeln!(formatter)?;
        }
        match self.problems.len() {
            1 => write!(formatter, "{name}: 1 problem"),
            count if count <= SHOWN_PROBLEMS => write!(formatter, "{name}: {count} problems"),
            count => write!(
                formatter,
                "{name}: {count} problems, of which these are the first {SHOWN_PROBLEMS}"
            ),
        }
    }
}

/// Writes the line of a problem, and below it what of the line is meant.
fn write_excerpt(
    formatter: &mut fmt::Formatter<'_>,
    place: &Place<'_>,
    span: &Range<usize>,
    secrets: &[Range<usize>],
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
    let is_secret = |offset: usize| secrets.iter().any(|secret| secret.contains(&offset));
    let shown: String = place
        .text
        .char_indices()
        .skip(skipped)
        .take(SHOWN_CHARACTERS)
        .map(|(offset, character)| match character {
            _ if is_secret(place.start + offset) => '*',
            character => visible(character),
        })
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

/// A text that may be any long and have anything in it, for a terminal.
fn shown(text: &str) -> String {
    let mut characters = text.chars().map(visible);
    let mut shown: String = characters.by_ref().take(SHOWN_OF_MESSAGE).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// A character that takes one place and does nothing to a terminal.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        // These take no place, or turn the order of others around.
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
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
        let report = ConfigProblems::new("kettle.toml", text, problems).to_string();
        assert_eq!(
            report,
            "kettle.toml: it is odd\n\
             \n\
             kettle.toml:2:8: something is wrong\n\
             \x20 2 | name = \"größe\" # x\n\
             \x20   |        ^^^^^^^\n\
             \n\
             kettle.toml:3:1: something is wrong\n\
             \x20 3 | slot = 2\n\
             \x20   | ^^^^^^^^\n\
             \x20 hint: did you mean `slots`?\n\
             \n\
             kettle.toml: 3 problems",
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
        let text = "a = \"\u{202e}1 = b\u{2066}\"";
        let report = ConfigProblems::new("c", text, vec![problem(text, "a", None)]).to_string();
        assert!(!report.contains(['\u{202e}', '\u{2066}']), "{report:?}");
    }

    #[test]
    fn report_is_no_longer_than_somebody_reads() {
        let text = "x\n".repeat(5000);
        let long = "y".repeat(10_000);
        let all = (0..5000)
            .map(|line| Problem::at(2 * line..2 * line + 1, long.clone(), None))
            .collect();
        let report = ConfigProblems::new("c", &text, all).to_string();
        assert!(report.len() < 200_000, "{}", report.len());
        assert!(report.contains("\nc:100:1: yy"));
        assert!(!report.contains("c:101:1:"));
        assert!(report.ends_with("c: 5000 problems, of which these are the first 100"));
    }

    #[test]
    fn secrets_are_neither_shown_with_their_problem_nor_with_another() {
        let text = "x = { key = \"hüsh\", kee = 1 }";
        let secret = problem(text, "\"hüsh\"", None);
        let secrets = vec![secret.span.clone().expect("it has a place")];
        let problems = ConfigProblems::new("c", text, vec![secret, problem(text, "kee", None)]);
        let problems = problems.without(secrets);
        let report = problems.to_string();
        assert!(
            report.contains("1 | x = { key = ******, kee = 1 }\n    |             ^^^^^^\n"),
            "{report}"
        );
        assert!(!report.contains("hüsh"), "{report}");
        assert!(!format!("{problems:?}").contains("hüsh"), "{problems:?}");
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
