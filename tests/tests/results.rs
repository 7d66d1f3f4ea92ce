//! `helix results` as a person or a script uses it: files, directories, patterns and standard input in, a view or
//! a file out, and an exit code.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use helix_tests::programs::program;
use nix::pty::openpty;
use serde_json::Value;
use tempfile::TempDir;

const PASSED: &str = "<testsuite name='s'><testcase classname='C' name='a' time='0.5'/>\
                      <testcase classname='C' name='b'><skipped message='later'/></testcase></testsuite>";
const FAILED: &str = "<testsuite name='s'><testcase classname='C' name='a' time='0.25'>\
                      <failure message='expected 1'>at C.a</failure></testcase>\
                      <testcase classname='C' name='b'><skipped/></testcase></testsuite>";

/// What a run of the program left behind.
struct Output {
    code: Option<i32>,
    out: String,
    error: String,
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
    directory
}

fn helix(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("helix"));
    command
        .arg("results")
        .args(arguments)
        .current_dir(directory)
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn results(directory: &Path, arguments: &[&str]) -> Output {
    results_of(directory, arguments, b"")
}

fn results_of(directory: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = helix(directory, arguments);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    // Who does not read standard input closes it.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    Output {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        error: String::from_utf8(output.stderr).expect("text"),
    }
}

#[test]
fn failures_come_first_and_the_exit_code_tells() {
    let directory = directory(&[("passed.xml", PASSED), ("failed.xml", FAILED)]);
    let output = results(directory.path(), &["failed.xml"]);
    assert_eq!(output.code, Some(1), "{}", output.error);
    assert!(output.out.starts_with("FAILED C.a"), "{}", output.out);
    for text in ["at failed.xml:1:", "expected 1", "at C.a"] {
        assert!(output.out.contains(text), "{}", output.out);
    }
    let last = output.out.lines().last().expect("a line");
    assert!(last.starts_with("2 tests: 1 failed, 1 skipped"), "{last}");
    let output = results(directory.path(), &["passed.xml"]);
    assert_eq!((output.code, output.error.as_str()), (Some(0), ""));
    assert!(
        output.out.contains("2 tests: 1 passed, 1 skipped"),
        "{}",
        output.out
    );
}

#[test]
fn what_cannot_be_read_is_neither_green_nor_red() {
    let directory = directory(&[
        ("page.xml", "<html><body/></html>"),
        ("none.xml", "<testsuite/>"),
        ("passed.xml", PASSED),
        ("failed.xml", FAILED),
        ("empty/notes.txt", ""),
    ]);
    for (arguments, said) in [
        (&["missing.xml"][..], "cannot read `missing.xml`"),
        (&["page.xml"], "an HTML page"),
        (&["none.xml"], "no test was found"),
        (&["empty"], "no result file below `empty`"),
        (&["*.trx"], "no file fits `*.trx`"),
        (&["[.xml"], "cannot understand the pattern"),
        (&["passed.xml", "page.xml"], "an HTML page"),
        (&[], "Usage"),
        (&["--format", "yaml", "passed.xml"], "yaml"),
        (&["--json", "--format", "junit", "passed.xml"], "--format"),
    ] {
        let output = results(directory.path(), arguments);
        assert_eq!(output.code, Some(2), "{arguments:?}: {}", output.error);
        assert!(
            output.error.contains(said),
            "{arguments:?}: {}",
            output.error
        );
    }
    // A failure is certain, whatever else is missing; a suite without tests harms no other.
    assert_eq!(
        results(directory.path(), &["failed.xml", "page.xml"]).code,
        Some(1)
    );
    assert_eq!(
        results(directory.path(), &["passed.xml", "none.xml"]).code,
        Some(0)
    );
}

