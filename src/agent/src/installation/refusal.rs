//! Why nothing is installed or removed here, and what to do about it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use super::files::has_content;
use super::manifest::{Manifest, ManifestError};
use super::place::{Place, Prefix, System};
use super::plan::{NEEDED, Programs, WELCOME};
use super::step::{NewFile, Step, Whose};
use super::{Installation, Mode, texts};
use crate::config::Config;

/// Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("only root can make users and services")]
    NotRoot,
    #[error("there is no `{manager}` here that services could be given to")]
    NoServiceManager { manager: &'static str },
    #[error("`{}` is no directory that an image could be in", .0.display())]
    NoImage(PathBuf),
    #[error("`{}` belongs to a package", .unit.display())]
    Packaged { unit: PathBuf },
    #[error("there is no `{name}` beside this program, in `{}`", .directory.display())]
    NoProgram {
        name: &'static str,
        directory: PathBuf,
    },
    #[error("find the running program")]
    OwnPath(#[source] io::Error),
    #[error("others than root may write to `{}`, and root runs programs from beneath it", .0.display())]
    OpenPrefix(PathBuf),
    #[error("look at `{}`", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("these files are there, and no installation put them there: {}", list(.0))]
    Foreign(Vec<PathBuf>),
    #[error("`{}` is there, and is not what `--queue` and `--name` ask for", .0.display())]
    Configured(PathBuf),
    #[error("the configuration would be wrong: {0}")]
    Configuration(String),
    #[error("use the record of the installation, `{}`", .path.display())]
    Manifest {
        path: PathBuf,
        #[source]
        source: ManifestError,
    },
    #[error("nothing was installed here by `helix-agent install`: there is no `{}`", .manifest.display())]
    NotInstalled { manifest: PathBuf },
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| format!("`{}`", path.display()))
        .collect();
    paths.join(", ")
}

impl Refusal {
    /// What to do about it.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::NotRoot => "use sudo; `--dry-run` shows every step to anybody".to_owned(),
            Self::NoServiceManager { .. } => {
                "have whatever starts programs here run `helix-agent run`, or install into the \
                 image of a machine with `--root`"
                    .to_owned()
            }
            Self::NoImage(_) => "unpack or mount the image there".to_owned(),
            Self::Packaged { .. } => "upgrade and remove it as a package, with `apt` or `dnf`; or \
                                      remove the package, then install"
                .to_owned(),
            Self::NoProgram { .. } => {
                "put the programs of one archive, or of one build, into one directory".to_owned()
            }
            Self::OwnPath(_) => "start it by its path".to_owned(),
            Self::OpenPrefix(path) => format!(
                "chown root {0} && chmod go-w {0}, or use another `--prefix`, such as /opt/helix",
                path.display()
            ),
            Self::Unreadable { .. } => "see that root can read it".to_owned(),
            Self::Foreign(_) => "move them away, then install".to_owned(),
            Self::Configured(_) => {
                "an existing configuration is not changed: edit it, and leave these out".to_owned()
            }
            Self::Configuration(_) => "correct `--queue` or `--name`".to_owned(),
            Self::Manifest { .. } => {
                "remove it and install the same version again, which writes it anew".to_owned()
            }
            Self::NotInstalled { .. } => {
                "remove what a package manager installed with that; else there is nothing to do"
                    .to_owned()
            }
        }
    }
}

/// Whether this is a machine, and this process one, that can do so.
pub(super) fn machine(place: &Place, mode: Mode) -> Result<(), Refusal> {
    if mode == Mode::Run && !Uid::effective().is_root() {
        return Err(Refusal::NotRoot);
    }
    if !place.is_live {
        return match place.root().is_dir() {
            true => Ok(()),
            false => Err(Refusal::NoImage(place.root().to_owned())),
        };
    }
    let (manager, path) = match place.system {
        System::Systemd => ("systemd", "/run/systemd/system"),
        System::Launchd => ("launchd", "/bin/launchctl"),
    };
    match Path::new(path).exists() {
        true => Ok(()),
        false => Err(Refusal::NoServiceManager { manager }),
    }
}

