//! After the tree is gone: requests, results, the last line of the console, the
//! log and the artifacts. All of it is in place before the verdict is told.

use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;

use helix_artifacts::select::{Globs, Take};
use helix_artifacts::{
    ArtifactName, Destination, Kind as FileKind, Limits, Rule, StoreError, Stored, select,
};
use helix_exec::SpoolReader;
use helix_exec::spool::SpoolError;
use helix_model::outcome::{InfrastructureCause, InnerRequest, TestTally, judge};
use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{ArtifactKind, ArtifactStored, TestCounts, Warning};
use tokio_stream::StreamExt;

use super::command_end::CommandEnd;
use super::handle::Attempt;
use super::notes::Notes;
use super::record::Record;
use super::workspace::Workspace;
use crate::core::Settings;
use crate::results::{ReadLimits, ReadResults, read_results};
use crate::workspace::console;
use crate::workspace::layout::console_log_name;

/// Dumps stand below this name among the artifacts.
const DUMPS: &str = "dumps";
/// Left-out files are told one by one up to this many.
const MAX_TOLD_PROBLEMS: usize = 20;

/// What was found, for the verdict.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) tally: TestTally,
    pub(super) counts: Option<TestCounts>,
    pub(super) requests: Vec<InnerRequest>,
    /// Why log or files could not be put into safe keeping.
    pub(super) failure: Option<InfrastructureCause>,
}

/// Brings in all that a command left behind.
pub(super) async fn collect(
    settings: &Settings,
    attempt: &Attempt,
    record: &Record,
    workspace: Option<&Workspace>,
    notes: Result<Notes, SpoolError>,
    end: &CommandEnd,
) -> Collected {
    let collection = Collection {
        settings,
        attempt,
        record,
    };
    let mut collected = Collected::default();
    let mut results = ReadResults::default();
    if let Some(workspace) = workspace {
        collected.requests = collection.requests(workspace).await;
        results = collection.results(workspace).await;
        collected.tally = results.tally;
        collected.counts = results.counts();
        if let Some(event) = &results.event {
            attempt.record(Kind::ResultsRead(event.clone()));
        }
    }
    match notes {
        Ok(mut notes) => {
            // Not yet the last word: the store may fail, which the log in it
            // could not say anyway.
            let judgement = judge(
                &end.ending,
                &collected.tally,
                &collected.requests,
                &record.delivery,
            );
            let exit_code = judgement.helix_exit_code();
            let name = &record.identity.friendly_name;
            let last = console::last_line(name, exit_code);
            notes.close(attempt, end.notes().into_iter().chain([last]));
        }
        Err(error) => collection.warn(format!(
            "the console has no last line: {}",
            crate::error_chain(&error)
        )),
    }
    collected.failure = collection.store(workspace, results).await.err();
    collected
}

struct Collection<'drive> {
    settings: &'drive Settings,
    attempt: &'drive Attempt,
    record: &'drive Record,
}

