//! Requirement files in real directories, hostile ones among them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use helix_model::capability::{
    CapabilityName, CapabilitySet, CapabilityValue, MAX_REQUIREMENT_FILE_BYTES, RequirementFile,
};
use helix_model::path::RelativePath;
use tempfile::TempDir;

use super::{FileProblemKind, RequirementFiles, Rule};

fn name(text: &str) -> CapabilityName {
    CapabilityName::new(text).expect("it is a name")
}

fn rule(path: &str, capability: &str) -> Rule {
    Rule {
        path: RelativePath::new(path).expect("it is a path"),
        kind: RequirementFile::Version {
            capability: name(capability),
        },
    }
}

fn all() -> RequirementFiles {
    RequirementFiles::new(Vec::new(), &[], |_| true)
}

fn payload(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }
    directory
}

/// Every requirement with its file, and every problem with its file.
fn found(files: &RequirementFiles, root: &Path) -> (Vec<String>, Vec<String>) {
    let findings = files.find(root).expect("the root is there");
    let requirements = findings
        .requirements
        .iter()
        .map(|found| format!("{}: {}", found.file, found.requirement))
        .collect();
    let problems = findings
        .problems
        .iter()
        .map(|problem| format!("{}: {}", problem.file, problem.source))
        .collect();
    (requirements, problems)
}

#[test]
fn usual_files_are_read() {
    let payload = payload(&[
        (".xcode-version", "16.1\n"),
        (
            "global.json",
            r#"{"sdk": {"version": "9.0.100", "rollForward": "disable"}}"#,
        ),
        (".tool-versions", "nodejs 20.11.1\nterraform 1.9\n"),
        ("README.md", "16.1"),
    ]);
    let (requirements, problems) = found(&all(), payload.path());
    assert_eq!(
        requirements,
        [
            ".xcode-version: xcode 16.1",
            "global.json: dotnet-sdk =9.0.100",
            ".tool-versions: node 20.11.1"
        ],
    );
    assert_eq!(problems, [] as [&str; 0]);
}

#[test]
fn payload_without_such_files_asks_for_nothing() {
    let payload = payload(&[("deep/down/.xcode-version", "16.1"), ("tests", "x")]);
    assert_eq!(found(&all(), payload.path()), (vec![], vec![]));
}

#[test]
fn configured_paths_are_read_where_they_are() {
    let payload = payload(&[("eng/tools/sdk.txt", "9.0.100"), ("eng/plain", "")]);
    let rules = vec![
        rule("eng/tools/sdk.txt", "dotnet-sdk"),
        rule("eng/absent/sdk.txt", "dotnet-sdk"),
        rule("eng/plain/sdk.txt", "dotnet-sdk"),
    ];
    let (requirements, problems) = found(
        &RequirementFiles::new(rules, &[], |_| false),
        payload.path(),
    );
    assert_eq!(requirements, ["eng/tools/sdk.txt: dotnet-sdk 9.0.100"]);
    assert_eq!(problems, [] as [&str; 0]);
}

#[test]
fn configuration_replaces_extends_and_ignores_the_built_in_table() {
    let files = RequirementFiles::new(
        vec![
            rule(".xcode-version", "xcode-beta"),
            rule("swift-version", "swift"),
        ],
        &[RelativePath::new(".nvmrc").expect("it is a path")],
        |capability| ["node", "xcode"].contains(&capability.as_str()),
    );
    let rules: Vec<&str> = files
        .rules()
        .iter()
        .map(|rule| rule.path.as_str())
        .collect();
    assert_eq!(
        rules,
        [
            ".xcode-version",
            "swift-version",
            ".node-version",
            ".tool-versions"
        ]
    );
    assert_eq!(files.rules()[0], rule(".xcode-version", "xcode-beta"));
}

#[test]
fn built_in_files_of_unknown_capabilities_are_not_looked_at() {
    let payload = payload(&[
        (".ruby-version", "3.3"),
        (".tool-versions", "ruby 3.3\ngo 1.22\n"),
    ]);
    let files = RequirementFiles::new(Vec::new(), &[], |capability| capability.as_str() == "go");
    let (requirements, problems) = found(&files, payload.path());
    assert_eq!(requirements, [".tool-versions: go 1.22"]);
    assert_eq!(problems, [] as [&str; 0]);
}