/// The programs beside the one that runs.
pub(super) fn programs() -> Result<Programs, Refusal> {
    let own = std::env::current_exe().map_err(Refusal::OwnPath)?;
    let directory = own.parent().unwrap_or(&own).to_owned();
    for name in NEEDED {
        if !directory.join(name).is_file() {
            return Err(Refusal::NoProgram { name, directory });
        }
    }
    let others = WELCOME
        .into_iter()
        .filter(|name| directory.join(name).is_file());
    Ok(Programs {
        others: others.collect(),
        directory,
    })
}

/// No package has these files in its care.
pub(super) fn package(place: &Place) -> Result<(), Refusal> {
    // No administrator puts units here.
    for directory in ["/usr/lib/systemd/system", "/lib/systemd/system"] {
        let unit = Path::new(directory).join("helix-agent.service");
        if place.entry(&unit).is_ok_and(|path| path.exists()) {
            return Err(Refusal::Packaged { unit });
        }
    }
    Ok(())
}

/// Nobody else can put a program in the place of the launcher.
pub(super) fn prefix(place: &Place, prefix: &Prefix) -> Result<(), Refusal> {
    let bin = prefix.join("bin");
    for above in bin.ancestors().filter(|above| *above != Path::new("/")) {
        let unreadable = |source| Refusal::Unreadable {
            path: above.to_owned(),
            source,
        };
        let metadata = match place.target(above).and_then(fs::metadata) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            looked => looked.map_err(unreadable)?,
        };
        if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
            return Err(Refusal::OpenPrefix(above.to_owned()));
        }
    }
    Ok(())
}

/// What an earlier installation put here.
pub(super) fn manifest(place: &Place) -> Result<Option<Manifest>, Refusal> {
    Manifest::load(place).map_err(|source| Refusal::Manifest {
        path: place.system.manifest(),
        source,
    })
}

/// No file of somebody else's is in the way. One that has the content already may be anybody's.
pub(super) fn foreign(
    place: &Place,
    files: &[Step],
    earlier: Option<&Manifest>,
) -> Result<(), Refusal> {
    let none = BTreeSet::new();
    let known = earlier.map_or(&none, |earlier| &earlier.files);
    let mut foreign = Vec::new();
    for step in files {
        let path = match step {
            Step::File(NewFile { path, whose, .. }) if *whose == Whose::Ours => path,
            Step::Link { path, .. } => path,
            _ => continue,
        };
        let there = place.entry(path).map_err(|source| Refusal::Unreadable {
            path: path.clone(),
            source,
        })?;
        let is_same = match step {
            Step::File(file) => has_content(&there, &file.content).unwrap_or(false),
            Step::Link { to, .. } => fs::read_link(&there).is_ok_and(|target| target == *to),
            _ => false,
        };
        if !known.contains(path) && !is_same && there.symlink_metadata().is_ok() {
            foreign.push(path.clone());
        }
    }
    if foreign.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Foreign(foreign))
    }
}

/// The configuration for who has none. One that is there must mean what is asked for.
pub(super) fn configuration(place: &Place, wanted: &Installation) -> Result<String, Refusal> {
    let means_it = |config: &Config| {
        (wanted.queues.is_empty() || config.queues == wanted.queues)
            && (wanted.machine_name.is_none() || config.machine_name == wanted.machine_name)
    };
    let path = place.system.configuration().join("agent.toml");
    let there = place.target(&path).map_err(|source| Refusal::Unreadable {
        path: path.clone(),
        source,
    })?;
    if there.exists() {
        let asks = !wanted.queues.is_empty() || wanted.machine_name.is_some();
        // A wrong one is nobody's business as long as nothing of it is asked for.
        if asks && !Config::load(&there).is_ok_and(|config| means_it(&config)) {
            return Err(Refusal::Configured(path));
        }
    }
    let name = wanted.machine_name.as_deref();
    let text = texts::configuration(place.system, name, &wanted.queues);
    match Config::parse(&text, "agent.toml") {
        Ok(config) if means_it(&config) => Ok(text),
        Ok(_) => Err(Refusal::Configuration("it says something else".to_owned())),
        Err(problems) => Err(Refusal::Configuration(problems.to_string())),
    }
}
