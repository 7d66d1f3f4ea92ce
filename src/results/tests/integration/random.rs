//! Nothing panics on any input, and the readers agree with strict ones where those agree to read at all.

use helix_results::Limits;
use proptest::prelude::*;

use crate::scrutiny::scrutinise;
use crate::support::{read_bytes, samples};

/// Pieces that mean something to one format or another.
const PIECES: &[&str] = &[
    "<",
    ">",
    "/>",
    "</",
    "\"",
    "'",
    "=",
    "&",
    ";",
    "&#",
    "&lt;",
    "]]>",
    "<![CDATA[",
    "<!--",
    "-->",
    "<?",
    "?>",
    "<!DOCTYPE",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "\\",
    "\\u",
    "\\ud83d",
    "\n",
    "\r\n",
    "\t",
    " ",
    "    ",
    "\0",
    "\u{1b}",
    "\u{feff}",
    "\u{e9}",
    "testsuites",
    "testsuite",
    "testcase",
    "failure",
    "error",
    "skipped",
    "rerunFailure",
    "flakyError",
    "system-out",
    "properties",
    "property",
    "stackTrace",
    "name",
    "time",
    "message",
    "type",
    "status",
    "assemblies",
    "assembly",
    "collection",
    "test",
    "reason",
    "TestRun",
    "Results",
    "UnitTestResult",
    "InnerResults",
    "TestDefinitions",
    "UnitTest",
    "outcome",
    "test-run",
    "test-suite",
    "test-case",
    "site",
    "SetUp",
    "result",
    "Failed",
    "Site",
    "Testing",
    "Test",
    "Status",
    "failed",
    "Action",
    "run",
    "Package",
    "Test",
    "output",
    "Output",
    "pass",
    "event",
    "started",
    "ok",
    "suite",
    "results",
    "tests",
    "not ok",
    "ok",
    "1..",
    "# SKIP",
    "# TODO",
    "---",
    "...",
    "Bail out!",
    "TAP version 14",
    "1",
    "0.5",
    "-1",
    "1e999",
    "null",
    "true",
    "##vso[task.complete]",
    "##[error]",
    "schema_version",
    "azdo",
    "testsuites",
    "{\"type\":\"test\",",
    "<testcase name=\"a\">",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        scrutinise("any", &bytes);
    }

    #[test]
    fn any_mixture_of_known_pieces_is_survived(
        head in 0..PIECES.len(),
        pieces in proptest::collection::vec(0..PIECES.len(), 0..120),
    ) {
        let text: String = [head].iter().chain(&pieces).map(|piece| PIECES[*piece]).collect();
        scrutinise("mixture", text.as_bytes());
        scrutinise("mixture", format!("<testsuite>{text}").as_bytes());
        scrutinise("mixture", format!("{{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"t\"}}\n{text}").as_bytes());
        scrutinise("mixture", format!("TAP version 14\n{text}").as_bytes());
    }

    #[test]
    fn damaged_samples_are_survived(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..12),
    ) {
        let samples = samples();
        let (name, bytes) = which.get(&samples);
        let mut bytes = bytes.clone();
        for (place, byte, change) in changes {
            let place = place.index(bytes.len());
            match change {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ if bytes.len() > 1 => { bytes.remove(place); }
                _ => {}
            }
        }
        scrutinise(name, &bytes);
    }

    /// What a strict reader takes, this one takes the same way: texts, references and all.
    #[test]
    fn well_formed_junit_is_read_as_written(
        names in proptest::collection::vec("[ -~\u{a0}-\u{d7ff}\n\t]{1,40}", 1..6),
        message in "[ -~\u{a0}-\u{d7ff}\n\t]{0,80}",
        body in "[ -~\u{a0}-\u{d7ff}\n\t]{0,200}",
    ) {
        use quick_xml::escape::escape;
        let mut text = String::from("<testsuite name='s'>");
        for name in &names {
            text.push_str(&format!(
                "<testcase name=\"{}\"><failure message=\"{}\">{}</failure><system-out><![CDATA[{}]]></system-out></testcase>",
                escape(name.as_str()), escape(message.as_str()), escape(body.as_str()), body.replace("]]>", "]]]]><![CDATA[>")
            ));
        }
        text.push_str("</testsuite>");
        let (result, collector) = read_bytes("a.xml", text.as_bytes(), &Limits::default());
        prop_assert!(result.is_ok());
        prop_assert_eq!(collector.problems.len(), 0);
        let cases: Vec<_> = collector.cases().collect();
        prop_assert_eq!(cases.len(), names.len());
        for (case, name) in cases.iter().zip(&names) {
            if !name.trim().is_empty() {
                prop_assert_eq!(&case.name, name);
            }
            if !message.is_empty() {
                prop_assert_eq!(case.evidence.message.as_str(), message.as_str());
            }
            prop_assert_eq!(case.evidence.stack.as_str(), body.as_str());
            prop_assert_eq!(case.evidence.stdout.as_str(), body.as_str());
        }
    }

    /// The same for JSON.
    #[test]
    fn valid_ctrf_is_read_as_written(
        tests in proptest::collection::vec((any::<String>(), any::<String>(), 0_u32..1_000_000), 1..6),
    ) {
        let entries: Vec<serde_json::Value> = tests
            .iter()
            .map(|(name, message, duration)| {
                serde_json::json!({"name": name, "message": message, "status": "failed", "duration": duration, "extra": {"a": [{}]}})
            })
            .collect();
        let text = serde_json::json!({"results": {"tool": {"name": "t"}, "tests": entries}}).to_string();
        let (result, collector) = read_bytes("a.json", text.as_bytes(), &Limits::default());
        prop_assert!(result.is_ok());
        let cases: Vec<_> = collector.cases().collect();
        prop_assert_eq!(cases.len(), tests.len());
        for (case, (name, message, duration)) in cases.iter().zip(&tests) {
            if !name.trim().is_empty() {
                prop_assert_eq!(&case.name, name);
            }
            prop_assert_eq!(case.evidence.message.as_str(), message.as_str());
            prop_assert_eq!(case.duration.map(|duration| duration.as_millis()), Some(u128::from(*duration)));
        }
    }
}
