//! The directories of an attempt, in the layout that scripts written for Helix
//! find their way by:
//!
//! ```text
//! <work root>/scripts                    for all work items, see `scripts`
//! <work root>/<job>/p                    correlation payload, shared by a job
//! <work root>/<job>/b                    what of it is unpacked whole, see `jobs`
//! <work root>/<job>/w/<attempt>/         one attempt
//!     e   execution: HELIX_WORKITEM_ROOT, the command's working directory
//!     p   payload as unpacked: HELIX_WORKITEM_PAYLOAD
//!     u   uploads: HELIX_WORKITEM_UPLOAD_ROOT
//!     d   dumps: HELIX_DUMP_FOLDER
//!     t   temporary files: TMPDIR
//!     h   home: HOME
//!     r   requests to the agent
//!     console.<attempt>.log   link to the log: HELIX_CURRENT_LOG
//! ```
//!
//! The log that the link leads to is among the agent's own files, so that a command
//! can read it only where it runs as the agent's user.
//!
//! `<job>` and `<attempt>` are the first eight hexadecimal digits of the SHA-256
//! of the id: paths stay short, and an id can be any text. A file `id` says whose
//! directory it is; should two ids begin alike, the second one gets more digits.
//!
//! Everybody may pass through the directories above an attempt, whose names cannot
//! be listed, and read the correlation payload. The directory of the attempt is the
//! agent's alone until the launcher opens it for the user of the work item, and for
//! no other; what is in it belongs to that user while the command runs.
//!
//! Creating is idempotent and survives a crash at any point: a directory gets its
//! name only when its `id` is written.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use helix_model::ids::{AttemptId, JobId};
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};

/// Digits of a directory's name, if they suffice.
const DIGITS: usize = 8;
/// How many digits a name can have. Few, as each is looked for when a directory is
/// made.
const LENGTHS: [usize; 5] = [DIGITS, 10, 12, 14, 64];
/// The file that says whose directory it is.
const ID: &str = "id";
/// Open to everybody for passing through: a work item runs as another user.
pub(crate) const PASSABLE: u32 = 0o711;
/// Open to everybody for reading.
const READABLE: u32 = 0o755;
/// Only for its owner.
pub(crate) const PRIVATE: u32 = 0o700;

/// The directories of an attempt that its command may write to.
pub(crate) const WRITABLE: [&str; 7] = ["e", "p", "u", "d", "t", "h", "r"];
/// The one of them that is its `/tmp`, where it can have one of its own.
pub(crate) const TEMPORARY: &str = "t";
/// The directory below the work root that holds the scripts for work items.
pub(crate) const SCRIPTS: &str = "scripts";
/// The directory of a job that holds its attempts.
pub(crate) const ATTEMPTS: &str = "w";

/// The directories of one attempt and of its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    job: PathBuf,
    attempt: PathBuf,
    console_log: PathBuf,
    correlation: PathBuf,
    execution: PathBuf,
    payload: PathBuf,
    uploads: PathBuf,
    dumps: PathBuf,
    temporary: PathBuf,
    home: PathBuf,
    requests: PathBuf,
}

/// A directory that could not be made or looked up.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{path}`", path = path.display())]
pub(crate) struct LayoutError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl LayoutError {
    /// The system's answer.
    pub(crate) fn io(&self) -> &io::Error {
        &self.source
    }
}

impl Layout {
    /// Makes all directories of an attempt that are not there yet.
    pub(crate) fn create(
        work_root: &Path,
        job: &JobId,
        attempt: &AttemptId,
    ) -> Result<Self, LayoutError> {
        DirBuilder::new()
            .recursive(true)
            .mode(PASSABLE)
            .create(work_root)
            .map_err(failed("create directory", work_root))?;
        let job = claim(work_root, job.as_str(), PASSABLE)?;
        make(&job.join("p"), READABLE)?;
        let attempts = job.join(ATTEMPTS);
        make(&attempts, PASSABLE)?;
        let path = claim(&attempts, attempt.as_str(), PRIVATE)?;
        let layout = Self::new(job, path, attempt);
        for name in WRITABLE {
            make(&layout.attempt.join(name), PRIVATE)?;
        }
        Ok(layout)
    }

