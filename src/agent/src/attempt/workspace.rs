//! The directories of an attempt, as long as it needs them: made, found again
//! after a restart, and removed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;

use helix_exec::Directories;
use helix_model::work_item::WorkItem;

use super::handle::Attempt;
use super::jobs::JobFiles;
use super::leftovers::{self, BROUGHT_BACK_WITHIN, Leftover, TakeBackError};
use super::record::Record;
use crate::config::Config;
use crate::core::Core;
use crate::workspace::environment::{self, Surroundings};
use crate::workspace::layout::{Layout, LayoutError, TEMPORARY};
use crate::workspace::requests::{self, Requests};

/// The directories of one attempt.
#[derive(Debug)]
pub(super) struct Workspace {
    layout: Layout,
    job: Arc<JobFiles>,
}

impl Workspace {
    /// Makes the directories of an attempt.
    pub(super) async fn create(
        core: &Core,
        attempt: &Attempt,
        record: &Record,
    ) -> Result<Self, WorkspaceError> {
        let root = core.settings().config.work_directory.clone();
        let identity = record.identity.clone();
        let spool = attempt.spool();
        let made = tokio::task::spawn_blocking(move || {
            let layout = Layout::create(&root, &identity.job, &identity.attempt)?;
            // The console as it is being written; its head, once it is very long.
            let log = helix_exec::spool::head_segment(&spool);
            std::os::unix::fs::symlink(log, layout.console_log()).map_err(WorkspaceError::Link)?;
            Ok::<_, WorkspaceError>(layout)
        });
        let layout = made
            .await
            .map_err(|error| WorkspaceError::Link(io::Error::other(error)))??;
        let job = core.jobs.files(&record.identity.job, layout.job());
        Ok(Self { layout, job })
    }

    /// The directories that an earlier life of the agent made.
    pub(super) async fn find(core: &Core, record: &Record) -> Option<Self> {
        let root = core.settings().config.work_directory.clone();
        let identity = record.identity.clone();
        let found = tokio::task::spawn_blocking(move || {
            Layout::find(&root, &identity.job, &identity.attempt)
        });
        match found.await {
            Ok(Ok(Some(layout))) => {
                let job = core.jobs.files(&record.identity.job, layout.job());
                Some(Self { layout, job })
            }
            Ok(Ok(None)) | Err(_) => None,
            Ok(Err(error)) => {
                tracing::warn!(
                    error = crate::error_chain(&error),
                    "directories of an adopted attempt cannot be found"
                );
                None
            }
        }
    }

    /// Files that the work items of the job share.
    pub(super) fn job(&self) -> &JobFiles {
        &self.job
    }

    /// Where the command runs.
    pub(super) fn execution(&self) -> &Path {
        self.layout.execution()
    }

    /// Where the payload is unpacked.
    pub(super) fn payload(&self) -> &Path {
        self.layout.payload()
    }

    /// What is here at the end is kept.
    pub(super) fn uploads(&self) -> &Path {
        self.layout.uploads()
    }

    /// Dumps that are here at the end are kept.
    pub(super) fn dumps(&self) -> &Path {
        self.layout.dumps()
    }

    /// The whole environment of the command.
    pub(super) fn environment(
        &self,
        core: &Core,
        config: &Config,
        work_item: &WorkItem,
    ) -> BTreeMap<OsString, OsString> {
        let surroundings = Surroundings {
            layout: &self.layout,
            scripts: &core.ground.scripts,
            config_root: &config.config_root,
            log_root: &config.state_directory,
            work_root: &config.work_directory,
            machine_name: &core.machine_name(),
            user: &core.ground.user,
            path: OsStr::new(environment::DEFAULT_PATH),
            python: core.ground.python.as_deref(),
        };
        environment::environment(work_item, &surroundings)
    }

    /// What the command asked of the agent.
    pub(super) async fn read_requests(&self) -> Requests {
        let directory = self.layout.requests().to_owned();
        let read = tokio::task::spawn_blocking(move || requests::read(&directory));
        read.await.unwrap_or_default()
    }

    /// The directories that are the command's while it runs.
    pub(super) fn directories(&self) -> Directories {
        Directories {
            temporary: Some(TEMPORARY.into()),
            ..leftovers::directories(self.layout.attempt())
        }
    }

    /// Whether the directories were given to the user of the work item, as far as can
    /// be told, and have not been closed since.
    pub(super) fn is_handed_over(&self) -> bool {
        leftovers::is_handed_over(self.layout.attempt())
    }

    /// Notes that all of it is the agent's again.
    pub(super) fn close(&self) {
        leftovers::close(self.layout.attempt());
    }

    /// Has the directories brought back that a dead supervisor left with the user of
    /// the work item.
    pub(super) async fn take_back(&self, core: &Core) -> Result<(), TakeBackError> {
        let attempt = self.layout.attempt();
        leftovers::take_back(&core.launcher, attempt, BROUGHT_BACK_WITHIN).await
    }

    /// Removes the directories of the attempt, now or as soon as can be. Those of the
    /// job stay for its next work item.
    pub(super) async fn remove(self, core: &Core) {
        let leftover = Leftover::Attempt(self.layout.attempt().to_owned());
        core.leftovers.remove_or_wait(leftover).await;
    }
}

/// Directories that could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkspaceError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("link the console log")]
    Link(#[source] io::Error),
}

impl WorkspaceError {
    /// The system's answer.
    pub(super) fn io(&self) -> &io::Error {
        match self {
            Self::Layout(error) => error.io(),
            Self::Link(error) => error,
        }
    }
}
