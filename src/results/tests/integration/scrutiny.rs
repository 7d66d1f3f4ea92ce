//! What must hold of any bytes at all, valid or hostile. The fuzz targets and the tests share it.

use helix_results::{
    Attachment, AttachmentBody, Attempt, Collector, CtrfWriter, Evidence, Flakiness, JUnitWriter,
    Limits, Origin, Outcome, Position, ReadError, ReadReport, Sink, Tally, TallyLimits, TestCase,
    Text, Timestamp, Trait, ViewOptions, read, write_view,
};
use std::io::Read;
use std::time::Duration;

/// Reads `bytes` in several ways and checks what must hold of each.
pub(crate) fn scrutinise(name: &str, bytes: &[u8]) -> Recognised {
    let mut recognised = Recognised::No;
    for limits in [Limits::default(), small_limits()] {
        let (result, collector) = read_in_pieces(name, bytes, &limits, usize::MAX);
        told_properly(&result, &collector);
        let (dripped, dripped_collector) = read_in_pieces(name, bytes, &limits, 3);
        assert_eq!(dripped.ok(), result.as_ref().ok().cloned());
        assert!(dripped_collector.cases().eq(collector.cases()));
        assert_eq!(dripped_collector.problems, collector.problems);
        view_is_safe(&collector);
        if result.is_ok() {
            recognised = Recognised::Yes;
            survives_junit(collector.cases());
            survives_ctrf(collector.cases());
        }
    }
    recognised
}

/// Whether the bytes are a result file at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recognised {
    Yes,
    No,
}

/// Limits so small that what happens at them is reached.
pub(crate) fn small_limits() -> Limits {
    let mut small = Limits::default();
    small.depth = 4;
    small.name_bytes = 24;
    small.message_bytes = 10;
    small.stack_bytes = 10;
    small.output_bytes = 10;
    small.case_bytes = 100;
    small.list_entries = 2;
    small.held_bytes = 1000;
    small
}

/// Gives a few bytes at a time, as a pipe may.
pub(crate) struct Drip<'b>(pub(crate) &'b [u8], pub(crate) usize);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        let (now, later) = self.0.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

fn read_in_pieces(
    name: &str,
    bytes: &[u8],
    limits: &Limits,
    size: usize,
) -> (Result<ReadReport, ReadError>, Collector) {
    let mut collector = Collector::new();
    let mut input = Drip(bytes, size);
    let result = read(&mut input, name, limits, &|| false, &mut collector);
    (result, collector)
}

fn told_properly(result: &Result<ReadReport, ReadError>, collector: &Collector) {
    let mut cases = 0;
    for case in collector.cases() {
        cases += 1;
        assert!(!case.name.trim().is_empty(), "{case:?}");
        assert!(
            case.position.line > 0 && case.position.column > 0,
            "{case:?}"
        );
    }
    for problem in &collector.problems {
        let shown = problem.to_string();
        assert!(
            !problem.detail.is_empty() && shown.len() < 8 << 10,
            "{shown}"
        );
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
    if let Ok(report) = result {
        assert_eq!(report.cases, cases);
    }
}

fn view_is_safe(collector: &Collector) {
    let mut tally = Tally::new(TallyLimits::default());
    for run in &collector.runs {
        tally.run_started(&run.run);
        run.cases.iter().for_each(|case| tally.add(case));
    }
    for problem in &collector.problems {
        tally.problem(problem.clone());
    }
    let mut view = String::new();
    write_view(&tally, &ViewOptions::default(), &mut view).expect("strings take text");
    let obeyed = |line: &str| line.contains("##vso[") || line.contains("##[");
    assert!(!view.lines().any(obeyed), "{view}");
    let steers = |character: char| character.is_control() && character != '\n' && character != '\t';
    assert!(!view.contains(steers), "{view:?}");
}

/// Limits that nothing reaches which came through a reader once.
fn wide_limits() -> Limits {
    let mut wide = Limits::default();
    wide.name_bytes = 1 << 20;
    wide.message_bytes = 8 << 20;
    wide.stack_bytes = 8 << 20;
    wide.output_bytes = 8 << 20;
    wide.case_bytes = 64 << 20;
    wide.list_entries = 10_000;
    wide
}

/// Writes the cases as JUnit, reads them again, and wants back all that the format can carry.
pub(crate) fn survives_junit<'c>(cases: impl Iterator<Item = &'c TestCase>) {
    let mut writer = JUnitWriter::new(Vec::new());
    let mut expected = Vec::new();
    for case in cases {
        let _ = writer.case(&mut case.clone());
        expected.push(through_junit(case));
    }
    let written = writer.finish().expect("memory takes bytes");
    comes_back(&written, &expected);
}

