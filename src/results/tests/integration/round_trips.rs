//! What is written is read again as the same model, as far as the format can carry it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use helix_results::{
    Attachment, AttachmentBody, Attempt, Collector, Evidence, Flakiness, JsonWriter, Limits,
    Origin, Outcome, Part, Position, Sink, SourceLocation, TestCase, Text, Timestamp, Trait, read,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use crate::scrutiny::{scrutinise, survives_ctrf, survives_junit};
use crate::support::samples;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        4 => "[a-z <>&\"'\\]\\[.#\t\n]{1,30}",
        2 => "\\PC{1,20}",
        1 => "(?s).{1,20}",
        1 => Just("[[PROPERTY|area=checkout]]\n[[ATTACHMENT|/tmp/b.log]]".to_owned()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    text().prop_map(|name| {
        if name.trim().is_empty() {
            "n".to_owned()
        } else {
            name
        }
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(&Outcome::ALL)
}

fn duration() -> impl Strategy<Value = Option<Duration>> {
    let nanos = prop_oneof![0..5_000_000_000_u64, any::<u64>()];
    option::of(nanos.prop_map(Duration::from_nanos))
}

/// From 1981 until today: what is earlier or later counts as unknown.
fn started() -> impl Strategy<Value = Option<Timestamp>> {
    let nanos = 350_000_000_000_000_000..1_760_000_000_000_000_000_i64;
    option::of(nanos.prop_map(|unix_nanos| Timestamp { unix_nanos }))
}

fn evidence() -> impl Strategy<Value = Evidence> {
    (text(), text(), text(), text(), text()).prop_map(|(message, kind, stack, stdout, stderr)| {
        Evidence {
            message: Text::from(message),
            kind,
            stack: Text::from(stack),
            stdout: Text::from(stdout),
            stderr: Text::from(stderr),
        }
    })
}

fn attempt() -> impl Strategy<Value = Attempt> {
    (outcome(), duration(), started(), evidence()).prop_map(
        |(outcome, duration, started, evidence)| Attempt {
            outcome,
            duration,
            started,
            evidence,
        },
    )
}

fn part() -> impl Strategy<Value = Part> {
    (1..4_u8, name(), attempt()).prop_map(|(level, name, attempt)| Part {
        level,
        name,
        outcome: attempt.outcome,
        duration: attempt.duration,
        started: attempt.started,
        evidence: attempt.evidence,
    })
}

fn attachment() -> impl Strategy<Value = Attachment> {
    let body = prop_oneof![
        name().prop_map(AttachmentBody::Path),
        text().prop_map(|text| AttachmentBody::Text(Text::from(text))),
        Just(AttachmentBody::Base64("aGk=".to_owned())),
        any::<u64>().prop_map(|bytes| AttachmentBody::TooLarge { bytes }),
    ];
    (text(), option::of(name()), body).prop_map(|(name, media_type, body)| Attachment {
        name,
        media_type,
        body,
    })
}

fn entry() -> impl Strategy<Value = Trait> {
    let name =
        prop_oneof![4 => text(), 1 => Just("tag".to_owned()), 1 => Just("attachment".to_owned())];
    (name, text()).prop_map(|(name, value)| Trait { name, value })
}

fn location() -> impl Strategy<Value = Option<SourceLocation>> {
    let location = (name(), option::of(any::<u64>()));
    option::of(location.prop_map(|(file, line)| SourceLocation { file, line }))
}

fn case() -> impl Strategy<Value = TestCase> {
    let names = (text(), text(), text(), name());
    let what = (attempt(), any::<bool>(), any::<bool>());
    let lists = (
        vec(attempt(), 0..3),
        vec(part(), 0..3),
        vec(attachment(), 0..3),
        vec(entry(), 0..3),
    );
    (names, what, lists, location()).prop_map(
        |(
            (suite, class, method, name),
            (own, synthesised, stated),
            (attempts, parts, attachments, traits),
            location,
        )| {
            let mut case = TestCase::new(suite.into(), Position { line: 1, column: 1 });
            case.class = class.into();
            case.method = method;
            case.name = name;
            if synthesised {
                case.origin = Origin::Synthesised;
            }
            if stated {
                case.flakiness = Flakiness::Stated;
            }
            case.outcome = own.outcome;
            case.duration = own.duration;
            case.started = own.started;
            case.evidence = own.evidence;
            case.attempts = attempts;
            case.parts = parts;
            case.attachments = attachments;
            case.traits = traits;
            case.location = location;
            case
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_case_comes_back_from_junit(cases in vec(case(), 0..4)) {
        survives_junit(cases.iter());
    }

    #[test]
    fn any_case_comes_back_from_ctrf(cases in vec(case(), 0..4)) {
        survives_ctrf(cases.iter());
    }

    #[test]
    fn any_case_comes_back_from_json(cases in vec(case(), 0..4)) {
        let mut writer = JsonWriter::new(Vec::new());
        for case in &cases {
            let _ = writer.case(&mut case.clone());
        }
        let written = writer.finish().expect("memory takes bytes");
        let again: Vec<TestCase> = String::from_utf8(written)
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .filter(|line| line["type"] == "case")
            .map(|line| case_of_json(&line))
            .collect();
        prop_assert_eq!(again, cases);
    }
}

/// The model that a line of JSON tells of: nothing of it is lost.
fn case_of_json(line: &Value) -> TestCase {
    let position = Position {
        line: line["line"].as_u64().expect("a line"),
        column: line["column"].as_u64().expect("a column"),
    };
    let mut case = TestCase::new(string(line, "suite").into(), position);
    case.class = string(line, "class").into();
    case.method = string(line, "method");
    case.name = string(line, "name");
    let own = attempt_of_json(line);
    case.outcome = own.outcome;
    case.duration = own.duration;
    case.started = own.started;
    case.evidence = own.evidence;
    if line["synthesised"] == true {
        case.origin = Origin::Synthesised;
    }
    if line["stated_flaky"] == true {
        case.flakiness = Flakiness::Stated;
    }
    case.attempts = list(line, "attempts").iter().map(attempt_of_json).collect();
    let part = |line: &Value| {
        let own = attempt_of_json(line);
        Part {
            level: u8::try_from(line["level"].as_u64().expect("a level")).expect("1 to 3"),
            name: string(line, "name"),
            outcome: own.outcome,
            duration: own.duration,
            started: own.started,
            evidence: own.evidence,
        }
    };
    case.parts = list(line, "parts").iter().map(part).collect();
    case.attachments = list(line, "attachments")
        .iter()
        .map(attachment_of_json)
        .collect();
    let pair = |pair: &Value| Trait {
        name: pair[0].as_str().expect("a name").to_owned(),
        value: pair[1].as_str().expect("a value").to_owned(),
    };
    case.traits = list(line, "traits").iter().map(pair).collect();
    case.location = line["source_file"].as_str().map(|file| SourceLocation {
        file: file.to_owned(),
        line: line["source_line"].as_u64(),
    });
    case
}

fn string(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_default().to_owned()
}

fn list<'v>(line: &'v Value, key: &str) -> &'v [Value] {
    line[key].as_array().map_or(&[], Vec::as_slice)
}

fn attempt_of_json(line: &Value) -> Attempt {
    let word = line["outcome"].as_str().expect("an outcome");
    Attempt {
        outcome: Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
            .expect("a known outcome"),
        duration: line["duration_ns"].as_u64().map(Duration::from_nanos),
        started: line["started_unix_ns"]
            .as_i64()
            .map(|unix_nanos| Timestamp { unix_nanos }),
        evidence: Evidence {
            message: Text::from(string(line, "message")),
            kind: string(line, "kind"),
            stack: Text::from(string(line, "stack")),
            stdout: Text::from(string(line, "stdout")),
            stderr: Text::from(string(line, "stderr")),
        },
    }
}

fn attachment_of_json(line: &Value) -> Attachment {
    let content = |key: &str| line[key].as_str().map(str::to_owned);
    let body = content("path")
        .map(AttachmentBody::Path)
        .or_else(|| content("text").map(|text| AttachmentBody::Text(Text::from(text))))
        .or_else(|| content("base64").map(AttachmentBody::Base64))
        .unwrap_or_else(|| AttachmentBody::TooLarge {
            bytes: line["bytes_not_kept"].as_u64().expect("a size"),
        });
    Attachment {
        name: string(line, "name"),
        media_type: content("media_type"),
        body,
    }
}

#[test]
fn samples_come_back() {
    for (name, bytes) in samples() {
        scrutinise(&name, &bytes);
    }
}

/// Whatever once made a reader or a writer stumble.
#[test]
fn findings_stay_found() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).expect("findings") {
        let path = entry.expect("entry").path();
        let bytes = std::fs::read(&path).expect("finding");
        scrutinise(&path.to_string_lossy(), &bytes);
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn files_of_other_producers_come_back() {
    let Some(corpus) = crate::corpus::corpus() else {
        return;
    };
    let mut pending = vec![corpus];
    let mut files = 0;
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).expect("directory") {
            let entry = entry.expect("entry");
            if entry.file_type().expect("type").is_dir() {
                pending.push(entry.path());
                continue;
            }
            let file: Arc<str> = entry.path().to_string_lossy().into();
            let mut input = std::fs::File::open(entry.path()).expect("file");
            let mut collector = Collector::new();
            let result = read(
                &mut input,
                &file,
                &Limits::default(),
                &|| false,
                &mut collector,
            );
            if result.is_ok() {
                files += 1;
                for run in &collector.runs {
                    for cases in run.cases.chunks(500) {
                        survives_junit(cases.iter());
                        survives_ctrf(cases.iter());
                    }
                }
            }
        }
    }
    assert!(files > 100, "only {files} files were read");
}
