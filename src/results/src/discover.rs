//! Finds result files below a directory by the names that test runners and Helix give them.
//!
//! The directory belongs to code that nobody trusts, so the walk never follows a link, neither to a directory nor
//! to a file, opens everything relative to the directory it has already opened, waits for nothing (a FIFO cannot
//! hold it up), and is bounded in depth, number and size. A file that is reached twice, by two roots or by hard
//! links, counts once.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use thiserror::Error;

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
}

impl Default for DiscoverLimits {
    fn default() -> Self {
        Self {
            depth: 16,
            entries: 200_000,
            files: 2_000,
            file_bytes: 2 << 30,
            total_bytes: 8 << 30,
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

/// Device and inode: what makes two paths the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
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
    let mut walk = Walk {
        limits,
        discovery: Discovery::default(),
        files_seen: HashSet::new(),
        directories_seen: HashSet::new(),
        entries: 0,
        total_bytes: 0,
    };
    for path in roots {
        walk.root(path)?;
    }
    Ok(walk.discovery)
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

struct Walk<'a> {
    limits: &'a DiscoverLimits,
    discovery: Discovery,
    files_seen: HashSet<Identity>,
    directories_seen: HashSet<Identity>,
    entries: usize,
    total_bytes: u64,
}

/// A directory still to be read. Only its path is kept, so that pending directories cost no descriptor.
struct Pending {
    relative: PathBuf,
    depth: usize,
}

impl Walk<'_> {
    fn root(&mut self, path: &Path) -> Result<(), DiscoverError> {
        let root = nix::fcntl::open(path, directory_flags(), Mode::empty()).map_err(|errno| {
            DiscoverError::Root {
                path: path.to_owned(),
                source: errno.into(),
            }
        })?;
        let root = Arc::new(root);
        let mut pending = VecDeque::from([Pending {
            relative: PathBuf::new(),
            depth: 0,
        }]);
        while let Some(directory) = pending.pop_front() {
            if let Err(error) = self.directory(&root, path, &directory, &mut pending) {
                self.pass_over(&path.join(&directory.relative), &error.to_string());
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        root: &Arc<OwnedFd>,
        root_path: &Path,
        pending: &Pending,
        queue: &mut VecDeque<Pending>,
    ) -> io::Result<()> {
        let directory = open_directory_beneath(root, &pending.relative)?;
        if !self.directories_seen.insert(identity(&fstat(&directory)?)) {
            return Ok(());
        }
        let (names, subdirectories) =
            self.list(directory.try_clone()?, &root_path.join(&pending.relative))?;
        for name in names {
            let relative = pending.relative.join(&name);
            let path = root_path.join(&relative);
            match open_file(&directory, &name) {
                Ok((_, status)) => self.file(root, relative, path, &status),
                Err(error) => {
                    let listed = self.discovery.passed_over.len();
                    self.pass_over(&path, &error.to_string());
                    if is_link(&error) {
                        let line = self.discovery.passed_over.get(listed).cloned();
                        self.discovery.links.extend(line);
                    }
                }
            }
        }
        for name in subdirectories {
            let relative = pending.relative.join(name);
            if pending.depth < self.limits.depth {
                queue.push_back(Pending {
                    relative,
                    depth: pending.depth + 1,
                });
            } else {
                self.pass_over(
                    &root_path.join(relative),
                    "is nested too deep to be entered",
                );
            }
        }
        Ok(())
    }

    /// The names of possible result files and of directories in one directory, each sorted.
    fn list(
        &mut self,
        directory: OwnedFd,
        path: &Path,
    ) -> io::Result<(BTreeSet<OsString>, BTreeSet<OsString>)> {
        let mut names = BTreeSet::new();
        let mut subdirectories = BTreeSet::new();
        let mut directory = Dir::from_fd(directory)?;
        for entry in directory.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if self.entries >= self.limits.entries {
                self.pass_over(path, "has more entries than are looked at");
                break;
            }
            self.entries += 1;
            match entry.file_type() {
                Some(Type::Directory) => {
                    subdirectories.insert(name.to_owned());
                }
                Some(Type::File) if is_result_file_name(name) => {
                    names.insert(name.to_owned());
                }
                Some(Type::Symlink) if is_result_file_name(name) => {
                    names.insert(name.to_owned());
                }
                Some(_) => {}
                // Some file systems do not say; opening tells, and fails harmlessly on the wrong kind.
                None => {
                    if is_result_file_name(name) {
                        names.insert(name.to_owned());
                    } else {
                        subdirectories.insert(name.to_owned());
                    }
                }
            }
        }
        Ok((names, subdirectories))
    }

    fn file(&mut self, root: &Arc<OwnedFd>, relative: PathBuf, path: PathBuf, status: &FileStat) {
        let bytes = u64::try_from(status.st_size).unwrap_or(0);
        let identity = identity(status);
        if self.files_seen.contains(&identity) {
            return;
        }
        if self.discovery.files.len() >= self.limits.files {
            return self.pass_over(&path, "is one result file more than are read");
        }
        if bytes > self.limits.file_bytes {
            return self.pass_over(&path, "is larger than a result file may be");
        }
        if self.total_bytes.saturating_add(bytes) > self.limits.total_bytes {
            return self.pass_over(&path, "would make the result files too large together");
        }
        self.total_bytes += bytes;
        self.files_seen.insert(identity);
        self.discovery.files.push(Found {
            relative,
            path,
            bytes,
            root: root.clone(),
            identity,
        });
    }

    fn pass_over(&mut self, path: &Path, why: &str) {
        if self.discovery.passed_over.len() < 100 {
            let path = path.to_string_lossy();
            let path = crate::text::printable_line(&path, 1024);
            self.discovery.passed_over.push(format!("`{path}`: {why}"));
        } else {
            self.discovery.passed_over_unlisted += 1;
        }
    }
}

/// What is wrong with a link: that it is one.
#[derive(Debug, Error)]
#[error("is a link, and links are not followed")]
struct IsLink;

fn is_link(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<IsLink>())
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK
}

/// Opens a directory below `root` one component at a time, since `O_NOFOLLOW` guards only the last one.
fn open_directory_beneath(root: &OwnedFd, relative: &Path) -> io::Result<OwnedFd> {
    let mut directory = root.try_clone()?;
    for component in relative.components() {
        let Component::Normal(name) = component else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        directory = openat(directory.as_fd(), name, directory_flags(), Mode::empty())?;
    }
    Ok(directory)
}

/// Opens a regular file in `directory`, and nothing else.
fn open_file(directory: &OwnedFd, name: &OsStr) -> io::Result<(OwnedFd, FileStat)> {
    // Opening a FIFO waits for a writer unless told not to; O_NOCTTY and the check of the type keep devices out.
    let flags = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_CLOEXEC
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY;
    let file =
        openat(directory.as_fd(), name, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::ELOOP => io::Error::other(IsLink),
            errno => errno.into(),
        })?;
    let status = fstat(&file)?;
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(io::Error::other("is no regular file"));
    }
    Ok((file, status))
}

#[cfg_attr(
    target_os = "linux",
    expect(
        clippy::useless_conversion,
        reason = "the types of these fields differ between systems"
    )
)]
fn identity(status: &FileStat) -> Identity {
    // A device number is an opaque value, negative on some systems: only its being the same matters.
    let device = i128::from(status.st_dev);
    Identity {
        device: u64::try_from(device & i128::from(u64::MAX)).unwrap_or(0),
        inode: u64::from(status.st_ino),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
