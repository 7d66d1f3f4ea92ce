//! Small files of every format, each with all that is read from it on record.

use std::ops::ControlFlow;

use helix_results::{Collector, Limits, Origin, Problem, ReadEnd, Sink, TestCase, TestRun, read};

use crate::scrutiny::Drip;
use crate::support::{read_bytes, render, samples, show};

#[test]
fn samples_are_read_as_recorded() {
    for (name, bytes) in samples() {
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name.as_str(), render(&name, &bytes));
        });
    }
}

#[test]
fn sizes_of_reads_change_nothing() {
    for (name, bytes) in samples() {
        for size in [1, 7, 100] {
            let mut collector = Collector::new();
            let result = read(
                &mut Drip(&bytes, size),
                &name,
                &Limits::default(),
                &|| false,
                &mut collector,
            );
            assert_eq!(
                show(&result, &collector),
                render(&name, &bytes),
                "{name} by {size}"
            );
        }
    }
}

#[test]
fn encodings_change_nothing_but_places() {
    for (name, bytes) in samples() {
        let Ok(text) = std::str::from_utf8(&bytes) else {
            continue;
        };
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let with_mark = [b"\xFF\xFE", utf16.as_slice()].concat();
        assert_eq!(render(&name, &with_mark), render(&name, &bytes), "{name}");
        let with_mark = [b"\xEF\xBB\xBF", bytes.as_slice()].concat();
        assert_eq!(render(&name, &with_mark), render(&name, &bytes), "{name}");
    }
}

#[test]
fn files_cut_anywhere_lose_nothing_in_silence() {
    for (name, bytes) in samples() {
        let (_, whole) = read_bytes(&name, &bytes, &Limits::default());
        let all = whole.cases().count();
        let end = bytes.trim_ascii_end().len();
        // A file of two documents is complete after the first.
        for cut in (0..end).filter(|_| !name.contains("two-documents")) {
            let (result, collector) = read_bytes(&name, &bytes[..cut], &Limits::default());
            let cases = collector.cases().count();
            // What is synthesised for the cut itself comes on top.
            assert!(
                cases <= all + 3,
                "{name} cut at {cut} gave {cases} cases instead of {all}"
            );
            let silent = collector.problems.is_empty()
                && result.is_ok_and(|report| report.end == ReadEnd::Complete)
                && collector
                    .cases()
                    .all(|case| case.origin == Origin::Recorded);
            assert!(
                !silent || cases == all,
                "{name} cut at {cut} lost {} cases",
                all - cases
            );
        }
    }
}

#[test]
fn tokens_of_the_build_service_never_turn_up() {
    let (name, bytes) = samples()
        .into_iter()
        .find(|(name, _)| name.starts_with("helix-report"))
        .expect("sample");
    assert!(String::from_utf8_lossy(&bytes).contains("s3cr3t"));
    for cut in 0..=bytes.len() {
        let shown = render(&name, &bytes[..cut]);
        assert!(!shown.contains("s3cr3t"), "cut at {cut}: {shown}");
    }
}

/// Looks at each case and leaves it to the reader.
#[derive(Default)]
struct Onlooker(Collector);

impl Sink for Onlooker {
    fn run_started(&mut self, run: &TestRun) {
        self.0.run_started(run);
    }

    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        self.0.case(&mut case.clone())
    }

    fn problem(&mut self, problem: Problem) {
        self.0.problem(problem);
    }

    fn run_finished(&mut self, run: &TestRun) {
        self.0.run_finished(run);
    }
}

#[test]
fn cases_that_are_left_to_the_reader_leave_nothing_in_the_next() {
    for (name, bytes) in samples() {
        let mut onlooker = Onlooker::default();
        let mut input = bytes.as_slice();
        let result = read(
            &mut input,
            &name,
            &Limits::default(),
            &|| false,
            &mut onlooker,
        );
        assert_eq!(show(&result, &onlooker.0), render(&name, &bytes), "{name}");
    }
}
