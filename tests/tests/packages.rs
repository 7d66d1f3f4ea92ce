//! The packages on a machine with a service manager: what an installation does and does not do, an
//! upgrade under running work items, and what is left when they go.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, Instant};

use helix_tests::eventually;
use helix_tests::machine::{GATE, Machine};
use helix_tests::packages::PACKAGES;

const AGENT: &str = "helix-agent.service";
const LAUNCHER: &str = "helix-launcher.service";
const CONTROLLER: &str = "helix-controller.service";

/// What no package has a say in: other file systems, and what the service manager, its journal, the
/// package manager and the user database keep of the past.
const ASIDE: &[&str] = &[
    "/dev",
    "/packages",
    "/proc",
    "/run/dbus",
    "/run/log",
    "/run/systemd",
    "/sys",
    "/var/log/journal",
    "/var/log/dpkg.log",
    "/var/lib/dpkg/status-old",
    "/var/lib/systemd/deb-systemd-helper-enabled",
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
];

/// Files of a machine with owners and modes, and its users and groups.
async fn inventory(machine: &Machine) -> BTreeSet<String> {
    let mut pruned = String::new();
    for path in ASIDE {
        pruned.push_str(&format!("-path {path} -prune -o "));
    }
    let line = format!(
        "find / {pruned} -printf '%p %y %U %G %m\\n'; \
         find /var/lib/systemd/deb-systemd-helper-enabled -name '*helix*' 2>/dev/null; \
         cat /etc/passwd /etc/group /etc/shadow /etc/gshadow"
    );
    let ran = machine.container.run(&["sh", "-c", &line]).await;
    // Files that go while they are looked at are no failure.
    ran.output.lines().map(str::to_owned).collect()
}

/// Written past the harness, as it is of interest also when all is well.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "in the container: {text}");
}

async fn nothing_is_enabled(machine: &Machine) {
    let links = ["find", "/etc/systemd", "-name", "*helix*"];
    assert_eq!(machine.container.run(&links).await.good(), "");
}

async fn nothing_of_helix_runs(machine: &Machine) {
    let list = ["ps", "-eo", "user:20=,comm=,args="];
    let processes = machine.container.run(&list).await.good();
    let of_helix: Vec<_> = processes
        .lines()
        // But for who still waits for an answer.
        .filter(|line| line.contains("helix") && line.split_whitespace().nth(1) != Some("helix"))
        .collect();
    assert_eq!(of_helix, Vec::<&str>::new());
}

#[tokio::test]
async fn fresh_installation_starts_and_enables_nothing_and_says_what_to_do() {
    let Some(machine) = Machine::bare().await else {
        return;
    };
    let ran = machine.install_current(&PACKAGES).await;
    let output = ran.clone().good();
    let words: Vec<_> = output
        .lines()
        .filter(|line| line.starts_with("helix-agent"))
        .collect();
    assert_eq!(words.len(), 2, "{ran:?}");
    assert!(
        words[0].contains("/etc/helix/agent.toml"),
        "what to configure: {ran:?}"
    );
    assert!(
        words[1].contains("systemctl enable --now helix-agent"),
        "how to start: {ran:?}"
    );
    nothing_of_helix_runs(&machine).await;
    nothing_is_enabled(&machine).await;
    for (user, path, expected) in [
        ("helix-agent", "/var/lib/helix/agent", "helix-agent 700"),
        ("helix-0", "/var/lib/helix/work", "helix-agent 711"),
        ("helix-7", "/etc/helix/root.d", "root 755"),
    ] {
        machine.container.run(&["id", user]).await.good();
        let stat = ["stat", "--format=%U %a", path];
        assert_eq!(machine.container.run(&stat).await.good(), expected);
    }
    // The configuration that comes with it works as it is, and isolates.
    let validate = ["helix-agent", "validate"];
    machine.container.run(&validate).await.good();
    machine.enable().await;
    let output = machine.run_item("id -un").await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "helix-0\n");
    for (unit, state) in [(AGENT, "enabled"), ("helix-launcher.socket", "enabled")] {
        assert_eq!(machine.property(unit, "UnitFileState").await, state);
    }
}

