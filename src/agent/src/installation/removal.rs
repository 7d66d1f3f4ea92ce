//! The steps of a removal: what the manifest says was put here, and with a purge what the daemons
//! made of it.

use std::path::PathBuf;

use super::manifest::Manifest;
use super::place::{Place, System};
use super::plan::Plan;
use super::refusal::{self, Refusal};
use super::step::{Command, Failure, Step};

/// Daemons in the order in which they go: the agent drains, and needs the launcher for that.
const UNITS: [&str; 4] = [
    "helix-agent.service",
    "helix-launcher.socket",
    "helix-launcher.service",
    "helix-items.service",
];
const JOBS: [&str; 2] = ["helix.agent", "helix.launcher"];

/// Says what there is to remove. Changes nothing.
pub(super) fn plan(place: &Place, purge: bool) -> Result<Plan, Refusal> {
    let manifest = refusal::manifest(place)?;
    if purge || manifest.is_none() {
        // State and users would be those of the package.
        refusal::package(place)?;
    }
    let Some(manifest) = manifest else {
        return Err(Refusal::NotInstalled {
            manifest: place.system.manifest(),
        });
    };
    let mut steps = Vec::new();
    if !manifest.files.is_empty() {
        match place.system {
            System::Systemd => stop_units(place, &mut steps),
            System::Launchd => stop_jobs(place, &manifest, &mut steps),
        }
    }
    let files = manifest.files.iter().cloned();
    steps.extend(files.map(|path| Step::RemoveFile { path }));
    if place.is_live {
        match place.system {
            System::Systemd => forget_units(&mut steps),
            System::Launchd => steps.push(Step::RemoveTree {
                path: "/private/var/run/helix".into(),
            }),
        }
    }
    if purge {
        remove_state(place, &manifest, &mut steps);
    }
    let kept = Manifest {
        files: [].into(),
        ..manifest.clone()
    };
    let mut next = Vec::new();
    if purge {
        steps.push(Step::RemoveFile {
            path: place.system.manifest(),
        });
    } else {
        steps.push(Step::Record(kept));
        next.push(
            "configuration, state and users are kept; `helix-agent uninstall --purge` removes them \
             too, also later"
                .to_owned(),
        );
    }
    // Those beneath first.
    let directories = manifest.directories.into_iter().rev();
    steps.extend(directories.map(|path| Step::RemoveDirectory { path }));
    Ok(Plan { steps, next })
}

fn stop_units(place: &Place, steps: &mut Vec<Step>) {
    let mut run = |words: &[&str], failure| {
        steps.push(Step::Command(Command::new(words).may_fail(failure)));
    };
    let enabled = &UNITS[..3];
    if !place.is_live {
        let root = format!("--root={}", place.root().display());
        run(
            &[&["systemctl", &root, "disable"], enabled].concat(),
            Failure::Told,
        );
        return;
    }
    run(
        &[&["systemctl", "disable"], enabled].concat(),
        Failure::Told,
    );
    run(&["systemctl", "stop", UNITS[0]], Failure::Told);
    run(
        &[&["systemctl", "stop"], &UNITS[1..]].concat(),
        Failure::Told,
    );
    run(
        &["systemctl", "stop", "helix-root@*.service", "helix.slice"],
        Failure::Expected,
    );
}

/// Once their files are gone.
fn forget_units(steps: &mut Vec<Step>) {
    for path in ["/run/helix/launcher", "/run/helix/launcher.sock"] {
        steps.push(Step::RemoveTree { path: path.into() });
    }
    steps.push(Step::RemoveDirectory {
        path: "/run/helix".into(),
    });
    steps.push(Step::Command(Command::new(&["systemctl", "daemon-reload"])));
    for unit in UNITS {
        // One that once failed is remembered until somebody says that it is well.
        steps.push(Step::Command(
            Command::new(&["systemctl", "reset-failed", unit]).may_fail(Failure::Expected),
        ));
    }
}

fn stop_jobs(place: &Place, manifest: &Manifest, steps: &mut Vec<Step>) {
    if !place.is_live {
        return;
    }
    steps.extend(JOBS.map(|label| Step::StopJob { label }));
    // Work items that are still there; their supervisors end with them.
    for account in &manifest.accounts {
        steps.push(Step::KillProcesses {
            account: account.clone(),
        });
    }
}

fn remove_state(place: &Place, manifest: &Manifest, steps: &mut Vec<Step>) {
    let state = place.system.state();
    let configuration = place.system.configuration();
    let mut trees: Vec<PathBuf> = ["agent", "work"].map(|name| state.join(name)).into();
    // Directories of logs only hold what provisioners wrote, where there is a journal.
    let logs: &[&str] = match place.system {
        System::Systemd => &["/var/cache/helix", "/var/log/helix"],
        System::Launchd => &["/private/var/log/helix"],
    };
    trees.extend(logs.iter().map(PathBuf::from));
    steps.extend(trees.into_iter().map(|path| Step::RemoveTree { path }));
    for name in ["agent.toml", "launcher.json", "offline"] {
        steps.push(Step::RemoveFile {
            path: configuration.join(name),
        });
    }
    if place.is_live {
        for name in &manifest.accounts {
            steps.push(Step::RemoveAccount { name: name.clone() });
        }
    }
    // Made by systemd-tmpfiles, where they were not here before.
    for path in [configuration.join("root.d"), configuration] {
        steps.push(Step::RemoveDirectory { path });
    }
}
