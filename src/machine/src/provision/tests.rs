//! Provisioners with real installers.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use helix_model::capability::{CapabilityName, Missing, Requirement};
use helix_model::provisioning::{Provisioning, ProvisioningPolicy};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{
    DiskFloor, NotProvisioned, Phase, Provisioner, ProvisionerName, ProvisionerNameError,
    Provisioners,
};
use crate::catalog::Catalog;
use crate::command::{CommandLine, CommandTemplate, Environment};
use crate::facts::Facts;
use crate::probe::{Probe, VersionPattern};
use crate::testing::{assert_gone, pid_in, until_exists};

const LONG: Duration = Duration::from_secs(60);

/// A machine whose one tool is what a file says.
struct Machine {
    directory: TempDir,
    catalog: Catalog,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("versions");
        let words = ["/bin/cat", file.to_str().expect("it is text")].map(str::to_owned);
        let probe = Probe {
            capability: name(),
            command: CommandLine::new(words).expect("it is a command line"),
            pattern: Some(VersionPattern::new(r"^(\S+)$").expect("it is a pattern")),
            time_limit: LONG,
            environment: Environment::default(),
        };
        let facts = Facts::read().expect("this machine has facts");
        Self {
            directory,
            catalog: Catalog::new(&facts, &[], vec![probe]),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A provisioner that runs a shell script in the directory, with the version as `$1`.
    fn provisioner(&self, script: &str) -> Provisioner {
        let script = format!("cd {}; {script}", self.directory.path().display());
        let words = ["/bin/sh", "-c", &script, "install", "{version}"].map(str::to_owned);
        Provisioner {
            name: ProvisionerName::new("tool").expect("it is a name"),
            capability: name(),
            versions: Vec::new(),
            default_version: None,
            command: CommandTemplate::new(words).expect("it is a template"),
            environment: Environment::default(),
            policy: ProvisioningPolicy::default(),
            log_directory: self.path("logs"),
            min_free_disk: None,
        }
    }

    fn start(&self, provisioner: Provisioner) -> Provisioners {
        Provisioners::new(vec![provisioner], self.catalog.clone(), Handle::current())
    }

    fn has(&self, requirement: &str) -> bool {
        self.catalog
            .capabilities()
            .missing(&[parse(requirement)])
            .is_empty()
    }

    fn logs(&self) -> Vec<String> {
        let mut logs: Vec<PathBuf> = fs::read_dir(self.path("logs/tool"))
            .expect("there are logs")
            .map(|entry| entry.expect("it can be read").path())
            .collect();
        logs.sort_unstable();
        logs.iter()
            .map(|path| fs::read_to_string(path).expect("it is text"))
            .collect()
    }
}

fn name() -> CapabilityName {
    CapabilityName::new("tool").expect("it is a name")
}

fn parse(requirement: &str) -> Requirement {
    requirement.parse().expect("it is a requirement")
}

fn missing(requirement: &str) -> Missing {
    let requirement = parse(requirement);
    Missing {
        name: requirement.name,
        wanted: requirement.wanted,
        present: None,
        asked_by: None,
    }
}

/// Waits until nothing runs any more.
async fn until_idle(provisioners: &Provisioners) {
    let mut changes = provisioners.subscribe();
    while is_running(provisioners) {
        tokio::time::timeout(LONG, changes.changed())
            .await
            .expect("an installation ends")
            .expect("the provisioners are there");
    }
}

fn is_running(provisioners: &Provisioners) -> bool {
    provisioners
        .statuses(SystemTime::now())
        .iter()
        .any(|status| matches!(status.state, Provisioning::Running { .. }))
}

#[tokio::test]
async fn missing_version_is_installed_and_seen() {
    let machine = Machine::new();
    let provisioners = machine.start(machine.provisioner("echo installing; echo $1 >> versions"));
    let mut capabilities = machine.catalog.subscribe();

    let installation = provisioners
        .ensure(&missing("tool >=16.1, <17"))
        .expect("it starts");
    assert_eq!(installation.phase, Phase::Started);
    assert_eq!(
        installation
            .version
            .map(|version| version.to_string())
            .as_deref(),
        Some("16.1")
    );

    tokio::time::timeout(LONG, capabilities.changed())
        .await
        .expect("the capability appears")
        .expect("the catalog is there");
    assert!(machine.has("tool >=16.1, <17"));
    until_idle(&provisioners).await;
    assert_eq!(provisioners.statuses(SystemTime::now()), []);
    let [log] = &machine.logs()[..] else {
        panic!("{:?}", machine.logs())
    };
    assert!(
        log.contains("installing\n") && log.contains("ended well"),
        "{log}"
    );
}

#[tokio::test]
async fn ten_asks_start_one_installation() {
    let machine = Machine::new();
    let script = "echo x >> starts; while [ ! -e go ]; do sleep 0.01; done; echo $1 >> versions";
    let provisioners = machine.start(machine.provisioner(script));
    let first = provisioners.ensure(&missing("tool 16")).expect("it starts");
    assert_eq!(first.phase, Phase::Started);
    for _ in 0..9 {
        let again = provisioners
            .clone()
            .ensure(&missing("tool 16"))
            .expect("it is under way");
        assert!(matches!(again.phase, Phase::UnderWay { .. }), "{again:?}");
    }
    fs::write(machine.path("go"), "").expect("it can be written");
    until_idle(&provisioners).await;
    assert_eq!(
        fs::read_to_string(machine.path("starts")).expect("it started"),
        "x\n"
    );
    assert!(machine.has("tool 16"));
}

#[tokio::test]
async fn other_version_is_installed_next() {
    let machine = Machine::new();
    let script = "while [ ! -e go ]; do sleep 0.01; done; echo $1 >> versions";
    let provisioners = machine.start(machine.provisioner(script));
    provisioners.ensure(&missing("tool 16")).expect("it starts");
    let next = provisioners
        .ensure(&missing("tool 17"))
        .expect("it comes next");
    assert_eq!(next.phase, Phase::Next);
    let third = provisioners.ensure(&missing("tool 18"));
    assert!(
        matches!(third, Err(NotProvisioned::Busy { .. })),
        "{third:?}"
    );
    fs::write(machine.path("go"), "").expect("it can be written");
    until_idle(&provisioners).await;
    assert_eq!(
        fs::read_to_string(machine.path("versions")).expect("it was written"),
        "16\n17\n"
    );
}

#[tokio::test]
async fn failure_cools_down_and_tells_what_the_installer_said() {
    let machine = Machine::new();
    let provisioners = machine.start(machine.provisioner("echo no such version: $1 >&2; exit 4"));
    provisioners.ensure(&missing("tool 99")).expect("it starts");
    until_idle(&provisioners).await;
    match provisioners.ensure(&missing("tool 99")) {
        Err(NotProvisioned::CoolingDown {
            last_error, until, ..
        }) => {
            assert_eq!(last_error, "exit code 4: no such version: 99");
            assert!(until > SystemTime::now());
        }
        other => panic!("{other:?}"),
    }
    let snapshots = provisioners.snapshots(&[missing("tool 99")], SystemTime::now());
    assert!(
        matches!(snapshots[0].state, Provisioning::CoolingDown { .. }),
        "{snapshots:?}"
    );
    // A version that nobody tried yet may be tried.
    let snapshots = provisioners.snapshots(&[missing("tool 16")], SystemTime::now());
    assert!(
        snapshots[0].state.may_start(SystemTime::now()),
        "{snapshots:?}"
    );
    assert!(machine.logs()[0].contains("no such version: 99"));
}

#[tokio::test]
async fn installer_that_brings_nothing_has_failed() {
    let machine = Machine::new();
    let provisioners = machine.start(machine.provisioner("exit 0"));
    provisioners.ensure(&missing("tool 16")).expect("it starts");
    until_idle(&provisioners).await;
    let again = provisioners.ensure(&missing("tool 16"));
    assert!(
        matches!(again, Err(NotProvisioned::CoolingDown { .. })),
        "{again:?}"
    );
}

#[tokio::test]
async fn installer_that_brings_another_version_has_failed_but_that_one_is_seen() {
    let machine = Machine::new();
    let provisioners = machine.start(machine.provisioner("echo 15.0 >> versions"));
    provisioners.ensure(&missing("tool 16")).expect("it starts");
    until_idle(&provisioners).await;
    assert!(machine.has("tool 15"));
    let again = provisioners.ensure(&missing("tool 16"));
    assert!(
        matches!(again, Err(NotProvisioned::CoolingDown { .. })),
        "{again:?}"
    );
}

#[tokio::test]
async fn failed_installer_that_left_what_was_wanted_has_succeeded() {
    let machine = Machine::new();
    let provisioners = machine.start(machine.provisioner("echo $1 >> versions; exit 1"));
    provisioners.ensure(&missing("tool 16")).expect("it starts");
    until_idle(&provisioners).await;
    assert!(machine.has("tool 16"));
    assert_eq!(provisioners.statuses(SystemTime::now()), []);
}

#[tokio::test]
async fn installer_over_its_time_limit_is_stopped() {
    let machine = Machine::new();
    let mut provisioner = machine.provisioner("sleep 1000 & echo $! > pid; wait");
    provisioner.policy.time_limit = Duration::from_millis(300);
    let provisioners = machine.start(provisioner);
    provisioners.ensure(&missing("tool 16")).expect("it starts");
    until_idle(&provisioners).await;
    let statuses = provisioners.statuses(SystemTime::now());
    match &statuses[..] {
        [status] => match &status.state {
            Provisioning::CoolingDown { last_error, .. } => {
                assert!(last_error.contains("longer than"), "{last_error}");
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn absent_installer_is_named() {
    let machine = Machine::new();
    let mut provisioner = machine.provisioner("");
    provisioner.command =
        CommandTemplate::new(["/nonexistent/installer".to_owned()]).expect("it is a template");
    let provisioners = machine.start(provisioner);
    provisioners.ensure(&missing("tool")).expect("it starts");
    until_idle(&provisioners).await;
    match provisioners.ensure(&missing("tool")) {
        Err(NotProvisioned::CoolingDown { last_error, .. }) => {
            assert_eq!(last_error, "there is no program `/nonexistent/installer`");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_starts_without_enough_space() {
    let machine = Machine::new();
    let mut provisioner = machine.provisioner("echo $1 >> versions");
    let path = machine.directory.path().to_owned();
    provisioner.min_free_disk = Some(DiskFloor {
        path,
        bytes: u64::MAX,
    });
    let provisioners = machine.start(provisioner);
    let answer = provisioners.ensure(&missing("tool 16"));
    assert!(
        matches!(answer, Err(NotProvisioned::NoSpace { .. })),
        "{answer:?}"
    );
    let snapshots = provisioners.snapshots(&[missing("tool 16")], SystemTime::now());
    assert!(
        matches!(snapshots[0].state, Provisioning::CoolingDown { .. }),
        "{snapshots:?}"
    );
    assert_eq!(provisioners.statuses(SystemTime::now()), []);
}

#[tokio::test]
async fn what_cannot_be_brought_is_refused_with_the_reason() {
    let machine = Machine::new();
    let provisioners = machine.start(machine.provisioner(""));
    let other = provisioners.ensure(&missing("other 1"));
    assert!(
        matches!(other, Err(NotProvisioned::NoProvisioner { .. })),
        "{other:?}"
    );
    let unnamed = provisioners.ensure(&missing("tool <17"));
    assert!(
        matches!(unnamed, Err(NotProvisioned::NoVersion { .. })),
        "{unnamed:?}"
    );
    assert_eq!(
        provisioners.snapshots(&[missing("tool <17")], SystemTime::now()),
        []
    );
    assert_eq!(
        provisioners.snapshots(&[missing("other 1")], SystemTime::now()),
        []
    );
}

#[tokio::test]
async fn second_provisioner_steps_in_where_the_first_cannot() {
    let machine = Machine::new();
    let mut first = machine.provisioner("exit 1");
    first.versions = vec!["15".parse().expect("it is a version")];
    let mut second = machine.provisioner("echo $1 >> versions");
    second.name = ProvisionerName::new("fallback").expect("it is a name");
    let provisioners = Provisioners::new(
        vec![first, second],
        machine.catalog.clone(),
        Handle::current(),
    );
    let installation = provisioners
        .ensure(&missing("tool 16"))
        .expect("the second can");
    assert_eq!(installation.provisioner.as_str(), "fallback");
    until_idle(&provisioners).await;
    assert!(machine.has("tool 16"));
}

#[tokio::test]
async fn shutdown_stops_what_runs_and_starts_nothing_more() {
    let machine = Machine::new();
    let script = "trap 'echo stopping; exit 1' TERM; touch started; while :; do sleep 0.02; done";
    let provisioners = machine.start(machine.provisioner(script));
    provisioners.ensure(&missing("tool 16")).expect("it starts");
    provisioners
        .ensure(&missing("tool 17"))
        .expect("it comes next");
    until_exists(&machine.path("started")).await;
    tokio::time::timeout(LONG, provisioners.shutdown())
        .await
        .expect("it ends");
    assert!(!is_running(&provisioners));
    assert_eq!(
        provisioners.ensure(&missing("tool 18")),
        Err(NotProvisioned::ShuttingDown)
    );
    let [log] = &machine.logs()[..] else {
        panic!("{:?}", machine.logs())
    };
    assert!(log.contains("stopping\n"), "{log}");
}

#[tokio::test]
async fn dropping_the_last_handle_kills_what_runs() {
    let machine = Machine::new();
    let script = "echo $$ > pid.new; mv pid.new pid; sleep 1000";
    let provisioners = machine.start(machine.provisioner(script));
    provisioners.ensure(&missing("tool 16")).expect("it starts");
    until_exists(&machine.path("pid")).await;
    drop(provisioners);
    assert_gone(pid_in(&machine.path("pid"))).await;
}

#[test]
fn provisioner_names_are_safe_as_directories() {
    for good in ["xcode", "dotnet-sdk", "a.b_c", "9"] {
        assert_eq!(
            ProvisionerName::new(good).map(|name| name.to_string()),
            Ok(good.to_owned())
        );
    }
    for bad in ["", ".", "..", "-x", "a/b", "a b", "ä", &"x".repeat(65)] {
        assert_eq!(
            ProvisionerName::new(bad),
            Err(ProvisionerNameError),
            "{bad:?}"
        );
    }
}