impl Collection<'_> {
    fn warn(&self, message: String) {
        self.attempt.record(Kind::Warning(Warning { message }));
    }

    /// What the command asked of the agent while it ran.
    async fn requests(&self, workspace: &Workspace) -> Vec<InnerRequest> {
        let read = workspace.read_requests().await;
        for problem in read.problems {
            self.warn(problem);
        }
        // The log and no time series: names and dimensions are the work item's to
        // choose, and so without bound.
        for metric in read.metrics {
            tracing::info!(
                metric.name = metric.name,
                metric.value = metric.value,
                metric.dimensions = ?metric.dimensions,
                metric.event_type = metric.event_type.as_deref().unwrap_or_default(),
                "work item sent a metric"
            );
        }
        read.requests
    }

    async fn results(&self, workspace: &Workspace) -> ReadResults {
        let config = &self.settings.config.results;
        let limits = ReadLimits {
            time: config.time,
            files: config.files,
            file_bytes: config.file_bytes,
        };
        let execution = workspace.execution().to_owned();
        let uploads = workspace.uploads().to_owned();
        let read =
            tokio::task::spawn_blocking(move || read_results(&[&execution, &uploads], &limits));
        read.await.unwrap_or_else(|error| {
            self.warn(format!("test results could not be read: {error}"));
            ReadResults::default()
        })
    }

    /// Puts log and files into safe keeping.
    async fn store(
        &self,
        workspace: Option<&Workspace>,
        results: ReadResults,
    ) -> Result<(), InfrastructureCause> {
        let destination = match self.destination() {
            Ok(destination) => destination,
            Err(error) => return Err(unreachable_store(&error.to_string())),
        };
        self.store_log(&destination).await?;
        let Some(workspace) = workspace else {
            return Ok(());
        };
        let mut taken = vec![self.log_name().map_err(|error| unreachable_store(&error))?];
        for found in results.files {
            // What lies in the upload root is stored from there.
            if found.path.starts_with(workspace.uploads()) {
                continue;
            }
            match (ArtifactName::from_path(&found.relative), found.open()) {
                (Ok(name), Ok(file)) => {
                    let stored = destination.store(file, &name).await;
                    self.tell(&name, ArtifactKind::TestResult, stored)?;
                    taken.push(name);
                }
                (Err(error), _) => self.warn(format!("{}: {error}", found.relative.display())),
                (_, Err(error)) => self.warn(format!("{}: {error}", found.relative.display())),
            }
        }
        self.store_selected(&destination, workspace, taken).await
    }

    async fn store_selected(
        &self,
        destination: &Destination,
        workspace: &Workspace,
        taken: Vec<ArtifactName>,
    ) -> Result<(), InfrastructureCause> {
        let rules = match self.rules(workspace) {
            Ok(rules) => rules,
            Err(problem) => {
                self.warn(problem);
                return Ok(());
            }
        };
        let config = &self.settings.config.artifacts;
        let limits = Limits {
            files: config.files,
            total_bytes: config.total_bytes,
            ..Limits::default()
        };
        let selection = tokio::task::spawn_blocking(move || select(&rules, &taken, &limits));
        let selection = selection.await.unwrap_or_default();
        let told = selection.problems.len().min(MAX_TOLD_PROBLEMS);
        for problem in &selection.problems[..told] {
            self.warn(format!("left out: {problem}"));
        }
        let untold = selection.problems.len() - told + selection.unlisted_problems;
        if untold > 0 {
            self.warn(format!("left out: {untold} more"));
        }
        let mut stored = std::pin::pin!(destination.store_all(selection.files));
        while let Some(outcome) = stored.next().await {
            let kind = match outcome.kind {
                FileKind::ConsoleLog => ArtifactKind::ConsoleLog,
                FileKind::TestResult => ArtifactKind::TestResult,
                FileKind::Upload => ArtifactKind::Upload,
                FileKind::Dump => ArtifactKind::Dump,
            };
            self.tell(&outcome.name, kind, outcome.result)?;
        }
        Ok(())
    }

    fn rules(&self, workspace: &Workspace) -> Result<Vec<Rule>, String> {
        let everything = |directory: &Path, kind, beneath: Option<ArtifactName>| Rule {
            directory: directory.to_owned(),
            kind,
            take: Take::Everything,
            beneath,
        };
        let dumps = ArtifactName::from_path(DUMPS).map_err(|error| error.to_string())?;
        let mut rules = vec![
            everything(workspace.uploads(), FileKind::Upload, None),
            everything(workspace.dumps(), FileKind::Dump, Some(dumps)),
        ];
        if !self.record.artifacts.is_empty() {
            let globs = Globs::new(self.record.artifacts.iter().map(|glob| glob.as_str()))
                .map_err(|error| format!("artifact globs: {}", crate::error_chain(&error)))?;
            rules.push(Rule {
                directory: workspace.execution().to_owned(),
                kind: FileKind::Upload,
                take: Take::Matching(globs),
                beneath: None,
            });
        }
        Ok(rules)
    }

    /// The console as kept, with marks where bytes are missing.
    async fn store_log(&self, destination: &Destination) -> Result<(), InfrastructureCause> {
        let spool = self.attempt.spool();
        let directory = self.attempt.directory().to_owned();
        let written = tokio::task::spawn_blocking(move || write_log(&spool, &directory));
        let log = match written.await.map_err(io::Error::other) {
            Ok(Ok(log)) => log,
            Ok(Err(error)) | Err(error) => {
                self.warn(format!(
                    "the console log could not be brought together: {error}"
                ));
                return Ok(());
            }
        };
        let name = self.log_name().map_err(|error| unreachable_store(&error))?;
        let stored = destination.store(log, &name).await;
        self.tell(&name, ArtifactKind::ConsoleLog, stored)
    }

    /// Records what became of a file. Only a store that cannot be reached is a
    /// failure of the attempt: a file that cannot be read is the command's affair.
    fn tell(
        &self,
        name: &ArtifactName,
        kind: ArtifactKind,
        stored: Result<Stored, StoreError>,
    ) -> Result<(), InfrastructureCause> {
        match stored {
            Ok(stored) => {
                metrics::counter!("helix_agent_artifact_bytes_total").increment(stored.size);
                self.attempt.record(Kind::ArtifactStored(ArtifactStored {
                    name: stored.name.as_str().to_owned(),
                    size_bytes: stored.size,
                    sha256: stored.sha256.to_vec(),
                    url: stored.url,
                    kind: kind.into(),
                }));
                Ok(())
            }
            Err(
                error @ (StoreError::Take(_)
                | StoreError::Read { .. }
                | StoreError::TooLarge { .. }),
            ) => {
                self.warn(format!("{}: {}", name.as_str(), crate::error_chain(&error)));
                Ok(())
            }
            Err(error @ (StoreError::Refused { .. } | StoreError::OutOfTime { .. })) => {
                Err(unreachable_store(&crate::error_chain(&error)))
            }
        }
    }

    /// Where the files of this attempt go.
    fn destination(&self) -> Result<Destination, helix_artifacts::NameError> {
        let identity = &self.record.identity;
        let path = format!(
            "{}/{}/{}",
            identity.job, identity.work_item, identity.attempt
        );
        Ok(self
            .settings
            .artifacts
            .beneath(&ArtifactName::from_path(path)?))
    }

    fn log_name(&self) -> Result<ArtifactName, String> {
        let name = console_log_name(&self.record.identity.attempt);
        ArtifactName::from_path(&name).map_err(|error| format!("{name}: {error}"))
    }
}

fn unreachable_store(detail: &str) -> InfrastructureCause {
    InfrastructureCause::ArtifactStoreUnreachable {
        detail: detail.to_owned(),
    }
}

/// Brings the console together in an unnamed file, so that nothing is left
/// behind however this ends.
fn write_log(spool: &Path, directory: &Path) -> io::Result<File> {
    let mut file = tempfile::tempfile_in(directory)?;
    let mut writer = io::BufWriter::with_capacity(256 << 10, &mut file);
    let mut reader = SpoolReader::open(spool).map_err(io::Error::other)?;
    reader.write_log(&mut writer).map_err(io::Error::other)?;
    writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}
