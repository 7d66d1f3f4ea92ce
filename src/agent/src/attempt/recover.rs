//! What an earlier life of the agent left behind: ended attempts are kept for
//! those who ask, running ones are taken up again, and the rest is given back.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use helix_exec::SpoolReader;
use helix_model::attempt::{AttemptEvent, AttemptEventKind, AttemptState, Recovery};
use helix_model::outcome::InfrastructureCause;
use helix_proto::agent::v1::attempt_event::Kind;

use super::drive;
use super::handle::Attempt;
use super::journal::Journal;
use super::record::Record;
use super::supervise::never_launched;
use super::workspace::Workspace;
use crate::core::Core;

/// How long a supervisor that was asked for may take to appear. Only waited for
/// when the agent died between asking and hearing the answer.
const LATE_SUPERVISOR: Duration = Duration::from_secs(2);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Takes up everything below the directory of attempts. Must run before the
/// first new attempt.
pub(crate) async fn recover(core: &Arc<Core>) -> io::Result<()> {
    let directory = core.attempts_directory();
    fs::create_dir_all(&directory)?;
    let (mut ended, mut running) = (0_usize, 0_usize);
    for entry in fs::read_dir(&directory)? {
        let path = entry?.path();
        match recover_one(core, &path).await {
            Ok(Found::Ended) => ended += 1,
            Ok(Found::Running) => running += 1,
            Ok(Found::Nothing) => remove(&path).await,
            Err(error) => {
                // Nobody can be told more than that it is unknown, and whoever
                // asks gets that answer once it is out of the way.
                tracing::error!(
                    path = %path.display(),
                    error = %error,
                    "record of an attempt is damaged and is removed"
                );
                remove(&path).await;
            }
        }
    }
    if ended + running > 0 {
        tracing::info!(ended, running, "attempts of an earlier life taken up");
    }
    Ok(())
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
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let Some(first) = journal.after(0) else {
        return Ok(Found::Nothing);
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
            let tasks = core.tasks.clone();
            tasks.spawn(drive::give_back(core, attempt, record, orders, cause));
        }
        Recovery::Attach | Recovery::CollectAgain => {
            // Now and not in the task: what no known job owns is removed as
            // soon as all attempts are taken up.
            let workspace = Workspace::find(&core, &record).await;
            let tasks = core.tasks.clone();
            tasks.spawn(async move {
                if appears(&attempt).await {
                    drive::take_up(core, attempt, record, orders, workspace).await;
                } else {
                    let cause = InfrastructureCause::AgentRestartedBeforeStart;
                    drive::give_back(core, attempt, record, orders, cause).await;
                }
            });
        }
    }
    Ok(Found::Running)
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

/// Whether there is a supervisor, or what one left.
async fn appears(attempt: &Attempt) -> bool {
    let began = Instant::now();
    while never_launched(attempt) {
        if began.elapsed() > LATE_SUPERVISOR {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
    true
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
