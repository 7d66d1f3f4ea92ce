//! Finds result files below a directory by the names that test runners and Helix give them.
//!
//! The directory belongs to code that nobody trusts, so the walk never follows a link, neither to a directory nor
//! to a file, opens everything relative to the directory it has already opened, waits for nothing (a FIFO cannot
//! hold it up), and is bounded in depth, number and size. A file that is reached twice, by two roots or by hard
//! links, counts once.

mod beneath;
mod walk;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use self::beneath::{Identity, identity, open_directory_beneath, open_file};
use self::walk::Walk;

/// Bounds on one walk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiscoverLimits {
    /// Directory levels below a root that are entered; 0 means the root only. Default 16.
    pub depth: usize,
    /// Directory entries looked at, over all roots. Default 200,000.
    pub entries: usize,
    /// Files found, over all roots. Default 2,000.
    pub files: usize,
    /// Size of one file in bytes; larger ones are passed over. Default 2 GiB.
    pub file_bytes: u64,
    /// Size of all files found in bytes. Default 8 GiB.
    pub total_bytes: u64,
    /// Which names are taken for those of result files. Default those of Helix.
    pub names: FileNames,
}

/// Which names are taken for those of result files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileNames {
    /// Those that Helix has always looked for, see [`is_result_file_name`].
    Helix,
    /// Those, and what test runners call their files unless told otherwise: `junit.xml` and names that end in
    /// `.junit.xml`, `TestResult.xml`, `*.tap`, and `ctrf-report.json` or names that end in `.ctrf.json`.
    Common,
}

impl FileNames {
    fn fit(self, name: &OsStr) -> bool {
        const COMMON: [&str; 3] = [".junit.xml", ".tap", ".ctrf.json"];
        let bytes = name.as_bytes();
        let is = |whole: &str| bytes.eq_ignore_ascii_case(whole.as_bytes());
        match self {
            Self::Helix => is_result_file_name(name),
            Self::Common => {
                is_result_file_name(name)
                    || is("junit.xml")
                    || is("TestResult.xml")
                    || is("ctrf-report.json")
                    || COMMON.iter().any(|suffix| ends_with(bytes, suffix))
            }
        }
    }
}

impl Default for DiscoverLimits {
    fn default() -> Self {
        Self {
            depth: 16,
            entries: 200_000,
            files: 2_000,
            file_bytes: 2 << 30,
            total_bytes: 8 << 30,
            names: FileNames::Helix,
        }
    }
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The files, root by root, in each root shallow ones first and then by name.
    pub files: Vec<Found>,
    /// What was passed over although its name fits, or could not be entered, as sentence fragments; at most 100.
    pub passed_over: Vec<String>,
    /// Links whose names fit, as sentence fragments: none is followed, and what they point to may be found by its
    /// own name. They are among `passed_over` as well.
    pub links: Vec<String>,
    /// How many more were passed over.
    pub passed_over_unlisted: u64,
}

/// A result file that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its path below the root.
    pub relative: PathBuf,
    /// Its path: the root as it was given, and the path below it. For people; open it with [`Found::open`].
    pub path: PathBuf,
    /// Its size in bytes when it was found.
    pub bytes: u64,
    root: Arc<OwnedFd>,
    identity: Identity,
}

