//! The programs under test, each built once for each run of the tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Each program and the package that it comes from.
const PROGRAMS: &[(&str, &str)] = &[
    ("helix", "helix-cli"),
    ("helix-agent", "helix-agent"),
    ("helix-controller", "helix-controller"),
    ("helix-launcher", "helix-exec"),
    ("helix-xtask", "helix-xtask"),
];

/// Where the program `name` lies, built with the profile of the tests.
///
/// # Panics
///
/// If there is no such program, or it cannot be built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // A build that failed leaves nothing behind, so the next test tries again.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built
        .entry(name.to_owned())
        .or_insert_with(|| build(name))
        .clone()
}

/// The directory with several programs, built together with the profile of the tests: what they have
/// in common is then built once.
///
/// # Panics
///
/// If there is no such program, or one cannot be built.
#[must_use]
pub fn programs(names: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut build = cargo("build");
    for name in names {
        build.args(["--package", package_of(name), "--bin", name]);
    }
    let status = build.status().expect("cargo runs");
    assert!(status.success(), "{names:?} do not build");
    folder()
}

/// A test program, and the programs that it starts by the paths they have here.
#[derive(Debug)]
pub struct TestProgram {
    /// The test program.
    pub test: PathBuf,
    /// The programs of its package.
    pub programs: Vec<PathBuf>,
}

/// The test program `test` of `package`, built with the profile of the tests.
///
/// # Panics
///
/// If there is no such test, or it cannot be built.
#[must_use]
pub fn test_program(package: &str, test: &str) -> TestProgram {
    let output = cargo("test")
        .args(["--package", package, "--test", test])
        .args(["--no-run", "--message-format", "json"])
        .output()
        .expect("cargo runs");
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`{test}` does not build: {problems}"
    );
    let (mut found, mut programs) = (None, Vec::new());
    for line in output.stdout.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else {
            continue;
        };
        let Some(path) = message["executable"].as_str() else {
            continue;
        };
        if message["target"]["kind"][0] == "test" {
            found = Some(path.into());
        } else {
            programs.push(path.into());
        }
    }
    TestProgram {
        test: found.expect("cargo names the test program"),
        programs,
    }
}

fn package_of(name: &str) -> &'static str {
    let mut programs = PROGRAMS.iter();
    let (_, package) = programs
        .find(|(program, _)| *program == name)
        .expect("a known program");
    package
}

fn build(name: &str) -> PathBuf {
    let status = cargo("build")
        .args(["--package", package_of(name), "--bin", name])
        .status()
        .expect("cargo runs");
    assert!(status.success(), "`{name}` does not build");
    folder().join(name)
}

/// Cargo for this workspace, with the target directory and the profile of this program.
fn cargo(order: &str) -> Command {
    let folder = folder();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([order, "--quiet"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env(
            "CARGO_TARGET_DIR",
            folder.parent().expect("a target directory"),
        );
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    cargo
}

/// Where the programs lie: one up from this one, in the directory of the profile.
fn folder() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let folder = own.parent().and_then(Path::parent);
    folder.expect("a target directory").to_owned()
}
