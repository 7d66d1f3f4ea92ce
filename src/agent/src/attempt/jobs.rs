//! Files that the work items of a job share: its correlation payloads, brought
//! once for each machine and kept until the job has been quiet for a while.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use helix_exec::ProcessIdentity;
use helix_model::ids::{AttemptId, JobId};
use helix_model::work_item::{Payload, PayloadSource, Submodules};
use helix_payload::Sha256;
use tokio::sync::Mutex as AsyncMutex;

use super::directory_name;
use super::fetch::{FetchError, Fetched, Fetcher};
use super::leftovers::Leftover;
use crate::workspace::layout::{self, ATTEMPTS, SCRIPTS};
use crate::workspace::modes;

/// How long a job's files wait for its next work item.
const IDLE_LIMIT: Duration = Duration::from_secs(600);

/// The directory of a job that holds a mark for each correlation payload.
const MARKS: &str = "b";

/// The jobs that have files on this machine.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    known: Mutex<HashMap<JobId, Arc<JobFiles>>>,
}

/// The files of one job.
#[derive(Debug)]
pub(crate) struct JobFiles {
    directory: PathBuf,
    /// What was asked for and is unpacked. Held while something is being unpacked, so
    /// that work items that start together bring each payload once.
    brought: AsyncMutex<HashSet<Asked>>,
    used: Mutex<Instant>,
}

/// Which payload, in the words of the work item, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    source: Source,
    destination: String,
}

/// What tells a payload from others before it has been fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    /// What it holds is known, wherever it lies.
    Archive(Sha256),
    /// Whatever lies there.
    Address(String),
    Commit {
        commit: String,
        submodules: bool,
    },
}

impl Jobs {
    /// The files of a job in `directory`, the directory of the job.
    pub(crate) fn files(&self, job: &JobId, directory: &Path) -> Arc<JobFiles> {
        let mut known = self.lock();
        let files = known.entry(job.clone()).or_insert_with(|| {
            Arc::new(JobFiles {
                directory: directory.to_owned(),
                brought: AsyncMutex::default(),
                used: Mutex::new(Instant::now()),
            })
        });
        *files.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Arc::clone(files)
    }

    /// Forgets jobs that have been quiet for long, and sets their files aside, to be
    /// removed.
    pub(crate) fn forget_idle(&self) -> Vec<Leftover> {
        let mut known = self.lock();
        let doomed: Vec<JobId> = known
            .iter()
            .filter(|(_, files)| files.is_idle())
            .map(|(job, _)| job.clone())
            .collect();
        // Out of the way while nobody can ask for it, so that a work item that
        // comes in the middle makes everything anew.
        doomed
            .into_iter()
            .filter_map(|job| known.remove(&job))
            .map(|files| Leftover::Job(set_aside(&files.directory)))
            .collect()
    }

