//! Files that the work items of a job share: its correlation payloads, brought
//! once for each machine and kept until the job has been quiet for a while.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use helix_model::ids::JobId;
use helix_model::work_item::{Payload, PayloadSource};

use super::fetch::{FetchError, Fetcher};

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

    /// Removes the files of jobs that have been quiet for long.
    pub(crate) async fn forget_idle(&self) {
        let idle: Vec<PathBuf> = {
            let mut known = self.lock();
            let doomed: Vec<JobId> = known
                .iter()
                .filter(|(_, files)| files.is_idle())
                .map(|(job, _)| job.clone())
                .collect();
            // Out of the way while nobody can ask for it, so that a work item
            // that comes in the middle makes everything anew.
            doomed
                .into_iter()
                .filter_map(|job| known.remove(&job))
                .filter_map(|files| set_aside(&files.directory))
                .collect()
        };
        for directory in idle {
            remove(&directory).await;
        }
    }

    /// Removes everything below the work directory that belongs to no known job:
    /// leftovers of an earlier life of the agent.
    pub(crate) async fn sweep(&self, work_directory: &Path) {
        let kept: HashSet<PathBuf> = self
            .lock()
            .values()
            .map(|files| files.directory.clone())
            .collect();
        let Ok(entries) = std::fs::read_dir(work_directory) else {
            return;
        };
        for entry in entries.flatten() {
            if !kept.contains(&entry.path()) {
                remove(&entry.path()).await;
            }
        }
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
            fetcher.bring(payload, &self.directory.join("p")).await?;
            brought.insert(key);
        }
        Ok(())
    }

    fn is_idle(self: &Arc<Self>) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::strong_count(self) == 1 && used.elapsed() > IDLE_LIMIT
    }
}

/// Gives a directory a name that no job has.
fn set_aside(directory: &Path) -> Option<PathBuf> {
    let mut name = directory.file_name()?.to_owned();
    name.push(".old");
    let aside = directory.with_file_name(name);
    std::fs::rename(directory, &aside).ok()?;
    Some(aside)
}

async fn remove(path: &Path) {
    if let Err(error) = helix_payload::remove_tree(path).await {
        tracing::warn!(
            path = %path.display(),
            error = error.chain(),
            "files of an ended job could not be removed"
        );
    }
}
