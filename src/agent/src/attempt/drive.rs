//! The task that owns an attempt and takes it through its life.
//!
//! | step | what | event |
//! |---|---|---|
//! | 1 | directories, console, payloads | `preparing` |
//! | 2 | requirements found in the payload | `returned` if the machine lacks them |
//! | 3 | launch, after a mark that it may have happened | `started` |
//! | 4 | watch until the tree is gone | `exited` |
//! | 5 | results, log and artifacts | `results_read`, `artifact_stored` |
//! | 6 | verdict | `finished`, `requeued` or `returned` |
//! | 7 | give back slot and directories | |
//!
//! Whatever goes wrong on the way becomes an ending, and the steps from 5 on
//! follow all the same: log and results are most wanted when something failed.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use helix_exec::fault;
use helix_exec::spool::SpoolLimits;
use helix_exec::{LaunchRequest, OutputStreams, ResourceLimits};
use helix_model::health::Evidence;
use helix_model::outcome::{CancelledBy, Ending, InfrastructureCause, judge};
use helix_model::work_item::WorkItem;
use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{Accepted, AttemptState, Returned, Started, Warning, returned};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::collect::collect;
use super::command_end::CommandEnd;
use super::handle::{Attempt, Order};
use super::notes::Notes;
use super::prepare::{NotPrepared, Preparation, Prepared};
use super::record::Record;
use super::supervise::{Begun, appears, watch};
use super::workspace::Workspace;
use crate::config::Config;
use crate::core::{Core, Settings};
use crate::launcher::LaunchError;

/// Says that an attempt was taken.
pub(crate) fn accept(core: &Core, attempt: &Attempt, work_item: &WorkItem) {
    attempt.record(Kind::Accepted(Accepted {
        machine: core.machine_name(),
        agent_version: helix_telemetry::VERSION.to_owned(),
        retries_granted: work_item.delivery.retries_allowed(),
        degraded: core.launcher.standing().degraded(),
    }));
}

/// Runs a new attempt to its end.
pub(crate) async fn run(
    core: Arc<Core>,
    attempt: Arc<Attempt>,
    work_item: WorkItem,
    record: Record,
    orders: mpsc::Receiver<Order>,
) {
    let span = span(&attempt);
    let mut drive = Drive {
        settings: core.settings(),
        core,
        attempt,
        record,
        orders,
    };
    async move {
        fault::point("agent-accepted");
        if let Some((workspace, end)) = drive.command(work_item).await {
            drive.conclude(workspace, end).await;
        }
    }
    .instrument(span)
    .await;
}

/// Takes up an attempt whose command was, or may have been, launched in an
/// earlier life of the agent.
pub(super) async fn take_up(
    core: Arc<Core>,
    attempt: Arc<Attempt>,
    record: Record,
    orders: mpsc::Receiver<Order>,
    workspace: Option<Workspace>,
) {
    let span = span(&attempt);
    let mut drive = Drive {
        settings: core.settings(),
        core,
        attempt,
        record,
        orders,
    };
    async move {
        // What it does not know of the start was told in the earlier life, save
        // when the agent died between the start and telling it.
        let end = drive.watch(Started::default()).await;
        drive.conclude(workspace, end).await;
    }
    .instrument(span)
    .await;
}

/// Ends an attempt whose command was never started and never will be, and removes
/// what was prepared for it.
pub(super) async fn give_back(
    core: Arc<Core>,
    attempt: Arc<Attempt>,
    record: Record,
    orders: mpsc::Receiver<Order>,
    workspace: Option<Workspace>,
    cause: InfrastructureCause,
) {
    let span = span(&attempt);
    let mut drive = Drive {
        settings: core.settings(),
        core,
        attempt,
        record,
        orders,
    };
    async move {
        drive
            .conclude(None, CommandEnd::infrastructure(cause))
            .await;
        if let Some(workspace) = workspace {
            workspace.remove(&drive.core).await;
        }
    }
    .instrument(span)
    .await;
}

fn span(attempt: &Attempt) -> tracing::Span {
    let identity = &attempt.identity;
    tracing::info_span!(
        "attempt",
        attempt.id = %identity.attempt,
        work_item.id = %identity.work_item,
        job.id = %identity.job
    )
}

/// An attempt on its way.
struct Drive {
    core: Arc<Core>,
    /// What was in force when it began; a reload changes nothing for it.
    settings: Arc<Settings>,
    attempt: Arc<Attempt>,
    record: Record,
    orders: mpsc::Receiver<Order>,
}

