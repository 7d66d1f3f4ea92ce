//! Finds out the revision that is being built, where that can be found out.
//!
//! `HELIX_BUILD_REVISION` wins, for packagers who build from an archive. Otherwise a release build
//! in a git checkout asks git. Development builds do not, or every commit would link every program
//! again. No revision is no error.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

/// The longest revision taken over from outside.
const MAX_REVISION_LENGTH: usize = 64;

fn main() {
    println!("cargo::rerun-if-env-changed=HELIX_BUILD_REVISION");
    let revision = match env::var("HELIX_BUILD_REVISION") {
        Ok(revision) => Some(revision),
        Err(_) if env::var("PROFILE").is_ok_and(|profile| profile == "release") => from_git(),
        Err(_) => None,
    };
    let suffix = match revision.as_deref().map(str::trim) {
        Some(revision) if is_plain(revision) => format!(" ({revision})"),
        _ => String::new(),
    };
    println!("cargo::rustc-env=HELIX_VERSION_SUFFIX={suffix}");
}

/// The commit of the checkout that this room lies in, and of no other repository around it.
fn from_git() -> Option<String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let git_directory = workspace.join(".git");
    if !git_directory.exists() {
        return None;
    }
    println!(
        "cargo::rerun-if-changed={}",
        git_directory.join("HEAD").display()
    );
    println!(
        "cargo::rerun-if-changed={}",
        git_directory.join("logs/HEAD").display()
    );
    let output = Command::new("git")
        .arg("--git-dir")
        .arg(&git_directory)
        .args(["rev-parse", "--short=12", "HEAD"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).ok())?
}

/// Whether a revision can stand in one line of text without doing harm.
fn is_plain(revision: &str) -> bool {
    !revision.is_empty()
        && revision.len() <= MAX_REVISION_LENGTH
        && revision
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+-/".contains(&byte))
}
