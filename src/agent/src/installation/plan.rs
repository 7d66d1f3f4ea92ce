//! The steps of an installation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::unistd::User;

use super::manifest::Manifest;
use super::place::{Place, Prefix, System};
use super::refusal::{self, Refusal};
use super::step::{Command, Content, Failure, NewFile, Step, Whose};
use super::{Installation, texts};

/// What is done, and what the person does next.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) next: Vec<String>,
}

/// The programs to install, by where they are.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    /// In which agent and launcher are.
    pub(super) directory: PathBuf,
    /// Names of those that go along because they are there too.
    pub(super) others: Vec<&'static str>,
}

pub(super) const NEEDED: [&str; 2] = ["helix-agent", "helix-launcher"];
pub(super) const WELCOME: [&str; 1] = ["helix"];

const PROGRAM: u32 = 0o755;
const TEXT: u32 = 0o644;
const DIRECTORY: u32 = 0o755;

/// Users of macOS: the agent's, then one for each slot.
pub(super) const MACOS_ACCOUNTS: [(&str, &str); 9] = [
    ("_helix", "Helix worker agent"),
    ("_helix0", "Helix work items"),
    ("_helix1", "Helix work items"),
    ("_helix2", "Helix work items"),
    ("_helix3", "Helix work items"),
    ("_helix4", "Helix work items"),
    ("_helix5", "Helix work items"),
    ("_helix6", "Helix work items"),
    ("_helix7", "Helix work items"),
];

/// Looks at the machine and says what there is to do. Changes nothing.
pub(super) fn install(
    place: &Place,
    wanted: &Installation,
    programs: &Programs,
) -> Result<Plan, Refusal> {
    refusal::package(place)?;
    refusal::prefix(place, &wanted.prefix)?;
    let earlier = refusal::manifest(place)?;
    let mut files = files(place, wanted, programs)?;
    refusal::foreign(place, &files, earlier.as_ref())?;

    let directories = directories(place, &files);
    let (manifest, stale) = manifests(place, &files, &directories, earlier);
    let mut steps = vec![Step::Record(Manifest {
        files: manifest.files.union(&stale).cloned().collect(),
        ..manifest.clone()
    })];
    if place.system == System::Launchd && place.is_live {
        steps.extend(MACOS_ACCOUNTS.map(|(name, description)| Step::Account { name, description }));
    }
    steps.extend(directories);
    steps.append(&mut files);
    let mut next = Vec::new();
    match place.system {
        System::Systemd => systemd(place, wanted, &mut steps, &mut next),
        System::Launchd => launchd(place, wanted, &mut steps, &mut next),
    }
    if !stale.is_empty() {
        // What an earlier version, or one with another prefix, had and this one has not.
        steps.extend(stale.into_iter().map(|path| Step::RemoveFile { path }));
        steps.push(Step::Record(manifest));
    }
    Ok(Plan { steps, next })
}

fn ours(path: impl Into<PathBuf>, text: String, mode: u32) -> Step {
    Step::File(NewFile {
        path: path.into(),
        content: Content::Text(text),
        mode,
        owner: None,
        whose: Whose::Ours,
    })
}

fn administrators(path: PathBuf, text: String) -> Step {
    Step::File(NewFile {
        path,
        content: Content::Text(text),
        mode: TEXT,
        owner: None,
        whose: Whose::Administrators,
    })
}

/// Everything that is put somewhere, with links.
fn files(place: &Place, wanted: &Installation, programs: &Programs) -> Result<Vec<Step>, Refusal> {
    let prefix = &wanted.prefix;
    let mut steps = Vec::new();
    for name in NEEDED.iter().chain(&programs.others) {
        steps.push(Step::File(NewFile {
            path: prefix.join("bin").join(name),
            content: Content::Copy(programs.directory.join(name)),
            mode: PROGRAM,
            owner: None,
            whose: Whose::Ours,
        }));
    }
    let configuration = place.system.configuration();
    let launcher = match place.system {
        System::Systemd => texts::LAUNCHER_CONFIGURATION,
        System::Launchd => texts::MACOS_LAUNCHER_CONFIGURATION,
    };
    steps.push(administrators(
        configuration.join("launcher.json"),
        launcher.to_owned(),
    ));
    steps.push(administrators(
        configuration.join("agent.toml"),
        refusal::configuration(place, wanted)?,
    ));
    steps.push(ours(
        configuration.join("agent.toml.example"),
        texts::example(place.system),
        TEXT,
    ));
    match place.system {
        System::Systemd => steps.extend(systemd_files(prefix)),
        System::Launchd => steps.extend(launchd_files(place, prefix, &programs.others)),
    }
    Ok(steps)
}