impl Drive {
    /// Steps 1 to 4. Nothing when the attempt has ended with a refusal.
    async fn command(&mut self, work_item: WorkItem) -> Option<(Option<Workspace>, CommandEnd)> {
        let began = Instant::now();
        let preparation = Preparation {
            core: &self.core,
            settings: &self.settings,
            attempt: &self.attempt,
            work_item: &work_item,
            record: &self.record,
        };
        let prepared = preparation.run(&mut self.orders).await;
        let Prepared { workspace, notes } = match prepared {
            Ok(prepared) => prepared,
            Err(NotPrepared::Failed { workspace, cause }) => {
                return Some((workspace, CommandEnd::infrastructure(cause)));
            }
            Err(NotPrepared::Cancelled { workspace, by }) => {
                let ending = Ending::Cancelled { by };
                return Some((workspace, CommandEnd::without_command(ending)));
            }
            Err(NotPrepared::Refused { workspace, refusal }) => {
                let cause = helix_proto::refusal::event(&refusal, SystemTime::now());
                self.attempt.record(Kind::Returned(Returned {
                    cause: Some(returned::Cause::Refusal(cause)),
                    next_delivery_number: self.record.delivery.number(),
                    reboot_requested: String::new(),
                }));
                tracing::info!(
                    reason = refusal.reason(),
                    "payload asks for what is missing"
                );
                self.release(Evidence::Nothing).await;
                workspace.remove(&self.core).await;
                return None;
            }
        };
        // The supervisor is the next writer of the console.
        drop(notes);
        fault::point("agent-prepared");
        let request = self.request(&work_item, &workspace);
        metrics::histogram!("helix_agent_prepare_seconds").record(began.elapsed());
        if let Err(cause) = self.launch(request, &workspace).await {
            return Some((Some(workspace), CommandEnd::infrastructure(cause)));
        }
        let started = Started {
            pid: 0,
            working_directory: workspace.execution().display().to_string(),
            wall_timeout: work_item.limits.wall_timeout().try_into().ok(),
            ..Started::default()
        };
        let end = self.watch(started).await;
        Some((Some(workspace), end))
    }

    fn request(&self, work_item: &WorkItem, workspace: &Workspace) -> LaunchRequest {
        use helix_model::work_item::{Command, Network, OutputMode};
        let command: Vec<String> = match &work_item.command {
            Command::Argv(argv) => std::iter::once(argv.program().to_owned())
                .chain(argv.arguments().iter().cloned())
                .collect(),
            Command::Shell(line) => {
                vec![
                    "/bin/sh".to_owned(),
                    "-c".to_owned(),
                    line.as_str().to_owned(),
                ]
            }
        };
        let limits = &work_item.limits;
        LaunchRequest {
            command: command.into_iter().map(Into::into).collect(),
            environment: workspace
                .environment(&self.core, &self.settings.config, work_item)
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            working_directory: workspace.execution().as_os_str().to_owned().into(),
            spool: self.attempt.spool().into_os_string().into(),
            umask: 0o022,
            limits: helix_exec::Limits {
                wall: Some(limits.wall_timeout()),
                silence: limits.silence_timeout(),
                grace: limits.kill_grace(),
                output_bytes: limits.output_bytes(),
            },
            streams: match work_item.output_mode {
                OutputMode::Separate => OutputStreams::Separate,
                OutputMode::Merged => OutputStreams::Merged,
            },
            spool_limits: spool_limits(&self.settings.config),
            needles: crate::workspace::needles(&work_item.secrets),
            directories: Some(workspace.directories()),
            resources: ResourceLimits {
                memory_bytes: work_item.resources.memory_bytes.map(NonZeroU64::get),
                cpu_millis: work_item.resources.cpu_millis.map(NonZeroU64::get),
                processes: work_item.resources.processes.map(NonZeroU32::get),
            },
            network: match work_item.network {
                Network::Machine => helix_exec::Network::Machine,
                Network::None => helix_exec::Network::Loopback,
            },
        }
    }

    async fn launch(
        &self,
        request: LaunchRequest,
        workspace: &Workspace,
    ) -> Result<(), InfrastructureCause> {
        // After a crash this mark says that a supervisor may be there.
        self.record
            .mark_launching(self.attempt.directory())
            .map_err(|error| InfrastructureCause::DiskFull {
                detail: format!("mark the launch: {error}"),
            })?;
        fault::point("agent-launching");
        let launched = self.core.launcher.launch(request).await;
        fault::point("agent-launched");
        match launched {
            Ok(_) => Ok(()),
            // The supervisor may have been started all the same.
            Err(LaunchError::Lost) if appears(&self.attempt, Some(workspace)).await => Ok(()),
            Err(error) => Err(InfrastructureCause::LauncherUnreachable {
                detail: crate::error_chain(&error),
            }),
        }
    }