    /// Sets aside, to be removed, everything below the work directory that belongs to
    /// no known job: leftovers of an earlier life of the agent. The jobs of `damaged`
    /// attempts, whose commands may still run, are kept.
    pub(crate) fn sweep(&self, work_directory: &Path, damaged: &Damaged) -> Vec<Leftover> {
        let mut kept: HashSet<PathBuf> = self
            .lock()
            .values()
            .map(|files| files.directory.clone())
            .collect();
        kept.insert(work_directory.join(SCRIPTS));
        let Ok(entries) = std::fs::read_dir(work_directory) else {
            return Vec::new();
        };
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !kept.contains(path) && !has_damaged(path, damaged))
            .map(|path| Leftover::Job(set_aside(&path)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<JobFiles>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JobFiles {
    /// Brings a correlation payload, unless it is here already.
    ///
    /// What is here is not unpacked again, as work items may be using it: not when it
    /// comes from another address (each may be signed for one attempt alone), and not
    /// after a restart of the agent.
    pub(super) async fn bring(
        &self,
        fetcher: &Fetcher<'_>,
        payload: &Payload,
    ) -> Result<(), FetchError> {
        let mut asked = Asked {
            source: Source::of(payload),
            destination: payload.destination.as_str().to_owned(),
        };
        let mut brought = self.brought.lock().await;
        if brought.contains(&asked) {
            return Ok(());
        }
        let fetched = match &asked.source {
            Source::Archive(_) | Source::Commit { .. } if self.marks().has(&asked) => {
                brought.insert(asked);
                return Ok(());
            }
            _ => fetcher.fetch(payload).await?,
        };
        let address = asked.clone();
        if let Some(digest) = fetched.sha256() {
            asked.source = Source::Archive(digest);
        }
        if !self.marks().has(&asked) {
            self.unpack(fetcher, &fetched, payload, &asked).await?;
        }
        brought.extend([address, asked]);
        Ok(())
    }

    async fn unpack(
        &self,
        fetcher: &Fetcher<'_>,
        fetched: &Fetched,
        payload: &Payload,
        asked: &Asked,
    ) -> Result<(), FetchError> {
        let shared = self.directory.join("p");
        fetcher.unpack(fetched, payload, &shared).await?;
        let marks = self.marks();
        let asked = asked.clone();
        let shown = tokio::task::spawn_blocking(move || {
            // Once it is all there, so that no work item can be in the way of it.
            modes::show_to_all(&shared)?;
            marks.set(&asked)
        });
        shown
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(FetchError::Show)
    }

    fn marks(&self) -> Marks {
        Marks(self.directory.join(MARKS))
    }

    fn is_idle(self: &Arc<Self>) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::strong_count(self) == 1 && used.elapsed() > IDLE_LIMIT
    }
}

impl Source {
    fn of(payload: &Payload) -> Self {
        match &payload.source {
            PayloadSource::Url(url) => payload.sha256.map_or_else(
                || Self::Address(url.as_str().to_owned()),
                |digest| Self::Archive(digest.0.into()),
            ),
            // A commit names its content, and its submodules'.
            PayloadSource::Git {
                commit, submodules, ..
            } => Self::Commit {
                commit: commit.as_str().to_owned(),
                submodules: *submodules == Submodules::Fetch,
            },
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(digest) => write!(formatter, "archive {digest}"),
            Self::Address(address) => write!(formatter, "address {address}"),
            Self::Commit { commit, submodules } => {
                write!(formatter, "commit {commit}, submodules: {submodules}")
            }
        }
    }
}

/// The directory with an empty file for each payload that is unpacked whole, which is
/// how a later life of the agent knows. What was unpacked before the machine last
/// started does not count: it need not have reached the disk.
struct Marks(PathBuf);

impl Marks {
    fn has(&self, asked: &Asked) -> bool {
        self.place(asked).is_ok_and(|place| place.exists())
    }

    fn set(&self, asked: &Asked) -> io::Result<()> {
        match DirBuilder::new().mode(layout::PRIVATE).create(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        File::create(self.place(asked)?).map(drop)
    }

    fn place(&self, asked: &Asked) -> io::Result<PathBuf> {
        let boot = ProcessIdentity::of_self()?.boot_id;
        let mark = format!("{boot}\n{}\n{}", asked.source, asked.destination);
        Ok(self.0.join(Sha256::of(mark.as_bytes()).to_string()))
    }
}

/// The names of the directories of damaged attempts.
pub(crate) type Damaged = HashSet<OsString>;

/// Whether the directory of a job has that of a damaged attempt in it.
fn has_damaged(job: &Path, damaged: &Damaged) -> bool {
    if damaged.is_empty() {
        return false;
    }
    let Ok(attempts) = std::fs::read_dir(job.join(ATTEMPTS)) else {
        return false;
    };
    attempts.flatten().any(|attempt| {
        layout::id_of(&attempt.path())
            .and_then(|id| AttemptId::new(id).ok())
            .is_some_and(|id| damaged.contains(OsStr::new(&directory_name(&id))))
    })
}

/// Gives a directory a name that no job has; the one it has where that cannot be.
fn set_aside(directory: &Path) -> PathBuf {
    const ASIDE: &str = ".old-";
    const MOST: u32 = 1000;
    let Some(name) = directory.file_name() else {
        return directory.to_owned();
    };
    if name.to_string_lossy().contains(ASIDE) {
        return directory.to_owned();
    }
    for number in 0..MOST {
        let mut name = name.to_owned();
        name.push(format!("{ASIDE}{number}"));
        let aside = directory.with_file_name(name);
        // A directory that is not empty is not replaced, an empty one is no loss.
        if std::fs::rename(directory, &aside).is_ok() {
            return aside;
        }
    }
    directory.to_owned()
}