#[tokio::test]
async fn maintainer_scripts_may_run_twice() {
    let Some(machine) = Machine::install("").await else {
        return;
    };
    machine.enable().await;
    let before = machine.property(AGENT, "MainPID").await;
    for arguments in [
        &["postinst", "configure", ""][..],
        &["postinst", "abort-upgrade", "0.0.1"],
        &["postinst", "configure", "0.0.1"],
        &["postrm", "upgrade", "99.0"],
        &["prerm", "upgrade", "99.0"],
    ] {
        let script = format!("/var/lib/dpkg/info/helix-agent.{}", arguments[0]);
        // As dpkg calls them, without which deb-systemd-helper does nothing.
        let called = ["env", "DPKG_MAINTSCRIPT_PACKAGE=helix-agent", &script];
        let command = [&called[..], &arguments[1..]].concat();
        machine.container.run(&command).await.good();
    }
    // A restart is all that any of them did.
    assert_ne!(machine.property(AGENT, "MainPID").await, before);
    assert!(machine.run_item("true").await.status.success());
    for _ in 0..2 {
        let prerm = ["/var/lib/dpkg/info/helix-agent.prerm", "remove"];
        machine.container.run(&prerm).await.good();
    }
    nothing_of_helix_runs(&machine).await;
}

#[tokio::test]
async fn upgrade_restarts_what_runs_and_does_not_disturb_an_item() {
    let Some(machine) = Machine::install("").await else {
        return;
    };
    // As long as it may be: the upgrade must not wait for it.
    let patient = "slots = 2\n[launcher]\nsocket = \"/run/helix/launcher.sock\"\n\
                   [shutdown]\ndrain_timeout = \"60s\"\n";
    machine
        .container
        .write("/etc/helix/agent.toml", patient)
        .await;
    machine.enable().await;
    let item = machine.begin_counting().await;
    let units = [AGENT, LAUNCHER, "helix-items.service"];
    let mut before = Vec::new();
    for unit in units {
        before.push(machine.property(unit, "MainPID").await);
    }
    let began = Instant::now();
    machine.upgrade(&PACKAGES).await.good();
    let took = began.elapsed();
    tell(&format!("an upgrade under a running item took {took:?}"));
    assert!(took < Duration::from_secs(40), "{took:?}");
    assert!(machine.is_upgraded("helix-agent").await);
    for (unit, before) in units.iter().zip(&before) {
        let now = machine.property(unit, "MainPID").await;
        assert_eq!(now == *before, *unit == "helix-items.service", "{unit}");
        assert_eq!(machine.property(unit, "ActiveState").await, "active");
    }
    // What runs now is what was installed.
    for unit in [AGENT, LAUNCHER] {
        let pid = machine.property(unit, "MainPID").await;
        let link = ["readlink", &format!("/proc/{pid}/exe")];
        let program = machine.container.run(&link).await.good();
        assert!(!program.ends_with("(deleted)"), "{program}");
    }
    let second = machine.run_item("id -un").await;
    assert_eq!(String::from_utf8_lossy(&second.stdout), "helix-1\n");
    machine.end_counting(item).await;
    assert_eq!(machine.failed_units().await, "");
    assert_eq!(machine.property(AGENT, "UnitFileState").await, "enabled");
}

#[tokio::test]
async fn upgrade_of_what_does_not_run_starts_nothing() {
    let Some(machine) = Machine::install("").await else {
        return;
    };
    machine.upgrade(&PACKAGES).await.good();
    assert!(machine.is_upgraded("helix-agent").await);
    nothing_of_helix_runs(&machine).await;
    nothing_is_enabled(&machine).await;
}

