//! What the tests here share: reading bytes, and showing what came of it as text.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use helix_results::{
    AttachmentBody, Collector, Evidence, Limits, Origin, ReadError, ReadReport, TestCase, TestRun,
    read,
};

/// Reads all of `bytes` as a file of this name.
pub(crate) fn read_bytes(
    name: &str,
    bytes: &[u8],
    limits: &Limits,
) -> (Result<ReadReport, ReadError>, Collector) {
    let mut collector = Collector::new();
    let mut input = bytes;
    let result = read(&mut input, name, limits, &|| false, &mut collector);
    (result, collector)
}

/// Reads `bytes` and shows everything that came of it.
pub(crate) fn render(name: &str, bytes: &[u8]) -> String {
    let (result, collector) = read_bytes(name, bytes, &Limits::default());
    show(&result, &collector)
}

/// Shows a result.
pub(crate) fn show(result: &Result<ReadReport, ReadError>, collector: &Collector) -> String {
    let mut text = String::new();
    match result {
        Ok(report) => line(
            &mut text,
            format_args!("end {:?}, {} cases", report.end, report.cases),
        ),
        Err(error) => line(&mut text, format_args!("error: {error}")),
    }
    for collected in &collector.runs {
        show_run(&collected.run, &mut text);
        for case in &collected.cases {
            show_case(case, &mut text);
        }
    }
    for problem in &collector.problems {
        line(&mut text, format_args!("! {problem}"));
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("strings take text");
}

fn show_run(run: &TestRun, text: &mut String) {
    line(
        text,
        format_args!(
            "run {} {:?} tool={:?} host={:?}",
            run.format, run.name, run.tool, run.host
        ),
    );
    if run.started.is_some() || run.finished.is_some() {
        let nanos = |at: Option<helix_results::Timestamp>| at.map(|at| at.unix_nanos);
        line(
            text,
            format_args!(
                "  from {:?} to {:?}",
                nanos(run.started),
                nanos(run.finished)
            ),
        );
    }
}

fn show_case(case: &TestCase, text: &mut String) {
    let mark = if case.origin == Origin::Synthesised {
        "+"
    } else {
        "-"
    };
    let flaky = if case.is_flaky() { " flaky" } else { "" };
    line(
        text,
        format_args!(
            "{mark} {}{flaky} {:?} class={:?} method={:?} suite={:?} at {}",
            case.outcome, case.name, case.class, case.method, case.suite, case.position
        ),
    );
    if let Some(duration) = case.duration {
        line(text, format_args!("    took {duration:?}"));
    }
    if let Some(started) = case.started {
        line(text, format_args!("    began {}", started.unix_nanos));
    }
    show_evidence("    ", &case.evidence, text);
    for attempt in &case.attempts {
        line(
            text,
            format_args!("    attempt {} {:?}", attempt.outcome, attempt.duration),
        );
        show_evidence("        ", &attempt.evidence, text);
    }
    for part in &case.parts {
        let indent = "  ".repeat(usize::from(part.level));
        line(
            text,
            format_args!(
                "    part {indent}{} {:?} {:?}",
                part.outcome, part.name, part.duration
            ),
        );
        show_evidence("          ", &part.evidence, text);
    }
    for attachment in &case.attachments {
        let body = match &attachment.body {
            AttachmentBody::Path(path) => format!("path {path:?}"),
            AttachmentBody::Text(content) => format!("text {:?}", content.as_str()),
            AttachmentBody::Base64(content) => format!("base64 {content:?}"),
            AttachmentBody::TooLarge { bytes } => format!("too large by {bytes}"),
        };
        line(
            text,
            format_args!(
                "    attached {:?} {:?} {body}",
                attachment.name, attachment.media_type
            ),
        );
    }
    for entry in &case.traits {
        line(
            text,
            format_args!("    trait {:?} = {:?}", entry.name, entry.value),
        );
    }
    if let Some(location) = &case.location {
        line(
            text,
            format_args!("    source {:?} {:?}", location.file, location.line),
        );
    }
}

fn show_evidence(indent: &str, evidence: &Evidence, text: &mut String) {
    let fields = [
        ("message", evidence.message.as_str()),
        ("kind", evidence.kind.as_str()),
        ("stack", evidence.stack.as_str()),
        ("stdout", evidence.stdout.as_str()),
        ("stderr", evidence.stderr.as_str()),
    ];
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        line(text, format_args!("{indent}{name} {value:?}"));
    }
}

/// The sample files, each with its name, in order of their names.
pub(crate) fn samples() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let entries = std::fs::read_dir(directory).expect("samples");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path
            .file_name()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        (name, std::fs::read(path).expect("sample"))
    };
    paths.iter().map(read).collect()
}
