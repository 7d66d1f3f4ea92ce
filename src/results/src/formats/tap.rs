//! Test Anything Protocol, versions 12 to 14.
//!
//! Points at the outer level are the tests. What is indented belongs to the point behind it, or in front of it
//! where that opens a brace, and becomes its parts. A point is handed out when the next one begins, since comments
//! and details follow it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::formats::tap_details::Details;
use crate::formats::tap_line::{self, Directive, Group, Line, Mark, Point};
use crate::formats::tap_parts::Parts;
use crate::lines::next_line;
use crate::model::{Format, Origin, Outcome, TestCase};
use crate::session::Session;
use crate::source::{InputEnd, Source};
use crate::text::Text;

/// Numbers of points that are remembered to notice one that comes twice.
const MOST_NUMBERS: usize = 50_000;

/// Spaces by which a level is indented.
const INDENT: usize = 4;

/// The format, if `window` begins with a line of it, comments aside.
pub(crate) fn sniff(window: &[u8]) -> Option<Format> {
    let mut lines = window.split(|byte| *byte == b'\n');
    let first = lines
        .find(|line| !line.trim_ascii().is_empty() && !line.trim_ascii_start().starts_with(b"#"))?;
    begins(first).then_some(Format::Tap)
}

/// Whether `text` begins with a line that only this format has.
pub(crate) fn begins(text: &[u8]) -> bool {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else {
        return false;
    };
    match tap_line::parse(line) {
        Line::Version | Line::Plan { .. } | Line::BailOut(_) => true,
        // "ok" also begins sentences.
        Line::Point(point) => {
            point.id.is_some()
                || point.description.is_empty()
                || line.contains(" - ")
                || line.contains("ok-")
        }
        Line::Comment(_) | Line::BlockStart | Line::GroupEnd | Line::Other => false,
    }
}

/// Reads one stream up to the end of the input.
pub(crate) fn read(source: &mut Source<'_>, session: &mut Session<'_>) {
    let file = session.file();
    let name = file.rsplit(['/', '\\']).next().unwrap_or(&file);
    let mut reader = Reader {
        suite: Arc::from(name),
        case: None,
        parts: Parts::default(),
        details: Details::default(),
        plan: Plan::Missing,
        points: 0,
        numbers: HashSet::new(),
        largest: 0,
        repeated: None,
    };
    let mut line = Vec::new();
    while !session.is_over() && next_line(source, &mut line) {
        session.at(source);
        let text = String::from_utf8_lossy(&line);
        reader.line(&text, session);
    }
    reader.finish(source, session);
}

/// How many points there are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Missing,
    Known(u64),
    /// A number beyond belief.
    Absurd,
}

struct Reader {
    suite: Arc<str>,
    /// The last point of the outer level.
    case: Option<TestCase>,
    parts: Parts,
    details: Details,
    plan: Plan,
    points: u64,
    /// Numbers that points bear, the largest of them, and one that came twice.
    numbers: HashSet<u64>,
    largest: u64,
    repeated: Option<u64>,
}

