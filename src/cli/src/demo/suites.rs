//! Test suites that are on this machine anyhow, as work items.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use helix_api::submit::{
    CommandRequest, ItemRequest, LimitsRequest, PAYLOAD_SCHEME, PayloadRequest, RequirementRequest,
    Settings,
};

use super::DemoError;
use crate::payloads::{Packer, PayloadError, digest_of};

/// Crates whose tests need nothing but themselves and pass without network.
const PLAIN: [&str; 5] = ["strsim", "heck", "percent-encoding", "unicase", "untrusted"];
/// Its tests call the compiler, so that a machine without one fails them.
const NEEDS_COMPILER: &str = "autocfg";
/// Its tests are never run: no machine here has what is asked for.
const NEEDS_MORE: &str = "scopeguard";

const TIMEOUT_SECONDS: f64 = 180.0;

/// How cargo is told to run each test binary.
const CARGO_CONFIG: &str = "[target.'cfg(all())']\nrunner = '.cargo/junit.sh'\n";
/// Has a test binary write its results where an agent looks for them. The names
/// end as agents expect it, and each binary has a file of its own.
const RUNNER: &str = "\
#!/bin/sh
name=${1##*/}
RUSTC=rustc
# The one whose compiler comes late finds none the first time.
[ \"$LATE_COMPILER$HELIX_WORKITEM_DELIVERY\" = yes1 ] && RUSTC=/nonexistent/rustc
# The report is unstable; this is the word that lets a stable test binary write it.
RUSTC_BOOTSTRAP=1
export RUSTC RUSTC_BOOTSTRAP
exec \"$@\" -Z unstable-options --format junit \\
    >\"$name-testResults.xml\" 2>\"$HELIX_WORKITEM_UPLOAD_ROOT/$name.stderr.txt\"
";

/// The Rust of this machine.
#[derive(Debug, Clone)]
pub(super) struct Toolchain {
    /// Where cargo keeps what it downloaded.
    pub(super) cargo_home: PathBuf,
    path: OsString,
}

/// The sources of a crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suite {
    /// The crate's name.
    name: String,
    version: String,
    directory: PathBuf,
}

/// A work item of the demonstration.
#[derive(Debug)]
pub(super) struct Item {
    /// What people see.
    pub(super) name: String,
    /// What is meant to become of it.
    pub(super) expected: Expected,
    /// The suite, packed.
    pub(super) archive: PathBuf,
    /// The archive's digest, hexadecimal.
    pub(super) sha256: String,
    /// How it is submitted.
    pub(super) request: ItemRequest,
}

/// What is meant to become of a work item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// It passes in its first attempt.
    Passes,
    /// It fails, is requeued, and passes.
    PassesOnRetry,
    /// It waits, as no machine has what it wants.
    NobodyCan,
}

impl Toolchain {
    /// Asks `rustc`, or what the environment names instead.
    pub(super) async fn find() -> Result<Self, DemoError> {
        let program = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let output = tokio::process::Command::new(&program)
            .args(["--print", "sysroot"])
            .output()
            .await
            .map_err(|source| DemoError::NoToolchain {
                program: program.clone(),
                source,
            })?;
        let bin = Path::new(String::from_utf8_lossy(&output.stdout).trim_end()).join("bin");
        if !output.status.success() || !bin.join("rustc").is_file() {
            return Err(DemoError::OddToolchain { program });
        }
        let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(
            || std::env::home_dir().unwrap_or_default().join(".cargo"),
            PathBuf::from,
        );
        // Work items see no proxies of rustup, which would look for a home.
        let own = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(bin).chain(std::env::split_paths(&own));
        let path = std::env::join_paths(all).map_err(|_| DemoError::OddToolchain {
            program: program.clone(),
        })?;
        Ok(Self { cargo_home, path })
    }
}

/// The suites that are there, in the order in which they are to run.
pub(super) fn find_suites(cargo_home: &Path) -> Result<Vec<Suite>, DemoError> {
    let below = cargo_home.join("registry/src");
    let plain: Vec<Suite> = PLAIN
        .iter()
        .filter_map(|name| find_suite(&below, name))
        .collect();
    let others = [NEEDS_COMPILER, NEEDS_MORE].map(|name| (name, find_suite(&below, name)));
    let missing: Vec<String> = others
        .iter()
        .filter(|(_, suite)| suite.is_none())
        .map(|(name, _)| (*name).to_owned())
        .collect();
    if plain.is_empty() || !missing.is_empty() {
        let missing = if missing.is_empty() {
            PLAIN.map(str::to_owned).to_vec()
        } else {
            missing
        };
        return Err(DemoError::NoSources { missing, below });
    }
    // The one that will come again is early, so that its way can be watched.
    let mut suites: Vec<Suite> = others.into_iter().filter_map(|(_, suite)| suite).collect();
    suites.extend(plain);
    Ok(suites)
}

/// The newest version of the crate `name` in any registry's directory.
fn find_suite(below: &Path, name: &str) -> Option<Suite> {
    let mut newest: Option<([u64; 3], Suite)> = None;
    let registries = fs::read_dir(below).ok()?.filter_map(Result::ok);
    for entry in registries
        .filter_map(|registry| fs::read_dir(registry.path()).ok())
        .flatten()
    {
        let Ok(entry) = entry else { continue };
        let directory = entry.path();
        let file_name = entry.file_name();
        let Some((number, version)) = file_name
            .to_str()
            .and_then(|text| text.strip_prefix(name)?.strip_prefix('-'))
            .and_then(|version| Some((release(version)?, version.to_owned())))
        else {
            continue;
        };
        let newer = newest.as_ref().is_none_or(|(known, _)| number > *known);
        // Cargo marks with a file what it has unpacked to the end.
        if newer && directory.join(".cargo-ok").is_file() {
            newest = Some((
                number,
                Suite {
                    name: name.to_owned(),
                    version,
                    directory,
                },
            ));
        }
    }
    newest.map(|(_, suite)| suite)
}

