//! The packages of this tree, built by `packaging/build` of the programs under test: once for each
//! run of the tests, and a second time under a later version, for upgrades.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::programs::programs;

/// What is installed on a test machine.
pub const PACKAGES: [&str; 2] = ["helix-agent", "helix-cli"];

/// All that there are.
pub const ALL: [&str; 3] = ["helix-agent", "helix-controller", "helix-cli"];

/// The version that follows that of this tree.
pub const NEXT: &str = "99.0";

/// The packages of one version.
#[derive(Debug)]
pub struct Packages {
    version: String,
    directory: PathBuf,
}

impl Packages {
    /// Their version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file name of a Debian package.
    ///
    /// # Panics
    ///
    /// If there is none of that name.
    #[must_use]
    pub fn deb(&self, name: &str) -> String {
        self.file(&format!("{name}_"), ".deb")
    }

    /// The file name of an RPM package.
    ///
    /// # Panics
    ///
    /// If there is none of that name.
    #[must_use]
    pub fn rpm(&self, name: &str) -> String {
        self.file(&format!("{name}-{}-", self.version), ".rpm")
    }

    fn file(&self, prefix: &str, suffix: &str) -> String {
        let mut entries = fs::read_dir(&self.directory).expect("readable");
        entries
            .find_map(|entry| {
                let name = entry.expect("readable").file_name();
                let name = name.to_str().expect("a text").to_owned();
                (name.starts_with(prefix) && name.ends_with(suffix)).then_some(name)
            })
            .unwrap_or_else(|| panic!("no {prefix}…{suffix} in {}", self.directory.display()))
    }
}

/// Those of the version of this tree.
pub fn current() -> &'static Packages {
    static BUILT: OnceLock<Packages> = OnceLock::new();
    BUILT.get_or_init(|| keep(env!("CARGO_PKG_VERSION")))
}

/// The same under the version [`NEXT`].
pub fn next() -> &'static Packages {
    static BUILT: OnceLock<Packages> = OnceLock::new();
    BUILT.get_or_init(|| keep(NEXT))
}

/// Builds packages, and puts them where the next run of the tests does so too: statics are never
/// dropped, and these would be left behind.
fn keep(version: &str) -> Packages {
    let own = std::env::current_exe().expect("this program has a path");
    let beside = own.parent().and_then(Path::parent);
    let directory = beside.expect("a target directory").join("test-packages");
    let making = directory.join(format!("making-{}", std::process::id()));
    let directory = directory.join(version);
    build(&["deb", "rpm", "--version", version, "--quick"], &making);
    fs::create_dir_all(&directory).expect("a directory is made");
    // Not the directory as a whole: another run of the tests may look into it.
    for entry in fs::read_dir(&making).expect("readable") {
        let entry = entry.expect("readable");
        fs::rename(entry.path(), directory.join(entry.file_name())).expect("it is moved");
    }
    fs::remove_dir(&making).expect("it is empty");
    Packages {
        version: version.to_owned(),
        directory,
    }
}

/// Has `packaging/build` put packages of the programs under test into a directory.
///
/// # Panics
///
/// If it fails.
pub fn build(arguments: &[&str], output: &Path) {
    let output = command(arguments, output)
        .output()
        .expect("the script starts");
    assert!(output.status.success(), "{output:?}");
}

/// The command that does so, for those who want something about it to be different.
#[must_use]
pub fn command(arguments: &[&str], output: &Path) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/build"));
    command
        .args(arguments)
        .arg("--programs")
        .arg(programs())
        .arg("--output")
        .arg(output);
    command
}
