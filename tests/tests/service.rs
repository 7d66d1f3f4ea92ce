//! `helix-agent install` and `uninstall` on a machine with a service manager, from an archive as it is
//! unpacked. What the steps are, also on macOS, is tested beside the code.

use std::collections::BTreeSet;
use std::path::PathBuf;

use helix_tests::container::{Container, Ran};
use helix_tests::eventually;
use helix_tests::machine::Machine;
use helix_tests::packages;
use tempfile::TempDir;

const AGENT: &str = "helix-agent.service";
const ARCHIVE: &str = "/root/archive/usr/bin/helix-agent";
const INSTALLED: &str = "/usr/local/bin/helix-agent";

/// What the service manager, its journal and the user database keep of the past.
const ASIDE: &[&str] = &[
    "/archive",
    // Of the system's own services.
    "'/var/tmp/systemd-private-*'",
    "/var/log/journal",
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
];

/// A machine on which the archive of this tree is unpacked and nothing is installed. The second is
/// where the archive is, as long as it lives.
async fn unpacked() -> Option<(Machine, TempDir)> {
    Container::available()?;
    let directory = TempDir::new().expect("a directory");
    packages::build(&["tar", "--quick"], directory.path());
    let shelf: [(PathBuf, &str); 1] = [(directory.path().to_owned(), "/archive")];
    let machine = Machine {
        container: Container::boot(&shelf).await?,
    };
    let line =
        "mkdir /root/archive && tar xzf /archive/*.tar.gz -C /root/archive --strip-components 1";
    machine.container.run(&["sh", "-c", line]).await.good();
    Some((machine, directory))
}

/// Files of the machine with owners and modes, what is in `/run`, and all users and groups.
async fn inventory(machine: &Machine) -> BTreeSet<String> {
    let mut pruned = String::new();
    for path in ASIDE {
        pruned.push_str(&format!("-path {path} -prune -o "));
    }
    let line = format!(
        "find / -xdev {pruned} -printf '%p %y %U %G %m\\n'; find /run -name '*helix*'; \
         cat /etc/passwd /etc/group /etc/shadow /etc/gshadow"
    );
    let text = machine.container.run(&["sh", "-c", &line]).await.good();
    text.lines().map(str::to_owned).collect()
}

fn difference(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    before.symmetric_difference(after).cloned().collect()
}

async fn agent(machine: &Machine, program: &str, arguments: &[&str]) -> Ran {
    let command = [&[program], arguments].concat();
    machine.container.run(&command).await
}

#[tokio::test]
async fn installation_from_an_archive_runs_items_and_leaves_nothing_when_it_goes() {
    let Some((machine, _archive)) = unpacked().await else {
        return;
    };
    let before = inventory(&machine).await;
    let arguments = ["install", "--queue", "gpu", "--name", "box", "--start"];
    let dry = [&arguments[..], &["--dry-run"]].concat();
    let steps = agent(&machine, ARCHIVE, &dry).await.good();
    for step in [
        "write `/etc/systemd/system/helix-agent.service` (0644)",
        "run `systemctl enable --now helix-agent.service`",
    ] {
        assert!(steps.lines().any(|line| line == step), "{step}: {steps}");
    }
    let shown = inventory(&machine).await;
    assert_eq!(difference(&before, &shown), Vec::<String>::new());

    agent(&machine, ARCHIVE, &arguments).await.good();
    assert_eq!(machine.property(AGENT, "ActiveState").await, "active");
    for unit in [AGENT, "helix-launcher.socket"] {
        assert_eq!(machine.property(unit, "UnitFileState").await, "enabled");
    }
    let program = machine.property(AGENT, "ExecStart").await;
    assert!(program.contains(INSTALLED), "{program}");
    let output = machine.run_item("id -un; echo $HELIX_WORKITEM_ROOT").await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("helix-0\n/var/lib/helix/work/"),
        "{output:?}"
    );
    let configuration = machine
        .container
        .run(&[
            "grep",
            "-E",
            "^(queues|machine_name)",
            "/etc/helix/agent.toml",
        ])
        .await;
    assert_eq!(
        configuration.good(),
        "machine_name = \"box\"\nqueues = [\"gpu\"]"
    );
    let doctor = [
        "setpriv",
        "--reuid=helix-agent",
        "--regid=helix-agent",
        "--init-groups",
        INSTALLED,
        "doctor",
    ];
    let doctor = machine.container.run(&doctor).await;
    assert!(!doctor.output.contains("failed   "), "{}", doctor.output);

    // The same again changes nothing, by the program that it installed too.
    let pid = machine.property(AGENT, "MainPID").await;
    for program in [ARCHIVE, INSTALLED] {
        agent(&machine, program, &arguments).await.good();
        assert_eq!(machine.property(AGENT, "MainPID").await, pid);
    }

    let stopped = agent(&machine, INSTALLED, &["uninstall"]).await;
    assert!(stopped.clone().good().contains("--purge"), "{stopped:?}");
    assert_eq!(machine.failed_units().await, "");
    for path in [INSTALLED, "/etc/systemd/system/helix-agent.service"] {
        assert!(!machine.has_file(path).await, "{path}");
    }
    assert_eq!(machine.property(AGENT, "LoadState").await, "not-found");
    for path in ["/etc/helix/agent.toml", "/var/lib/helix/agent/attempts"] {
        assert!(machine.has_file(path).await, "{path}");
    }
    machine.container.run(&["id", "helix-7"]).await.good();
    agent(&machine, ARCHIVE, &["uninstall", "--purge"])
        .await
        .good();
    let after = inventory(&machine).await;
    assert_eq!(difference(&before, &after), Vec::<String>::new());
    let runs = machine.container.run(&["pgrep", "-l", "helix"]).await;
    assert_eq!(runs.output, "");
    let again = agent(&machine, ARCHIVE, &["uninstall"]).await;
    assert_eq!(again.exit_code, Some(1), "{again:?}");
    assert!(
        again.errors.contains("nothing was installed here"),
        "{again:?}"
    );
}

