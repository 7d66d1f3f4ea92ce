//! The catalog with real probes.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use helix_model::capability::{CapabilityName, CapabilitySet, CapabilityValue, Requirement};
use helix_model::version::Version;

use super::{Catalog, MAX_INCONCLUSIVE};
use crate::command::{CommandLine, Environment};
use crate::probe::{Absence, Probe, Sighting, VersionPattern};

fn name(text: &str) -> CapabilityName {
    CapabilityName::new(text).expect("it is a name")
}

fn probe(capability: &str, script: &str) -> Probe {
    Probe {
        capability: name(capability),
        command: CommandLine::new(["/bin/sh", "-c", script].map(str::to_owned))
            .expect("it is a command line"),
        pattern: Some(VersionPattern::new(r"^(\S+)$").expect("it is a pattern")),
        time_limit: Duration::from_secs(60),
        environment: Environment::default(),
    }
}

/// A probe that finds the versions in a file.
fn file_probe(capability: &str, file: &Path) -> Probe {
    probe(capability, &format!("cat {}", file.display()))
}

fn present(text: &str) -> Sighting {
    let version = Version::parse(text).expect("it is a version");
    Sighting::Present(CapabilityValue::versions([version]))
}

fn timed_out() -> Sighting {
    Sighting::Absent(Absence::TimedOut {
        limit: Duration::from_secs(1),
    })
}

fn gone() -> Sighting {
    Sighting::Absent(Absence::NotFound {
        program: "tool".to_owned(),
    })
}

fn has(catalog: &Catalog, requirement: &str) -> bool {
    let requirement: Requirement = requirement.parse().expect("it is a requirement");
    catalog.capabilities().missing(&[requirement]).is_empty()
}

#[tokio::test]
async fn facts_labels_and_probes_are_merged() {
    let facts = crate::facts::Facts::read().expect("this machine has facts");
    let label = |text: &str, value: Option<&str>| super::Label {
        name: name(text),
        value: value.map(str::to_owned),
    };
    let labels = [
        label("gpu", None),
        label("rack", Some("b7")),
        label("tool", Some("0.9")),
    ];
    let catalog = Catalog::new(
        &facts,
        &labels,
        vec![probe("tool", "echo 1.2"), probe("tool", "echo 2.0")],
    );
    assert!(has(&catalog, "gpu") && has(&catalog, "rack=B7") && has(&catalog, "tool 0.9"));
    assert!(!has(&catalog, "tool 1.2"));
    catalog.refresh().await;
    for requirement in [
        "tool 0.9",
        "tool 1.2",
        "tool 2.0",
        "gpu",
        &format!("os={}", facts.system),
    ] {
        assert!(has(&catalog, requirement), "{requirement}");
    }
    assert!(!has(&catalog, "tool 3"));
}

#[tokio::test]
async fn appearance_and_disappearance_are_seen_and_sameness_is_silent() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("versions");
    let catalog = Catalog::of(CapabilitySet::new(), vec![file_probe("tool", &file)]);
    let mut changes = catalog.subscribe();

    catalog.refresh().await;
    assert!(
        !changes.has_changed().expect("the catalog is there"),
        "it was absent before"
    );

    fs::write(&file, "1.0\n").expect("it can be written");
    catalog.refresh().await;
    assert!(changes.has_changed().expect("the catalog is there"));
    let capabilities = changes.borrow_and_update().capabilities().clone();
    assert!(capabilities.get(&name("tool")).is_some());

    catalog.refresh().await;
    assert!(
        !changes.has_changed().expect("the catalog is there"),
        "nothing has changed"
    );

    fs::remove_file(&file).expect("it can be removed");
    catalog.refresh().await;
    assert!(changes.has_changed().expect("the catalog is there"));
    assert!(!has(&catalog, "tool"));
}