#[test]
fn files_cut_short_are_red_and_standard_error_says_where() {
    let cut = "<testsuite name='s'>\n<testcase classname='C' name='a'/>\n<testcase name='b'";
    let directory = directory(&[("cut.xml", cut)]);
    for format in ["human", "json", "junit", "ctrf"] {
        let output = results(directory.path(), &["--format", format, "cut.xml"]);
        assert_eq!(output.code, Some(1), "{}", output.error);
        assert!(
            output.error.contains("cut.xml:3:19: truncated"),
            "{}",
            output.error
        );
        assert!(
            output.error.contains("the file ends inside"),
            "{}",
            output.error
        );
    }
}

#[test]
fn directories_are_searched_by_name_and_no_link_is_followed() {
    let directory = directory(&[
        ("out/a/TEST-one.xml", PASSED),
        ("out/b/x.trx", FAILED),
        ("out/b/other.xml", FAILED),
        ("elsewhere/TEST-secret.xml", FAILED),
    ]);
    let out = directory.path().join("out");
    symlink(directory.path().join("elsewhere"), out.join("c")).expect("a link");
    symlink(
        directory.path().join("elsewhere/TEST-secret.xml"),
        out.join("TEST-link.xml"),
    )
    .expect("a link");
    fs::remove_file(out.join("b/x.trx")).expect("removed");
    let output = results(directory.path(), &["out"]);
    assert_eq!(output.code, Some(0), "{}", output.error);
    assert!(
        output.out.contains("2 tests: 1 passed, 1 skipped; 1 file;"),
        "{}",
        output.out
    );
    assert!(
        output.error.contains("TEST-link.xml`: is a link"),
        "{}",
        output.error
    );
    // The link that a person names is meant.
    let output = results(directory.path(), &["out/TEST-link.xml"]);
    assert_eq!(output.code, Some(1), "{}", output.error);
    assert!(
        results(directory.path(), &["out/c"])
            .out
            .contains("1 failed")
    );
}

#[test]
fn names_that_runners_choose_are_found_as_well() {
    let directory = directory(&[
        ("ci/junit.xml", PASSED),
        ("ci/out.tap", "1..1\nok 1 - t\n"),
        ("ci/build.xml", FAILED),
    ]);
    let output = results(directory.path(), &["ci"]);
    assert_eq!(output.code, Some(0), "{}", output.error);
    assert!(
        output
            .out
            .contains("3 tests: 2 passed, 1 skipped; 2 files;"),
        "{}",
        output.out
    );
}

#[test]
fn files_reached_twice_count_once() {
    let directory = directory(&[("out/TEST-one.xml", PASSED)]);
    let file = directory.path().join("out/TEST-one.xml");
    fs::hard_link(&file, directory.path().join("out/TEST-same.xml")).expect("a link");
    symlink(&file, directory.path().join("by-link.xml")).expect("a link");
    let arguments = [
        "--separate",
        "out",
        "out/TEST-one.xml",
        "by-link.xml",
        "out/*.xml",
        "out/../out",
    ];
    let output = results(directory.path(), &arguments);
    assert_eq!(output.code, Some(0), "{}", output.error);
    assert!(
        output.out.contains("2 tests: 1 passed, 1 skipped; 1 file;"),
        "{}",
        output.out
    );
}

#[test]
fn patterns_cross_directories_only_where_they_say_so() {
    let directory = directory(&[
        ("out/one.xml", PASSED),
        ("out/deep/er/two.xml", PASSED),
        ("out/three.json", PASSED),
    ]);
    for (pattern, files) in [
        ("out/*.xml", "1 file;"),
        ("./out/*.xml", "1 file;"),
        ("out/**/*.xml", "2 files;"),
        ("**/*.{xml,json}", "3 files;"),
        ("out/t[gh]ree.*", "1 file;"),
    ] {
        let output = results(directory.path(), &["--separate", pattern]);
        assert_eq!(output.code, Some(0), "{pattern}: {}", output.error);
        assert!(output.out.contains(files), "{pattern}: {}", output.out);
    }
    // A file whose name looks like a pattern is that file.
    fs::write(directory.path().join("[.xml"), PASSED).expect("a file");
    assert_eq!(results(directory.path(), &["[.xml"]).code, Some(0));
}

