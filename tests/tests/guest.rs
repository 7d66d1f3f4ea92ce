//! The launcher in a machine whose kernel has all controllers of control groups,
//! and is not that of the machine of the tests.

use std::io::Write as _;
use std::path::Path;

use helix_tests::guest::Guest;
use helix_tests::programs::test_program;

/// Runs those of the launcher's own tests whose names begin with `part`.
fn run(part: &str) {
    let Some(guest) = Guest::find() else { return };
    let built = test_program("helix-exec", "integration");
    let programs = built.programs.iter().map(AsRef::as_ref);
    let files: Vec<&Path> = programs.chain([built.test.as_path()]).collect();
    let line = format!(
        "{} --test-threads=1 --nocapture {part}",
        built.test.display()
    );
    let ran = guest.run(&files, &line);
    for line in ran.output.lines().filter(|line| line.starts_with("test ")) {
        // Written past the harness, as it is of interest also when all is well.
        let _ = writeln!(std::io::stderr(), "in the machine: {line}");
    }
    assert_eq!(ran.exit_code, 0, "{}", ran.output);
    // What is skipped here is tested nowhere.
    assert!(!ran.output.contains("skipped:"), "{}", ran.output);
    assert!(!ran.output.contains("running 0 tests"), "{}", ran.output);
    assert!(ran.output.contains(" 0 ignored;"), "{}", ran.output);
}

#[test]
fn limits_hold_where_the_kernel_has_all_controllers() {
    run("limits::");
}

#[test]
fn commands_are_isolated_where_the_kernel_has_all_controllers() {
    run("isolation::");
}