#[tokio::test]
async fn newer_programs_are_restarted_under_an_item_and_removal_ends_one() {
    let Some((machine, _archive)) = unpacked().await else {
        return;
    };
    agent(&machine, ARCHIVE, &["install", "--start"])
        .await
        .good();
    let item = machine.begin_counting().await;
    let units = [AGENT, "helix-launcher.service", "helix-items.service"];
    let mut pids = Vec::new();
    for unit in units {
        pids.push(machine.property(unit, "MainPID").await);
    }
    // Other programs that do the same.
    let line = "for name in agent launcher; do echo >>/root/archive/usr/bin/helix-$name; done";
    machine.container.run(&["sh", "-c", line]).await.good();
    agent(&machine, ARCHIVE, &["install"]).await.good();
    for (unit, pid) in units.iter().zip(&pids) {
        let now = machine.property(unit, "MainPID").await;
        let is_restarted = *unit != "helix-items.service";
        assert_eq!(now != *pid, is_restarted, "{unit}");
        assert_eq!(machine.property(unit, "ActiveState").await, "active");
    }
    machine.end_counting(item).await;

    // The drain waits as long as it is told; the stop ends what is left, and says so.
    machine
        .container
        .write(
            "/etc/helix/agent.toml",
            "[launcher]\nsocket = \"/run/helix/launcher.sock\"\n\
             [shutdown]\ndrain_timeout = \"100ms\"\n",
        )
        .await;
    machine.systemctl(&["reload", AGENT]).await;
    eventually("the shorter drain is in force", async || {
        let journal = machine.journal(AGENT).await;
        let is_in_force = journal
            .iter()
            .any(|entry| entry["MESSAGE"] == "configuration is in force");
        is_in_force.then_some(()).ok_or(journal)
    })
    .await;
    machine.container.run(&["rm", "/run/gate"]).await.good();
    let item = machine.begin_counting().await;
    agent(&machine, INSTALLED, &["uninstall", "--purge"])
        .await
        .good();
    let output = item.wait_with_output().await.expect("a child");
    assert_ne!(output.status.code(), Some(7), "{output:?}");
    eventually("nothing runs", async || {
        let line = "ps -eo user:20=,args= | grep -E '^helix|/usr/local/bin/helix-' | grep -v grep";
        let ran = machine.container.run(&["sh", "-c", line]).await;
        ran.output.is_empty().then_some(()).ok_or(ran)
    })
    .await;
    assert_eq!(machine.failed_units().await, "");
}