#[tokio::test]
async fn upgrade_leaves_daemons_alone_whose_configuration_the_new_program_refuses() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let item = machine.begin_counting().await;
    let mut before = Vec::new();
    for unit in [AGENT, LAUNCHER] {
        before.push(machine.property(unit, "MainPID").await);
    }
    for (file, content) in [
        ("/etc/helix/agent.toml", "slots = 2\nslotz = 3\n"),
        ("/etc/helix/launcher.json", "{\"clint\": \"helix-agent\"}\n"),
    ] {
        machine.container.write(file, content).await;
    }
    let ran = machine.upgrade(&PACKAGES).await;
    let words = format!("{}{}", ran.output, ran.errors);
    ran.good();
    for expected in [
        "helix-agent.service is not restarted",
        "agent.toml:2:1",
        "helix-launcher.service is not restarted",
        "launcher.json",
    ] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
    assert!(machine.is_upgraded("helix-agent").await);
    for (unit, before) in [AGENT, LAUNCHER].iter().zip(&before) {
        assert_eq!(machine.property(unit, "MainPID").await, *before, "{unit}");
        assert_eq!(machine.property(unit, "ActiveState").await, "active");
    }
    // The machine works as before, with the old programs.
    assert!(machine.run_item("true").await.status.success());
    machine.end_counting(item).await;
}

#[tokio::test]
async fn broken_configuration_before_the_first_start_does_not_break_the_installation() {
    let Some(machine) = Machine::bare().await else {
        return;
    };
    // Left there by whoever prepares machines.
    machine
        .container
        .write("/etc/helix/agent.toml", "slots = 0\n")
        .await;
    machine
        .container
        .write("/etc/dpkg/dpkg.cfg.d/keep", "force-confold\n")
        .await;
    machine.install_current(&PACKAGES).await.good();
    let ran = machine
        .container
        .run(&["systemctl", "enable", "--now", AGENT])
        .await;
    assert_ne!(ran.exit_code, Some(0));
    machine.upgrade(&PACKAGES).await.good();
    machine.configure("").await;
    machine.systemctl(&["restart", AGENT]).await;
    assert!(machine.run_item("true").await.status.success());
}

#[tokio::test]
async fn purge_leaves_nothing_behind() {
    let Some(machine) = Machine::bare().await else {
        return;
    };
    let before = inventory(&machine).await;
    machine.install_current(&PACKAGES).await.good();
    machine.configure("").await;
    machine.enable().await;
    let line =
        "echo x >kept; mkfifo pipe; mkdir -m 0 closed; echo y >/tmp/file; (sleep 300 &) ; true";
    assert!(machine.run_item(line).await.status.success());
    machine
        .container
        .write("/etc/helix/offline", "repair\n")
        .await;
    machine.upgrade(&PACKAGES).await.good();
    let names = ["helix-agent", "helix-cli"];
    machine
        .dpkg(&[&["--purge"], &names[..]].concat())
        .await
        .good();
    nothing_of_helix_runs(&machine).await;
    let after = inventory(&machine).await;
    let more: Vec<_> = after.difference(&before).collect();
    let less: Vec<_> = before.difference(&after).collect();
    assert_eq!((more, less), (Vec::new(), Vec::new()));
    assert_eq!(machine.failed_units().await, "");
    let left = [
        "systemctl",
        "list-units",
        "--all",
        "--no-legend",
        "--plain",
        "helix*",
    ];
    assert_eq!(machine.container.run(&left).await.good(), "");
    // And all of it can come back.
    machine.install_current(&PACKAGES).await.good();
    machine.enable().await;
    assert!(machine.run_item("true").await.status.success());
}

