//! The arrows between the rooms, as `src/README.md` draws them: an ordinary
//! test, so that a new arrow is a decision and not an accident.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// For each room, the rooms it may depend on, build and test included.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("results", &[]),
    ("exec", &[]),
    ("payload", &[]),
    ("artifacts", &[]),
    ("settings", &[]),
    ("telemetry", &[]),
    ("tunnel", &[]),
    ("proto", &["model"]),
    ("store", &["model"]),
    ("api", &["model"]),
    ("machine", &["model"]),
    (
        "agent",
        &[
            "artifacts",
            "exec",
            "machine",
            "model",
            "payload",
            "proto",
            "results",
            "settings",
            "telemetry",
            "tunnel",
        ],
    ),
    (
        "controller",
        &[
            "api",
            "model",
            "proto",
            "settings",
            "store",
            "telemetry",
            "tunnel",
        ],
    ),
    (
        "cli",
        &[
            "agent",
            "api",
            "controller",
            "model",
            "proto",
            "results",
            "telemetry",
        ],
    ),
    ("xtask", &["agent", "cli", "controller"]),
    ("tests", &["proto"]),
];

/// For each room, what it must never reach, not even through another crate.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "model",
        &[
            "tokio", "tonic", "prost", "serde", "nix", "hyper", "rusqlite", "sqlx",
        ],
    ),
    ("results", &["tokio", "hyper", "reqwest", "walkdir"]),
    (
        "exec",
        &["tokio", "tonic", "prost", "hyper", "reqwest", "toml"],
    ),
    ("payload", &["tonic", "prost"]),
    ("artifacts", &["tonic", "prost"]),
    ("machine", &["tonic", "prost", "hyper", "reqwest"]),
    (
        "settings",
        &[
            "tokio",
            "futures_core",
            "tonic",
            "prost",
            "hyper",
            "reqwest",
            "rustls",
        ],
    ),
    ("store", &["tonic", "prost", "hyper", "axum", "reqwest"]),
    ("api", &["tonic", "prost", "sqlx"]),
];

#[test]
fn rooms_depend_only_on_the_rooms_they_may() {
    let metadata = metadata(&["--no-deps"]);
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in packages(&metadata) {
        let room = room_of(package["name"].as_str().expect("a name"));
        let Some(allowed) = allowed.get(room) else {
            wrong.push(format!("room `{room}` is not in the table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("a list") {
            let name = dependency["name"].as_str().expect("a name");
            if name.starts_with("helix-") && !allowed.contains(&room_of(name)) {
                wrong.push(format!("`{room}` must not depend on `{}`", room_of(name)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_never_reach_what_they_must_not_know() {
    let mut wrong = Vec::new();
    for (room, forbidden) in FORBIDDEN {
        let tree = Command::new(env!("CARGO"))
            .args([
                "tree", "--edges", "normal", "--prefix", "none", "--format", "{lib}",
            ])
            .args(["--package", &format!("helix-{room}")])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(
            tree.status.success(),
            "{}",
            String::from_utf8_lossy(&tree.stderr)
        );
        let text = String::from_utf8(tree.stdout).expect("text");
        let reached: BTreeSet<&str> = text.lines().map(str::trim).collect();
        for name in *forbidden {
            if reached.contains(name) {
                wrong.push(format!("`{room}` reaches `{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_member_takes_the_lints_of_the_workspace() {
    for package in packages(&metadata(&["--no-deps"])) {
        let manifest = package["manifest_path"].as_str().expect("a path");
        let text = std::fs::read_to_string(manifest).expect("readable");
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{manifest} does not"
        );
    }
}

#[test]
fn every_module_says_what_it_is() {
    let mut silent = Vec::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                // Fuzz crates stand outside the workspace, snapshots are no code.
                if !path.ends_with("fuzz") && !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                if !text.starts_with("//!") {
                    silent.push(path.display().to_string());
                }
            }
        }
    }
    assert!(
        silent.is_empty(),
        "these files do not begin with `//!`:\n{}",
        silent.join("\n")
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

fn metadata(arguments: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn packages(metadata: &serde_json::Value) -> &Vec<serde_json::Value> {
    metadata["packages"].as_array().expect("a list")
}

fn room_of(package: &str) -> &str {
    package.strip_prefix("helix-").unwrap_or(package)
}
