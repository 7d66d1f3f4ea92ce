//! The programs under test, each built once for each run of the tests.

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
    assert!(
        PROGRAMS.iter().any(|(program, _)| *program == name),
        "`{name}` is no program"
    );
    programs().join(name)
}

/// The directory with all programs, built with the profile of the tests. All in one go, as
/// packaging builds them: cargo makes what they are made of anew for every other choice.
///
/// # Panics
///
/// If they cannot be built.
#[must_use]
pub fn programs() -> PathBuf {
    static BUILT: Mutex<bool> = Mutex::new(false);
    // A build that failed leaves nothing behind, so the next test tries again.
    let mut is_built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_built {
        let mut build = cargo("build");
        for (name, package) in PROGRAMS {
            build.args(["--package", package, "--bin", name]);
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success(), "the programs do not build");
        *is_built = true;
    }
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
    // What cargo tells this program of its package. There are build scripts that look at it, and
    // half of all dependencies would be built anew, here and again outside.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Where the programs lie: one up from this one, in the directory of the profile.
fn folder() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    let folder = own.parent().and_then(Path::parent);
    folder.expect("a target directory").to_owned()
}
