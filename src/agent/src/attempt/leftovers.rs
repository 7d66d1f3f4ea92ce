//! Directories that nobody needs any more, among them those of work items whose
//! supervisor was killed: these belong to the user of the work item, and only the
//! launcher can bring them back. Where it cannot be reached they wait.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use helix_exec::Directories;
use helix_exec::launcher::Refusal;
use nix::unistd::geteuid;
use tokio::time::Instant;

use crate::launcher::{LaunchError, Launcher};
use crate::workspace::layout::{ATTEMPTS, PRIVATE, WRITABLE, set_mode};

/// No attempt waits longer than this for what was its command's.
pub(super) const BROUGHT_BACK_WITHIN: Duration = Duration::from_secs(15);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// The access that a directory of an attempt gives to a group while it is open for
/// the user of a work item.
const GROUP: u32 = 0o070;

/// A directory that is to go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leftover {
    /// That of a job, with all its attempts.
    Job(PathBuf),
    /// That of one attempt.
    Attempt(PathBuf),
}

impl Leftover {
    fn path(&self) -> &Path {
        match self {
            Self::Job(path) | Self::Attempt(path) => path,
        }
    }

    /// The directories of attempts in it.
    fn attempts(&self) -> Vec<PathBuf> {
        match self {
            Self::Attempt(path) => vec![path.clone()],
            Self::Job(path) => fs::read_dir(path.join(ATTEMPTS))
                .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
                .unwrap_or_default(),
        }
    }

    fn is_handed_over(&self) -> bool {
        self.attempts()
            .iter()
            .any(|attempt| is_handed_over(attempt))
    }
}

/// What is to go and could not yet.
#[derive(Debug)]
pub(crate) struct Leftovers {
    launcher: Launcher,
    waiting: Mutex<BTreeSet<Leftover>>,
}

