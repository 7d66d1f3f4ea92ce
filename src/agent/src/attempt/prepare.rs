//! Before the command starts: directories, the first lines of the console,
//! payloads, and what the payload itself asks of the machine.

use std::path::Path;

use helix_model::admission::Refusal;
use helix_model::outcome::{CancelledBy, InfrastructureCause, PayloadFault};
use helix_model::work_item::{Payload, PayloadSource, WorkItem};
use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{Preparing, Warning};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::fetch::{FetchError, Fetcher};
use super::handle::{Attempt, Order};
use super::notes::Notes;
use super::record::Record;
use super::workspace::Workspace;
use crate::core::{Core, Settings};
use crate::workspace::console;

/// Ready to be launched.
pub(super) struct Prepared {
    pub(super) workspace: Workspace,
    /// To be closed before the supervisor begins to write.
    pub(super) notes: Notes,
}

/// Not ready, and why.
pub(super) enum NotPrepared {
    Failed {
        workspace: Option<Workspace>,
        cause: InfrastructureCause,
    },
    Cancelled {
        workspace: Option<Workspace>,
        by: CancelledBy,
    },
    /// The payload asks for what the machine lacks.
    Refused {
        workspace: Workspace,
        refusal: Box<Refusal>,
    },
}

/// All that preparing looks at.
pub(super) struct Preparation<'drive> {
    pub(super) core: &'drive Core,
    pub(super) settings: &'drive Settings,
    pub(super) attempt: &'drive Attempt,
    pub(super) work_item: &'drive WorkItem,
    pub(super) record: &'drive Record,
}

impl Preparation<'_> {
    pub(super) async fn run(
        &self,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<Prepared, NotPrepared> {
        let mut notes = Notes::begin(
            self.attempt,
            super::drive::spool_limits(&self.settings.config),
        )
        .map_err(|error| {
            let cause = disk_or_fault(error.io(), &crate::error_chain(&error));
            NotPrepared::Failed {
                workspace: None,
                cause,
            }
        })?;
        notes.line(self.attempt, &self.header());
        let terms = console::terms(&self.work_item.limits, &self.work_item.delivery);
        notes.line(self.attempt, &terms);
        let workspace = match Workspace::create(self.core, self.attempt, self.record).await {
            Ok(workspace) => workspace,
            Err(error) => {
                let cause = disk_or_fault(Some(error.io()), &crate::error_chain(&error));
                return Err(NotPrepared::Failed {
                    workspace: None,
                    cause,
                });
            }
        };
        if !self.work_item.payloads.is_empty() || !self.work_item.correlation_payloads.is_empty() {
            let stop = CancellationToken::new();
            let brought = self.bring_payloads(&workspace, &mut notes, &stop);
            let deadline = self.settings.config.payload.deadline;
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(deadline, brought) => outcome,
                Some(Order::Cancel { by, .. }) = orders.recv() => {
                    stop.cancel();
                    return Err(NotPrepared::Cancelled { workspace: Some(workspace), by });
                }
            };
            let cause = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(cause)) => Some(cause),
                Err(_) => {
                    // What unpacks on another thread must not go on in
                    // directories that are about to be removed.
                    stop.cancel();
                    Some(InfrastructureCause::Payload {
                        payload: "all".to_owned(),
                        fault: PayloadFault::Transport,
                        reason: format!("they were not here after {} s", deadline.as_secs()),
                    })
                }
            };
            if let Some(cause) = cause {
                return Err(NotPrepared::Failed {
                    workspace: Some(workspace),
                    cause,
                });
            }
            if let Some(refusal) = self.refusal_by_payload(workspace.execution()).await {
                return Err(NotPrepared::Refused {
                    workspace,
                    refusal: Box::new(refusal),
                });
            }
        }
        match super::drive::cancelled(orders) {
            Some(by) => Err(NotPrepared::Cancelled {
                workspace: Some(workspace),
                by,
            }),
            None => Ok(Prepared { workspace, notes }),
        }
    }

    fn header(&self) -> String {
        let identity = &self.record.identity;
        console::Header {
            name: &identity.friendly_name,
            job: &identity.job,
            work_item: &identity.work_item,
            queue: &self.record.queue,
            machine: &self.core.machine_name(),
            operating_system: &self.core.facts.operating_system,
        }
        .line()
    }

    async fn bring_payloads(
        &self,
        workspace: &Workspace,
        notes: &mut Notes,
        stop: &CancellationToken,
    ) -> Result<(), InfrastructureCause> {
        let fetcher = Fetcher::new(self.core, self.settings, &self.record.identity.job, stop);
        let correlation = &self.work_item.correlation_payloads;
        for (index, payload) in correlation.iter().enumerate() {
            let step = format!("correlation payload {} of {}", index + 1, correlation.len());
            self.step(notes, &step, payload);
            let brought = workspace.job().bring(&fetcher, payload).await;
            brought.map_err(|error| cause(&step, payload, &error))?;
        }
        let own = &self.work_item.payloads;
        for (index, payload) in own.iter().enumerate() {
            let step = format!("payload {} of {}", index + 1, own.len());
            self.step(notes, &step, payload);
            let brought = fetcher.bring(payload, workspace.payload()).await;
            brought.map_err(|error| cause(&step, payload, &error))?;
        }
        if !own.is_empty() {
            fetcher
                .place(workspace.payload(), workspace.execution())
                .await
                .map_err(|error| cause("payload", &own[0], &error))?;
        }
        Ok(())
    }

    fn step(&self, notes: &mut Notes, step: &str, payload: &Payload) {
        notes.line(
            self.attempt,
            &format!("Fetching {step}: {}", source_name(&payload.source)),
        );
        self.attempt.record(Kind::Preparing(Preparing {
            step: format!("fetching {step}"),
        }));
    }

    /// What files in the payload ask for and the machine lacks.
    async fn refusal_by_payload(&self, root: &Path) -> Option<Refusal> {
        let files = self.settings.config.requirement_files.clone();
        let root = root.to_owned();
        let found = tokio::task::spawn_blocking(move || files.find(&root))
            .await
            .ok()?;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.warn(crate::error_chain(&error));
                return None;
            }
        };
        for problem in &found.problems {
            self.warn(crate::error_chain(problem));
        }
        let missing = found.missing(&self.core.settings().catalog.capabilities());
        if missing.is_empty() {
            None
        } else {
            Some(self.core.refuse_missing(missing))
        }
    }

    fn warn(&self, message: String) {
        self.attempt.record(Kind::Warning(Warning { message }));
    }
}

/// The address without what may be a token.
fn source_name(source: &PayloadSource) -> String {
    match source {
        PayloadSource::Url(url) => url.to_string(),
        PayloadSource::Git { url, commit, .. } => format!("{url} at {commit}"),
    }
}

fn cause(step: &str, payload: &Payload, error: &FetchError) -> InfrastructureCause {
    if error.is_disk_full() {
        return InfrastructureCause::DiskFull {
            detail: format!("{step}: {error}"),
        };
    }
    InfrastructureCause::Payload {
        payload: source_name(&payload.source),
        fault: error.fault(),
        reason: error.to_string(),
    }
}

/// The cause behind a failed system call on the agent's own disk.
pub(super) fn disk_or_fault(error: Option<&std::io::Error>, detail: &str) -> InfrastructureCause {
    use std::io::ErrorKind;
    match error.map(std::io::Error::kind) {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => InfrastructureCause::DiskFull {
            detail: detail.to_owned(),
        },
        Some(_) | None => InfrastructureCause::AgentFault {
            detail: detail.to_owned(),
        },
    }
}