#[test]
fn links_are_not_followed() {
    let outside = payload(&[("secret", "1.0"), ("eng/version", "1.0")]);
    let inside = payload(&[("real", "1.0")]);
    let root = inside.path();
    symlink(outside.path().join("secret"), root.join(".xcode-version")).expect("it can be made");
    symlink("real", root.join(".python-version")).expect("it can be made");
    symlink("nowhere", root.join(".node-version")).expect("it can be made");
    symlink(outside.path().join("eng"), root.join("eng")).expect("it can be made");
    let files = RequirementFiles::new(vec![rule("eng/version", "tool")], &[], |_| true);
    let (requirements, problems) = found(&files, root);
    assert_eq!(requirements, [] as [&str; 0]);
    let link = FileProblemKind::Link;
    let expected = [
        "eng/version",
        ".node-version",
        ".python-version",
        ".xcode-version",
    ];
    assert_eq!(problems, expected.map(|file| format!("{file}: {link}")));
}

#[test]
fn what_is_no_small_text_file_is_a_problem_and_holds_nothing_up() {
    let payload = payload(&[(".node-version", &"1\n".repeat(MAX_REQUIREMENT_FILE_BYTES))]);
    let root = payload.path();
    fs::create_dir(root.join(".xcode-version")).expect("it can be made");
    let made = Command::new("mkfifo")
        .arg(root.join(".python-version"))
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    fs::write(root.join(".ruby-version"), b"3.3\xff").expect("it can be written");
    let findings = all().find(root).expect("the root is there");
    assert_eq!(findings.requirements, []);
    let kinds: Vec<_> = findings
        .problems
        .iter()
        .map(|problem| (problem.file.as_str(), &problem.source))
        .collect();
    assert!(
        matches!(
            kinds[..],
            [
                (".node-version", FileProblemKind::TooLarge),
                (".python-version", FileProblemKind::NotRegular),
                (".ruby-version", FileProblemKind::NotText),
                (".xcode-version", FileProblemKind::NotRegular),
            ]
        ),
        "{kinds:?}",
    );
}

#[test]
fn file_of_just_the_limit_is_read() {
    let mut text = "16.1\n#".to_owned();
    text.push_str(&"x".repeat(MAX_REQUIREMENT_FILE_BYTES - text.len()));
    let payload = payload(&[(".xcode-version", &text)]);
    let (requirements, problems) = found(&all(), payload.path());
    assert_eq!((requirements.len(), problems.len()), (1, 0), "{problems:?}");
}

#[test]
fn malformed_file_is_a_problem_that_names_the_line() {
    let payload = payload(&[("global.json", "{\n  \"sdk\": {\n")]);
    let findings = all().find(payload.path()).expect("the root is there");
    let [problem] = &findings.problems[..] else {
        panic!("{:?}", findings.problems)
    };
    assert!(
        matches!(problem.source, FileProblemKind::Malformed(_)),
        "{problem:?}"
    );
    assert!(
        problem.source.to_string().contains("line "),
        "{}",
        problem.source
    );
}

#[test]
fn root_that_is_absent_or_a_link_is_an_error() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let link = directory.path().join("link");
    symlink(directory.path(), &link).expect("it can be made");
    for root in [directory.path().join("absent"), link] {
        assert!(all().find(&root).is_err(), "{}", root.display());
    }
}

#[test]
fn what_the_machine_lacks_names_the_file_that_asks() {
    let payload = payload(&[(".xcode-version", "16.1"), (".python-version", "3.12")]);
    let findings = all().find(payload.path()).expect("the root is there");
    let mut capabilities = CapabilitySet::new();
    let version = "3.12.4".parse().expect("it is a version");
    capabilities.add(name("python"), CapabilityValue::versions([version]));
    let missing = findings.missing(&capabilities);
    let [missing] = &missing[..] else {
        panic!("{missing:?}")
    };
    assert_eq!(missing.name, name("xcode"));
    assert_eq!(missing.asked_by.as_deref(), Some(".xcode-version"));
}