#[tokio::test]
async fn removal_drains_and_a_new_installation_is_enabled_as_before() {
    let Some(machine) = Machine::install("").await else {
        return;
    };
    let patient = "slots = 2\n[launcher]\nsocket = \"/run/helix/launcher.sock\"\n\
                   [shutdown]\ndrain_timeout = \"60s\"\n";
    machine
        .container
        .write("/etc/helix/agent.toml", patient)
        .await;
    machine.enable().await;
    let item = machine.begin_counting().await;
    let removal = machine
        .container
        .spawn(&["dpkg", "--remove", "helix-agent"]);
    eventually("the agent drains", async || {
        match machine.property(AGENT, "SubState").await.as_str() {
            "stop-sigterm" => Ok(()),
            state => Err(state.to_owned()),
        }
    })
    .await;
    assert!(machine.has_file("/usr/bin/helix-agent").await);
    machine.end_counting(item).await;
    let output = removal.wait_with_output().await.expect("a child");
    assert!(output.status.success(), "{output:?}");
    nothing_of_helix_runs(&machine).await;
    assert!(!machine.has_file("/usr/bin/helix-agent").await);
    assert!(!machine.has_file("/run/helix").await);
    // State, users and configuration stay, for whoever comes back.
    assert!(machine.has_file("/var/lib/helix/agent").await);
    machine.container.run(&["id", "helix-agent"]).await.good();
    machine.install_current(&["helix-agent"]).await.good();
    assert_eq!(machine.property(AGENT, "UnitFileState").await, "enabled");
    machine.systemctl(&["start", AGENT]).await;
    assert!(machine.run_item("true").await.status.success());
}

#[tokio::test]
async fn removal_ends_what_outlasts_the_drain() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let item = machine.start_item("trap '' TERM; sleep 300 & wait; wait");
    eventually("the item runs", async || {
        let ran = machine.container.run(&["pgrep", "-u", "helix-0"]).await;
        (!ran.output.is_empty()).then_some(()).ok_or(ran)
    })
    .await;
    machine.dpkg(&["--purge", "helix-agent"]).await.good();
    nothing_of_helix_runs(&machine).await;
    for gone in ["/var/lib/helix", "/run/helix", "/etc/helix"] {
        assert!(!machine.has_file(gone).await, "{gone}");
    }
    assert_eq!(machine.failed_units().await, "");
    drop(item);
}

#[tokio::test]
async fn packages_go_into_a_root_in_which_nothing_runs() {
    let Some(machine) = Machine::bare().await else {
        return;
    };
    // A second tree inside of the container, where neither /proc nor /run is.
    let line = "mkdir /root/tree && cd /root/tree && \
                cp -a /bin /etc /lib* /sbin /usr . 2>/dev/null; mkdir -p var/lib run tmp dev; \
                cp -a /var/lib/dpkg var/lib/; mkdir packages; cp /packages/*/*.deb packages/; ls packages";
    machine.container.run(&["sh", "-c", line]).await.good();
    let current = format!("/packages/helix-*_{}_*.deb", env!("CARGO_PKG_VERSION"));
    for (order, what) in [
        ("install", current.as_str()),
        ("install", "/packages/helix-*_99.0_*.deb"),
        ("purge", "helix-agent helix-controller helix-cli"),
    ] {
        let line = format!("chroot /root/tree sh -c 'dpkg --{order} {what}'");
        machine.container.run(&["sh", "-c", &line]).await.good();
        let users = ["grep", "-c", "^helix-", "/root/tree/etc/passwd"];
        let users = machine.container.run(&users).await;
        let expected = if order == "purge" { "0" } else { "10" };
        assert_eq!(users.output.trim(), expected, "{order} {what}");
    }
    for gone in ["etc/helix", "var/lib/helix", "usr/bin/helix-agent"] {
        assert!(!machine.has_file(&format!("/root/tree/{gone}")).await);
    }
    // The machine around it took no notice.
    assert!(!machine.has_file("/etc/helix").await);
}

