//! Files made to hurt: each ends with a clear word and in little time. How much memory they take is the matter of
//! the test program `memory`.

use std::time::{Duration, Instant};

use helix_results::{Limits, Outcome, ProblemKind, ReadEnd, ReadError, read};

use crate::support::{read_bytes, render, show};

/// Reads within a time that a machine under load keeps as well, and shows the result.
fn quickly(bytes: &[u8]) -> String {
    let started = Instant::now();
    let shown = render("hostile", bytes);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "took {:?}",
        started.elapsed()
    );
    shown
}

#[test]
fn entities_are_neither_expanded_nor_fetched() {
    let bomb = "<!DOCTYPE s [<!ENTITY a0 'x'><!ENTITY a1 '&a0;&a0;'><!ENTITY e SYSTEM 'file:///etc/passwd'>]>\
                <testsuite name='s'><testcase name='&a1;'><failure message='&e;'>&a1;&e;</failure></testcase></testsuite>";
    let shown = quickly(bomb.as_bytes());
    assert!(
        shown.contains("failed \"&a1;\"") && shown.contains("stack \"&a1;&e;\""),
        "{shown}"
    );
}

#[test]
fn values_of_twenty_megabytes_are_cut_and_the_test_is_kept() {
    let large = "x".repeat(20 << 20);
    let text = format!(
        "<testsuite><testcase classname='c' name='{large}' time='1'><failure message='{large}'>{large}</failure>\
         <system-out><![CDATA[head{large}tail]]></system-out></testcase><testcase name='next'/></testsuite>"
    );
    let (result, collector) = read_bytes("large.xml", text.as_bytes(), &Limits::default());
    let cases: Vec<_> = collector.cases().collect();
    assert_eq!(cases.len(), 2, "{}", show(&result, &collector));
    assert_eq!(
        (cases[0].outcome, cases[1].name.as_str()),
        (Outcome::Failed, "next")
    );
    let evidence = &cases[0].evidence;
    assert!(cases[0].name.len() <= 16 << 10);
    assert!(
        evidence.stdout.as_str().starts_with("head") && evidence.stdout.as_str().ends_with("tail")
    );
    assert!(
        evidence.stdout.dropped_bytes() > 19 << 20 && evidence.stack.dropped_bytes() > 19 << 20
    );
    assert!(
        collector
            .problems
            .iter()
            .any(|problem| problem.kind == ProblemKind::LimitReached)
    );
}

#[test]
fn files_without_results_end_in_an_error_that_names_them() {
    for (bytes, expected) in [
        (b"".as_slice(), "error: `hostile` is empty"),
        (b" \n\0\0", "is empty"),
        (b"\xEF\xBB\xBF", "is empty"),
        (b"<?xml version='1.0'?>", "XML without any element"),
        (
            b"<html><body><testcase name='quoted'/></body></html>",
            "an HTML page",
        ),
        (b"<coverage line-rate='1'/>", "a coverage report"),
        (
            b"<project><testcase/></project>",
            "XML with root element `project`",
        ),
        (b"</testsuite>", "begins with an end tag"),
        (b"{\"numTotalTests\":1}", "a Jest report"),
        (b"{\"some\":\"thing\"}", "JSON of an unknown kind"),
        (b"{", "JSON of an unknown kind"),
        (b"just some words\nand more", "plain text"),
        (b"okay then, nothing here", "plain text"),
        (b"\x7fELF\x02\x01\x01", "plain text"),
    ] {
        let shown = render("hostile", bytes);
        assert!(
            shown.starts_with("error") && shown.contains(expected),
            "{shown}"
        );
    }
}

#[test]
fn limits_on_bytes_and_cases_end_the_reading_and_say_so() {
    let text = format!(
        "<testsuite>{}</testsuite>",
        "<testcase name='a'/>".repeat(1000)
    );
    let mut limits = Limits::default();
    limits.file_bytes = 5000;
    let (result, collector) = read_bytes("a.xml", text.as_bytes(), &limits);
    assert_eq!(
        result.map(|report| report.end).ok(),
        Some(ReadEnd::LimitReached)
    );
    assert!(collector.cases().count() > 100);
    assert_eq!(collector.problems[0].kind, ProblemKind::Incomplete);
    let mut limits = Limits::default();
    limits.cases = 7;
    let (result, collector) = read_bytes("a.xml", text.as_bytes(), &limits);
    assert_eq!(
        result.map(|report| report.end).ok(),
        Some(ReadEnd::LimitReached)
    );
    assert_eq!(
        (collector.cases().count(), collector.problems.len()),
        (7, 1)
    );
}

#[test]
fn problems_are_counted_beyond_those_that_are_told() {
    let text = format!(
        "<testsuite><testcase name='a'/>{}</testsuite>",
        "</no>".repeat(1000)
    );
    let (result, collector) = read_bytes("a.xml", text.as_bytes(), &Limits::default());
    let report = result.expect("readable");
    assert_eq!(
        (
            report.problems,
            report.problems_told,
            collector.problems.len()
        ),
        (1000, 100, 100)
    );
}

#[test]
fn stop_ends_the_reading_between_cases_and_between_reads() {
    let text = format!(
        "<testsuite>{}</testsuite>",
        "<testcase name='a'/>".repeat(1000)
    );
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 4
    };
    let mut collector = helix_results::Collector::new();
    let report = read(
        &mut text.as_bytes(),
        "a.xml",
        &Limits::default(),
        &stop,
        &mut collector,
    )
    .expect("readable");
    assert_eq!(report.end, ReadEnd::Stopped);
    assert!(report.cases < 1000 && report.cases > 0, "{report:?}");
    assert_eq!(collector.problems[0].kind, ProblemKind::Incomplete);
    let mut endless = std::io::repeat(b' ');
    let started = Instant::now();
    let stop = || started.elapsed() > Duration::from_millis(50);
    let result = read(
        &mut endless,
        "a.xml",
        &Limits::default(),
        &stop,
        &mut collector,
    );
    assert!(
        matches!(result, Err(ReadError::Stopped { .. })),
        "{result:?}"
    );
}

/// Gives some bytes and then fails.
struct Broken<'a>(&'a [u8]);

impl std::io::Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::Error::other("the disk is gone")),
            count => Ok(count),
        }
    }
}

#[test]
fn inputs_that_fail_give_what_came_before() {
    let mut collector = helix_results::Collector::new();
    let mut input = Broken(b"<testsuite><testcase name='a'/>");
    let report = read(
        &mut input,
        "a.xml",
        &Limits::default(),
        &|| false,
        &mut collector,
    )
    .expect("readable");
    assert_eq!((report.end, report.cases), (ReadEnd::InputFailed, 1));
    assert!(collector.problems[0].detail.contains("the disk is gone"));
    let result = read(
        &mut Broken(b""),
        "a.xml",
        &Limits::default(),
        &|| false,
        &mut collector,
    );
    assert!(matches!(result, Err(ReadError::Input { .. })), "{result:?}");
}
