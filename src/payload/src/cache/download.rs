//! An archive from a server into the cache: asked for, continued, tried again, checked.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::blocking::run_to_the_end;
use crate::digest::Sha256;
use crate::error::{Error, HttpProblem, Kind};
use crate::http::{Answer, Ask, Body, Retries, Validators};
use crate::progress::{Progress, ProgressSender};
use crate::source::{ArchiveSource, HttpUrl};

use super::flight::Order;
use super::layout::{Key, KnownAnswer, Note, Place, Proof};
use super::lease::{Hold, Lease, Origin};
use super::partial::Partial;
use super::state::Shared;
use super::verify;

/// Pieces of content on their way from the network to the disk.
const PIECES_AHEAD: usize = 32;

/// Bytes a try must bring for it to count as progress, so that a server which sends a little and
/// breaks off each time does not keep us for ever at the shortest pause.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Fetches the archive at `url`, unless it is here and still the same.
pub(super) async fn fetch(
    shared: &Arc<Shared>,
    order: &Order,
    url: &HttpUrl,
    report: &ProgressSender,
    cancellation: &CancellationToken,
) -> Result<Lease, Error> {
    let key = order.key;
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
            proof: Proof::Server(validators),
        }) => verify::held(shared, sha256)
            .await?
            .map(|hold| Known { hold, validators }),
        _ => None,
    };
    let partial = {
        let shared = shared.clone();
        run_to_the_end("open the half archive", move || Partial::open(&shared, key)).await?
    };
    let mut download = Download {
        shared,
        key,
        url,
        report,
        cancellation,
        deadline: order.deadline,
        validators: Validators::default(),
        ranges: Ranges::Usable,
    };
    download.run(partial, known).await
}

/// An archive that is here, and may still be what the server would give.
struct Known {
    hold: Hold,
    validators: Validators,
}

struct Download<'a> {
    shared: &'a Arc<Shared>,
    key: Key,
    url: &'a HttpUrl,
    report: &'a ProgressSender,
    cancellation: &'a CancellationToken,
    deadline: Instant,
    /// Of the content that arrived last.
    validators: Validators,
    ranges: Ranges,
}

/// Whether the server can be asked for the rest of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranges {
    Usable,
    Unusable,
}

/// How one try ended. The half archive comes back unless nothing more is to be done with it.
enum Try {
    /// All content is here.
    Whole(Partial),
    /// The archive that was here is still the one.
    StillTheSame,
    /// It failed in a way that concerns the server or the network.
    Problem(Partial, HttpProblem),
    /// The server cannot go on where we stopped: at once again, from the start.
    FromTheStart(Partial),
    /// It failed for good.
    Failed(Error),
    /// It was stopped.
    Stopped(Stop),
}

/// Why a wait for the network ended before the network did.
#[derive(Clone, Copy, Debug)]
enum Stop {
    Cancelled,
    OutOfTime,
}

/// What is done with a half archive when a download ends.
#[derive(Clone, Copy, Debug)]
enum Disposal {
    /// It is kept to be continued, if it can be.
    Keep,
    Discard,
}