    /// Watches a command, new or adopted, to its end.
    async fn watch(&mut self, started: Started) -> CommandEnd {
        let Self {
            core,
            attempt,
            record,
            orders,
            settings: _,
        } = self;
        let on_start = |Begun { pid, run_as }| {
            attempt.set_state(AttemptState::Running);
            if !attempt.journal.has_started() {
                let slot = run_as.as_ref().map(|run_as| run_as.slot);
                attempt.record(Kind::Started(Started {
                    pid,
                    run_as: run_as.map(|run_as| run_as.name).unwrap_or_default(),
                    slot,
                    ..started
                }));
            }
            fault::point("agent-started");
            core.note_change();
        };
        watch(
            attempt,
            orders,
            record.kill_grace,
            &record.program,
            on_start,
        )
        .await
    }

    /// Steps 5 to 7.
    async fn conclude(&mut self, workspace: Option<Workspace>, mut end: CommandEnd) {
        let began = Instant::now();
        self.attempt.set_state(AttemptState::Collecting);
        self.core.note_change();
        if !self.attempt.journal.has_exited() {
            self.attempt.record(Kind::Exited(end.event()));
        }
        fault::point("agent-exited");
        metrics::histogram!("helix_agent_command_seconds").record(end.elapsed);
        if let Some(workspace) = &workspace {
            self.regain(workspace, &end).await;
        }
        let notes = Notes::resume(&self.attempt, spool_limits(&self.settings.config));
        let collected = collect(
            &self.settings,
            &self.attempt,
            &self.record,
            workspace.as_ref(),
            notes,
            &end,
        )
        .await;
        fault::point("agent-collected");
        match (&end.ending, collected.failure) {
            // Never run again, so that calling it infrastructure would be wrong; or
            // broken for an earlier reason.
            (
                Ending::Cancelled { .. } | Ending::TimedOut(_) | Ending::Infrastructure(_),
                Some(cause),
            ) => self.attempt.record(Kind::Warning(Warning {
                message: cause.to_string(),
            })),
            (_, Some(cause)) => end.ending = Ending::Infrastructure(cause),
            (_, None) => {}
        }
        let judgement = judge(
            &end.ending,
            &collected.tally,
            &collected.requests,
            &self.record.delivery,
        );
        let terminal = helix_proto::outcome::terminal_event(
            &judgement,
            &self.record.delivery,
            end.wire_ending(),
            collected.counts,
        );
        tracing::info!(
            verdict = %judgement.verdict,
            elapsed_ms = u64::try_from(end.elapsed.as_millis()).unwrap_or(u64::MAX),
            "attempt ended"
        );
        self.attempt.record(terminal);
        fault::point("agent-decided");
        self.attempt.settle().await;
        metrics::histogram!("helix_agent_collect_seconds").record(began.elapsed());
        self.release(Evidence::of(&end.ending)).await;
        fault::point("agent-released");
        if let Some(reason) = &judgement.reboot {
            crate::reboot::request(&self.core, reason);
        }
        if let Some(workspace) = workspace {
            workspace.remove(&self.core).await;
        }
    }

    /// Sees to it that the directories of the command are the agent's again. Those
    /// that are not are left out of what is collected, and removed later.
    async fn regain(&self, workspace: &Workspace, end: &CommandEnd) {
        if end.is_given_back() {
            workspace.close();
        } else if let Err(error) = workspace.take_back(&self.core).await {
            let why = crate::error_chain(&error);
            tracing::warn!(
                error = why,
                "files of the command cannot be brought back yet"
            );
            self.attempt.record(Kind::Warning(Warning {
                message: format!("files of the command cannot be brought back yet: {why}"),
            }));
        }
    }

    async fn release(&self, evidence: Evidence) {
        self.attempt.set_state(AttemptState::Ended);
        self.core.release(&self.attempt, evidence);
    }
}

/// How much of a console is kept.
pub(super) fn spool_limits(config: &Config) -> SpoolLimits {
    SpoolLimits {
        head_bytes: config.output.head_bytes,
        tail_bytes: config.output.tail_bytes,
        ..SpoolLimits::default()
    }
}

/// The first wish to cancel, if there is one already.
pub(super) fn cancelled(orders: &mut mpsc::Receiver<Order>) -> Option<CancelledBy> {
    match orders.try_recv() {
        Ok(Order::Cancel { by, .. }) => Some(by),
        Err(_) => None,
    }
}
