//! A file that was cut off gives what stands whole before the cut, and one problem that says where it ends.

use helix_results::{
    Collector, Format, Limits, Origin, Outcome, Position, ProblemKind, ReadEnd, TestCase,
};

use crate::corpus::corpus;
use crate::support::{read_bytes, samples};

/// Whether the record of a test ends before that of the next one begins. Where the events of several tests are
/// mixed, the place of a test does not tell when it was complete.
fn records_follow_each_other(format: Format) -> bool {
    !matches!(format, Format::GoTest | Format::Libtest)
}

/// The offset of a place, in text that is UTF-8 without a mark.
fn offset(text: &[u8], position: Position) -> usize {
    let line = usize::try_from(position.line).expect("a line") - 1;
    let column = usize::try_from(position.column).expect("a column") - 1;
    let start = match line {
        0 => 0,
        line => {
            memchr::memchr_iter(b'\n', text)
                .nth(line - 1)
                .expect("so many lines")
                + 1
        }
    };
    start + column
}

/// What must be the same of a test whether the file is whole or not. What comes late in a file, like the class of a
/// test in TRX, may be missing.
fn essence(case: &TestCase) -> (&str, Outcome) {
    (&case.name, case.outcome)
}

fn recorded(collector: &Collector) -> Vec<&TestCase> {
    let is_recorded = |case: &&TestCase| case.origin == Origin::Recorded;
    collector.cases().filter(is_recorded).collect()
}

/// Cuts a file off at `cuts` places and counts the cuts that were looked at.
fn check_cuts(name: &str, bytes: &[u8], cuts: usize) -> usize {
    let (result, whole) = read_bytes(name, bytes, &Limits::default());
    let complete = result.is_ok_and(|report| report.end == ReadEnd::Complete && report.runs == 1);
    let plain = std::str::from_utf8(bytes).is_ok() && !bytes.starts_with(b"\xEF\xBB\xBF");
    let damaged = whole
        .problems
        .iter()
        .any(|problem| problem.kind == ProblemKind::Damaged);
    if !complete || !plain || damaged || !records_follow_each_other(whole.runs[0].run.format) {
        return 0;
    }
    let whole_cases = recorded(&whole);
    let starts: Vec<usize> = whole_cases
        .iter()
        .map(|case| offset(bytes, case.position))
        .collect();
    let mut looked_at = 0;
    for number in 0..cuts {
        // The last byte that is not white space ends the document in most formats.
        let cut = bytes.trim_ascii_end().len().saturating_sub(1) * number / cuts;
        let (result, part) = read_bytes(name, &bytes[..cut], &Limits::default());
        let Ok(report) = result else { continue };
        looked_at += 1;
        // A record is whole if a later one begins before the cut; records inside others come before those.
        let whole_records = starts.iter().filter(|start| **start < cut).count();
        let expected = whole_records.saturating_sub(1);
        let cases = recorded(&part);
        let nested = starts.windows(2).any(|pair| pair[0] > pair[1]);
        if !nested {
            assert!(
                cases.len() >= expected,
                "{name} cut at {cut} lost tests: {} instead of {expected}",
                cases.len()
            );
            for (case, whole) in cases.iter().zip(&whole_cases[..expected]) {
                assert_eq!(essence(case), essence(whole), "{name} cut at {cut}");
            }
        }
        if report.end == ReadEnd::Truncated {
            let told: Vec<_> = part
                .problems
                .iter()
                .filter(|problem| problem.kind == ProblemKind::Truncated)
                .collect();
            assert_eq!(told.len(), 1, "{name} cut at {cut}: {:?}", part.problems);
            assert!(told[0].position.line > 0 && told[0].position.column > 0);
            // A truncated text may end with a line, so that the place is the beginning of the next one.
            let place = offset(&[&bytes[..cut], b"\n"].concat(), told[0].position);
            assert_eq!(place, cut, "{name}: {}", told[0]);
        } else {
            let cut_is_felt = cases.len() < whole_cases.len();
            let told = !part.problems.is_empty() || part.runs[0].run.format == Format::Tap;
            assert!(!cut_is_felt || told, "{name} cut at {cut} says nothing");
        }
    }
    looked_at
}

#[test]
fn samples_cut_off_give_what_stands_before_the_cut() {
    let mut looked_at = 0;
    for (name, bytes) in samples() {
        looked_at += check_cuts(&name, &bytes, 200);
    }
    assert!(looked_at > 1_000, "only {looked_at} cuts");
}

#[test]
fn files_of_other_producers_cut_off_give_what_stands_before_the_cut() {
    let Some(corpus) = corpus() else { return };
    let mut looked_at = 0;
    for directory in std::fs::read_dir(corpus).expect("directory") {
        let directory = directory.expect("entry").path();
        if !directory.is_dir() || directory.ends_with("hostile") || directory.ends_with("malformed")
        {
            continue;
        }
        for entry in std::fs::read_dir(directory).expect("directory") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                continue;
            }
            let bytes = std::fs::read(&path).expect("file");
            if bytes.len() < 300 << 10 {
                looked_at += check_cuts(&path.to_string_lossy(), &bytes, 12);
            }
        }
    }
    assert!(looked_at > 1_000, "only {looked_at} cuts");
}