impl Download<'_> {
    async fn run(&mut self, mut partial: Partial, known: Option<Known>) -> Result<Lease, Error> {
        let mut retries = Retries::new(self.shared.options.http.retry);
        let mut mismatches = 0;
        let mut last = None;
        loop {
            let before = partial.bytes();
            let problem = match self.try_once(partial, known.as_ref()).await {
                Try::StillTheSame => {
                    return match known {
                        Some(known) => Ok(Lease::new(known.hold, Origin::Confirmed)),
                        None => Err(self.error(HttpProblem::Nonsense {
                            reason: "it is unchanged, says the server, unasked",
                        })),
                    };
                }
                Try::Whole(whole) => {
                    let found = whole.sha256();
                    let expected = match self.key {
                        Key::Digest(expected) if found != expected => expected,
                        Key::Digest(_) | Key::Answer(_) => return self.keep(whole, found).await,
                    };
                    mismatches += 1;
                    if mismatches > 1 {
                        dispose(whole, Disposal::Discard).await?;
                        let origin = ArchiveSource::Http(self.url.clone());
                        return Err(Error::DigestMismatch {
                            origin,
                            expected,
                            found,
                        });
                    }
                    tracing::warn!(url = %self.url, %expected, %found, "wrong SHA-256, fetched anew");
                    partial = restarted(whole).await?;
                    continue;
                }
                Try::FromTheStart(half) => {
                    self.ranges = Ranges::Unusable;
                    partial = restarted(half).await?;
                    continue;
                }
                Try::Failed(error) => return Err(error),
                Try::Stopped(stop) => return Err(self.stopped(stop, last)),
                Try::Problem(half, problem) => {
                    partial = half;
                    problem
                }
            };

            if partial.bytes() >= before.saturating_add(PROGRESS_BYTES) {
                retries.progressed();
            }
            let Some(pause) = retries.pause_after(&problem) else {
                let disposal = match problem.kind() {
                    Kind::Permanent => Disposal::Discard,
                    Kind::Transient | Kind::Cancelled | Kind::Local => Disposal::Keep,
                };
                dispose(partial, disposal).await?;
                return Err(self.error(problem));
            };
            tracing::debug!(url = %self.url, %problem, ?pause, "download is tried again");
            last = Some(self.error(problem));
            self.report.send_replace(Progress::BackingOff {
                bytes: partial.bytes(),
                pause_milliseconds: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            });
            let stop = if Instant::now() + pause >= self.deadline {
                Err(Stop::OutOfTime)
            } else {
                self.unless_stopped(sleep(pause)).await
            };
            if let Err(stop) = stop {
                dispose(partial, Disposal::Keep).await?;
                return Err(self.stopped(stop, last));
            }
        }
    }

    /// Asks once and takes what comes.
    ///
    /// Only the waits for the network are ever cut short: the half archive is on a thread of its
    /// own while it is written to, and no other download may begin with it before that has ended.
    async fn try_once(&mut self, partial: Partial, known: Option<&Known>) -> Try {
        let ask = self.question(&partial, known);
        let answer = match self
            .unless_stopped(self.shared.client.ask(self.url, &ask))
            .await
        {
            Ok(Ok(answer)) => answer,
            Ok(Err(problem)) => return Try::Problem(partial, problem),
            Err(stop) => return self.stop(partial, stop).await,
        };
        let (partial, body, total) = match answer {
            Answer::NotModified => return Try::StillTheSame,
            Answer::NoSuchRange => return Try::FromTheStart(partial),
            Answer::Rest { total, body } => (partial, body, total),
            Answer::Whole {
                validators,
                total,
                body,
            } => {
                let note = Note {
                    place: Place::of(self.url),
                    validators: validators.clone(),
                };
                self.validators = validators;
                let begun = run_to_the_end("begin the half archive", move || partial.begun(note));
                match begun.await {
                    Ok(partial) => (partial, body, total),
                    Err(error) => return Try::Failed(error),
                }
            }
        };
        let limit_bytes = self.shared.options.limits.max_archive_bytes;
        if total.is_some_and(|total| total > limit_bytes) {
            return self.fail(partial, self.too_large(total)).await;
        }
        self.take(partial, body, total).await
    }

    fn question(&self, partial: &Partial, known: Option<&Known>) -> Ask {
        // Two halves are joined only when they are surely of one whole, or when the whole is
        // checked in the end.
        let checked = matches!(self.key, Key::Digest(_));
        if let Some(note) = partial.note()
            && self.ranges == Ranges::Usable
            && note.place == Place::of(self.url)
            && note.validators.allow_range()
            && (checked || note.validators.are_strong())
        {
            return Ask::Rest {
                offset: partial.bytes(),
                validators: note.validators.clone(),
            };
        }
        match known {
            Some(known) => Ask::IfChanged {
                validators: known.validators.clone(),
            },
            None => Ask::Whole,
        }
    }

    /// Moves content from the network to the disk, each at its own pace.
    async fn take(&self, partial: Partial, mut body: Body, total: Option<u64>) -> Try {
        let limit_bytes = self.shared.options.limits.max_archive_bytes;
        let mut bytes = partial.bytes();
        let (pieces, arriving) = mpsc::channel(PIECES_AHEAD);
        let report = self.report.clone();
        let writer = spawn_blocking(move || write(partial, arriving, total, &report));
        let ending = loop {
            match self.unless_stopped(body.next(bytes)).await {
                Ok(Ok(Some(piece))) => {
                    bytes = bytes.saturating_add(piece.len() as u64);
                    if bytes > limit_bytes {
                        break Ending::TooLarge;
                    }
                    if pieces.send(piece).await.is_err() {
                        // The writer has failed, and says how below.
                        break Ending::Content;
                    }
                }
                Ok(Ok(None)) => break Ending::Content,
                Ok(Err(problem)) => break Ending::Problem(problem),
                Err(stop) => break Ending::Stopped(stop),
            }
        };
        drop(pieces);
        let Ok((partial, written)) = writer.await else {
            return Try::Failed(Error::Aborted {
                operation: "write the archive",
            });
        };
        if let Err(error) = written {
            return self.fail(partial, error).await;
        }
        match (ending, total) {
            (Ending::TooLarge, _) => self.fail(partial, self.too_large(None)).await,
            (Ending::Stopped(stop), _) => self.stop(partial, stop).await,
            (Ending::Problem(problem), _) => Try::Problem(partial, problem),
            (Ending::Content, Some(total)) if partial.bytes() < total => {
                let detail = format!("{total} were announced");
                let bytes = partial.bytes();
                Try::Problem(partial, HttpProblem::Interrupted { bytes, detail })
            }
            // More than the whole: what was here before was not the beginning of it.
            (Ending::Content, Some(total)) if partial.bytes() > total => Try::FromTheStart(partial),
            (Ending::Content, _) => Try::Whole(partial),
        }
    }

    async fn keep(&self, whole: Partial, sha256: Sha256) -> Result<Lease, Error> {
        let bytes = whole.bytes();
        let hold = run_to_the_end("keep the archive", move || whole.complete()).await?;
        self.report.send_replace(Progress::Fetched { bytes });
        if let Key::Answer(key) = self.key
            && self.validators.allow_question()
        {
            let shared = self.shared.clone();
            let proof = Proof::Server(self.validators.clone());
            run_to_the_end("note the answer", move || {
                shared.remember(key, KnownAnswer { sha256, proof })
            })
            .await?;
        }
        Ok(Lease::new(hold, Origin::Fetched))
    }

    /// What `work` comes to, unless the download is cancelled or its time runs out before.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.cancellation.cancelled() => Err(Stop::Cancelled),
            result = timeout_at(self.deadline, work) => result.map_err(|_| Stop::OutOfTime),
        }
    }

    async fn stop(&self, partial: Partial, stop: Stop) -> Try {
        match dispose(partial, Disposal::Keep).await {
            Ok(()) => Try::Stopped(stop),
            Err(error) => Try::Failed(error),
        }
    }

    async fn fail(&self, partial: Partial, error: Error) -> Try {
        let disposal = match error.kind() {
            Kind::Permanent => Disposal::Discard,
            Kind::Transient | Kind::Cancelled | Kind::Local => Disposal::Keep,
        };
        match dispose(partial, disposal).await {
            Ok(()) => Try::Failed(error),
            Err(other) => Try::Failed(other),
        }
    }

    fn stopped(&self, stop: Stop, last: Option<Error>) -> Error {
        match stop {
            Stop::Cancelled => Error::Cancelled,
            Stop::OutOfTime => Error::Deadline {
                origin: self.url.to_string(),
                allowed: self.shared.options.http.deadline,
                last: last.map(Arc::new),
            },
        }
    }

    fn too_large(&self, announced_bytes: Option<u64>) -> Error {
        Error::TooLarge {
            origin: ArchiveSource::Http(self.url.clone()),
            limit_bytes: self.shared.options.limits.max_archive_bytes,
            announced_bytes,
        }
    }

    fn error(&self, problem: HttpProblem) -> Error {
        Error::Http {
            url: self.url.clone(),
            problem,
        }
    }
}

