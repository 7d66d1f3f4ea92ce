//! What the reading of one file has in common for all formats: limits, counters, the way to the sink.

use std::sync::Arc;

use crate::limits::Limits;
use crate::model::{Format, Origin, Outcome, Position, TestCase, TestRun};
use crate::problem::{Problem, ProblemKind};
use crate::read::{ReadEnd, ReadReport};
use crate::sink::Sink;
use crate::source::{InputEnd, Source};
use crate::text::{Capture, Text, clip_name, decode, find_byte, printable_line};
use crate::xml::document::Piece;
use crate::xml::escape;

/// Bytes of a name that are kept even when the case has used up what it may keep.
const LEAST_NAME_BYTES: usize = 256;

/// Cases between two questions whether to stop.
const CASES_PER_QUESTION: u64 = 100;

/// Whether a list of the current case has overflowed, which is told once per case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lists {
    Roomy,
    Full,
}

pub(crate) struct Session<'a> {
    sink: &'a mut dyn Sink,
    stop: &'a dyn Fn() -> bool,
    limits: &'a Limits,
    file: Arc<str>,
    /// The document that is being read.
    run: TestRun,
    /// Where the current element or record begins.
    position: Position,
    over: Option<ReadEnd>,
    runs: u64,
    cases: u64,
    /// Cases of this document that are recorded tests.
    recorded: u64,
    problems: u64,
    problems_told: u64,
    /// Invalid sequences replaced in kept texts of this document, and where the first one was.
    replaced: u64,
    replaced_at: Position,
    /// Bytes that the current case may still keep.
    budget: usize,
    lists: Lists,
    /// For names with references to resolve.
    scratch: Vec<u8>,
    /// The last shared name, as it is written and as it is read.
    shared_raw: Vec<u8>,
    shared: Arc<str>,
    /// What the sink left of the last case.
    spare: Option<Box<TestCase>>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        sink: &'a mut dyn Sink,
        stop: &'a dyn Fn() -> bool,
        limits: &'a Limits,
        file: Arc<str>,
    ) -> Self {
        let run = TestRun::new(file.clone(), Format::JUnit);
        Self {
            sink,
            stop,
            limits,
            file,
            run,
            position: Position::default(),
            over: None,
            runs: 0,
            cases: 0,
            recorded: 0,
            problems: 0,
            problems_told: 0,
            replaced: 0,
            replaced_at: Position::default(),
            budget: limits.case_bytes,
            lists: Lists::Roomy,
            scratch: Vec::new(),
            shared_raw: Vec::new(),
            shared: Arc::from(""),
            spare: None,
        }
    }

    pub(crate) fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// The document that is being read, to be filled with what it says about itself.
    pub(crate) fn run(&mut self) -> &mut TestRun {
        &mut self.run
    }

    /// The name of the file, as the caller gave it.
    pub(crate) fn file(&self) -> Arc<str> {
        self.file.clone()
    }

    /// Whether reading must end.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Notes why reading ends; the first reason stays.
    pub(crate) fn end(&mut self, end: ReadEnd) {
        self.over.get_or_insert(end);
    }

    /// Whether a document was found.
    pub(crate) fn has_runs(&self) -> bool {
        self.runs > 0
    }

    /// Adds sequences that were replaced on the way in, whose places are not known.
    pub(crate) fn note_replaced_bytes(&mut self, replaced: u64) {
        if replaced > 0 {
            self.problem(ProblemKind::InvalidBytes, Position::default(), || {
                "there are bytes that are not valid in the encoding of the file; they were replaced"
                    .to_owned()
            });
        }
    }

    /// How the reading went.
    pub(crate) fn report(&self, bytes: u64) -> ReadReport {
        ReadReport {
            runs: self.runs,
            cases: self.cases,
            problems: self.problems,
            problems_told: self.problems_told,
            bytes,
            end: self.over.unwrap_or(ReadEnd::Complete),
        }
    }

    /// Takes the place that `source` has marked as that of the current record.
    pub(crate) fn at(&mut self, source: &mut Source<'_>) {
        self.position = source.marked();
    }

    /// Where the current record begins.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// A document of this format begins.
    pub(crate) fn begin_run(&mut self, format: Format) {
        self.runs += 1;
        self.run = TestRun::new(self.file.clone(), format);
        self.replaced = 0;
        self.recorded = 0;
        self.sink.run_started(&self.run);
    }

    /// The document has ended.
    pub(crate) fn finish_run(&mut self) {
        if self.replaced > 0 {
            let replaced = self.replaced;
            self.problem(ProblemKind::InvalidBytes, self.replaced_at, || {
                format!("{replaced} invalid sequences in texts were replaced; the first is in the record that begins here")
            });
        }
        let recorded = self.recorded;
        match self.run.declared.total {
            Some(total) if total != recorded && self.over.is_none() => {
                self.problem(ProblemKind::TotalsDiffer, Position::default(), || {
                    format!("the file says it has {total} tests, and {recorded} were found in it")
                });
            }
            _ => {}
        }
        if self.run.cases == 0 && self.over.is_none() {
            self.problem(ProblemKind::NoTests, Position::default(), || {
                "no test was found in it".to_owned()
            });
        }
        self.sink.run_finished(&self.run);
    }

    /// An empty record of a test at the current place, for [`Session::emit_record`]. `class` is as it is written in
    /// an attribute.
    pub(crate) fn record(&mut self, suite: &Arc<str>, class: &[u8]) -> Box<TestCase> {
        self.share_name(class);
        let mut case = self.spare.take().unwrap_or_default();
        case.reset(suite, &self.shared, self.position);
        case
    }

    /// Hands a complete case to the sink, and keeps the memory that the sink leaves for the next one.
    pub(crate) fn emit_record(&mut self, mut case: Box<TestCase>) {
        self.hand_out(&mut case);
        self.spare = Some(case);
    }

    /// Hands a complete case to the sink.
    pub(crate) fn emit(&mut self, mut case: TestCase) {
        self.hand_out(&mut case);
    }

    fn hand_out(&mut self, case: &mut TestCase) {
        if self.is_over() {
            return;
        }
        if self.cases >= self.limits.cases {
            let most = self.limits.cases;
            self.problem(ProblemKind::Incomplete, case.position, || {
                format!("it has more than {most} cases; the rest was not read")
            });
            self.end(ReadEnd::LimitReached);
            return;
        }
        self.cases += 1;
        self.run.cases += 1;
        self.recorded += u64::from(case.origin == Origin::Recorded);
        if is_blank(&case.name) {
            let container = if case.class.is_empty() {
                &*case.suite
            } else {
                &case.class
            };
            case.name = format!("{container}#{}", self.run.cases);
        }
        if case.outcome == Outcome::Unknown {
            let (name, word) = (
                printable_line(&case.name, 200),
                printable_line(&case.raw_outcome, 40),
            );
            self.problem(ProblemKind::UnknownOutcome, case.position, || {
                format!("the outcome `{word}` of `{name}` is not known and counts as a failure")
            });
        }
        if self.sink.case(case).is_break() {
            self.end(ReadEnd::SinkBroke);
        } else if self.cases.is_multiple_of(CASES_PER_QUESTION) && (self.stop)() {
            self.stopped(self.position);
        }
        self.budget = self.limits.case_bytes;
        self.lists = Lists::Roomy;
    }

    fn stopped(&mut self, position: Position) {
        self.problem(ProblemKind::Incomplete, position, || {
            "the reading was stopped here; the rest of the file was not read".to_owned()
        });
        self.end(ReadEnd::Stopped);
    }

    /// Reports a problem; its text is only made where it is still wanted.
    pub(crate) fn problem(
        &mut self,
        kind: ProblemKind,
        position: Position,
        detail: impl FnOnce() -> String,
    ) {
        self.problems += 1;
        if self.is_told(kind) {
            self.problems_told += 1;
            self.sink.problem(Problem {
                file: self.file.clone(),
                position,
                kind,
                detail: detail(),
            });
        }
    }

    /// Whether one more problem is handed out. How the reading ended is, whatever came before: it comes once.
    fn is_told(&self, kind: ProblemKind) -> bool {
        let is_end = matches!(kind, ProblemKind::Truncated | ProblemKind::Incomplete);
        is_end || self.problems_told < self.limits.problems
    }

    /// Reports a problem at the place where `source` stands.
    pub(crate) fn problem_at(
        &mut self,
        source: &mut Source<'_>,
        kind: ProblemKind,
        detail: impl FnOnce() -> String,
    ) {
        // Finding the place costs time, which a file full of problems must not take.
        let position = if self.is_told(kind) {
            source.position()
        } else {
            Position::default()
        };
        self.problem(kind, position, detail);
    }

    /// Reports that the input ended inside a document with `open` elements open, and why.
    pub(crate) fn document_cut(
        &mut self,
        source: &mut Source<'_>,
        open: usize,
        lost: Option<String>,
    ) {
        let position = source.position();
        let lost = lost.map_or_else(String::new, |lost| format!("; {lost}"));
        match source.ended() {
            Some(InputEnd::Stopped) => self.stopped(position),
            Some(InputEnd::TooLarge) => {
                let most = self.limits.file_bytes;
                self.problem(ProblemKind::Incomplete, position, || {
                    format!("the file is larger than {most} bytes; the rest was not read{lost}")
                });
                self.end(ReadEnd::LimitReached);
            }
            Some(InputEnd::Failed(message)) => {
                let message = printable_line(message, 200);
                self.problem(ProblemKind::Incomplete, position, || {
                    format!("reading failed here ({message}){lost}")
                });
                self.end(ReadEnd::InputFailed);
            }
            Some(InputEnd::EndOfFile) | None => {
                self.problem(ProblemKind::Truncated, position, || match open {
                    0 => format!("the file ends too early{lost}"),
                    open => format!("the file ends inside {open} open elements{lost}"),
                });
                self.end(ReadEnd::Truncated);
            }
        }
    }

    /// A name from an attribute value: references resolved, decoded, cut to size.
    pub(crate) fn name(&mut self, raw: &[u8]) -> String {
        if find_byte(b'&', raw).is_none() {
            return self.plain_name(raw);
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        escape::unescape_into(raw, &mut bytes);
        let name = self.plain_name(&bytes);
        self.scratch = bytes;
        name
    }

    /// Like [`Session::name`], into the memory of an earlier name.
    pub(crate) fn read_name(&mut self, raw: &[u8], name: &mut String) {
        let mut bytes = std::mem::take(name).into_bytes();
        bytes.clear();
        escape::unescape_into(raw, &mut bytes);
        *name = match String::from_utf8(bytes) {
            Ok(name) if name.len() <= self.name_limit() => {
                self.budget = self.budget.saturating_sub(name.len());
                name
            }
            Ok(name) => self.plain_name(name.as_bytes()),
            Err(error) => self.plain_name(error.as_bytes()),
        };
    }

    /// Like [`Session::name`], for one that is likely to be the same as the one before.
    pub(crate) fn shared_name(&mut self, raw: &[u8]) -> Arc<str> {
        self.share_name(raw);
        self.shared.clone()
    }

    /// Puts a name into `shared`, unless it is there.
    fn share_name(&mut self, raw: &[u8]) {
        if self.shared_raw != raw {
            self.shared = Arc::from(self.name(raw));
            self.shared_raw.clear();
            self.shared_raw.extend_from_slice(raw);
        }
    }

    /// Bytes that a name may have.
    fn name_limit(&self) -> usize {
        self.limits
            .name_bytes
            .min(self.budget.max(LEAST_NAME_BYTES))
    }

    /// A name from decoded bytes: cut to size.
    pub(crate) fn plain_name(&mut self, bytes: &[u8]) -> String {
        let mut replaced = 0;
        let name = clip_name(decode(bytes, &mut replaced), self.name_limit());
        self.budget = self.budget.saturating_sub(name.len());
        self.note_replaced(replaced);
        name
    }

    /// A name from what `capture` has gathered.
    pub(crate) fn captured_name(&mut self, capture: &mut Capture) -> String {
        let text = self.finish_text(capture);
        self.plain_name(text.as_str().as_bytes())
    }

    /// A text from an attribute value, at most `limit` bytes of it.
    pub(crate) fn attribute_text(&mut self, raw: &[u8], limit: usize) -> Text {
        let mut capture = Capture::new(limit.min(self.budget));
        escape::push_unescaped(raw, &mut capture);
        self.finish_text(&mut capture)
    }

    /// Prepares `capture` for a text of at most `limit` bytes.
    pub(crate) fn start_text(&self, capture: &mut Capture, limit: usize) {
        capture.reset(limit.min(self.budget));
    }

    /// The text that `capture` has gathered.
    pub(crate) fn finish_text(&mut self, capture: &mut Capture) -> Text {
        if capture.is_empty() {
            return Text::default();
        }
        self.budget = self.budget.saturating_sub(capture.kept_bytes());
        let (text, replaced) = capture.finish();
        self.note_replaced(replaced);
        text
    }

    fn note_replaced(&mut self, replaced: u64) {
        if replaced > 0 {
            if self.replaced == 0 {
                self.replaced_at = self.position;
            }
            self.replaced += replaced;
        }
    }

    /// Adds to a list of the current case, unless it is full.
    pub(crate) fn push_entry<T>(&mut self, list: &mut Vec<T>, entry: T) {
        if list.len() < self.limits.list_entries {
            self.budget = self.budget.saturating_sub(size_of::<T>());
            list.push(entry);
        } else if self.lists == Lists::Roomy {
            self.lists = Lists::Full;
            let most = self.limits.list_entries;
            self.problem(ProblemKind::LimitReached, self.position, || {
                format!(
                    "a test has more than {most} entries in one list; the later ones were dropped"
                )
            });
        }
    }
}

impl Piece<'_> {
    /// Adds the piece to a text.
    pub(crate) fn push_to(self, capture: &mut Capture) {
        match self {
            Self::Raw(bytes) => escape::push_unescaped(bytes, capture),
            Self::Literal(bytes) => capture.push(bytes),
        }
    }
}

fn is_blank(name: &str) -> bool {
    // Nearly every name begins with a visible character of ASCII.
    !name.as_bytes().first().is_some_and(u8::is_ascii_graphic) && name.trim().is_empty()
}

/// Adds `text` to `joined`, on a new line where there is something already, until that has `limit` bytes.
pub(crate) fn join_text(joined: &mut Text, text: Text, limit: usize) {
    if joined.is_empty() {
        *joined = text;
    } else if !text.is_empty() {
        joined.append("\n", &text, limit);
    }
}

/// The number of a decimal attribute, if it is one.
pub(crate) fn number(raw: &[u8]) -> Option<u64> {
    std::str::from_utf8(raw).ok()?.trim().parse().ok()
}
