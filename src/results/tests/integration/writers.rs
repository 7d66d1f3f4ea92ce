//! What is written is well formed and complete, and errors of writing are told.

use std::ops::ControlFlow;

use helix_results::{Collector, CtrfWriter, JUnitWriter, JsonWriter, Limits, Sink, TestCase, read};

use crate::support::samples;

/// Reads `bytes` and writes what comes out as JUnit.
fn to_junit(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut writer = JUnitWriter::new(Vec::new());
    let mut input = bytes;
    read(&mut input, name, &Limits::default(), &|| false, &mut writer).expect("readable");
    writer.finish().expect("writable")
}

/// Reads `bytes` and writes what comes out as CTRF.
fn to_ctrf(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut writer = CtrfWriter::new(Vec::new(), "sample \"tool\"");
    let mut input = bytes;
    read(&mut input, name, &Limits::default(), &|| false, &mut writer).expect("readable");
    writer.finish().expect("writable")
}

#[test]
fn junit_that_was_written_is_well_formed() {
    for (name, bytes) in samples() {
        let written = to_junit(&name, &bytes);
        let mut reader = quick_xml::Reader::from_reader(written.as_slice());
        let mut depth = 0_i32;
        loop {
            match reader
                .read_event()
                .unwrap_or_else(|error| panic!("{name}: {error}"))
            {
                quick_xml::events::Event::Start(_) => depth += 1,
                quick_xml::events::Event::End(_) => depth -= 1,
                quick_xml::events::Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0, "{name}");
    }
}

#[test]
fn ctrf_that_was_written_is_json_with_a_true_summary() {
    for (name, bytes) in samples() {
        let value: serde_json::Value =
            serde_json::from_slice(&to_ctrf(&name, &bytes)).expect("JSON");
        let results = &value["results"];
        let tests = results["tests"].as_array().expect("tests");
        assert_eq!(results["summary"]["tests"], tests.len(), "{name}");
        for status in ["passed", "failed", "skipped", "pending", "other"] {
            let count = tests.iter().filter(|test| test["status"] == status).count();
            assert_eq!(results["summary"][status], count, "{name} {status}");
        }
    }
}

#[test]
fn json_lines_are_json_and_hold_every_case() {
    for (name, bytes) in samples() {
        let mut writer = JsonWriter::new(Vec::new());
        let mut input = bytes.as_slice();
        let report = read(
            &mut input,
            &name,
            &Limits::default(),
            &|| false,
            &mut writer,
        )
        .expect("readable");
        let written = String::from_utf8(writer.finish().expect("writable")).expect("UTF-8");
        let lines: Vec<serde_json::Value> = written
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let count = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count() as u64;
        assert_eq!(
            (count("case"), count("problem"), count("run")),
            (report.cases, report.problems, report.runs)
        );
        assert_eq!(lines.last().expect("summary")["total"], report.cases);
    }
}

/// Fails after some bytes, like a disk that is full.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.checked_sub(bytes.len()) {
            Some(left) => self.0 = left,
            None => return Err(std::io::ErrorKind::StorageFull.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn errors_of_writing_stop_the_reading_and_are_told_at_the_end() {
    let mut writer = JUnitWriter::new(Full(200));
    let case = || {
        let mut case = TestCase::new("suite".into(), Default::default());
        case.name = "n".repeat(50);
        case
    };
    let flows: Vec<ControlFlow<()>> = (0..5).map(|_| writer.case(&mut case())).collect();
    assert!(flows.iter().any(ControlFlow::is_break));
    assert_eq!(
        writer.finish().err().map(|error| error.kind()),
        Some(std::io::ErrorKind::StorageFull)
    );
}

#[test]
fn sink_that_breaks_ends_the_reading() {
    struct One(Collector);
    impl Sink for One {
        fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
            let _ = self.0.case(case);
            ControlFlow::Break(())
        }
    }
    let mut sink = One(Collector::new());
    let mut input = b"<testsuite><testcase name='a'/><testcase name='b'/></testsuite>".as_slice();
    let report = read(
        &mut input,
        "a.xml",
        &Limits::default(),
        &|| false,
        &mut sink,
    )
    .expect("readable");
    assert_eq!(
        (report.end, report.cases),
        (helix_results::ReadEnd::SinkBroke, 1)
    );
}
