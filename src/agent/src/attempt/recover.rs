//! What an earlier life of the agent left behind: ended attempts are kept for
//! those who ask, running ones are taken up again, and the rest is given back.
//!
//! A record that cannot be read is set aside with all that belongs to it: its
//! command may still run, and a person may want to look at it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use helix_exec::SpoolReader;
use helix_model::attempt::{AttemptEvent, AttemptEventKind, AttemptState, Recovery};
use helix_model::outcome::InfrastructureCause;
use helix_proto::agent::v1::attempt_event::Kind;

use super::drive;
use super::handle::Attempt;
use super::jobs::Damaged;
use super::journal::Journal;
use super::record::Record;
use super::supervise::appears;
use super::workspace::Workspace;
use crate::core::Core;

/// Takes up everything below the directory of attempts. Must run before the
/// first new attempt.
pub(crate) async fn recover(core: &Arc<Core>) -> io::Result<Recovered> {
    let directory = core.attempts_directory();
    fs::create_dir_all(&directory)?;
    let (mut ended, mut running) = (0_usize, 0_usize);
    let mut damaged = Damaged::new();
    for entry in fs::read_dir(&directory)? {
        let path = entry?.path();
        if let Some(name) = damaged_name(&path) {
            damaged.insert(name);
            continue;
        }
        match recover_one(core, &path).await {
            Ok(Found::Ended) => ended += 1,
            Ok(Found::Running) => running += 1,
            Ok(Found::Nothing) => remove(&path).await,
            Err(error) => {
                // Nobody can be told more than that it is unknown, and whoever
                // asks gets that answer once it is out of the way.
                let aside = set_aside(&path);
                tracing::error!(
                    path = %aside.as_deref().unwrap_or(&path).display(),
                    error = %error,
                    "record of an attempt is damaged; it is kept aside as long as ended ones are"
                );
                damaged.extend(path.file_name().map(OsStr::to_owned));
            }
        }
    }
    if ended + running > 0 {
        tracing::info!(ended, running, "attempts of an earlier life taken up");
    }
    Ok(Recovered { damaged })
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Attempts whose commands may run without anybody knowing of them.
    pub(crate) damaged: Damaged,
}

/// How the directory of a damaged attempt begins.
const DAMAGED: &str = "damaged-";

/// The name that the directory of a damaged attempt had; none for others.
pub(super) fn damaged_name(path: &Path) -> Option<OsString> {
    let name = path.file_name()?.to_str()?.strip_prefix(DAMAGED)?;
    Some(name.into())
}

fn set_aside(directory: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(DAMAGED);
    name.push(directory.file_name()?);
    let aside = directory.with_file_name(name);
    match fs::rename(directory, &aside) {
        Ok(()) => Some(aside),
        Err(error) => {
            tracing::warn!(path = %directory.display(), error = %error, "it cannot be set aside");
            None
        }
    }
}

enum Found {
    Ended,
    Running,
    /// The agent died before it told anybody of the attempt.
    Nothing,
}

async fn recover_one(core: &Arc<Core>, directory: &Path) -> io::Result<Found> {
    let journal = match Journal::open(directory) {
        Ok(journal) => journal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return nothing(directory),
        Err(error) => return Err(error),
    };
    let Some(first) = journal.after(0) else {
        return nothing(directory);
    };
    let accepted = system_time(first.time).unwrap_or(SystemTime::UNIX_EPOCH);
    let record = Record::load(directory, accepted)?;
    let spool = SpoolReader::open(&directory.join("spool"));
    let console_bytes = spool.ok().and_then(|spool| spool.size().ok()).unwrap_or(0);
    let terminal = journal.terminal();
    let state = state(&journal, directory, accepted).map_err(io::Error::other)?;
    let (attempt, orders) = Attempt::new(
        record.identity.clone(),
        record.reserved(),
        journal,
        directory.to_owned(),
        console_bytes,
    );
    if let Some(terminal) = terminal {
        core.remember(&attempt, system_time(terminal.time).unwrap_or(accepted));
        return Ok(Found::Ended);
    }
    let attempt = Arc::new(attempt);
    core.adopt(&attempt);
    let core = Arc::clone(core);
    match state.recovery() {
        Recovery::EndAsNeverStarted | Recovery::ReportAgain | Recovery::Forget => {
            let cause = InfrastructureCause::AgentRestartedBeforeStart;
            let workspace = Workspace::find(&core, &record).await;
            let tasks = core.tasks.clone();
            tasks.spawn(drive::give_back(
                core, attempt, record, orders, workspace, cause,
            ));
        }
        Recovery::Attach | Recovery::CollectAgain => {
            // Now and not in the task: what no known job owns is removed as
            // soon as all attempts are taken up.
            let workspace = Workspace::find(&core, &record).await;
            let tasks = core.tasks.clone();
            tasks.spawn(async move {
                if appears(&attempt, workspace.as_ref()).await {
                    drive::take_up(core, attempt, record, orders, workspace).await;
                } else {
                    let cause = lost_without_a_trace(&attempt);
                    drive::give_back(core, attempt, record, orders, workspace, cause).await;
                }
            });
        }
    }
    Ok(Found::Running)
}

/// What has become of an attempt of which there is neither supervisor nor status.
fn lost_without_a_trace(attempt: &Attempt) -> InfrastructureCause {
    if Record::is_of_another_boot(attempt.directory()) {
        InfrastructureCause::MachineRebooted
    } else if attempt.journal.has_started() {
        InfrastructureCause::SpoolDamaged {
            detail: "the command was started, and its status cannot be read".to_owned(),
        }
    } else {
        InfrastructureCause::AgentRestartedBeforeStart
    }
}

/// An attempt without a history was told to nobody, unless it had come as far as its
/// launch: then the history is lost.
fn nothing(directory: &Path) -> io::Result<Found> {
    if Record::is_launching(directory) {
        let message = "its history is gone, and its command may run";
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    } else {
        Ok(Found::Nothing)
    }
}

/// Where the attempt stood, by what was written down.
fn state(
    journal: &Journal,
    directory: &Path,
    accepted: SystemTime,
) -> Result<AttemptState, helix_model::attempt::IllegalTransition> {
    let started = journal.events().iter().find_map(|event| match event.kind {
        Some(Kind::Started(_)) => Some(system_time(event.time).unwrap_or(accepted)),
        _ => None,
    });
    let launching = started.is_some() || Record::is_launching(directory);
    let happened = [
        Some((accepted, AttemptEventKind::PreparationStarted)),
        launching.then_some((accepted, AttemptEventKind::LaunchRequested)),
        started.map(|started| (started, AttemptEventKind::CommandStarted)),
    ];
    AttemptState::replay(
        accepted,
        happened
            .into_iter()
            .flatten()
            .map(|(at, kind)| AttemptEvent { at, kind }),
    )
}

fn system_time(time: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    time.and_then(|time| time.try_into().ok())
}

async fn remove(path: &Path) {
    if let Err(error) = helix_payload::remove_tree(path).await {
        tracing::warn!(
            path = %path.display(),
            error = error.chain(),
            "directory of a forgotten attempt could not be removed"
        );
    }
}