#[test]
fn tests_of_several_files_are_runs_of_one_test() {
    let directory = directory(&[("1/TEST-a.xml", FAILED), ("2/TEST-a.xml", PASSED)]);
    let output = results(directory.path(), &["1", "2"]);
    assert_eq!(output.code, Some(0), "{}", output.error);
    assert!(output.out.starts_with("FLAKY C.a"), "{}", output.out);
    assert!(output.out.contains("expected 1"), "{}", output.out);
    assert!(
        output
            .out
            .contains("2 tests: 1 passed (1 flaky), 1 skipped; 2 files"),
        "{}",
        output.out
    );
    assert!(
        output.error.contains("2 results are further runs"),
        "{}",
        output.error
    );
    let output = results(directory.path(), &["--separate", "1", "2"]);
    assert_eq!(output.code, Some(1), "{}", output.error);
    assert!(
        output
            .out
            .contains("4 tests: 1 failed, 1 passed, 2 skipped"),
        "{}",
        output.out
    );
    // One of the attempts through a pipe, which can be read only once.
    let output = results_of(directory.path(), &["-", "2", "-"], FAILED.as_bytes());
    assert_eq!(output.code, Some(0), "{}", output.error);
    assert!(
        output
            .out
            .contains("2 tests: 1 passed (1 flaky), 1 skipped; 2 files"),
        "{}",
        output.out
    );
}

#[test]
fn standard_input_is_read_in_any_format() {
    let directory = directory(&[]);
    for (input, counts) in [
        (PASSED, "2 tests: 1 passed, 1 skipped"),
        ("TAP version 14\n1..1\nok 1 - a\n", "1 tests: 1 passed"),
        (
            "{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"T\"}\n{\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"T\"}\n{\"Action\":\"pass\",\"Package\":\"p\"}\n",
            "1 tests: 1 passed",
        ),
    ] {
        let output = results_of(directory.path(), &["-"], input.as_bytes());
        assert_eq!(output.code, Some(0), "{}", output.error);
        assert!(output.out.contains(counts), "{}", output.out);
    }
    let output = results_of(directory.path(), &["-"], b"");
    assert_eq!(output.code, Some(2));
    assert!(
        output.error.contains("`standard input` is empty"),
        "{}",
        output.error
    );
}

#[test]
fn formats_are_complete_and_read_again() {
    let directory = directory(&[("1.xml", FAILED), ("2.xml", PASSED)]);
    let path = directory.path();
    for format in ["junit", "ctrf"] {
        let output = results(
            path,
            &["--format", format, "--output", "all", "1.xml", "2.xml"],
        );
        assert_eq!(
            (output.code, output.out.as_str()),
            (Some(0), ""),
            "{}",
            output.error
        );
        assert!(
            output
                .error
                .contains("2 tests: 1 passed (1 flaky), 1 skipped"),
            "{}",
            output.error
        );
        let again = results(path, &["all"]);
        assert_eq!(again.code, Some(0), "{}", again.error);
        assert!(
            again
                .out
                .contains("2 tests: 1 passed (1 flaky), 1 skipped; 1 file"),
            "{}",
            again.out
        );
    }
    for arguments in [&["--format", "json", "1.xml"][..], &["--json", "1.xml"]] {
        let output = results(path, arguments);
        assert_eq!(output.code, Some(1));
        let lines: Vec<Value> = output
            .out
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let kinds: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["type"].as_str())
            .collect();
        assert_eq!(kinds, ["run", "case", "case", "summary"]);
        assert_eq!(lines[1]["message"], "expected 1");
    }
}

