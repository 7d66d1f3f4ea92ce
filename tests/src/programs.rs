//! The programs under test, built once for each run of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the program `name` lies, built with the profile of the tests.
///
/// # Panics
///
/// If the programs cannot be built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(name)
}

fn build() -> PathBuf {
    // The test binary lies in <target>/<profile>/deps; the programs one up.
    let own = std::env::current_exe().expect("this program has a path");
    let folder = own
        .parent()
        .and_then(Path::parent)
        .expect("a target directory")
        .to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "build",
            "--quiet",
            "--package",
            "helix-agent",
            "--package",
            "helix-exec",
        ])
        .args(["--package", "helix-cli", "--bins"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env(
            "CARGO_TARGET_DIR",
            folder.parent().expect("a target directory"),
        );
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the programs under test do not build");
    folder
}