    /// Finds the directories of an attempt that were made before. `None` if there
    /// are none.
    pub(crate) fn find(
        work_root: &Path,
        job: &JobId,
        attempt: &AttemptId,
    ) -> Result<Option<Self>, LayoutError> {
        let Some(job) = find_claimed(work_root, job.as_str())? else {
            return Ok(None);
        };
        let found = find_claimed(&job.join(ATTEMPTS), attempt.as_str())?;
        Ok(found.map(|path| Self::new(job, path, attempt)))
    }

    fn new(job: PathBuf, path: PathBuf, attempt: &AttemptId) -> Self {
        Self {
            correlation: job.join("p"),
            console_log: path.join(console_log_name(attempt)),
            execution: path.join("e"),
            payload: path.join("p"),
            uploads: path.join("u"),
            dumps: path.join("d"),
            temporary: path.join("t"),
            home: path.join("h"),
            requests: path.join("r"),
            attempt: path,
            job,
        }
    }

    /// The directory of the job, with everything of its attempts in it.
    pub(crate) fn job(&self) -> &Path {
        &self.job
    }

    /// The directory of the attempt, with everything else in it.
    pub(crate) fn attempt(&self) -> &Path {
        &self.attempt
    }

    /// Where the log is said to be.
    pub(crate) fn console_log(&self) -> &Path {
        &self.console_log
    }

    /// Where the job's correlation payloads are unpacked.
    pub(crate) fn correlation(&self) -> &Path {
        &self.correlation
    }

    /// Where the command runs.
    pub(crate) fn execution(&self) -> &Path {
        &self.execution
    }

    /// Where the payload is unpacked.
    pub(crate) fn payload(&self) -> &Path {
        &self.payload
    }

    /// What is here at the end is kept.
    pub(crate) fn uploads(&self) -> &Path {
        &self.uploads
    }

    /// Dumps that are here at the end are kept.
    pub(crate) fn dumps(&self) -> &Path {
        &self.dumps
    }

    /// For temporary files.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// The command's home directory.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The directory that holds the file of requests.
    pub(crate) fn requests(&self) -> &Path {
        &self.requests
    }
}

/// The name of an attempt's log.
pub(crate) fn console_log_name(attempt: &AttemptId) -> String {
    format!("console.{}.log", &digits(attempt.as_str())[..DIGITS])
}

/// The directory of `id` beneath `parent`, made with `mode` if need be.
fn claim(parent: &Path, id: &str, mode: u32) -> Result<PathBuf, LayoutError> {
    if let Some(path) = find_claimed(parent, id)? {
        return Ok(path);
    }
    let staged = stage(parent, id, mode)?;
    let claimed = claim_staged(parent, id, &staged);
    if !matches!(claimed, Ok(Claim::Made(_))) {
        // Nothing but the `id` is in it. What cannot be removed now is found by
        // whoever sweeps the work root.
        let _ = fs::remove_dir_all(&staged);
    }
    match claimed? {
        Claim::Made(path) | Claim::Found(path) => Ok(path),
    }
}

/// Whose work it was that there is a directory now.
enum Claim {
    Made(PathBuf),
    /// Somebody else was quicker.
    Found(PathBuf),
}

/// Gives the staged directory the first name that is free.
fn claim_staged(parent: &Path, id: &str, staged: &Path) -> Result<Claim, LayoutError> {
    for name in names(id) {
        let path = parent.join(name);
        if let Some(owner) = owner(&path)? {
            if owner == id {
                return Ok(Claim::Found(path));
            }
            continue;
        }
        match fs::rename(staged, &path) {
            Ok(()) => return Ok(Claim::Made(path)),
            // Made by another task since it was looked at.
            Err(error) if is_taken(&error) && owner(&path)?.as_deref() == Some(id) => {
                return Ok(Claim::Found(path));
            }
            Err(error) if is_taken(&error) => {}
            Err(error) => return Err(failed("name directory", &path)(error)),
        }
    }
    let error = io::Error::new(io::ErrorKind::AlreadyExists, "all names are taken");
    Err(failed("create directory in", parent)(error))
}