impl Found {
    /// Opens the file for reading, again without following any link.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or is not the file any more that was found.
    pub fn open(&self) -> io::Result<File> {
        let (Some(parent), Some(name)) = (self.relative.parent(), self.relative.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let directory = open_directory_beneath(&self.root, parent)?;
        let (file, status) = open_file(&directory, name)?;
        if identity(&status) != self.identity {
            return Err(io::Error::other("the file was replaced since it was found"));
        }
        Ok(File::from(file))
    }
}

/// Why a walk could not begin.
#[derive(Debug, Error)]
pub enum DiscoverError {
    /// A root is missing, no directory, a link, or not readable.
    #[error("cannot open directory `{}` to look for result files", path.display())]
    Root {
        /// The root as it was given.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Walks below each of `roots` and lists the files whose names are those of result files, see
/// [`is_result_file_name`].
///
/// A root must be a directory and no link; canonicalise it first where it may be one.
///
/// # Errors
///
/// When a root cannot be opened. Whatever goes wrong further down is passed over and said in the [`Discovery`].
pub fn discover(roots: &[&Path], limits: &DiscoverLimits) -> Result<Discovery, DiscoverError> {
    let mut walk = Walk::new(limits);
    for path in roots {
        walk.root(path)?;
    }
    Ok(walk.finish())
}

/// Whether a file of this name is taken for a test result file: names that end in `testResults.xml`,
/// `test-results.xml`, `test_results.xml`, `junit-results.xml`, `junitresults.xml` or `.trx`, and `TEST-*.xml`,
/// whatever the case; and Helix's own `__test_report_v2.json`.
#[must_use]
pub fn is_result_file_name(name: &OsStr) -> bool {
    const SUFFIXES: [&str; 6] = [
        "testresults.xml",
        "test-results.xml",
        "test_results.xml",
        "junit-results.xml",
        "junitresults.xml",
        ".trx",
    ];
    let name = name.as_bytes();
    SUFFIXES.iter().any(|suffix| ends_with(name, suffix))
        || (starts_with(name, "test-") && ends_with(name, ".xml"))
        || name == b"__test_report_v2.json"
}

fn ends_with(name: &[u8], suffix: &str) -> bool {
    let start = name.len().checked_sub(suffix.len());
    start.is_some_and(|start| name[start..].eq_ignore_ascii_case(suffix.as_bytes()))
}

fn starts_with(name: &[u8], prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    fn names(roots: &[&Path], limits: &DiscoverLimits) -> Vec<String> {
        let discovery = discover(roots, limits).expect("roots open");
        discovery
            .files
            .iter()
            .map(|found| found.relative.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn names_of_result_files_are_known_whatever_their_case() {
        for name in [
            "testResults.xml",
            "Foo.TESTRESULTS.XML",
            "a-test-results.xml",
            "test_results.xml",
            "x.junit-results.xml",
            "junitresults.xml",
            "host_2024.TRX",
            "TEST-org.example.FooTest.xml",
            "__test_report_v2.json",
        ] {
            assert!(is_result_file_name(OsStr::new(name)), "{name}");
        }
        for name in [
            "results.xml",
            "pom.xml",
            "testResults.xml.bak",
            "trx",
            "TEST-x.txt",
            "",
        ] {
            assert!(!is_result_file_name(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn names_that_runners_choose_are_taken_where_that_is_asked_for() {
        for name in [
            "junit.xml",
            "a.junit.xml",
            "TestResult.xml",
            "a.TAP",
            "ctrf-report.json",
            "a.ctrf.json",
        ] {
            assert!(!FileNames::Helix.fit(OsStr::new(name)), "{name}");
            assert!(FileNames::Common.fit(OsStr::new(name)), "{name}");
        }
        assert!(FileNames::Common.fit(OsStr::new("a.trx")));
        assert!(!FileNames::Common.fit(OsStr::new("notes.xml")));
        let root = tempfile::tempdir().expect("directory");
        fs::write(root.path().join("junit.xml"), "1").expect("file");
        let mut limits = DiscoverLimits::default();
        assert!(names(&[root.path()], &limits).is_empty());
        limits.names = FileNames::Common;
        assert_eq!(names(&[root.path()], &limits), ["junit.xml"]);
    }

    #[test]
    fn walk_is_sorted_shallow_first_and_counts_hard_links_and_second_roots_once() {
        let root = tempfile::tempdir().expect("directory");
        let inner = root.path().join("b/c");
        fs::create_dir_all(&inner).expect("directories");
        fs::write(inner.join("deep.trx"), "1").expect("file");
        fs::write(root.path().join("z.trx"), "22").expect("file");
        fs::write(root.path().join("notes.xml"), "no").expect("file");
        fs::hard_link(root.path().join("z.trx"), inner.join("again.trx")).expect("link");
        let found = names(&[root.path(), &inner], &DiscoverLimits::default());
        assert_eq!(found, ["z.trx", "b/c/deep.trx"]);
    }

    #[test]
    fn links_and_fifos_are_never_opened() {
        let outside = tempfile::tempdir().expect("directory");
        fs::write(outside.path().join("secret.trx"), "secret").expect("file");
        let root = tempfile::tempdir().expect("directory");
        symlink(
            outside.path().join("secret.trx"),
            root.path().join("link.trx"),
        )
        .expect("link");
        symlink(outside.path(), root.path().join("directory")).expect("link");
        nix::unistd::mkfifo(&root.path().join("fifo.trx"), Mode::S_IRUSR).expect("fifo");
        let discovery = discover(&[root.path()], &DiscoverLimits::default()).expect("walk");
        assert!(discovery.files.is_empty(), "{discovery:?}");
        assert!(
            discovery
                .passed_over
                .iter()
                .any(|line| line.contains("link.trx"))
        );
        let linked_root = root.path().join("directory");
        assert!(discover(&[&linked_root], &DiscoverLimits::default()).is_err());
    }

    #[test]
    fn file_replaced_after_the_walk_is_not_read() {
        let root = tempfile::tempdir().expect("directory");
        let path = root.path().join("a.trx");
        fs::write(&path, "first").expect("file");
        let discovery = discover(&[root.path()], &DiscoverLimits::default()).expect("walk");
        let mut content = String::new();
        discovery.files[0]
            .open()
            .expect("open")
            .read_to_string(&mut content)
            .expect("read");
        assert_eq!(content, "first");
        fs::write(root.path().join("b"), "second").expect("file");
        fs::rename(root.path().join("b"), &path).expect("rename");
        assert!(discovery.files[0].open().is_err());
    }

    #[test]
    fn limits_bound_depth_number_and_size_and_say_so() {
        let root = tempfile::tempdir().expect("directory");
        fs::create_dir_all(root.path().join("1/2")).expect("directories");
        fs::write(root.path().join("1/2/deep.trx"), "x").expect("file");
        fs::write(root.path().join("a.trx"), "xxxx").expect("file");
        fs::write(root.path().join("b.trx"), "x").expect("file");
        let base = DiscoverLimits::default();
        assert_eq!(
            names(
                &[root.path()],
                &DiscoverLimits {
                    depth: 1,
                    ..base.clone()
                }
            ),
            ["a.trx", "b.trx"]
        );
        assert_eq!(
            names(
                &[root.path()],
                &DiscoverLimits {
                    files: 1,
                    ..base.clone()
                }
            ),
            ["a.trx"]
        );
        assert_eq!(
            names(
                &[root.path()],
                &DiscoverLimits {
                    file_bytes: 3,
                    ..base.clone()
                }
            )
            .len(),
            2
        );
        assert_eq!(
            names(
                &[root.path()],
                &DiscoverLimits {
                    total_bytes: 4,
                    ..base.clone()
                }
            ),
            ["a.trx"]
        );
        let few = DiscoverLimits { entries: 2, ..base };
        let discovery = discover(&[root.path()], &few).expect("walk");
        assert!(
            discovery.files.len() < 3 && !discovery.passed_over.is_empty(),
            "{discovery:?}"
        );
    }
}