impl Reader {
    fn line(&mut self, line: &str, session: &mut Session<'_>) {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        if self.details.takes(indent, text) {
            return;
        }
        let level = indent.is_multiple_of(INDENT).then_some(indent / INDENT);
        match (tap_line::parse(text), level) {
            (Line::Point(point), Some(0)) => self.point(&point, session),
            (Line::Point(point), Some(level)) => {
                self.finish_details(session);
                self.parts.point(level, &point, session);
            }
            (Line::Plan { last, skip_reason }, Some(0)) => {
                // Comments behind a plan at the end are about the whole.
                self.finish_case(session);
                self.plan = last.map_or(Plan::Absurd, Plan::Known);
                if let (Some(0), Some(reason)) = (last, skip_reason) {
                    self.skip_all(reason, session);
                }
            }
            (Line::BailOut(reason), _) => self.bail_out(reason, session),
            (Line::BlockStart, _) => self.details.begin(indent, session),
            (Line::GroupEnd, Some(0)) => self.finish_case(session),
            (Line::GroupEnd, Some(level)) => self.parts.group_ended(level + 1),
            (Line::Comment(comment), Some(0)) => self.comment(comment, session),
            _ => {}
        }
    }

    fn point(&mut self, point: &Point<'_>, session: &mut Session<'_>) {
        // A group in braces follows its point; whatever else is indented comes before.
        if self.parts.belong_to_last() {
            self.finish_case(session);
        } else {
            self.finish_details(session);
            let parts = self.parts.take();
            self.finish_case(session);
            self.parts.put_back(parts);
        }
        self.points += 1;
        self.note_number(point.id);
        let mut case = TestCase::new(self.suite.clone(), session.position());
        case.name = session.plain_name(tap_line::unescape(point.description).as_bytes());
        case.duration = point.duration;
        let (outcome, reason) = outcome_of(point);
        case.outcome = outcome;
        if !reason.is_empty() {
            case.evidence.message = Text::from(tap_line::unescape(reason));
        }
        if let Directive::Todo(_) = point.directive {
            case.evidence.kind = "TODO".to_owned();
        }
        if point.group == Group::Opens {
            self.parts.group_begins();
        } else {
            case.parts = self.parts.take();
        }
        self.case = Some(case);
    }

    fn note_number(&mut self, number: Option<u64>) {
        let Some(number) = number else { return };
        self.largest = self.largest.max(number);
        if self.numbers.len() < MOST_NUMBERS && !self.numbers.insert(number) {
            self.repeated.get_or_insert(number);
        }
    }

    /// What is wrong with the numbers of points, if there are as many as planned.
    fn odd_numbers(&self, planned: u64) -> Option<String> {
        if self.largest > planned {
            let largest = self.largest;
            return Some(format!(
                "test {largest} is beyond the {planned} that were planned"
            ));
        }
        let repeated = self.repeated?;
        Some(format!(
            "test {repeated} comes twice, so that another is missing"
        ))
    }

    fn comment(&mut self, comment: &str, session: &mut Session<'_>) {
        if comment.starts_with("Subtest") {
            return;
        }
        // A block in front of the comment names the message better than the comment does.
        self.finish_details(session);
        if let Some(case) = &mut self.case
            && case.outcome.is_failure()
        {
            let limit = session.limits().stack_bytes;
            let line = session.plain_name(comment.as_bytes());
            if case.evidence.message.is_empty() {
                case.evidence.message = Text::from(line.trim());
            }
            crate::session::join_text(&mut case.evidence.stack, Text::from(line), limit);
        }
    }

    /// Gives details to the point they follow.
    fn finish_details(&mut self, session: &mut Session<'_>) {
        let Some(found) = self.details.finish(session) else {
            return;
        };
        let limit = session.limits().stack_bytes;
        let (evidence, duration) = match (self.parts.last(), &mut self.case) {
            (Some(part), _) => (&mut part.evidence, &mut part.duration),
            (None, Some(case)) => (&mut case.evidence, &mut case.duration),
            (None, None) => return,
        };
        if evidence.message.is_empty() {
            evidence.message = found.message;
        }
        *duration = duration.or(found.duration);
        crate::session::join_text(&mut evidence.stack, found.text, limit);
    }

    fn finish_case(&mut self, session: &mut Session<'_>) {
        self.finish_details(session);
        let Some(mut case) = self.case.take() else {
            return;
        };
        if self.parts.belong_to_last() {
            case.parts = self.parts.take();
            self.parts.group_ended(0);
        }
        session.emit(case);
    }

    fn skip_all(&mut self, reason: &str, session: &mut Session<'_>) {
        self.synthesise("(all)", Outcome::Skipped, reason.to_owned(), session);
    }

    fn bail_out(&mut self, reason: &str, session: &mut Session<'_>) {
        self.finish_case(session);
        let message = format!("Bail out! {}", tap_line::unescape(reason));
        self.synthesise("(bail out)", Outcome::Errored, message, session);
    }

    fn synthesise(&self, name: &str, outcome: Outcome, message: String, session: &mut Session<'_>) {
        let mut case = TestCase::new(self.suite.clone(), session.position());
        case.origin = Origin::Synthesised;
        case.outcome = outcome;
        case.name = name.to_owned();
        case.evidence.message = Text::from(message);
        session.emit(case);
    }

    fn finish(mut self, source: &mut Source<'_>, session: &mut Session<'_>) {
        self.finish_case(session);
        if !matches!(source.ended(), Some(InputEnd::EndOfFile) | None) {
            return session.document_cut(source, 0, None);
        }
        match self.plan {
            Plan::Known(planned) => {
                session.run().declared.total = Some(planned);
                if planned != self.points {
                    let points = self.points;
                    let message = format!("{planned} tests were planned and {points} were run");
                    self.synthesise("(plan)", Outcome::Errored, message, session);
                } else if let Some(message) = self.odd_numbers(planned) {
                    self.synthesise("(plan)", Outcome::Errored, message, session);
                }
            }
            Plan::Absurd => {
                let message = "more tests were planned than there can be".to_owned();
                self.synthesise("(plan)", Outcome::Errored, message, session);
            }
            Plan::Missing => {
                session.document_cut(
                    source,
                    0,
                    Some("there is no plan, so tests may be missing".to_owned()),
                );
            }
        }
    }
}

/// The outcome of a point, and what its directive says.
pub(crate) fn outcome_of<'l>(point: &Point<'l>) -> (Outcome, &'l str) {
    match (point.directive, point.mark) {
        (Directive::Skip(reason), _) => (Outcome::Skipped, reason),
        // Expected to fail, and did.
        (Directive::Todo(reason), Mark::NotOk) => (Outcome::Skipped, reason),
        (Directive::Todo(reason), Mark::Ok) => (Outcome::Passed, reason),
        (Directive::None, Mark::Ok) => (Outcome::Passed, ""),
        (Directive::None, Mark::NotOk) => (Outcome::Failed, ""),
    }
}