/// The same with CTRF.
pub(crate) fn survives_ctrf<'c>(cases: impl Iterator<Item = &'c TestCase>) {
    let mut writer = CtrfWriter::new(Vec::new(), "a tool");
    let mut expected = Vec::new();
    for case in cases {
        let _ = writer.case(&mut case.clone());
        expected.push(through_ctrf(case));
    }
    let written = writer.finish().expect("memory takes bytes");
    comes_back(&written, &expected);
}

fn comes_back(written: &[u8], expected: &[TestCase]) {
    let mut collector = Collector::new();
    let result = read(
        &mut &*written,
        "written",
        &wide_limits(),
        &|| false,
        &mut collector,
    );
    let shown = String::from_utf8_lossy(written);
    assert!(result.is_ok(), "{result:?}: {shown}");
    let mut again: Vec<TestCase> = collector.cases().map(without_place).collect();
    for (again, expected) in again.iter_mut().zip(expected) {
        forgive_rounding(again, expected);
        assert_eq!(again, expected, "{shown}");
    }
    assert_eq!(again.len(), expected.len(), "{shown}");
}

/// Where a record stands changes with the file; the word of a file is told apart from what it means.
fn without_place(case: &TestCase) -> TestCase {
    let mut case = case.clone();
    case.position = Position::default();
    case.raw_outcome = "".into();
    case
}

/// CTRF counts milliseconds in floating point, which from 100 days on does not have every nanosecond.
fn forgive_rounding(again: &mut TestCase, expected: &TestCase) {
    let near = |one: Option<Duration>, other: Option<Duration>| match (one, other) {
        (Some(one), Some(other)) => one.abs_diff(other) <= other / (1 << 30) / (1 << 20),
        _ => false,
    };
    if near(again.duration, expected.duration) {
        again.duration = expected.duration;
    }
    for (again, expected) in again.attempts.iter_mut().zip(&expected.attempts) {
        if near(again.duration, expected.duration) {
            again.duration = expected.duration;
        }
    }
}

/// What of a case JUnit can carry.
fn through_junit(case: &TestCase) -> TestCase {
    let mut through = without_place(case);
    // Suites may nest without end, so that their chain is cut earlier than other names.
    let suite = xml_text(&case.suite);
    let suite = suite.trim();
    through.suite = suite[..suite.floor_char_boundary(2 << 10)].into();
    through.class = xml_text(&case.class).into();
    through.name = xml_text(&case.name);
    through.method = String::new();
    through.origin = Origin::Recorded;
    through.flakiness = Flakiness::Unstated;
    through.parts.clear();
    if let Some(location) = &mut through.location {
        location.file = xml_text(&location.file);
    }
    (through.outcome, through.evidence.kind) =
        outcome_through_junit(case.outcome, &case.evidence.kind);
    let kind = std::mem::take(&mut through.evidence.kind);
    through.evidence = evidence_through_junit(&case.evidence, kind);
    if case.outcome == Outcome::Passed {
        through.evidence = Evidence {
            stdout: through.evidence.stdout,
            stderr: through.evidence.stderr,
            ..Evidence::default()
        };
    }
    // A word of CTest, which says "skipped" of a test whose program is missing.
    let skipped = !case.outcome.is_failure() && case.outcome != Outcome::Passed;
    if skipped
        && through
            .evidence
            .message
            .as_str()
            .starts_with("Unable to find executable")
    {
        through.outcome = Outcome::Errored;
    }
    let failed = |attempt: &&Attempt| attempt.outcome.is_failure();
    through.attempts = case
        .attempts
        .iter()
        .filter(failed)
        .map(attempt_through_junit)
        .collect();
    extras_through_junit(case, &mut through);
    through
}

fn outcome_through_junit(outcome: Outcome, kind: &str) -> (Outcome, String) {
    match outcome {
        Outcome::TimedOut => (outcome, "test timeout".to_owned()),
        Outcome::Failed | Outcome::Errored if kind == "test timeout" => {
            (Outcome::TimedOut, kind.to_owned())
        }
        Outcome::Unknown => (Outcome::Errored, "unknown outcome".to_owned()),
        _ => (outcome, xml_text(kind)),
    }
}