impl Leftovers {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            waiting: Mutex::default(),
        }
    }

    /// Removes a directory. What needs the launcher for that waits for
    /// [`Leftovers::try_again`].
    pub(crate) async fn remove_or_wait(&self, leftover: Leftover) {
        if leftover.is_handed_over() {
            self.keep(leftover);
        } else {
            self.remove(leftover).await;
        }
    }

    /// Removes a directory, if need be with the help of the launcher. What cannot
    /// be removed is tried again later.
    pub(super) async fn remove(&self, leftover: Leftover) {
        for attempt in leftover.attempts() {
            if let Err(error) = take_back(&self.launcher, &attempt, BROUGHT_BACK_WITHIN).await {
                tracing::warn!(
                    path = %attempt.display(),
                    error = crate::error_chain(&error),
                    "directories of a work item cannot be brought back yet; they are kept"
                );
                return self.keep(leftover);
            }
        }
        if let Err(error) = helix_payload::remove_tree(leftover.path()).await {
            tracing::warn!(
                path = %leftover.path().display(),
                error = error.chain(),
                "directory that nobody needs could not be removed; it is tried again"
            );
            self.keep(leftover);
        }
    }

    /// Tries again what could not be removed.
    pub(crate) async fn try_again(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for leftover in waiting {
            self.remove(leftover).await;
        }
    }

    fn keep(&self, leftover: Leftover) {
        self.lock().insert(leftover);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Leftover>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why directories were not brought back.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeBackError {
    #[error(transparent)]
    Launcher(#[from] LaunchError),
    #[error("the launcher did not answer within {} s", limit.as_secs())]
    NoAnswer { limit: Duration },
}

/// Makes the directories of an attempt the agent's again, unless they are. Its
/// supervisor must be gone.
pub(super) async fn take_back(
    launcher: &Launcher,
    attempt: &Path,
    limit: Duration,
) -> Result<(), TakeBackError> {
    if !is_handed_over(attempt) {
        return Ok(());
    }
    let give_up_at = Instant::now() + limit;
    loop {
        let asked = launcher.reclaim(directories(attempt));
        let error = match tokio::time::timeout_at(give_up_at, asked).await {
            Err(_) => return Err(TakeBackError::NoAnswer { limit }),
            Ok(Ok(transferred)) if transferred.failed > 0 => {
                tracing::warn!(
                    path = %attempt.display(),
                    left = transferred.failed,
                    problems = transferred.problems.join(", "),
                    "files of a work item stay with another user"
                );
                return Ok(());
            }
            Ok(Ok(_)) => {
                close(attempt);
                return Ok(());
            }
            Ok(Err(error)) => error,
        };
        // It may have died with the supervisor, and be back in a moment.
        let is_passing = match &error {
            LaunchError::Unreachable { .. }
            | LaunchError::Lost
            | LaunchError::Refused(Refusal::Full { .. } | Refusal::InUse { .. }) => true,
            LaunchError::Refused(_) | LaunchError::NotIsolated { .. } | LaunchError::Encode(_) => {
                false
            }
        };
        if !is_passing || Instant::now() + ASK_AGAIN_AFTER >= give_up_at {
            return Err(error.into());
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

/// Closes the directory of an attempt to everybody but the agent, after all that is
/// in it is the agent's again.
pub(super) fn close(attempt: &Path) {
    if let Err(error) = set_mode(attempt, PRIVATE) {
        tracing::debug!(error = crate::error_chain(&error), "directory stays open");
    }
}

/// The directories of an attempt that its command may write to, as far as they are
/// there.
pub(super) fn directories(attempt: &Path) -> Directories {
    let is_directory = |name: &str| {
        fs::symlink_metadata(attempt.join(name)).is_ok_and(|metadata| metadata.is_dir())
    };
    Directories {
        parent: attempt.as_os_str().to_owned().into(),
        names: WRITABLE
            .into_iter()
            .filter(|name| is_directory(name))
            .map(Into::into)
            .collect(),
        temporary: None,
    }
}

/// Whether directories of an attempt belong, or may belong, to somebody else: they
/// do from when the first of them changes hands until the attempt's own is closed.
pub(super) fn is_handed_over(attempt: &Path) -> bool {
    let own = geteuid().as_raw();
    let Ok(metadata) = fs::symlink_metadata(attempt) else {
        return false;
    };
    let is_anothers = |name: &str| {
        fs::symlink_metadata(attempt.join(name)).is_ok_and(|metadata| metadata.uid() != own)
    };
    metadata.is_dir() && (metadata.mode() & GROUP != 0 || WRITABLE.into_iter().any(is_anothers))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use nix::unistd::{Gid, Uid, chown};

    use super::*;
    use crate::launcher::Place;

    fn attempt(parent: &Path) -> PathBuf {
        let attempt = parent.join("attempt");
        for name in WRITABLE {
            fs::create_dir_all(attempt.join(name)).expect("made");
        }
        close(&attempt);
        attempt
    }

    fn nobody() -> Leftovers {
        let socket = PathBuf::from("/nonexistent/launcher");
        Leftovers::new(Launcher::start(Place::Service(socket), Vec::new()))
    }

    #[test]
    fn directory_is_handed_over_from_the_first_change_until_it_is_closed() {
        let top = tempfile::tempdir().expect("a directory");
        let attempt = attempt(top.path());
        assert!(!is_handed_over(&attempt));
        assert!(!is_handed_over(&top.path().join("missing")));
        fs::set_permissions(&attempt, Permissions::from_mode(0o710)).expect("set");
        assert!(is_handed_over(&attempt));
        close(&attempt);
        assert!(!is_handed_over(&attempt));
        // As a supervisor leaves it that is killed before the last step. Only root can
        // try that.
        if geteuid().is_root() {
            let (uid, gid) = (Uid::from_raw(61_001), Gid::from_raw(61_001));
            chown(&attempt.join("u"), Some(uid), Some(gid)).expect("given away");
            assert!(is_handed_over(&attempt));
        }
    }

    #[tokio::test]
    async fn what_needs_the_launcher_is_kept_while_there_is_none() {
        let top = tempfile::tempdir().expect("a directory");
        let job = top.path().join("job");
        let attempt = attempt(&job.join(ATTEMPTS));
        let leftovers = nobody();
        fs::set_permissions(&attempt, Permissions::from_mode(0o710)).expect("set");
        leftovers.remove_or_wait(Leftover::Job(job.clone())).await;
        assert!(attempt.exists());
        assert_eq!(leftovers.lock().len(), 1);
        // As if the launcher had been there meanwhile.
        close(&attempt);
        leftovers.try_again().await;
        assert!(!job.exists());
        assert!(leftovers.lock().is_empty());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_launcher_that_is_gone_beyond_the_limit() {
        let top = tempfile::tempdir().expect("a directory");
        let attempt = attempt(top.path());
        let leftovers = nobody();
        fs::set_permissions(&attempt, Permissions::from_mode(0o710)).expect("set");
        let began = Instant::now();
        let limit = Duration::from_millis(600);
        let error = take_back(&leftovers.launcher, &attempt, limit).await;
        assert!(
            matches!(error, Err(TakeBackError::Launcher(_))),
            "{error:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn directories_that_are_not_there_are_not_asked_for() {
        let top = tempfile::tempdir().expect("a directory");
        let attempt = attempt(top.path());
        fs::remove_dir(attempt.join("t")).expect("removed");
        std::os::unix::fs::symlink("/etc", attempt.join("t")).expect("linked");
        fs::remove_dir(attempt.join("h")).expect("removed");
        let names = directories(&attempt).names;
        assert_eq!(names, ["e", "p", "u", "d", "r"].map(Into::into));
    }
}
