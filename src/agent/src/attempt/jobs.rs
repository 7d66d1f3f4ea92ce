//! Files that the work items of a job share: its correlation payloads, brought
//! once for each machine and kept until the job has been quiet for a while.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use helix_model::ids::{AttemptId, JobId};
use helix_model::work_item::{Payload, PayloadSource};

use super::directory_name;
use super::fetch::{FetchError, Fetcher};
use super::leftovers::Leftover;
use crate::workspace::layout::{self, ATTEMPTS, SCRIPTS};
use crate::workspace::modes;

/// How long a job's files wait for its next work item.
const IDLE_LIMIT: Duration = Duration::from_secs(600);

/// The jobs that have files on this machine.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    known: Mutex<HashMap<JobId, Arc<JobFiles>>>,
}

/// The files of one job.
#[derive(Debug)]
pub(crate) struct JobFiles {
    directory: PathBuf,
    /// What is unpacked already. Held while something is being unpacked, so that
    /// work items that start together bring each payload once.
    brought: tokio::sync::Mutex<HashSet<Brought>>,
    used: Mutex<Instant>,
}

/// Which payload, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Brought {
    source: String,
    digest: Option<[u8; 32]>,
    destination: String,
}

impl Jobs {
    /// The files of a job in `directory`, the directory of the job.
    pub(crate) fn files(&self, job: &JobId, directory: &Path) -> Arc<JobFiles> {
        let mut known = self.lock();
        let files = known.entry(job.clone()).or_insert_with(|| {
            Arc::new(JobFiles {
                directory: directory.to_owned(),
                brought: tokio::sync::Mutex::default(),
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
    pub(super) async fn bring(
        &self,
        fetcher: &Fetcher<'_>,
        payload: &Payload,
    ) -> Result<(), FetchError> {
        let key = Brought {
            source: match &payload.source {
                PayloadSource::Url(url) => url.as_str().to_owned(),
                PayloadSource::Git {
                    url,
                    commit,
                    submodules,
                } => {
                    format!("{} {commit} {submodules:?}", url.as_str())
                }
            },
            digest: payload.sha256.map(|digest| digest.0),
            destination: payload.destination.as_str().to_owned(),
        };
        let mut brought = self.brought.lock().await;
        if !brought.contains(&key) {
            let shared = self.directory.join("p");
            fetcher.bring(payload, &shared).await?;
            // Once it is all there, so that no work item can be in the way of it.
            let shown = tokio::task::spawn_blocking(move || modes::show_to_all(&shared));
            shown
                .await
                .unwrap_or_else(|error| Err(std::io::Error::other(error)))
                .map_err(FetchError::Show)?;
            brought.insert(key);
        }
        Ok(())
    }

    fn is_idle(self: &Arc<Self>) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::strong_count(self) == 1 && used.elapsed() > IDLE_LIMIT
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