fn evidence_through_junit(evidence: &Evidence, kind: String) -> Evidence {
    let text = |text: &Text| Text::from(xml_text(text.as_str()));
    let mut through = Evidence {
        message: text(&evidence.message),
        kind,
        stack: text(&evidence.stack),
        stdout: text(&evidence.stdout),
        stderr: text(&evidence.stderr),
    };
    if through.message.is_empty() {
        let mut lines = through.stack.as_str().lines().map(str::trim);
        let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
        through.message = Text::from(&line[..line.floor_char_boundary(4 << 10)]);
    }
    through
}

fn attempt_through_junit(attempt: &Attempt) -> Attempt {
    let (outcome, kind) = outcome_through_junit(attempt.outcome, &attempt.evidence.kind);
    Attempt {
        outcome,
        duration: attempt.duration,
        started: attempt.started,
        evidence: evidence_through_junit(&attempt.evidence, kind),
    }
}

/// Traits and attachments, which the output may name as well.
fn extras_through_junit(case: &TestCase, through: &mut TestCase) {
    let bare = |path: &str| Attachment {
        name: String::new(),
        media_type: None,
        body: AttachmentBody::Path(path.to_owned()),
    };
    let (named, others): (Vec<&Trait>, Vec<&Trait>) = case
        .traits
        .iter()
        .partition(|entry| entry.name == "attachment");
    through.traits = others
        .iter()
        .map(|entry| Trait {
            name: xml_text(&entry.name),
            value: xml_text(&entry.value),
        })
        .collect();
    through.attachments = named
        .iter()
        .map(|entry| bare(&xml_text(&entry.value)))
        .collect();
    for attachment in &case.attachments {
        if let AttachmentBody::Path(path) = &attachment.body {
            through.attachments.push(bare(&xml_text(path)));
        }
    }
    let output = through.evidence.stdout.as_str().to_owned();
    for line in output.lines().map(str::trim) {
        let Some(content) = line
            .strip_prefix("[[")
            .and_then(|line| line.strip_suffix("]]"))
        else {
            continue;
        };
        if let Some(path) = content.strip_prefix("ATTACHMENT|") {
            let attachment = bare(path);
            if !through.attachments.contains(&attachment) {
                through.attachments.push(attachment);
            }
        } else if let Some((name, value)) = content
            .strip_prefix("PROPERTY|")
            .and_then(|text| text.split_once('='))
        {
            let entry = Trait {
                name: name.to_owned(),
                value: value.to_owned(),
            };
            if !through.traits.contains(&entry) {
                through.traits.push(entry);
            }
        }
    }
}

/// A text as XML 1.0 can have it: what it cannot have is shown instead.
fn xml_text(text: &str) -> String {
    let mut through = String::new();
    for character in text.chars() {
        match character {
            '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                through.push_str(&format!("\\x{:02x}", u32::from(character)));
            }
            character => through.push(character),
        }
    }
    through
}

/// What of a case CTRF can carry.
fn through_ctrf(case: &TestCase) -> TestCase {
    let mut through = without_place(case);
    let mut suite = String::new();
    for name in case.suite.split(" > ") {
        if !suite.is_empty() {
            suite.push_str(" > ");
        }
        suite.push_str(name);
    }
    through.suite = suite.into();
    through.duration = Some(case.duration.unwrap_or_default());
    through.started = case.started.map(whole_milliseconds);
    through.evidence = evidence_through_ctrf(&case.evidence);
    through.flakiness = match case.is_flaky() {
        true => Flakiness::Stated,
        false => Flakiness::Unstated,
    };
    for attempt in &mut through.attempts {
        attempt.started = attempt.started.map(whole_milliseconds);
        attempt.evidence = evidence_through_ctrf(&attempt.evidence);
    }
    for part in &mut through.parts {
        part.level = 1;
        part.duration = None;
        part.started = None;
        part.evidence = Evidence::default();
    }
    through
        .attachments
        .retain(|attachment| matches!(attachment.body, AttachmentBody::Path(_)));
    for attachment in &mut through.attachments {
        let kind = attachment.media_type.take();
        attachment.media_type = Some(kind.unwrap_or_else(|| "application/octet-stream".to_owned()));
    }
    through.traits.sort_by_key(|entry| entry.name != "tag");
    through
}

fn evidence_through_ctrf(evidence: &Evidence) -> Evidence {
    let text = |text: &Text| Text::from(text.as_str());
    Evidence {
        message: text(&evidence.message),
        kind: evidence.kind.clone(),
        stack: text(&evidence.stack),
        stdout: text(&evidence.stdout),
        stderr: text(&evidence.stderr),
    }
}

fn whole_milliseconds(timestamp: Timestamp) -> Timestamp {
    Timestamp {
        unix_nanos: timestamp.unix_nanos / 1_000_000 * 1_000_000,
    }
}