#[tokio::test]
async fn rpm_installs_upgrades_and_erases_by_the_same_rules() {
    let Some(machine) = Machine::bare().await else {
        return;
    };
    let current = helix_tests::packages::current();
    let next = helix_tests::packages::next();
    let rpm = async |order: &str, what: &[String]| {
        let mut command = vec!["rpm", order, "--nodeps"];
        command.extend(what.iter().map(String::as_str));
        let ran = machine.container.run(&command).await;
        let words = format!("{}{}", ran.output, ran.errors);
        ran.good();
        words
    };
    let files = |packages: &helix_tests::packages::Packages| {
        PACKAGES
            .map(|name| format!("/packages/{}/{}", packages.version(), packages.rpm(name)))
            .to_vec()
    };
    let words = rpm("-i", &files(current)).await;
    assert!(words.contains("systemctl enable --now"), "{words}");
    nothing_of_helix_runs(&machine).await;
    machine.configure("").await;
    machine.enable().await;
    let item = machine.begin_counting().await;
    let before = machine.property(AGENT, "MainPID").await;
    rpm("-U", &files(next)).await;
    assert_ne!(machine.property(AGENT, "MainPID").await, before);
    machine.end_counting(item).await;
    machine.container.run(&["rm", GATE]).await.good();
    // What was configured stays.
    let grep = ["grep", "-c", "^slots = 2$", "/etc/helix/agent.toml"];
    machine.container.run(&grep).await.good();

    let item = machine.begin_counting().await;
    machine
        .container
        .write("/etc/helix/agent.toml", "slots = 0\n")
        .await;
    let before = machine.property(AGENT, "MainPID").await;
    let mut again = vec!["--oldpackage".to_owned()];
    again.extend(files(current));
    let words = rpm("-U", &again).await;
    assert!(words.contains("is not restarted"), "{words}");
    assert_eq!(machine.property(AGENT, "MainPID").await, before);
    machine.end_counting(item).await;

    let names = PACKAGES.map(str::to_owned);
    rpm("-e", &names).await;
    nothing_of_helix_runs(&machine).await;
    assert_eq!(machine.failed_units().await, "");
    assert!(!machine.has_file("/run/helix").await);
    nothing_is_enabled(&machine).await;
}

#[tokio::test]
async fn tasks_that_need_root_are_open_to_the_agent_and_closed_to_items() {
    let task = "systemctl start helix-root@mark:8.0.404.service";
    let provisioner = "[[probes]]\ncapability = \"marked\"\ncommand = [\"cat\", \"/opt/marked\"]\n\
         pattern = '(\\S+)'\n\
         [[provisioners]]\nname = \"marked\"\ncapability = \"marked\"\n\
         command = [\"systemctl\", \"start\", \"helix-root@mark:{version}.service\"]\n\
         versions = [\"8.0.404\"]\ndefault_version = \"8.0.404\"\n";
    let Some(machine) = Machine::install(provisioner).await else {
        return;
    };
    let script = "#!/bin/sh\nset -e\n[ $(id -u) = 0 ]\nmkdir -p /opt\necho \"$1\" >/opt/marked\n";
    machine
        .container
        .write("/etc/helix/root.d/mark", script)
        .await;
    let path = "/etc/helix/root.d/mark";
    machine.container.run(&["chmod", "755", path]).await.good();
    machine.enable().await;
    // An item can do nothing with it, whatever it says.
    for line in [
        task,
        "systemctl stop helix-agent.service",
        "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
         org.freedesktop.systemd1.Manager StartUnit ss helix-root@mark:8.0.404.service replace",
        "/usr/libexec/helix/root-task mark:1",
        "echo evil >/etc/helix/root.d/mark",
    ] {
        let output = machine.run_item(line).await;
        assert!(!output.status.success(), "{line}: {output:?}");
        assert!(!machine.has_file("/opt/marked").await, "{line}");
    }
    assert_eq!(machine.property(AGENT, "ActiveState").await, "active");
    // The agent's provisioner can.
    eventually("the tool is there", async || {
        let wanted = [
            "helix",
            "run",
            "--quiet",
            "--require",
            "marked",
            "--shell",
            "true",
        ];
        let ran = machine.container.run(&wanted).await;
        if ran.exit_code == Some(0) {
            Ok(())
        } else {
            Err(ran)
        }
    })
    .await;
    let marked = machine.container.run(&["cat", "/opt/marked"]).await.good();
    assert_eq!(marked, "8.0.404");

    // Nothing else is open to the agent's user: no other unit, no other verb, no other name.
    let as_agent = async |line: &str| {
        let command = [
            "setpriv",
            "--reuid",
            "helix-agent",
            "--regid",
            "helix-agent",
        ];
        let rest = ["--clear-groups", "--no-new-privs", "sh", "-c", line];
        machine.container.run(&[&command[..], &rest].concat()).await
    };
    let allowed = as_agent(task).await;
    assert_eq!(allowed.exit_code, Some(0), "{allowed:?}");
    for line in [
        "systemctl start dbus.service systemd-tmpfiles-clean.service",
        "systemctl stop helix-root@mark:1.service",
        "systemctl stop helix-agent.service",
        "systemctl reboot",
        "systemctl start 'helix-root@..-mark.service'",
        "systemctl start 'helix-root@mark:-x.service'",
        "systemctl start helix-root@absent.service",
    ] {
        let ran = as_agent(line).await;
        assert_ne!(ran.exit_code, Some(0), "{line}: {ran:?}");
    }
    // A task that others than root could write to is none.
    machine.container.run(&["chmod", "775", path]).await.good();
    assert_ne!(as_agent(task).await.exit_code, Some(0));
    machine.container.run(&["chmod", "755", path]).await.good();
    machine
        .container
        .run(&["chown", "helix-0", path])
        .await
        .good();
    assert_ne!(as_agent(task).await.exit_code, Some(0));
}

