//! Payloads of a work item, by way of the cache, into a directory.

use std::fmt;
use std::path::Path;

use helix_model::ids::JobId;
use helix_model::outcome::PayloadFault;
use helix_model::work_item::{Payload, PayloadSource, Submodules};
use helix_payload::{
    ArchiveSource, GitOptions, GitSource, GitTransport, Kind, Lease, Request, Scope, Sha256,
    TreeLimits, UnpackLimits, UnpackOptions, checkout, place_tree, remove_tree, unpack,
};
use tokio_util::sync::CancellationToken;

use crate::core::{Core, Settings};

/// Where a commit is checked out, beside the directory that it goes to.
const CHECKOUT: &str = "g";

/// Brings payloads for the work items of one job.
pub(super) struct Fetcher<'drive> {
    core: &'drive Core,
    settings: &'drive Settings,
    job: &'drive JobId,
    stop: &'drive CancellationToken,
}

/// A payload on its way from where it lay.
pub(super) enum Fetched {
    /// In the cache, as long as this lives.
    Archive(Lease),
    Commit(GitSource),
}

impl Fetched {
    /// The digest of an archive.
    pub(super) fn sha256(&self) -> Option<Sha256> {
        match self {
            Self::Archive(archive) => Some(archive.sha256()),
            Self::Commit(_) => None,
        }
    }
}

/// A payload that could not be brought.
#[derive(Debug)]
pub(super) enum FetchError {
    /// The address is not one that this agent takes.
    Source(helix_payload::SourceError),
    /// Fetching, unpacking or copying failed.
    Bring(helix_payload::Error),
    /// What was brought cannot be made readable to all.
    Show(std::io::Error),
}

impl<'drive> Fetcher<'drive> {
    pub(super) fn new(
        core: &'drive Core,
        settings: &'drive Settings,
        job: &'drive JobId,
        stop: &'drive CancellationToken,
    ) -> Self {
        Self {
            core,
            settings,
            job,
            stop,
        }
    }

    /// Fetches a payload and unpacks it below `root`.
    pub(super) async fn bring(&self, payload: &Payload, root: &Path) -> Result<(), FetchError> {
        let fetched = self.fetch(payload).await?;
        self.unpack(&fetched, payload, root).await
    }

    /// Has an archive in the cache. What is in a repository is fetched while it is
    /// unpacked.
    pub(super) async fn fetch(&self, payload: &Payload) -> Result<Fetched, FetchError> {
        match &payload.source {
            PayloadSource::Url(url) => {
                let source = ArchiveSource::parse(url.as_str()).map_err(FetchError::Source)?;
                let request = Request {
                    source,
                    sha256: payload.sha256.map(|digest| Sha256::from(digest.0)),
                    scope: Scope::new(self.job.as_str()),
                    progress: None,
                };
                let archive = self.core.cache.fetch(&request, self.stop).await?;
                Ok(Fetched::Archive(archive))
            }
            PayloadSource::Git {
                url,
                commit,
                submodules,
            } => Ok(Fetched::Commit(GitSource {
                url: url.as_str().parse().map_err(FetchError::Source)?,
                commit: commit.as_str().parse().map_err(FetchError::Source)?,
                submodules: match submodules {
                    Submodules::Skip => helix_payload::Submodules::Skip,
                    Submodules::Fetch => helix_payload::Submodules::Recurse,
                },
            })),
        }
    }

    /// Unpacks what was fetched for `payload` below `root`.
    pub(super) async fn unpack(
        &self,
        fetched: &Fetched,
        payload: &Payload,
        root: &Path,
    ) -> Result<(), FetchError> {
        let destination = root.join(payload.destination.to_path_buf());
        match fetched {
            Fetched::Archive(archive) => {
                let options = self.unpack_options();
                unpack(archive.path(), &destination, &options, self.stop).await?;
                Ok(())
            }
            Fetched::Commit(source) => self.check_out(source, root, &destination).await,
        }
    }

    /// Checks a commit out beside `root` and copies it to `destination`, where
    /// other payloads may lie already.
    async fn check_out(
        &self,
        source: &GitSource,
        root: &Path,
        destination: &Path,
    ) -> Result<(), FetchError> {
        let beside = root.with_file_name(CHECKOUT);
        remove_tree(&beside).await?;
        checkout(source, &beside, &self.git_options(), self.stop).await?;
        self.place(&beside, destination).await?;
        remove_tree(&beside).await?;
        Ok(())
    }

    /// Copies an unpacked payload into the directory that the command runs in.
    pub(super) async fn place(&self, from: &Path, to: &Path) -> Result<(), FetchError> {
        let limits = TreeLimits {
            max_total_bytes: self.settings.config.payload.unpacked_bytes,
            ..TreeLimits::default()
        };
        place_tree(from, to, &limits, self.stop).await?;
        Ok(())
    }

    fn unpack_options(&self) -> UnpackOptions {
        let config = &self.settings.config.payload;
        UnpackOptions {
            limits: UnpackLimits {
                max_total_bytes: config.unpacked_bytes,
                max_entries: config.entries,
                max_ratio: config.ratio,
                ..UnpackLimits::default()
            },
            ..UnpackOptions::default()
        }
    }

    fn git_options(&self) -> GitOptions {
        let config = &self.settings.config.payload;
        let mut options = GitOptions {
            deadline: config.deadline,
            ..GitOptions::default()
        };
        options.transports.push(GitTransport::Http);
        if config.allow_file_urls {
            options.transports.push(GitTransport::File);
        }
        options
    }
}

impl FetchError {
    /// Whose fault it is.
    pub(super) fn fault(&self) -> PayloadFault {
        match self {
            Self::Source(_) => PayloadFault::Sender,
            Self::Show(_) => PayloadFault::Machine,
            Self::Bring(error) => match error.kind() {
                Kind::Permanent => PayloadFault::Sender,
                Kind::Transient | Kind::Cancelled => PayloadFault::Transport,
                Kind::Local => PayloadFault::Machine,
            },
        }
    }

    /// Whether the machine's disk was too full.
    pub(super) fn is_disk_full(&self) -> bool {
        match self {
            Self::Source(_) => false,
            Self::Show(error) => error.kind() == std::io::ErrorKind::StorageFull,
            Self::Bring(error) => error.is_out_of_space(),
        }
    }
}

impl From<helix_payload::Error> for FetchError {
    fn from(error: helix_payload::Error) -> Self {
        Self::Bring(error)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => formatter.write_str(&crate::error_chain(error)),
            Self::Show(error) => write!(formatter, "make it readable to all: {error}"),
            Self::Bring(error) => {
                formatter.write_str(&error.chain())?;
                match error.hint() {
                    Some(hint) => write!(formatter, " ({hint})"),
                    None => Ok(()),
                }
            }
        }
    }
}
