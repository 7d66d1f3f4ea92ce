//! How much memory hostile and huge files take: every allocation of this program is counted.
//!
//! A test program of its own, since the counter is for the whole process; the tests in it run one after another.

mod counting;
mod inputs;

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use helix_results::{
    Counts, Limits, Problem, ProblemKind, ReadEnd, ReadError, ReadReport, Sink, TestCase, read,
};

use crate::counting::{NOW, PEAK};
use crate::inputs::{Numbered, Repeated};

/// The most that the reading of any file may take here; every file here is larger.
const BOUND: usize = 4 << 20;

/// What came of a file, without keeping it.
#[derive(Default)]
struct Seen {
    counts: Counts,
    problems: Vec<Problem>,
}

impl Sink for Seen {
    fn case(&mut self, case: &mut TestCase) -> ControlFlow<()> {
        self.counts.add(case);
        ControlFlow::Continue(())
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

impl Seen {
    fn has(&self, kind: ProblemKind) -> bool {
        self.problems.iter().any(|problem| problem.kind == kind)
    }
}

/// One at a time: the counter does not know who allocates.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads, and gives the most memory that was in use at a time beyond what was before.
fn measure(input: &mut dyn Read, limits: &Limits) -> (Result<ReadReport, ReadError>, Seen, usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let mut seen = Seen::default();
    let result = read(input, "hostile", limits, &|| false, &mut seen);
    let peak = PEAK.load(Relaxed).saturating_sub(before);
    (result, seen, peak)
}

/// Reads within the bound.
fn bounded(input: &mut dyn Read, limits: &Limits) -> (Result<ReadReport, ReadError>, Seen) {
    let (result, seen, peak) = measure(input, limits);
    assert!(
        peak < BOUND,
        "took {peak} bytes; {result:?} {:?}",
        seen.problems
    );
    (result, seen)
}

const ENDLESS: u64 = u64::MAX;

#[test]
fn counter_notices_what_is_kept() {
    let _turn = alone();
    let mut keeper = helix_results::Collector::new();
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let mut input = Repeated::new(
        "<testsuite>",
        "<testcase name='one of many'/>",
        100_000,
        "</testsuite>",
    );
    read(
        &mut input,
        "kept",
        &Limits::default(),
        &|| false,
        &mut keeper,
    )
    .expect("readable");
    assert!(PEAK.load(Relaxed) - before > BOUND);
}

#[test]
fn memory_is_the_same_for_small_and_large_files() {
    let _turn = alone();
    let junit = "<testcase classname='a.b.C' name='does it' time='0.001'><failure message='no'>at C</failure>\
                 <system-out>printed\n</system-out></testcase>\n";
    let xunit = "<test name='a.b.C.M(x: 1)' type='a.b.C' method='M' time='0.1' result='Fail'><failure><message>no\
                 </message><stack-trace>at C</stack-trace></failure></test>\n";
    let trx = "<UnitTestResult testId='1' testName='a' outcome='Failed'><Output><StdOut>out</StdOut></Output></UnitTestResult>\n";
    let nunit = "<test-case fullname='a.B.c' name='c' result='Failed'><failure><message>no</message></failure></test-case>\n";
    let gotest = "{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"T\"}\n{\"Action\":\"output\",\"Package\":\"p\",\
                  \"Test\":\"T\",\"Output\":\"x\\n\"}\n{\"Action\":\"fail\",\"Package\":\"p\",\"Test\":\"T\"}\n";
    let libtest = "{\"type\":\"test\",\"event\":\"started\",\"name\":\"t\"}\n{\"type\":\"test\",\"name\":\"t\",\"event\":\"failed\",\
                   \"stdout\":\"no\"}\n";
    for (head, unit, tail) in [
        ("<testsuite name='s'>", junit, "</testsuite>"),
        (
            "<assemblies><assembly name='a.dll'><collection>",
            xunit,
            "</collection></assembly></assemblies>",
        ),
        ("<TestRun><Results>", trx, "</Results></TestRun>"),
        (
            "<test-run><test-suite type='Assembly' name='a.dll'>",
            nunit,
            "</test-suite></test-run>",
        ),
        (
            "{\"results\":{\"tool\":{\"name\":\"t\"},\"tests\":[{\"name\":\"f\",\"status\":\"passed\",\"duration\":1}",
            ",{\"name\":\"t\",\"status\":\"failed\",\"duration\":1,\"message\":\"no\"}",
            "]}}",
        ),
        (
            "TAP version 14\n",
            "not ok - a\n  ---\n  message: no\n  ...\n",
            "1..1\n",
        ),
        (
            "{\"Action\":\"start\",\"Package\":\"p\"}\n",
            gotest,
            "{\"Action\":\"fail\",\"Package\":\"p\"}\n",
        ),
        (
            "{\"type\":\"suite\",\"event\":\"started\",\"test_count\":1}\n",
            libtest,
            "{\"type\":\"suite\",\"event\":\"failed\"}\n",
        ),
    ] {
        let mut peaks = Vec::new();
        for bytes in [1 << 20, 5 << 20] {
            let mut input = Repeated::sized(head, unit, bytes, tail);
            let mut limits = Limits::default();
            limits.held_bytes = 1 << 20;
            let (result, seen, peak) = measure(&mut input, &limits);
            let report = result.expect("readable");
            assert!(report.cases > 1000, "{head}: {report:?}");
            assert!(seen.counts.failures() > 1000, "{head}: {:?}", seen.counts);
            peaks.push(peak);
        }
        assert!(peaks[1] < BOUND, "{head}: {peaks:?}");
        // Formats that tell names late hold some results back, up to a limit.
        assert!(peaks[1] < peaks[0] + (2 << 20), "{head}: {peaks:?}");
    }
}

#[test]
fn expansion_bombs_and_external_entities_are_not_obeyed() {
    let _turn = alone();
    let mut bomb = String::from("<!DOCTYPE s [<!ENTITY e0 'lol'>");
    for level in 1..30 {
        let inner = format!("&e{};", level - 1).repeat(10);
        bomb.push_str(&format!("<!ENTITY e{level} '{inner}'>"));
    }
    bomb.push_str(
        "<!ENTITY x SYSTEM 'file:///etc/passwd'><!ENTITY % p SYSTEM 'http://localhost:1/'>%p;]>",
    );
    bomb.push_str("<testsuite><testcase name='&e29;'><failure message='&x;'>&e29;&x;</failure></testcase></testsuite>");
    let (result, seen) = bounded(&mut bomb.as_bytes(), &Limits::default());
    assert_eq!(result.expect("readable").end, ReadEnd::Complete);
    assert_eq!(seen.counts.failed, 1);
    // An internal subset that never ends.
    let mut input = Repeated::new("<testsuite>", "<!ENTITY a 'b'>", ENDLESS, "");
    let mut limits = Limits::default();
    limits.file_bytes = 5 << 20;
    limits.held_bytes = 1 << 20;
    let (result, seen) = bounded(&mut input, &limits);
    assert_eq!(result.expect("readable").end, ReadEnd::LimitReached);
    assert!(seen.has(ProblemKind::Incomplete), "{:?}", seen.problems);
}

#[test]
fn a_hundred_thousand_levels_take_little() {
    let _turn = alone();
    for (head, unit, tail) in [
        (
            "<testsuites>",
            "<testsuite name='deep'>",
            "<testcase name='t'/>",
        ),
        ("<testsuite><testcase name='t'/>", "<x>", ""),
        (
            "<test-run>",
            "<test-suite type='Namespace' name='deep'>",
            "<test-case name='t' result='Passed'/>",
        ),
        (
            "<TestRun><Results><UnitTestResult testName='t' outcome='Passed'>",
            "<InnerResults><UnitTestResult testName='i' outcome='Passed'>",
            "",
        ),
        (
            "{\"results\":{\"tool\":{\"name\":\"t\"},\"tests\":[{\"name\":\"t\",\"status\":\"passed\",\"extra\":",
            "[",
            "",
        ),
        (
            "{\"results\":{\"tool\":{\"name\":\"t\"},\"tests\":",
            "{\"a\":",
            "",
        ),
    ] {
        let mut input = Repeated::new(head, unit, 100_000, tail);
        let (result, seen, peak) = measure(&mut input, &Limits::default());
        assert!(peak < 8 << 20, "{head}: {peak} bytes");
        assert!(result.is_ok(), "{head}: {result:?}");
        let told = seen.has(ProblemKind::LimitReached) || seen.has(ProblemKind::Truncated);
        assert!(told, "{head}: {:?}", seen.problems);
    }
    let mut subtests = String::from("TAP version 14\n");
    for level in 0..2_000 {
        subtests.push_str(&format!("{}ok 1 - deep\n", "    ".repeat(level)));
    }
    let (result, _) = bounded(&mut subtests.as_bytes(), &Limits::default());
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn values_of_twenty_megabytes_are_not_gathered() {
    let _turn = alone();
    let bytes = 20 << 20;
    for (head, tail) in [
        (
            "<testsuite><testcase name='",
            "'/><testcase name='last'/></testsuite>",
        ),
        (
            "<testsuite><testcase name='t'><failure message=\"",
            "\"/></testcase><testcase name='last'/></testsuite>",
        ),
        (
            "<testsuite><testcase name='t'><failure>",
            "</failure></testcase><testcase name='last'/></testsuite>",
        ),
        (
            "<testsuite><testcase name='t'><system-out><![CDATA[",
            "]]></system-out></testcase><testcase name='last'/></testsuite>",
        ),
        (
            "<testsuite><testcase name='t'/><!--",
            "--><testcase name='last'/></testsuite>",
        ),
        (
            "<testsuite><testcase name='t'/><?pi ",
            "?><testcase name='last'/></testsuite>",
        ),
        (
            "<testsuite><testcase name='t'/></",
            "><testcase name='last'/></testsuite>",
        ),
        (
            "<testsuite><testcase name='t' ",
            "='1'/><testcase name='last'/></testsuite>",
        ),
        (
            "{\"results\":{\"tool\":{\"name\":\"t\"},\"tests\":[{\"status\":\"passed\",\"name\":\"",
            "\"},{\"name\":\"last\",\"status\":\"passed\"}]}}",
        ),
        (
            "{\"results\":{\"tool\":{\"name\":\"t\"},\"tests\":[{\"name\":\"t\",\"status\":\"passed\",\"",
            "\":1},{\"name\":\"last\",\"status\":\"passed\"}]}}",
        ),
        (
            "{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"T\"}\n{\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"T\",\"Output\":\"",
            "\"}\n",
        ),
        ("TAP version 14\nok 1 - ", "\nok 2 - last\n1..2\n"),
    ] {
        let mut input = Repeated::sized(head, "xxxxxxxx", bytes, tail);
        let (result, seen) = bounded(&mut input, &Limits::default());
        let report = result.expect("readable");
        assert!(
            report.cases >= 1 && report.bytes > 20 << 20,
            "{head}: {report:?} {:?}",
            seen.problems
        );
    }
}

#[test]
fn endless_files_end_at_the_limits() {
    let _turn = alone();
    let mut limits = Limits::default();
    limits.file_bytes = 5 << 20;
    limits.held_bytes = 1 << 20;
    for (head, unit) in [
        ("<testsuite>", "<testcase name='a'/>"),
        (
            "<testsuite><testcase name='a'>",
            "<failure message='m'>stack</failure>",
        ),
        (
            "<testsuite><testcase name='a'>",
            "<rerunFailure message='m'>stack</rerunFailure>",
        ),
        (
            "<testsuite><testcase name='a'><properties>",
            "<property name='n' value='v'/>",
        ),
        ("<testsuite><testcase ", "a='b' "),
        ("<testsuite>", "</testsuite"),
        ("<testsuite>", "&"),
        ("<testsuite>", "<"),
        ("<testsuite>", "\0"),
        ("<testsuite>", "\n"),
        (
            "<TestRun><Results>",
            "<UnitTestResult testId='1' testName='a' outcome='Failed'/>",
        ),
        (
            "<TestRun xmlns='http://microsoft.com/schemas/VisualStudio/TeamTest/2010'><TestDefinitions>",
            "<UnitTest id='1' name='a'><TestMethod className='C' name='m'/></UnitTest>",
        ),
        (
            "<TestRun><Results><UnitTestResult testName='a'><InnerResults>",
            "<UnitTestResult testName='i' outcome='Failed'/>",
        ),
        (
            "<test-run><test-suite type='Assembly' name='a.dll'>",
            "<test-case name='t' result='Failed'/>",
        ),
        (
            "<Site><Testing>",
            "<Test Status='failed'><Name>n</Name></Test>",
        ),
        (
            "{\"results\":{\"tool\":{\"name\":\"t\"},\"tests\":[{\"name\":\"t\",\"status\":\"passed\"}",
            ",{\"name\":\"t\",\"status\":\"failed\"}",
        ),
        (
            "{\"results\":{\"tool\":{\"name\":\"t\"},\"tests\":[{\"name\":\"t\",\"stdout\":[\"a\"",
            ",\"a\"",
        ),
        (
            "{\"results\":{\"tool\":{\"name\":\"t\"},\"tests\":[{\"name\":\"t\",\"labels\":{\"a\":\"b\"",
            ",\"a\":\"b\"",
        ),
        ("TAP version 14\n1..99999999999999999999\n", "not ok\n"),
        ("TAP version 14\n", "    ok\n"),
        ("TAP version 14\nok 1\n  ---\n", "  a: b\n"),
        (
            "{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"T\"}\n",
            "{\"Action\":\"output\",\"Package\":\"p\",\"Test\":\"T\",\"Output\":\"x\"}\n",
        ),
        (
            "{\"type\":\"suite\",\"event\":\"started\",\"test_count\":1}\n",
            "{\"type\":\"test\",\"event\":\"started\",\"name\":\"t\"}\n",
        ),
        (
            "{\"type\":\"suite\",\"event\":\"started\",\"test_count\":1}\n",
            "not json at all\n",
        ),
    ] {
        let mut input = Repeated::new(head, unit, ENDLESS, "");
        let (result, seen) = bounded(&mut input, &limits);
        let report = result.expect("readable");
        assert_eq!(
            report.end,
            ReadEnd::LimitReached,
            "{head}{unit}: {:?}",
            seen.problems
        );
        assert!(report.bytes <= limits.file_bytes, "{report:?}");
        assert!(
            seen.has(ProblemKind::Incomplete),
            "{head}{unit}: {:?}",
            seen.problems
        );
    }
    // Where nothing ever begins, the reading ends as well.
    for unit in ["\0", " ", "\n", "x", "x\n", "<?a?>", "<!--a-->", "{", "["] {
        let mut input = Repeated::new("", unit, ENDLESS, "");
        let (result, _) = bounded(&mut input, &limits);
        assert!(result.is_err(), "{unit:?}: {result:?}");
    }
}

#[test]
fn what_is_remembered_between_records_is_bounded() {
    let _turn = alone();
    let mut limits = Limits::default();
    limits.file_bytes = 20 << 20;
    type Make = fn(u64) -> String;
    let makes: [(&str, Make); 7] = [
        (
            "{\"type\":\"suite\",\"event\":\"started\",\"test_count\":1}\n",
            |number| {
                format!(
                    "{{\"type\":\"test\",\"event\":\"started\",\"name\":\"test number {number}\"}}\n"
                )
            },
        ),
        ("{\"Action\":\"start\",\"Package\":\"p\"}\n", |number| {
            format!("{{\"Action\":\"run\",\"Package\":\"p{number}\",\"Test\":\"T{number}\"}}\n")
        }),
        ("{\"Action\":\"start\",\"Package\":\"p\"}\n", |number| {
            format!(
                "{{\"Action\":\"output\",\"Package\":\"p{number}\",\"Test\":\"T{number}\",\"Output\":\"{}\"}}\n",
                "x".repeat(500)
            )
        }),
        ("{\"Action\":\"start\",\"Package\":\"p\"}\n", |number| {
            format!(
                "{{\"Action\":\"build-output\",\"ImportPath\":\"p{number}\",\"Output\":\"{}\"}}\n",
                "x".repeat(500)
            )
        }),
        (
            "<TestRun xmlns='http://microsoft.com/schemas/VisualStudio/TeamTest/2010'><TestDefinitions>",
            |number| {
                format!(
                    "<UnitTest id='{number}' name='a{number}'><TestMethod className='C{number}' name='m'/></UnitTest>"
                )
            },
        ),
        ("<TestRun><Results>", |number| {
            format!("<UnitTestResult testId='{number}' testName='a{number}' outcome='Failed'/>")
        }),
        ("TAP version 14\n", |number| {
            format!("    not ok {number} - inner {number}\n")
        }),
    ];
    for (head, make) in makes {
        let body = Numbered {
            make,
            number: 0,
            pending: Vec::new(),
            at: 0,
        };
        let mut input = head.as_bytes().chain(body);
        let (result, seen, peak) = measure(&mut input, &limits);
        assert!(peak < 16 << 20, "{head}: {peak} bytes");
        let report = result.expect("readable");
        assert_eq!(
            report.end,
            ReadEnd::LimitReached,
            "{head}: {:?}",
            seen.problems
        );
    }
}