/// What the controller says about its health, as far as a shell can ask.
async fn health_of_controller(machine: &Machine) -> String {
    let line = "exec 3<>/dev/tcp/127.0.0.1/7410; \
                printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3; head -n 1 <&3";
    let ran = machine.container.run(&["bash", "-c", line]).await;
    ran.output
}

#[tokio::test]
async fn controller_is_installed_upgraded_and_removed_by_the_same_rules() {
    let Some(machine) = Machine::bare().await else {
        return;
    };
    let before = inventory(&machine).await;
    let ran = machine.install_current(&["helix-controller"]).await.good();
    assert!(
        ran.contains("systemctl enable --now helix-controller"),
        "{ran}"
    );
    nothing_of_helix_runs(&machine).await;
    machine.systemctl(&["enable", "--now", CONTROLLER]).await;
    let health = health_of_controller(&machine).await;
    assert!(health.contains("200"), "{health}");
    let pid = machine.property(CONTROLLER, "MainPID").await;
    machine.upgrade(&["helix-controller"]).await.good();
    let upgraded = machine.property(CONTROLLER, "MainPID").await;
    assert_ne!(upgraded, pid);
    let health = health_of_controller(&machine).await;
    assert!(health.contains("200"), "{health}");
    // One whose configuration went bad runs on.
    machine
        .container
        .write("/etc/helix/controller.toml", "[http]\nport = 1\n")
        .await;
    let ran = machine.install_current(&["helix-controller"]).await;
    assert_eq!(ran.exit_code, Some(0), "{ran:?}");
    assert!(ran.errors.contains("controller.toml:2:1"), "{ran:?}");
    assert_eq!(machine.property(CONTROLLER, "MainPID").await, upgraded);
    // The agent beside it comes and goes without touching it.
    machine.install_current(&PACKAGES).await.good();
    machine.configure("").await;
    machine.enable().await;
    assert!(machine.run_item("true").await.status.success());
    let purge = ["--purge", "helix-agent", "helix-cli"];
    machine.dpkg(&purge).await.good();
    assert_eq!(machine.property(CONTROLLER, "MainPID").await, upgraded);
    assert!(machine.has_file("/var/lib/helix/controller").await);
    machine.dpkg(&["--purge", "helix-controller"]).await.good();
    nothing_of_helix_runs(&machine).await;
    let after = inventory(&machine).await;
    let more: Vec<_> = after.difference(&before).collect();
    let less: Vec<_> = before.difference(&after).collect();
    assert_eq!((more, less), (Vec::new(), Vec::new()));
    assert_eq!(machine.failed_units().await, "");
}