fn systemd_files(prefix: &Prefix) -> Vec<Step> {
    let moved = |text| texts::moved(text, prefix);
    let mut steps = vec![
        ours(
            prefix.join("libexec/helix/root-task"),
            moved(texts::ROOT_TASK),
            PROGRAM,
        ),
        ours(
            prefix.join("libexec/helix/restart-agent"),
            moved(texts::RESTART),
            PROGRAM,
        ),
        ours(
            prefix.join("share/doc/helix-agent/README.md"),
            texts::README.to_owned(),
            TEXT,
        ),
        ours(
            prefix.join("share/doc/helix-agent/examples/root.d/reboot"),
            texts::REBOOT_TASK.to_owned(),
            PROGRAM,
        ),
    ];
    for (name, text) in texts::UNITS {
        let path = Path::new("/etc/systemd/system").join(name);
        steps.push(ours(path, moved(text), TEXT));
    }
    for (path, text) in [
        ("/etc/sysusers.d/helix-agent.conf", texts::SYSUSERS),
        ("/etc/tmpfiles.d/helix-agent.conf", texts::TMPFILES),
        ("/etc/polkit-1/rules.d/helix-agent.rules", texts::POLKIT),
    ] {
        steps.push(ours(path, text.to_owned(), TEXT));
    }
    steps
}

fn launchd_files(place: &Place, prefix: &Prefix, others: &[&'static str]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (label, text) in texts::LISTS {
        steps.push(ours(list(label), texts::moved(text, prefix), TEXT));
    }
    for (name, owner) in [("agent", Some("_helix")), ("launcher", None)] {
        // launchd opens it as the user of the daemon. What is in it is nobody's to replace.
        steps.push(Step::File(NewFile {
            path: PathBuf::from(format!("/private/var/log/helix/{name}.log")),
            content: Content::Text(String::new()),
            mode: 0o640,
            owner: owner.filter(|_| place.is_live),
            whose: Whose::Administrators,
        }));
    }
    for name in others.iter().chain(&["helix-agent"]) {
        steps.push(Step::Link {
            path: Path::new("/usr/local/bin").join(name),
            to: prefix.join("bin").join(name),
        });
    }
    steps
}

fn list(label: &str) -> PathBuf {
    PathBuf::from(format!("/Library/LaunchDaemons/{label}.plist"))
}

/// The directories that files go into, those above first, and those of the agent.
fn directories(place: &Place, files: &[Step]) -> Vec<Step> {
    let mut wanted = BTreeSet::new();
    let mut want = |path: &Path| {
        for above in path.ancestors().filter(|above| *above != Path::new("/")) {
            wanted.insert(above.to_owned());
        }
    };
    for step in files {
        if let Step::File(NewFile { path, .. }) | Step::Link { path, .. } = step {
            want(path.parent().unwrap_or(path));
        }
    }
    want(&place.system.state());
    if place.system == System::Systemd {
        want(&place.system.configuration().join("root.d"));
    }
    let mut steps: Vec<_> = wanted
        .into_iter()
        .map(|path| Step::Directory {
            path,
            mode: DIRECTORY,
        })
        .collect();
    // On Linux systemd-tmpfiles makes them, at every boot.
    if place.system == System::Launchd && place.is_live {
        for (name, mode) in [("agent", 0o700), ("work", 0o711)] {
            steps.push(Step::OwnDirectory {
                path: place.system.state().join(name),
                owner: "_helix",
                mode,
            });
        }
    }
    steps
}

/// What is here afterwards, and what of an earlier installation is here until then.
fn manifests(
    place: &Place,
    files: &[Step],
    directories: &[Step],
    earlier: Option<Manifest>,
) -> (Manifest, BTreeSet<PathBuf>) {
    let earlier = earlier.unwrap_or_default();
    let mut manifest = Manifest {
        version: helix_telemetry::VERSION.to_owned(),
        files: BTreeSet::new(),
        directories: earlier.directories,
        accounts: earlier.accounts,
    };
    for step in files {
        match step {
            Step::File(file) if file.whose == Whose::Ours => {
                manifest.files.insert(file.path.clone());
            }
            Step::Link { path, .. } => {
                manifest.files.insert(path.clone());
            }
            _ => {}
        }
    }
    for step in directories {
        if let Step::Directory { path, .. } = step {
            let is_there = place.target(path).is_ok_and(|path| path.exists());
            if !is_there {
                manifest.directories.insert(path.clone());
            }
        }
    }
    let known = accounts(place);
    manifest.accounts.extend(known);
    let stale = earlier.files.difference(&manifest.files).cloned().collect();
    (manifest, stale)
}