#[tokio::test]
async fn nothing_that_is_configured_wrongly_is_started() {
    let Some((machine, _archive)) = unpacked().await else {
        return;
    };
    agent(&machine, ARCHIVE, &["install"]).await.good();
    for unit in [AGENT, "helix-launcher.socket"] {
        assert_eq!(machine.property(unit, "ActiveState").await, "inactive");
        assert_eq!(machine.property(unit, "UnitFileState").await, "disabled");
    }
    machine
        .container
        .write("/etc/helix/agent.toml", "slots = 0\n")
        .await;
    let ran = agent(&machine, INSTALLED, &["install", "--start"]).await;
    assert_eq!(ran.exit_code, Some(1), "{ran:?}");
    assert!(ran.errors.contains("agent.toml:1"), "{ran:?}");
    assert!(ran.errors.contains("hint: "), "{ran:?}");
    assert_eq!(machine.property(AGENT, "ActiveState").await, "inactive");
    assert_eq!(machine.property(AGENT, "UnitFileState").await, "disabled");
    // Nor is it changed.
    let configuration = ["cat", "/etc/helix/agent.toml"];
    assert_eq!(
        machine.container.run(&configuration).await.good(),
        "slots = 0"
    );
    let ran = agent(&machine, INSTALLED, &["install", "--queue", "gpu"]).await;
    assert_eq!(ran.exit_code, Some(1), "{ran:?}");
    assert!(ran.errors.contains("not what `--queue`"), "{ran:?}");
}

#[tokio::test]
async fn what_a_package_installed_is_left_to_the_package_manager() {
    let Some(machine) = Machine::install("").await else {
        return;
    };
    for order in [&["install"][..], &["uninstall", "--purge"]] {
        let ran = agent(&machine, "/usr/bin/helix-agent", order).await;
        assert_eq!(ran.exit_code, Some(1), "{ran:?}");
        assert!(ran.errors.contains("belongs to a package"), "{ran:?}");
    }
    machine.enable().await;
    assert!(machine.run_item("true").await.status.success());
    // Nobody but root may, and everybody may ask.
    let nobody = [
        "setpriv",
        "--reuid=nobody",
        "--clear-groups",
        "/usr/bin/helix-agent",
    ];
    let order = [&nobody[..], &["install", "--root", "/mnt"]].concat();
    let ran = machine.container.run(&order).await;
    assert!(ran.errors.contains("only root"), "{ran:?}");
    let ask = [&order[..], &["--dry-run"]].concat();
    let steps = machine.container.run(&ask).await.good();
    assert!(
        steps.contains("/etc/systemd/system/helix-agent.service"),
        "{steps}"
    );
}

#[tokio::test]
async fn image_has_all_that_its_first_boot_needs() {
    let Some((machine, _archive)) = unpacked().await else {
        return;
    };
    let before = inventory(&machine).await;
    machine.container.run(&["mkdir", "/image"]).await.good();
    let order = ["install", "--root", "/image", "--prefix", "/opt/helix"];
    let said = agent(&machine, ARCHIVE, &order).await.good();
    // It says how, and that works.
    for program in ["systemd-sysusers", "systemctl"] {
        let line = said
            .lines()
            .find(|line| line.starts_with(&format!("{program} --root=/image ")))
            .unwrap_or_else(|| panic!("{said}"));
        machine.container.run(&["sh", "-c", line]).await.good();
    }
    let enabled = "/image/etc/systemd/system/multi-user.target.wants/helix-agent.service";
    let link = machine.container.run(&["readlink", enabled]).await.good();
    assert_eq!(link, "/etc/systemd/system/helix-agent.service");
    let users = machine
        .container
        .run(&["cat", "/image/etc/passwd"])
        .await
        .good();
    assert_eq!(
        users
            .lines()
            .filter(|line| line.starts_with("helix-"))
            .count(),
        9
    );
    let verify = [
        "systemd-analyze",
        "verify",
        "--recursive-errors=no",
        "--man=no",
        "--root=/image",
        "helix-launcher.service",
    ];
    machine.container.run(&verify).await.good();
    // Nothing of it is outside.
    machine.container.run(&["rm", "-r", "/image"]).await.good();
    let after = inventory(&machine).await;
    assert_eq!(difference(&before, &after), Vec::<String>::new());
}
