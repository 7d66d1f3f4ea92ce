//! An archive from a file of this machine into the cache: so that it cannot change while it is used.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::directory::Directory;
use crate::error::Error;
use crate::progress::{Progress, ProgressSender};
use crate::source::ArchiveSource;

use super::layout::{FileIdentity, Key, KnownAnswer, Proof};
use super::lease::{Hold, Lease, Origin};
use super::options::LocalFiles;
use super::partial::Partial;
use super::state::Shared;
use super::verify;

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Copies the archive at `path`, unless it is here and still the same.
pub(super) async fn fetch(
    shared: &Arc<Shared>,
    key: Key,
    path: &Path,
    report: &ProgressSender,
    cancellation: &CancellationToken,
) -> Result<Lease, Error> {
    if let Key::Digest(sha256) = key
        && let Some(hold) = verify::held(shared, sha256).await?
    {
        return Ok(Lease::new(hold, Origin::Cached));
    }
    let known = match key {
        Key::Digest(_) => None,
        Key::Answer(answer) => shared.lock().answer(&answer),
    };
    let known = match known {
        Some(KnownAnswer {
            sha256,
            proof: Proof::File(identity),
        }) => verify::held(shared, sha256)
            .await?
            .map(|hold| (hold, identity)),
        _ => None,
    };
    let (shared, path, report) = (shared.clone(), path.to_path_buf(), report.clone());
    blocking::run("copy the archive", cancellation, move |cancellation| {
        let copying = Copying {
            shared: &shared,
            key,
            path: &path,
            report: &report,
            cancellation,
        };
        copying.run(known)
    })
    .await
}

struct Copying<'a> {
    shared: &'a Arc<Shared>,
    key: Key,
    path: &'a Path,
    report: &'a ProgressSender,
    cancellation: &'a CancellationToken,
}

impl Copying<'_> {
    fn run(&self, known: Option<(Hold, FileIdentity)>) -> Result<Lease, Error> {
        let file = self.open()?;
        if let Some((hold, identity)) = known
            && self.identity(&file)? == identity
        {
            return Ok(Lease::new(hold, Origin::Confirmed));
        }
        let (mut partial, mut identity) = self.copy(&file)?;
        if let Key::Digest(expected) = self.key
            && partial.sha256() != expected
        {
            // As with a download, it gets a second chance: it may just have been replaced.
            drop(partial);
            (partial, identity) = self.copy(&self.open()?)?;
            let found = partial.sha256();
            if found != expected {
                let origin = ArchiveSource::File(self.path.to_path_buf());
                return Err(Error::DigestMismatch {
                    origin,
                    expected,
                    found,
                });
            }
        }
        let (bytes, sha256) = (partial.bytes(), partial.sha256());
        let hold = partial.complete()?;
        self.report.send_replace(Progress::Fetched { bytes });
        if let Key::Answer(key) = self.key {
            let proof = Proof::File(identity);
            self.shared.remember(key, KnownAnswer { sha256, proof })?;
        }
        Ok(Lease::new(hold, Origin::Fetched))
    }

    /// Opens the file, if payloads may come from there.
    fn open(&self) -> Result<File, Error> {
        let refused = || Error::LocalFileRefused {
            path: self.path.to_path_buf(),
        };
        let opened = match &self.shared.options.local_files {
            LocalFiles::Refused => return Err(refused()),
            LocalFiles::Anywhere => self.path.canonicalize().and_then(|resolved| {
                let parent = resolved.parent().ok_or(io::ErrorKind::InvalidInput)?;
                let name = resolved.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                Directory::open(parent)?.open_file(name.as_bytes())
            }),
            LocalFiles::Under(roots) => {
                let resolved = self
                    .path
                    .canonicalize()
                    .map_err(|error| self.failed(error))?;
                let below = roots.iter().find_map(|root| {
                    let root = root.canonicalize().ok()?;
                    let below = resolved.strip_prefix(&root).ok()?.to_path_buf();
                    Some((root, below))
                });
                let (root, below) = below.ok_or_else(refused)?;
                // Component by component: what was resolved a moment ago may be a link by now.
                open_below(&root, &below)
            }
        };
        opened.map_err(|error| self.failed(error))
    }

    fn copy(&self, file: &File) -> Result<(Partial, FileIdentity), Error> {
        let identity = self.identity(file)?;
        let total = file.metadata().map_err(|error| self.failed(error))?.len();
        let limit_bytes = self.shared.options.limits.max_archive_bytes;
        if total > limit_bytes {
            let origin = ArchiveSource::File(self.path.to_path_buf());
            return Err(Error::TooLarge {
                origin,
                limit_bytes,
                announced_bytes: Some(total),
            });
        }
        let mut partial = Partial::open(self.shared, self.key)?;
        partial.restart()?;
        partial.expect(total)?;
        let mut buffer = vec![0; COPY_BYTES];
        // One byte more than there should be is enough to see that it grew.
        let mut content = file.take(total.saturating_add(1));
        loop {
            if self.cancellation.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => partial.append(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
            let bytes = partial.bytes();
            self.report.send_replace(Progress::Fetching {
                bytes,
                total: Some(total),
            });
        }
        if partial.bytes() != total || self.identity(file)? != identity {
            return Err(Error::LocalFileChanged {
                path: self.path.to_path_buf(),
            });
        }
        Ok((partial, identity))
    }

    fn identity(&self, file: &File) -> Result<FileIdentity, Error> {
        file.metadata()
            .map(|metadata| FileIdentity::of(&metadata))
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::LocalFile {
            path: self.path.to_path_buf(),
            source: Arc::new(error),
        }
    }
}

fn open_below(root: &Path, below: &Path) -> io::Result<File> {
    let mut directory = Directory::open(root)?;
    let mut components = below.iter().peekable();
    while let Some(component) = components.next() {
        if components.peek().is_none() {
            return directory.open_file(component.as_bytes());
        }
        directory = directory.enter(component.as_bytes())?;
    }
    Err(Errno::EISDIR.into())
}
