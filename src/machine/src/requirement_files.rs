//! Reads what a payload's own files ask for: `.xcode-version`, `global.json`, `.tool-versions` and
//! their like.
//!
//! The payload is whatever somebody packed: a file may be a link that leads out of it, a pipe that
//! never ends, or a gigabyte. So each path is opened component by component, following no link,
//! only regular files are read, and only up to a bound. Which files, and what they speak of, is
//! configuration, with a table of the usual ones built in.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use helix_model::capability::{
    CapabilityName, CapabilitySet, MAX_REQUIREMENT_FILE_BYTES, Missing, Requirement,
    RequirementFile, RequirementFileError,
};
use helix_model::path::RelativePath;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

/// Files that projects carry anyway: the path, and the capability that a file with one version
/// speaks of.
const VERSION_FILES: [(&str, &str); 8] = [
    (".dotnet-version", "dotnet-sdk"),
    (".go-version", "go"),
    (".java-version", "java"),
    (".node-version", "node"),
    (".nvmrc", "node"),
    (".python-version", "python"),
    (".ruby-version", "ruby"),
    (".xcode-version", "xcode"),
];

/// The tools in `.tool-versions` whose capability is not called as they are.
const TOOL_NAMES: [(&str, &str); 12] = [
    ("cmake", "cmake"),
    ("dotnet", "dotnet-sdk"),
    ("dotnet-core", "dotnet-sdk"),
    ("go", "go"),
    ("golang", "go"),
    ("java", "java"),
    ("node", "node"),
    ("nodejs", "node"),
    ("python", "python"),
    ("ruby", "ruby"),
    ("rust", "rust"),
    ("xcode", "xcode"),
];

/// A file to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where, below the root of the payload. Never the root itself.
    pub path: RelativePath,
    /// What it is.
    pub kind: RequirementFile,
}

/// The files to look for, each path once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequirementFiles {
    rules: Vec<Rule>,
}

/// What the files of one payload ask for.
#[derive(Debug, Default)]
pub struct Findings {
    /// The requirements, in the order of the rules.
    pub requirements: Vec<FoundRequirement>,
    /// The files that are there but cannot be used. What they ask for is not known.
    pub problems: Vec<FileProblem>,
}

/// A requirement, and who asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRequirement {
    /// What is required.
    pub requirement: Requirement,
    /// The file that asks for it, below the root of the payload.
    pub file: RelativePath,
}