/// A directory that holds nothing but the `id`, under a name that nobody looks
/// at.
fn stage(parent: &Path, id: &str, mode: u32) -> Result<PathBuf, LayoutError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!(".new-{}-{count}", std::process::id()));
        match DirBuilder::new().mode(PRIVATE).create(&path) {
            Ok(()) => {}
            // Left behind by a process of the same number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(failed("create directory", &path)(error)),
        }
        set_mode(&path, mode)?;
        let file = path.join(ID);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut opened| opened.write_all(id.as_bytes()))
            .map_err(failed("write", &file))?;
        return Ok(path);
    }
}

/// The directory that `id` has claimed before.
fn find_claimed(parent: &Path, id: &str) -> Result<Option<PathBuf>, LayoutError> {
    // A shorter name may have become free since: all of them are looked at.
    for name in names(id) {
        let path = parent.join(name);
        if owner(&path)?.as_deref() == Some(id) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The id whose directory it is; none where that cannot be told.
pub(crate) fn id_of(directory: &Path) -> Option<String> {
    owner(directory).ok().flatten()
}

/// The id whose directory it is. Empty, which no id is, if it is there without
/// one; `None` if it is not there.
fn owner(path: &Path) -> Result<Option<String>, LayoutError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        // Something else has the name.
        Ok(_) => return Ok(Some(String::new())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("look at", path)(error)),
    }
    let file = path.join(ID);
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(&file);
    match opened {
        Ok(opened) => read_id(opened).map(Some).map_err(failed("read", &file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(String::new())),
        Err(error) => Err(failed("open", &file)(error)),
    }
}

fn read_id(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(1024).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The names that a directory of `id` can have, the first one first.
fn names(id: &str) -> impl Iterator<Item = OsString> {
    let digits = digits(id);
    LENGTHS
        .into_iter()
        .map(move |length| OsString::from(&digits[..length]))
}

fn digits(id: &str) -> String {
    Sha256::digest(id.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Makes a directory unless it is there.
fn make(path: &Path, mode: u32) -> Result<(), LayoutError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => set_mode(path, mode),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_directory(path) => Ok(()),
        Err(error) => Err(failed("create directory", path)(error)),
    }
}

/// Sets the mode of a directory of the agent's own, whatever the process masks
/// out.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), LayoutError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set mode of", path))
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::NotADirectory
    )
}