#[test]
fn files_to_write_appear_whole_or_not_at_all() {
    let directory = directory(&[("1.xml", FAILED), ("kept", "before")]);
    let path = directory.path();
    let output = results(path, &["--output", "missing/file", "1.xml"]);
    assert_eq!(output.code, Some(74), "{}", output.error);
    assert!(
        output.error.contains("cannot write `missing/file`"),
        "{}",
        output.error
    );
    let output = results(path, &["--output", "kept", "1.xml"]);
    assert_eq!(output.code, Some(1), "{}", output.error);
    let view = fs::read_to_string(path.join("kept")).expect("a file");
    assert!(
        view.starts_with("FAILED C.a") && !view.contains('\u{1b}'),
        "{view}"
    );
    assert_eq!(
        fs::read_dir(path).expect("a directory").count(),
        2,
        "something is left behind"
    );
    #[cfg(target_os = "linux")]
    {
        let output = results(
            path,
            &["--format", "junit", "--output", "/dev/full", "1.xml"],
        );
        assert_eq!(output.code, Some(74), "{}", output.error);
    }
}

#[test]
fn colour_is_for_terminals() {
    let directory = directory(&[("1.xml", FAILED)]);
    assert!(!results(directory.path(), &["1.xml"]).out.contains('\u{1b}'));
    let always = results(directory.path(), &["--color", "always", "1.xml"]);
    assert!(
        always.out.starts_with("\u{1b}[31mFAILED\u{1b}[0m C.a"),
        "{}",
        always.out
    );
    let terminal = openpty(None, None).expect("a terminal");
    let mut child = {
        let mut command = helix(directory.path(), &["1.xml"]);
        command.stdout(Stdio::from(terminal.slave));
        command.spawn().expect("it starts")
    };
    let mut seen = Vec::new();
    let mut reader = File::from(terminal.master);
    let mut buffer = [0; 4096];
    // Linux says EIO when the last one has closed the other side.
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let seen = String::from_utf8(seen).expect("text");
    assert!(
        seen.starts_with("\u{1b}[31mFAILED\u{1b}[0m C.a"),
        "{seen:?}"
    );
}

#[test]
fn what_files_hold_gives_no_commands() {
    let hostile = "<testsuite><testcase name='&#27;[2J##vso[task.complete]'><failure message='##[error]'/></testcase>\
                   </testsuite>\u{1b}[2J##vso[task.complete]";
    let directory = directory(&[("a.xml", hostile)]);
    let output = results(directory.path(), &["a.xml"]);
    for text in [output.out, output.error] {
        assert!(!text.contains('\u{1b}') && !text.contains("##"), "{text:?}");
    }
}

/// The most memory that a process has had so far, in kilobytes.
#[cfg(target_os = "linux")]
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.expect("a size").parse().expect("a number")
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_file() {
    let directory = directory(&[]);
    for format in ["human", "junit"] {
        let mut command = helix(
            directory.path(),
            &["--format", format, "--output", "/dev/null", "-"],
        );
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(b"<testsuite name='s'>").expect("a reader");
        let mut number = 0_u64;
        let mut feed = |bytes: usize| {
            let mut written = 0;
            while written < bytes {
                let mut chunk = String::new();
                for _ in 0..200 {
                    number += 1;
                    let output = "what a test printed\n".repeat(50);
                    chunk.push_str(&format!(
                        "<testcase classname='C{}' name='t{number}' time='0.{number}'><failure message='m{number}'/>\
                         <system-out>{output}</system-out></testcase>\n",
                        number % 100
                    ));
                }
                input.write_all(chunk.as_bytes()).expect("a reader");
                written += chunk.len();
            }
        };
        feed(4 << 20);
        let early = peak(child.id());
        feed(16 << 20);
        let late = peak(child.id());
        input.write_all(b"</testsuite>").expect("a reader");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1));
        assert!(
            late < early + 2048,
            "{format}: {early} kB after 4 MB, {late} kB after 20 MB"
        );
    }
}