/// The users that are made here, or by the first boot of the image.
fn accounts(place: &Place) -> Vec<String> {
    let is_new = |name: &str| match place.system {
        _ if place.is_live => matches!(User::from_name(name), Ok(None)),
        System::Systemd => {
            let users = place.target(Path::new("/etc/passwd"));
            let users = users.and_then(std::fs::read_to_string).unwrap_or_default();
            let line = format!("{name}:");
            !users.lines().any(|user| user.starts_with(&line))
        }
        System::Launchd => false,
    };
    let names: Vec<&str> = match place.system {
        System::Systemd => texts::users().collect(),
        System::Launchd => MACOS_ACCOUNTS.iter().map(|(name, _)| *name).collect(),
    };
    let new = names.into_iter().filter(|name| is_new(name));
    new.map(str::to_owned).collect()
}

/// What has to run once all files are there.
fn systemd(place: &Place, wanted: &Installation, steps: &mut Vec<Step>, next: &mut Vec<String>) {
    let prefix = &wanted.prefix;
    let program = |name: &str| prefix.join("bin").join(name).display().to_string();
    let (agent, launcher) = (program("helix-agent"), program("helix-launcher"));
    let mut run = |command: Command| steps.push(Step::Command(command));
    if !place.is_live {
        let root = place.root().display();
        next.extend([
            "installed into the image; nothing is started, and users are made by its first boot, or now:".to_owned(),
            format!("systemd-sysusers --root={root} helix-agent.conf"),
            "name queues, address and certificates in its /etc/helix/agent.toml, then:".to_owned(),
            format!("systemctl --root={root} enable helix-agent.service"),
        ]);
        return;
    }
    run(Command::new(&["systemd-sysusers", "helix-agent.conf"]));
    // Where it cannot do all, the next boot does.
    run(
        Command::new(&["systemd-tmpfiles", "--create", "helix-agent.conf"]).may_fail(Failure::Told),
    );
    run(Command::new(&["systemctl", "daemon-reload"]));
    let restart = prefix
        .join("libexec/helix/restart-agent")
        .display()
        .to_string();
    run(Command::new(&[&restart, "systemctl"])
        .if_changed()
        .may_fail(Failure::Told));
    if wanted.start {
        let configuration = "/etc/helix/agent.toml";
        run(Command::new(&[
            &launcher,
            "--config",
            "/etc/helix/launcher.json",
            "--check",
        ]));
        // As the agent's user, who has to be able to read it and what it names.
        run(Command::new(&[
            "setpriv",
            "--reuid",
            "helix-agent",
            "--regid",
            "helix-agent",
            "--init-groups",
            &agent,
            "validate",
            "--config",
            configuration,
        ]));
        run(Command::new(&[
            "systemctl",
            "enable",
            "--now",
            "helix-agent.service",
        ]));
        next.extend([
            "started; what it says is in `journalctl -u helix-agent`, and how it is says:"
                .to_owned(),
            format!("sudo -u helix-agent {agent} doctor"),
        ]);
    } else {
        next.extend([
            "nothing was started that did not run. Name queues, address and certificates in \
             /etc/helix/agent.toml, then:"
                .to_owned(),
            again(&agent, place, prefix),
        ]);
    }
}

/// How to start what is installed.
fn again(agent: &str, place: &Place, prefix: &Prefix) -> String {
    let is_default = *prefix == place.system.default_prefix();
    let prefix = match is_default {
        true => String::new(),
        false => format!("--prefix {} ", prefix.as_str()),
    };
    format!("sudo {agent} install {prefix}--start")
}

/// The same for launchd.
fn launchd(place: &Place, wanted: &Installation, steps: &mut Vec<Step>, next: &mut Vec<String>) {
    let prefix = &wanted.prefix;
    let check = |label: &str| {
        let program = |name: &str| prefix.join("bin").join(name).display().to_string();
        let words: Vec<String> = match label {
            "helix.launcher" => vec![
                program("helix-launcher"),
                "--config".to_owned(),
                "/etc/helix/launcher.json".to_owned(),
                "--check".to_owned(),
            ],
            _ => vec![
                program("helix-agent"),
                "validate".to_owned(),
                "--config".to_owned(),
                "/etc/helix/agent.toml".to_owned(),
            ],
        };
        words
    };
    let agent = prefix.join("bin/helix-agent").display().to_string();
    if !place.is_live {
        next.push(format!(
            "installed into the image; users are made by `{agent} install` on the machine itself"
        ));
        return;
    }
    for (label, _) in texts::LISTS {
        steps.push(Step::RestartJob {
            label,
            check: check(label),
        });
    }
    if wanted.start {
        for (label, _) in texts::LISTS {
            let words = check(label);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            steps.push(Step::Command(Command::new(&words)));
        }
        for (label, _) in texts::LISTS {
            steps.push(Step::StartJob {
                label,
                list: list(label),
            });
        }
        next.push("started; what it says is in /var/log/helix/agent.log".to_owned());
    } else {
        next.extend([
            "nothing was started that did not run. Name queues, address and certificates in \
             /etc/helix/agent.toml, then:"
                .to_owned(),
            again(&agent, place, prefix),
        ]);
    }
}