fn failed<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> LayoutError + 'a {
    move |source| LayoutError {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn work_root() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn job(id: &str) -> JobId {
        JobId::new(id).expect("an id")
    }

    fn attempt(id: &str) -> AttemptId {
        AttemptId::new(id).expect("an id")
    }

    fn create(root: &Path, job_id: &str, attempt_id: &str) -> Layout {
        Layout::create(root, &job(job_id), &attempt(attempt_id)).expect("created")
    }

    /// Takes the name away that an id would get.
    fn occupy(parent: &Path, id: &str, length: usize, owner: Option<&str>) {
        let path = parent.join(&digits(id)[..length]);
        fs::create_dir_all(&path).expect("made");
        if let Some(owner) = owner {
            fs::write(path.join(ID), owner).expect("written");
        }
    }

    #[test]
    fn directories_have_the_names_that_scripts_know() {
        let root = work_root();
        let layout = create(root.path(), "job-1", "attempt-1");
        let (job, attempt) = (&digits("job-1")[..8], &digits("attempt-1")[..8]);
        let relative = |path: &Path| {
            path.strip_prefix(root.path())
                .expect("beneath")
                .to_str()
                .expect("text")
                .to_owned()
        };
        assert_eq!(relative(layout.correlation()), format!("{job}/p"));
        assert_eq!(relative(layout.attempt()), format!("{job}/w/{attempt}"));
        assert_eq!(relative(layout.execution()), format!("{job}/w/{attempt}/e"));
        assert_eq!(relative(layout.payload()), format!("{job}/w/{attempt}/p"));
        assert_eq!(relative(layout.uploads()), format!("{job}/w/{attempt}/u"));
        assert_eq!(relative(layout.dumps()), format!("{job}/w/{attempt}/d"));
        assert_eq!(
            relative(layout.console_log()),
            format!("{job}/w/{attempt}/console.{attempt}.log")
        );
        let writable = [
            layout.execution(),
            layout.payload(),
            layout.uploads(),
            layout.dumps(),
            layout.temporary(),
            layout.home(),
            layout.requests(),
        ];
        for directory in writable {
            assert!(directory.is_dir(), "{}", directory.display());
        }
        assert!(layout.correlation().is_dir());
    }

    #[test]
    fn modes_do_not_depend_on_what_the_process_masks_out() {
        let root = work_root();
        let layout = create(root.path(), "job-1", "attempt-1");
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o7777;
        assert_eq!(mode(layout.job()), 0o711);
        assert_eq!(mode(&layout.job().join(ATTEMPTS)), 0o711);
        assert_eq!(mode(layout.correlation()), 0o755);
        assert_eq!(mode(layout.attempt()), 0o700);
        for name in WRITABLE {
            assert_eq!(mode(&layout.attempt().join(name)), 0o700, "{name}");
        }
        assert_eq!(mode(&layout.attempt().join(ID)), 0o600);
    }

    #[test]
    fn creating_twice_keeps_what_is_there_and_finding_finds_it() {
        let root = work_root();
        assert_eq!(
            Layout::find(root.path(), &job("job-1"), &attempt("attempt-1")).expect("looked"),
            None
        );
        let layout = create(root.path(), "job-1", "attempt-1");
        fs::write(layout.uploads().join("kept"), "x").expect("written");
        fs::remove_dir(layout.home()).expect("removed");
        assert_eq!(create(root.path(), "job-1", "attempt-1"), layout);
        assert!(layout.uploads().join("kept").exists());
        assert!(layout.home().is_dir());
        assert_eq!(
            Layout::find(root.path(), &job("job-1"), &attempt("attempt-1")).expect("looked"),
            Some(layout)
        );
        let other = create(root.path(), "job-1", "attempt-2");
        assert_eq!(other.job(), create(root.path(), "job-1", "attempt-1").job());
    }

    #[test]
    fn an_id_whose_digits_are_taken_gets_more() {
        let root = work_root();
        occupy(root.path(), "job-1", 8, Some("job-2"));
        // Neither a directory without an id nor a file is taken over.
        occupy(root.path(), "job-1", 10, None);
        fs::write(root.path().join(&digits("job-1")[..12]), "a file").expect("written");
        fs::write(root.path().join(&digits("job-1")[..10]).join("x"), "x").expect("written");
        let layout = create(root.path(), "job-1", "attempt-1");
        assert_eq!(layout.job(), root.path().join(&digits("job-1")[..14]));
        // Still the same when a shorter one has become free.
        fs::remove_dir_all(root.path().join(&digits("job-1")[..8])).expect("removed");
        assert_eq!(create(root.path(), "job-1", "attempt-1"), layout);
    }

    #[test]
    fn links_in_the_place_of_directories_are_not_used() {
        let (root, outside) = (work_root(), work_root());
        let first = create(root.path(), "job-1", "attempt-1");
        fs::remove_dir(first.execution()).expect("removed");
        symlink(outside.path(), first.execution()).expect("a link");
        let error =
            Layout::create(root.path(), &job("job-1"), &attempt("attempt-1")).expect_err("refused");
        assert_eq!(error.io().kind(), io::ErrorKind::AlreadyExists);
        assert!(
            error.to_string().starts_with("cannot create directory `"),
            "{error}"
        );
        symlink(outside.path(), root.path().join(&digits("job-2")[..8])).expect("a link");
        let second = create(root.path(), "job-2", "attempt-1");
        assert_eq!(second.job(), root.path().join(&digits("job-2")[..10]));
        assert_eq!(fs::read_dir(outside.path()).expect("read").count(), 0);
    }

    #[test]
    fn many_at_once_agree() {
        let root = work_root();
        let layouts: Vec<Layout> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let root = root.path();
                    scope.spawn(move || {
                        (0..20)
                            .map(|job| create(root, &format!("job-{job}"), &format!("a-{number}")))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("joined"))
                .collect()
        });
        let jobs: std::collections::BTreeSet<_> = layouts.iter().map(Layout::job).collect();
        assert_eq!(jobs.len(), 20);
        for entry in fs::read_dir(root.path()).expect("read") {
            let name = entry.expect("an entry").file_name();
            assert_eq!(name.len(), 8, "left behind: {}", name.display());
        }
    }
}