/// The numbers of a version that is no pre-release.
fn release(version: &str) -> Option<[u64; 3]> {
    let plain = version.split_once('+').map_or(version, |(plain, _)| plain);
    let mut parts = plain.split('.').map(|part| part.parse::<u64>().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// Packs each suite into `files`, as a work item.
pub(super) fn work_items(
    suites: &[Suite],
    toolchain: &Toolchain,
    files: &Path,
) -> Result<Vec<Item>, DemoError> {
    suites
        .iter()
        .map(|suite| work_item(suite, toolchain, files))
        .collect()
}

fn work_item(suite: &Suite, toolchain: &Toolchain, files: &Path) -> Result<Item, DemoError> {
    let archive = files.join(format!("{}-{}.zip", suite.name, suite.version));
    let failed = |source| DemoError::Pack {
        directory: suite.directory.clone(),
        source,
    };
    pack(suite, &archive).map_err(failed)?;
    let digest = digest_of(&archive).map_err(failed)?;
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = match suite.name.as_str() {
        NEEDS_COMPILER => Expected::PassesOnRetry,
        NEEDS_MORE => Expected::NobodyCan,
        _ => Expected::Passes,
    };
    let mut environment = BTreeMap::from([
        (
            "PATH".to_owned(),
            toolchain.path.to_string_lossy().into_owned(),
        ),
        (
            "CARGO_HOME".to_owned(),
            toolchain.cargo_home.display().to_string(),
        ),
        ("CARGO_TARGET_DIR".to_owned(), "target".to_owned()),
    ]);
    if expected == Expected::PassesOnRetry {
        environment.insert("LATE_COMPILER".to_owned(), "yes".to_owned());
    }
    let requirements = match expected {
        Expected::NobodyCan => vec![RequirementRequest {
            name: "quantum-processor".to_owned(),
            range: ">=2".to_owned(),
        }],
        Expected::Passes | Expected::PassesOnRetry => Vec::new(),
    };
    let arguments = ["cargo", "test", "--offline", "--tests", "--no-fail-fast"].map(str::to_owned);
    let name = format!("{} {}", suite.name, suite.version);
    let request = ItemRequest {
        name: name.clone(),
        command: CommandRequest {
            argv: Some(arguments.to_vec()),
            shell: None,
        },
        settings: Settings {
            environment,
            payloads: vec![PayloadRequest {
                url: Some(format!("{PAYLOAD_SCHEME}{sha256}")),
                ..PayloadRequest::default()
            }],
            limits: LimitsRequest {
                wall_timeout_seconds: Some(TIMEOUT_SECONDS),
                ..LimitsRequest::default()
            },
            requirements,
            ..Settings::default()
        },
        ..ItemRequest::default()
    };
    Ok(Item {
        name,
        expected,
        archive,
        sha256,
        request,
    })
}

/// The sources as they are, and how their results are to be written. Their lock
/// file stays behind, as it speaks of crates that only their authors need.
fn pack(suite: &Suite, archive: &Path) -> Result<(), PayloadError> {
    let file = File::create(archive).map_err(|source| PayloadError::Write { source })?;
    let mut packer = Packer::new(file);
    packer.directory(&suite.directory, &["Cargo.lock", ".cargo", "target"])?;
    packer.file(".cargo/config.toml", 0o644, CARGO_CONFIG.as_bytes())?;
    packer.file(".cargo/junit.sh", 0o755, RUNNER.as_bytes())?;
    packer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(home: &Path, registry: &str, name: &str) {
        let directory = home.join("registry/src").join(registry).join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(".cargo-ok"), "").unwrap();
    }

    #[test]
    fn the_newest_release_in_any_registry_is_found() {
        let home = tempfile::tempdir().unwrap();
        add(home.path(), "one", "strsim-0.9.3");
        add(home.path(), "two", "strsim-0.11.1");
        add(home.path(), "two", "strsim-0.12.0-rc.1");
        add(home.path(), "two", "strsim-extra-9.0.0");
        let half_unpacked = home.path().join("registry/src/two/strsim-0.99.0");
        fs::create_dir_all(half_unpacked).unwrap();
        let suite = find_suite(&home.path().join("registry/src"), "strsim").unwrap();
        assert_eq!(
            (suite.name.as_str(), suite.version.as_str()),
            ("strsim", "0.11.1")
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let home = tempfile::tempdir().unwrap();
        add(home.path(), "one", "strsim-0.11.1");
        add(home.path(), "one", "scopeguard-1.2.0");
        let error = find_suites(home.path()).unwrap_err();
        let DemoError::NoSources { missing, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(missing, &[NEEDS_COMPILER]);
        assert!(error.hint().is_some());
        add(home.path(), "one", "autocfg-1.5.1");
        let names: Vec<_> = find_suites(home.path())
            .unwrap()
            .into_iter()
            .map(|suite| suite.name)
            .collect();
        assert_eq!(names, ["autocfg", "scopeguard", "strsim"]);
    }
}
