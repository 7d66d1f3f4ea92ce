//! The log as a process has it: each test starts this test program again, as a program that logs.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use helix_telemetry::{FILTER_VARIABLE, InitError, LogFormat, LogTarget, init};

/// Set for the program that logs; says in which format.
const FORMAT_VARIABLE: &str = "HELIX_TELEMETRY_TEST_FORMAT";

/// Starts the program that logs and returns what it wrote to stderr.
fn logged(format: &str, environment: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .args([
            "--exact",
            "program_that_logs",
            "--nocapture",
            "--test-threads=1",
        ])
        .env_remove("JOURNAL_STREAM")
        .env_remove("NO_COLOR")
        .env_remove(FILTER_VARIABLE)
        .env(FORMAT_VARIABLE, format)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("it can be started");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).expect("the log is text")
}

/// Not a test by itself: the program that the others start.
#[test]
fn program_that_logs() {
    let Some(format) = std::env::var_os(FORMAT_VARIABLE) else {
        return;
    };
    let format = format.to_str().expect("it is text").parse::<LogFormat>();
    let target = LogTarget::from_environment("helix-test", format.expect("it is a format"));
    let installed = init(&target).expect("the process has no log yet");
    tracing::info!(installed = ?installed, "log installed");
    let span = tracing::info_span!("attempt", work_item.id = "w-1");
    let _entered = span.enter();
    tracing::info!(friendly_name = %"a\nINFO forged\x1b[2J", "work item accepted");
    tracing::debug!("decision");
    assert!(matches!(init(&target), Err(InitError::AlreadyInstalled(_))));
}

#[test]
fn text_has_one_line_for_each_event_and_no_colour_off_a_terminal() {
    let log = logged("text", &[]);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(
        lines[0].contains("INFO") && lines[0].contains("installed=Text"),
        "{log}"
    );
    assert!(
        lines[1].contains("work_item.id=\"w-1\"") && lines[1].contains("accepted"),
        "{log}"
    );
    assert!(!log.contains('\x1b'), "{log:?}");
}

#[test]
fn json_has_one_object_for_each_event_with_its_spans() {
    let log = logged("json", &[]);
    let events: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(events.len(), 2, "{log}");
    assert_eq!(events[1]["fields"]["message"], "work item accepted");
    assert_eq!(
        events[1]["fields"]["friendly_name"],
        "a\nINFO forged\x1b[2J"
    );
    assert_eq!(events[1]["spans"][0]["work_item.id"], "w-1");
}

#[test]
fn filter_of_the_environment_counts() {
    assert!(logged("text", &[(FILTER_VARIABLE, "debug")]).contains("decision"));
    assert_eq!(logged("text", &[(FILTER_VARIABLE, "error")]), "");
    assert_eq!(logged("text", &[(FILTER_VARIABLE, "")]).lines().count(), 2);
}

#[test]
fn filter_that_cannot_be_read_is_a_warning() {
    let log = logged("text", &[(FILTER_VARIABLE, "info,helix=loud")]);
    let first = log.lines().next().expect("there is a warning");
    assert!(
        first.contains("WARN") && first.contains("filter=\"info,helix=loud\""),
        "{log}"
    );
    assert!(log.contains("work item accepted"), "{log}");
}

#[test]
fn journal_out_of_reach_is_a_warning_and_the_log_is_text() {
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        // What this tests cannot be had on a machine with a journal.
        return;
    }
    let log = logged("journald", &[]);
    let first = log.lines().next().expect("there is a warning");
    assert!(
        first.contains("WARN") && first.contains("journal cannot be reached"),
        "{log}"
    );
    assert!(
        log.contains("installed=Text") && log.contains("work item accepted"),
        "{log}"
    );
}

#[test]
fn automatic_format_is_text_where_the_journal_is_not_stderr() {
    let log = logged("auto", &[("JOURNAL_STREAM", "9:40153")]);
    assert!(
        log.contains("installed=Text") && !log.contains("WARN"),
        "{log}"
    );
}

#[test]
fn automatic_format_tries_the_journal_where_stderr_is_its_stream() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("stderr");
    let stderr = std::fs::File::create(&path).expect("it can be made");
    let metadata = stderr.metadata().expect("it can be looked at");
    let stream = OsString::from(format!("{}:{}", metadata.dev(), metadata.ino()));
    let program = std::env::current_exe().expect("this program has a path");
    let status = Command::new(program)
        .args(["--exact", "program_that_logs", "--nocapture"])
        .env(FORMAT_VARIABLE, "auto")
        .env("JOURNAL_STREAM", stream)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .status()
        .expect("it can be started");
    assert!(status.success());
    let log = std::fs::read_to_string(&path).expect("it is text");
    // Either the events are in the journal, or it could not be reached and that is said.
    assert!(
        log.is_empty() || log.contains("journal cannot be reached"),
        "{log}"
    );
}

#[test]
fn stderr_that_is_closed_or_full_does_no_harm() {
    let program = std::env::current_exe().expect("this program has a path");
    let full = std::path::Path::new("/dev/full").exists();
    for redirection in ["2>&-", if full { "2>/dev/full" } else { "2>/dev/null" }] {
        let script = format!("exec \"$0\" --exact program_that_logs --nocapture {redirection}");
        let status = Command::new("/bin/sh")
            .args(["-c", &script])
            .arg(&program)
            .env(FORMAT_VARIABLE, "text")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .expect("it can be started");
        assert!(status.success(), "{redirection}");
    }
}