/// A file that is there but cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("read what `{file}` in the payload asks for")]
pub struct FileProblem {
    /// The file, below the root of the payload.
    pub file: RelativePath,
    /// What is wrong with it.
    pub source: FileProblemKind,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblemKind {
    /// It is a link, or a directory on the way to it is; links are not followed.
    #[error("it is a symbolic link, which is not followed")]
    Link,
    /// It is a directory, a pipe, or something else that is not read.
    #[error("it is no regular file")]
    NotRegular,
    /// It is too large.
    #[error("it is larger than {MAX_REQUIREMENT_FILE_BYTES} bytes")]
    TooLarge,
    /// It is not UTF-8.
    #[error("it is no text")]
    NotText,
    /// It cannot be understood.
    #[error("{0}")]
    Malformed(RequirementFileError),
    /// It cannot be opened or read.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
}

/// A root that cannot be looked into.
#[derive(Debug, thiserror::Error)]
#[error("look for requirement files in `{}`", root.display())]
pub struct RootError {
    /// The root of the payload.
    pub root: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl RequirementFiles {
    /// The configured files, and those of the built-in table that speak of a capability that is
    /// known.
    ///
    /// A configured rule takes the place of a built-in one for the same path. A built-in one for a
    /// capability that no probe looks for, no label names and no provisioner brings is left out: a
    /// stray `.ruby-version` in a payload must not keep a work item from machines that nobody ever
    /// asked for Ruby. Built-in rules for `ignored` paths are left out too. Configured rules always
    /// count.
    #[must_use]
    pub fn new(
        configured: Vec<Rule>,
        ignored: &[RelativePath],
        is_known: impl Fn(&CapabilityName) -> bool,
    ) -> Self {
        let mut rules = configured;
        for rule in built_in(is_known) {
            let is_configured = rules.iter().any(|known| known.path == rule.path);
            if !is_configured && !ignored.contains(&rule.path) {
                rules.push(rule);
            }
        }
        Self { rules }
    }

    /// The files to look for.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Reads the files below `root` that are there. Blocks while it reads; a few small files at
    /// most.
    ///
    /// # Errors
    ///
    /// The root itself cannot be opened. What is wrong with a file is among the findings.
    pub fn find(&self, root: &Path) -> Result<Findings, RootError> {
        let root_descriptor =
            openat(CWD, root, directory_flags(), Mode::empty()).map_err(|error| RootError {
                root: root.to_owned(),
                source: error.into(),
            })?;
        let mut findings = Findings::default();
        for rule in &self.rules {
            match read(&root_descriptor, rule) {
                Ok(requirements) => {
                    findings
                        .requirements
                        .extend(
                            requirements
                                .into_iter()
                                .map(|requirement| FoundRequirement {
                                    requirement,
                                    file: rule.path.clone(),
                                }),
                        );
                }
                Err(source) => {
                    findings.problems.push(FileProblem {
                        file: rule.path.clone(),
                        source,
                    });
                }
            }
        }
        Ok(findings)
    }
}

impl Findings {
    /// What the machine lacks of it, each with the file that asks.
    #[must_use]
    pub fn missing(&self, capabilities: &CapabilitySet) -> Vec<Missing> {
        self.requirements
            .iter()
            .flat_map(|found| {
                let mut missing = capabilities.missing(std::slice::from_ref(&found.requirement));
                for missing in &mut missing {
                    missing.asked_by = Some(found.file.to_string());
                }
                missing
            })
            .collect()
    }
}

/// The built-in rules for the capabilities that are known.
fn built_in(is_known: impl Fn(&CapabilityName) -> bool) -> Vec<Rule> {
    let known = |name: &str| CapabilityName::new(name).ok().filter(|name| is_known(name));
    let rule = |path: &str, kind| {
        Some(Rule {
            path: RelativePath::new(path).ok()?,
            kind,
        })
    };
    let mut rules: Vec<Rule> = VERSION_FILES
        .iter()
        .filter_map(|(path, name)| {
            rule(
                path,
                RequirementFile::Version {
                    capability: known(name)?,
                },
            )
        })
        .collect();
    rules
        .extend(known("dotnet-sdk").and_then(|capability| {
            rule("global.json", RequirementFile::GlobalJson { capability })
        }));
    let capabilities: BTreeMap<String, CapabilityName> = TOOL_NAMES
        .iter()
        .filter_map(|(tool, name)| Some(((*tool).to_owned(), known(name)?)))
        .collect();
    if !capabilities.is_empty() {
        rules.extend(rule(
            ".tool-versions",
            RequirementFile::ToolVersions { capabilities },
        ));
    }
    rules
}

/// Reads one file; nothing if it is not there.
fn read(root: &OwnedFd, rule: &Rule) -> Result<Vec<Requirement>, FileProblemKind> {
    let Some(file) = open(root, &rule.path)? else {
        return Ok(Vec::new());
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_REQUIREMENT_FILE_BYTES).unwrap_or(u64::MAX);
    File::from(file)
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(FileProblemKind::Unreadable)?;
    if bytes.len() > MAX_REQUIREMENT_FILE_BYTES {
        return Err(FileProblemKind::TooLarge);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| FileProblemKind::NotText)?;
    rule.kind.read(text).map_err(FileProblemKind::Malformed)
}

/// Opens a regular file below `root` without following links; none if it is not there.
fn open(root: &OwnedFd, path: &RelativePath) -> Result<Option<OwnedFd>, FileProblemKind> {
    let (directories, name) = path
        .as_str()
        .rsplit_once('/')
        .unwrap_or(("", path.as_str()));
    let mut parent = root.try_clone().map_err(FileProblemKind::Unreadable)?;
    for component in directories
        .split('/')
        .filter(|component| !component.is_empty())
    {
        parent = match openat(&parent, component, directory_flags(), Mode::empty()) {
            Ok(directory) => directory,
            Err(error) => return absent_or_problem(&parent, component, error),
        };
    }
    // Without NONBLOCK, a pipe would hold the opening up until somebody writes to it.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(&parent, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(error) => return absent_or_problem(&parent, name, error),
    };
    let stat = fstat(&file).map_err(|error| FileProblemKind::Unreadable(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(Some(file))
    } else {
        Err(FileProblemKind::NotRegular)
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// What it means that a component could not be opened. Systems differ in what they say of a link
/// where a directory is wanted, so it is looked at.
fn absent_or_problem(
    parent: &OwnedFd,
    component: &str,
    error: Errno,
) -> Result<Option<OwnedFd>, FileProblemKind> {
    if error == Errno::NOENT {
        return Ok(None);
    }
    match statat(parent, component, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
            Err(FileProblemKind::Link)
        }
        // A plain file where a directory would be: what is below it is not there.
        Ok(_) if error == Errno::NOTDIR => Ok(None),
        Ok(_) | Err(_) => Err(FileProblemKind::Unreadable(error.into())),
    }
}

#[cfg(test)]
#[path = "requirement_files_tests.rs"]
mod tests;
