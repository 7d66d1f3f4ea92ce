//! Plans for both systems, looked at and carried out in a directory; what the service managers make
//! of it is for the tests of a whole machine.

mod macos;
mod refusals;
mod systemd;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use tempfile::TempDir;

use super::place::{Place, Prefix, System};
use super::plan::{self, Plan, Programs};
use super::refusal::Refusal;
use super::run::{Runner, Tools};
use super::{Installation, removal};

/// A directory that is the root of a system, and one with programs.
struct Ground {
    directory: TempDir,
}

impl Ground {
    fn new() -> Self {
        let ground = Self {
            directory: TempDir::new().unwrap(),
        };
        fs::create_dir(ground.root()).unwrap();
        fs::create_dir(ground.path("programs")).unwrap();
        for name in ["helix-agent", "helix-launcher", "helix"] {
            ground.put_program(name, "#!/bin/sh\nexit 0\n");
        }
        ground
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    fn put_program(&self, name: &str, text: &str) {
        let path = self.path("programs").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts a file into the root.
    fn put(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn programs(&self) -> Programs {
        Programs {
            directory: self.path("programs"),
            others: vec!["helix"],
        }
    }

    fn image(&self, system: System) -> Place {
        Place::new(system, Some(self.root()))
    }

    fn plan(&self, place: &Place, wanted: &Installation) -> Result<Plan, Refusal> {
        plan::install(place, wanted, &self.programs())
    }

    /// Everything beneath the root with owner and mode, and the content of files and links.
    fn tree(&self) -> BTreeMap<String, String> {
        fn walk(base: &Path, path: &Path, found: &mut BTreeMap<String, String>) {
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                let mut text = format!("{} {:o} ", metadata.uid(), metadata.mode() & 0o7777);
                if metadata.is_dir() {
                    walk(base, &path, found);
                } else if metadata.is_symlink() {
                    text.push_str(&fs::read_link(&path).unwrap().display().to_string());
                } else {
                    text.push_str(&fs::read_to_string(&path).unwrap());
                }
                let name = path.strip_prefix(base).unwrap().display().to_string();
                found.insert(name, text);
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.root(), &self.root(), &mut found);
        found
    }
}

fn wanted(system: System) -> Installation {
    Installation {
        root: None,
        prefix: system.default_prefix(),
        queues: Vec::new(),
        machine_name: None,
        start: false,
    }
}

/// Whether files can be given to root here. If not, says that the calling test is skipped.
fn is_root() -> bool {
    let is_root = Uid::effective().is_root();
    if !is_root {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("skipped: only root can give files away");
        }
    }
    is_root
}

/// The steps in words, with the directory of the programs left out.
fn words(ground: &Ground, plan: &Plan) -> Vec<String> {
    let programs = ground.path("programs").display().to_string();
    let steps = plan.steps.iter();
    steps
        .map(|step| step.to_string().replace(&programs, "PROGRAMS"))
        .collect()
}

/// Takes every step of a plan. Returns what was said.
fn carry_out(place: &Place, plan: &Plan, tools: Tools) -> Vec<String> {
    let mut said = Vec::new();
    let mut runner = Runner::with(place, tools);
    for step in &plan.steps {
        runner
            .take(step, &mut |line| said.push(line.to_owned()))
            .unwrap_or_else(|error| panic!("{}", crate::error_chain(&error)));
    }
    said
}

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

/// What is removed, with or without what lasts.
fn removal(place: &Place, purge: bool) -> Plan {
    removal::plan(place, purge).unwrap()
}
