//! Counts of real files from many producers, against a list of counts that was made by other means.
//!
//! The files are not part of this repository. `HELIX_TEST_CORPUS` names the directory that holds `test-results/`
//! with its `MANIFEST.tsv`; where it is not set these tests say so and pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use helix_results::{Collector, Limits, Origin, Outcome, ReadError, ReadReport, TestCase, read};

/// Where the files are, if they are here.
#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests must see that these did not"
)]
pub(crate) fn corpus() -> Option<PathBuf> {
    match std::env::var_os("HELIX_TEST_CORPUS") {
        Some(root) => Some(Path::new(&root).join("test-results")),
        None => {
            eprintln!(
                "skipped: HELIX_TEST_CORPUS is not set, so there are no files of other producers to read"
            );
            None
        }
    }
}

/// Counts in the terms of the list: six numbers, the first their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Row {
    total: u64,
    passed: u64,
    failed: u64,
    errored: u64,
    skipped: u64,
    inconclusive: u64,
}

impl Row {
    fn parse(fields: &[&str]) -> Option<Self> {
        let numbers: Vec<u64> = fields
            .iter()
            .map(|field| field.parse())
            .collect::<Result<_, _>>()
            .ok()?;
        let &[total, passed, failed, errored, skipped, inconclusive] = numbers.as_slice() else {
            return None;
        };
        Some(Self {
            total,
            passed,
            failed,
            errored,
            skipped,
            inconclusive,
        })
    }

    /// What was read, in the terms of the list: it tells skipped from not run nowhere, counts an outcome that is not
    /// known, and a test that never ended, as inconclusive, a time-out as an error in TRX and as a failure elsewhere;
    /// failures outside tests are not in it.
    fn of<'c>(format: &str, cases: impl Iterator<Item = &'c TestCase>) -> Self {
        let mut row = Self::default();
        for case in cases.filter(|case| case.origin == Origin::Recorded) {
            row.total += 1;
            match case.outcome {
                Outcome::Passed => row.passed += 1,
                Outcome::TimedOut if format == "trx" => row.errored += 1,
                Outcome::Failed | Outcome::TimedOut => row.failed += 1,
                Outcome::Errored if format == "gotest-json" => row.inconclusive += 1,
                Outcome::Errored => row.errored += 1,
                Outcome::Skipped | Outcome::NotRun => row.skipped += 1,
                Outcome::Inconclusive | Outcome::Unknown => row.inconclusive += 1,
            }
        }
        row
    }
}

fn read_file(path: &Path) -> (Result<ReadReport, ReadError>, Collector) {
    let mut collector = Collector::new();
    let mut file = fs::File::open(path).expect("file opens");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let result = read(
        &mut file,
        &name,
        &Limits::default(),
        &|| false,
        &mut collector,
    );
    (result, collector)
}

/// Lines of a table with `#` comments and tabs between fields.
fn table(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
}

#[test]
fn counts_of_real_files_are_those_of_the_list() {
    let Some(corpus) = corpus() else { return };
    let deviations: BTreeMap<&str, Row> = table(include_str!("deviations.tsv"))
        .map(|fields| (fields[0], Row::parse(&fields[1..7]).expect("six counts")))
        .collect();
    let manifest = fs::read_to_string(corpus.join("MANIFEST.tsv")).expect("list of files");
    let (mut checked, mut wrong) = (0, Vec::new());
    for fields in table(&manifest).skip(1) {
        let (file, format) = (fields[0], fields[1]);
        if !SUPPORTED.contains(&format) {
            continue;
        }
        let listed = Row::parse(&fields[10..16]).unwrap_or_default();
        let expected = deviations.get(file).copied().unwrap_or(listed);
        let (result, collector) = read_file(&corpus.join(file));
        let row = Row::of(format, collector.cases());
        checked += 1;
        // Documents about a format are no results in it: that they are refused is right.
        let refused = result.is_err() && listed.total > 0;
        if row != expected || refused {
            wrong.push(format!(
                "{file}\n    expected {expected:?}\n    read     {row:?} {result:?}\n    {:?}",
                collector.problems
            ));
        } else if deviations.contains_key(file) && row == listed {
            wrong.push(format!("{file}: is listed as a deviation and is none"));
        }
    }
    assert!(checked > 0, "the list names no file of a supported format");
    assert!(
        wrong.is_empty(),
        "{} of {checked} files differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Formats of the list that are read.
const SUPPORTED: &[&str] = &[
    "junit",
    "nextest-junit",
    "googletest-xml",
    "xunit",
    "xunit-v1",
    "trx",
    "nunit2",
    "nunit3",
    "ctest",
    "gotest-json",
    "libtest-json",
    "ctrf",
    "tap",
    "googletest-json",
];

#[test]
fn files_that_hold_no_results_end_in_an_error_that_says_what_they_are() {
    let Some(corpus) = corpus() else { return };
    for directory in ["foreign", "malformed"] {
        for entry in fs::read_dir(corpus.join(directory)).expect("directory") {
            let path = entry.expect("entry").path();
            let (result, collector) = read_file(&path);
            assert!(
                result.is_err(),
                "{} gave {result:?} {:?}",
                path.display(),
                Row::of("", collector.cases())
            );
        }
    }
}

#[test]
fn hostile_files_end_as_their_list_says() {
    let Some(corpus) = corpus() else { return };
    let list = fs::read_to_string(corpus.join("hostile/MANIFEST.tsv")).expect("list of files");
    let (mut checked, mut wrong) = (0, Vec::new());
    for fields in table(&list).skip(1) {
        let (file, format, expected) = (fields[0], fields[1], fields[3]);
        if format != "none" && !SUPPORTED.contains(&format) {
            continue;
        }
        let started = std::time::Instant::now();
        let (result, collector) = read_file(&corpus.join("hostile").join(file));
        let row = Row::of(format, collector.cases());
        checked += 1;
        let number = |key: &str| -> Option<u64> {
            let (_, rest) = expected.split_once(&format!("{key}="))?;
            rest.split(|character: char| !character.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        };
        let fits = |key: &str, count: u64| number(key).is_none_or(|number| number == count);
        let right = match format {
            "none" => result.is_err(),
            _ => {
                result.is_ok()
                    && fits("total", row.total)
                    && fits("passed", row.passed)
                    && fits("failed", row.failed)
            }
        };
        if !right || started.elapsed().as_secs() >= 5 {
            wrong.push(format!(
                "{file}: {expected}\n    read {row:?} {result:?}\n    {:?}",
                collector.problems
            ));
        }
    }
    assert!(checked > 0, "the list names no file of a supported format");
    assert!(
        wrong.is_empty(),
        "{} of {checked} files:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