#[tokio::test]
async fn refresh_of_one_capability_leaves_the_others_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    let catalog = Catalog::of(
        CapabilitySet::new(),
        vec![file_probe("one", &one), file_probe("other", &other)],
    );
    fs::write(&one, "1").expect("it can be written");
    fs::write(&other, "1").expect("it can be written");
    let capabilities = catalog.refresh_capability(&name("one")).await;
    assert!(capabilities.get(&name("one")).is_some());
    assert!(capabilities.get(&name("other")).is_none());
    assert!(catalog.is_probed(&name("other")) && !catalog.is_probed(&name("third")));
}

#[tokio::test]
async fn at_most_two_probes_run_at_a_time() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // Each says how many others it met.
    let script = format!(
        "cd {0}; mkdir $$; ls -d */ | wc -l | tr -d ' '; sleep 0.05; rmdir $$",
        directory.path().display()
    );
    let probes = (0..8)
        .map(|number| probe(&format!("tool-{number}"), &script))
        .collect();
    let catalog = Catalog::of(CapabilitySet::new(), probes);
    catalog.refresh().await;
    for report in catalog.reports() {
        let Some(Sighting::Present(CapabilityValue::Versions(versions))) = &report.sighting else {
            panic!("{report:?}");
        };
        let met = versions
            .iter()
            .map(|version| version.as_str().to_owned())
            .collect::<Vec<_>>();
        assert!(met == ["1"] || met == ["2"], "{met:?}");
    }
}

#[tokio::test]
async fn timer_finds_what_appears_later() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("versions");
    let catalog = Catalog::of(CapabilitySet::new(), vec![file_probe("tool", &file)]);
    let mut changes = catalog.subscribe();
    fs::write(&file, "1.0").expect("it can be written");
    tokio::select! {
        () = catalog.refresh_every(Duration::ZERO) => {}
        change = changes.changed() => change.expect("the catalog is there"),
    }
    assert!(has(&catalog, "tool 1.0"));
}

#[test]
fn finding_of_an_older_run_never_replaces_that_of_a_newer_one() {
    let catalog = Catalog::of(CapabilitySet::new(), vec![probe("tool", "")]);
    let now = SystemTime::UNIX_EPOCH;
    catalog.note(0, 2, present("1.0"), now);
    catalog.note(0, 1, gone(), now);
    assert!(has(&catalog, "tool 1.0"));
    catalog.note(0, 3, gone(), now);
    assert!(!has(&catalog, "tool"));
}

#[test]
fn inconclusive_looks_take_a_tool_away_only_after_several_in_a_row() {
    let catalog = Catalog::of(CapabilitySet::new(), vec![probe("tool", "")]);
    let now = SystemTime::UNIX_EPOCH;
    let mut ticket = 0;
    let mut note = |sighting| {
        ticket += 1;
        catalog.note(0, ticket, sighting, now);
    };
    note(timed_out());
    assert!(!has(&catalog, "tool"), "what was never seen is not there");
    note(present("1.0"));
    for _ in 1..MAX_INCONCLUSIVE {
        note(timed_out());
        assert!(has(&catalog, "tool"));
        assert!(
            catalog.reports()[0].trouble.is_some(),
            "but people are told"
        );
    }
    note(present("1.0"));
    for _ in 1..MAX_INCONCLUSIVE {
        note(timed_out());
    }
    assert!(
        has(&catalog, "tool"),
        "a look in between starts the count anew"
    );
    note(timed_out());
    assert!(!has(&catalog, "tool"));
}

#[test]
fn conclusive_absence_takes_a_tool_away_at_once() {
    let catalog = Catalog::of(CapabilitySet::new(), vec![probe("tool", "")]);
    catalog.note(0, 1, present("1.0"), SystemTime::UNIX_EPOCH);
    catalog.note(0, 2, gone(), SystemTime::UNIX_EPOCH);
    assert!(!has(&catalog, "tool"));
    assert_eq!(catalog.reports()[0].sighting, Some(gone()));
}
