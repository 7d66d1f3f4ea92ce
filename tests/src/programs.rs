//! The programs under test, each built once for each run of the tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Each program and the package that it comes from.
const PROGRAMS: &[(&str, &str)] = &[
    ("helix", "helix-cli"),
    ("helix-agent", "helix-agent"),
    ("helix-launcher", "helix-exec"),
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

fn build(name: &str) -> PathBuf {
    let (_, package) = PROGRAMS
        .iter()
        .find(|(program, _)| *program == name)
        .expect("a known program");
    // The test binary lies in <target>/<profile>/deps; the programs one up.
    let own = std::env::current_exe().expect("this program has a path");
    let folder = own
        .parent()
        .and_then(Path::parent)
        .expect("a target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--package", package, "--bin", name])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env(
            "CARGO_TARGET_DIR",
            folder.parent().expect("a target directory"),
        );
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "`{name}` does not build");
    folder.join(name)
}