/// Why content stopped coming.
enum Ending {
    /// It came to its end, or the writer failed.
    Content,
    TooLarge,
    Problem(HttpProblem),
    Stopped(Stop),
}

/// Appends pieces as they arrive; the receiving end is closed when one cannot be written.
fn write(
    mut partial: Partial,
    mut arriving: mpsc::Receiver<Bytes>,
    total: Option<u64>,
    report: &ProgressSender,
) -> (Partial, Result<(), Error>) {
    let mut append = || -> Result<(), Error> {
        // Room for all of it, or an error now rather than at the end.
        if let Some(total) = total {
            partial.expect(total)?;
        }
        report.send_replace(Progress::Fetching {
            bytes: partial.bytes(),
            total,
        });
        while let Some(piece) = arriving.blocking_recv() {
            partial.append(&piece)?;
            report.send_replace(Progress::Fetching {
                bytes: partial.bytes(),
                total,
            });
        }
        Ok(())
    };
    let result = append();
    (partial, result)
}

/// Lets go of a half archive; deleting a large file takes its time.
async fn dispose(partial: Partial, disposal: Disposal) -> Result<(), Error> {
    run_to_the_end("put the half archive away", move || {
        match disposal {
            Disposal::Keep => drop(partial),
            Disposal::Discard => partial.discard(),
        }
        Ok(())
    })
    .await
}

async fn restarted(mut partial: Partial) -> Result<Partial, Error> {
    run_to_the_end("empty the half archive", move || {
        partial.restart().map(|()| partial)
    })
    .await
}
