//! The numbered events of one attempt: in memory for the streams, in a file for
//! the next life of the agent.
//!
//! The file is a row of records, each a length and a CRC-32 (both four bytes,
//! little endian) and an encoded [`AttemptEvent`]. A record that was cut off by
//! a crash, and whatever follows it, is dropped on opening: nobody was told of
//! it. Events are written before anybody is told, but not synced: they outlive
//! the agent, and a machine that loses power has lost the attempt anyhow. One that
//! the disk refuses is told all the same, and written before the next one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use helix_proto::agent::v1::{AttemptEvent, attempt_event};
use prost::Message;
use tokio::sync::watch;

const FILE_NAME: &str = "events";
/// Larger than any event the agent writes; a longer length is damage.
const MAX_RECORD_BYTES: usize = 16 << 20;
const RECORD_HEADER_BYTES: usize = 8;

/// The history of one attempt.
#[derive(Debug)]
pub(crate) struct Journal {
    inner: Mutex<Inner>,
    count: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Whole records in the file, and the bytes they take.
    written: usize,
    good_bytes: u64,
    tail: Tail,
    /// More than are written when the disk refuses some, so that the attempt still
    /// ends with a verdict for whoever listens.
    events: Vec<Arc<AttemptEvent>>,
}

/// How the file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// With a whole record.
    Whole,
    /// Perhaps with a part of one, behind the whole ones.
    MaybeTorn,
}

impl Journal {
    /// Starts a new history in `directory`. Fails if there is one already.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(directory.join(FILE_NAME))?;
        Ok(Self::from_parts(file, 0, Vec::new()))
    }

    /// Opens the history in `directory` and drops a damaged end.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE_NAME);
        let mut bytes = Vec::new();
        File::open(&path)?.read_to_end(&mut bytes)?;
        let (events, good_bytes) = decode(&bytes);
        let file = OpenOptions::new().append(true).open(&path)?;
        if good_bytes < bytes.len() {
            file.set_len(good_bytes as u64)?;
        }
        Ok(Self::from_parts(file, good_bytes as u64, events))
    }

    fn from_parts(file: File, good_bytes: u64, events: Vec<Arc<AttemptEvent>>) -> Self {
        let (count, _) = watch::channel(events.len() as u64);
        Self {
            inner: Mutex::new(Inner {
                file,
                written: events.len(),
                good_bytes,
                tail: Tail::Whole,
                events,
            }),
            count,
        }
    }

    /// Writes the next event and wakes those who wait.
    ///
    /// The event is kept in memory when the disk refuses it, and written with the next
    /// one or by [`Journal::flush`]; the error is for the log.
    pub(crate) fn append(
        &self,
        time: SystemTime,
        console_offset: u64,
        kind: attempt_event::Kind,
    ) -> io::Result<Arc<AttemptEvent>> {
        let mut inner = self.lock();
        let event = Arc::new(AttemptEvent {
            number: inner.events.len() as u64 + 1,
            time: Some(time.into()),
            console_offset,
            kind: Some(kind),
        });
        inner.events.push(Arc::clone(&event));
        let written = inner.write();
        self.count.send_replace(inner.events.len() as u64);
        written.map(|()| event)
    }

    /// Writes what the disk refused before.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.lock().write()
    }

    /// The event with the smallest number above `number`, if there is one yet.
    pub(crate) fn after(&self, number: u64) -> Option<Arc<AttemptEvent>> {
        let index = usize::try_from(number).ok()?;
        self.lock().events.get(index).cloned()
    }

    /// How many events there are, and word of more.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> u64 {
        *self.count.borrow()
    }

    /// The last event, if it ends the attempt.
    pub(crate) fn terminal(&self) -> Option<Arc<AttemptEvent>> {
        self.lock()
            .events
            .last()
            .filter(|event| is_terminal(event))
            .cloned()
    }

    /// Whether the start of the command has been told.
    pub(crate) fn has_started(&self) -> bool {
        let started =
            |event: &Arc<AttemptEvent>| matches!(event.kind, Some(attempt_event::Kind::Started(_)));
        self.lock().events.iter().any(started)
    }

    /// Whether the end of the command has been told.
    pub(crate) fn has_exited(&self) -> bool {
        let exited =
            |event: &Arc<AttemptEvent>| matches!(event.kind, Some(attempt_event::Kind::Exited(_)));
        self.lock().events.iter().any(exited)
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<Arc<AttemptEvent>> {
        self.lock().events.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Writes every event that is not in the file yet.
    fn write(&mut self) -> io::Result<()> {
        while let Some(event) = self.events.get(self.written) {
            // A half record must not be followed by a whole one.
            if self.tail == Tail::MaybeTorn {
                self.file.set_len(self.good_bytes)?;
            }
            let record = encode(event);
            self.tail = Tail::MaybeTorn;
            self.file.write_all(&record)?;
            self.tail = Tail::Whole;
            self.good_bytes += record.len() as u64;
            self.written += 1;
        }
        Ok(())
    }
}

/// Whether an event is the last of its attempt.
pub(crate) fn is_terminal(event: &AttemptEvent) -> bool {
    use attempt_event::Kind;
    match &event.kind {
        Some(Kind::Finished(_) | Kind::Requeued(_) | Kind::Returned(_)) => true,
        Some(
            Kind::Console(_)
            | Kind::ConsoleGap(_)
            | Kind::Accepted(_)
            | Kind::Preparing(_)
            | Kind::Started(_)
            | Kind::Exited(_)
            | Kind::ResultsRead(_)
            | Kind::ArtifactStored(_)
            | Kind::Warning(_),
        )
        | None => false,
    }
}

fn encode(event: &AttemptEvent) -> Vec<u8> {
    let body = event.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut record = Vec::with_capacity(RECORD_HEADER_BYTES + body.len());
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    record.extend_from_slice(&body);
    record
}

/// The events of whole records, and how many bytes they take.
fn decode(bytes: &[u8]) -> (Vec<Arc<AttemptEvent>>, usize) {
    let mut events = Vec::new();
    let mut rest = bytes;
    while let Some((event, after)) = decode_one(rest) {
        if event.number != events.len() as u64 + 1 {
            break;
        }
        events.push(Arc::new(event));
        rest = after;
    }
    (events, bytes.len() - rest.len())
}

fn decode_one(bytes: &[u8]) -> Option<(AttemptEvent, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > MAX_RECORD_BYTES {
        return None;
    }
    let (body, rest) = rest.split_at_checked(length)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    Some((AttemptEvent::decode(body).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use helix_proto::agent::v1::{Accepted, Finished, Warning};
    use proptest::prelude::*;

    fn warning(text: &str) -> attempt_event::Kind {
        attempt_event::Kind::Warning(Warning {
            message: text.to_owned(),
        })
    }

    #[test]
    fn reopened_journal_has_the_same_events_and_goes_on_counting() {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = Journal::create(directory.path()).expect("created");
        journal
            .append(
                SystemTime::now(),
                0,
                attempt_event::Kind::Accepted(Accepted::default()),
            )
            .expect("written");
        journal
            .append(SystemTime::now(), 7, warning("odd"))
            .expect("written");
        let before = journal.events();
        drop(journal);

        let journal = Journal::open(directory.path()).expect("opened");
        assert_eq!(journal.events(), before);
        assert!(journal.terminal().is_none());
        let finished = attempt_event::Kind::Finished(Finished::default());
        let event = journal
            .append(SystemTime::now(), 9, finished)
            .expect("written");
        assert_eq!(event.number, 3);
        assert_eq!(journal.terminal(), Some(event));
    }

    #[test]
    fn event_that_the_disk_refused_is_written_before_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE_NAME);
        let journal = Journal::create(directory.path()).expect("created");
        let now = SystemTime::now();
        journal.append(now, 0, warning("one")).expect("written");
        let refusing = File::open(&path).expect("opened for reading");
        let file = std::mem::replace(&mut journal.lock().file, refusing);
        journal.append(now, 0, warning("two")).expect_err("refused");
        journal.flush().expect_err("refused again");
        assert_eq!(journal.len(), 2, "told all the same");
        // As if half of it had been written.
        let mut torn = OpenOptions::new().append(true).open(&path).expect("opened");
        torn.write_all(b"half a record").expect("written");
        journal.lock().file = file;
        journal.append(now, 0, warning("three")).expect("written");
        let before = journal.events();
        assert_eq!(before.len(), 3);
        drop(journal);
        assert_eq!(
            Journal::open(directory.path()).expect("opened").events(),
            before
        );
    }

    #[test]
    fn second_journal_in_the_same_place_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let _journal = Journal::create(directory.path()).expect("created");
        let error = Journal::create(directory.path()).expect_err("there is one");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    proptest! {
        #[test]
        fn cut_or_damaged_journal_keeps_every_whole_record_before_the_damage(
            texts in proptest::collection::vec("[a-z]{0,40}", 1..8),
            cut in any::<proptest::sample::Index>(),
            flip in any::<bool>(),
        ) {
            let directory = tempfile::tempdir().expect("a directory");
            let journal = Journal::create(directory.path()).expect("created");
            let mut ends = vec![0];
            for text in &texts {
                let event = journal.append(SystemTime::now(), 0, warning(text)).expect("written");
                ends.push(ends.last().expect("one") + encode(&event).len());
            }
            let before = journal.events();
            drop(journal);

            let path = directory.path().join(FILE_NAME);
            let mut bytes = std::fs::read(&path).expect("read");
            let place = cut.index(bytes.len());
            if flip {
                bytes[place] ^= 0x55;
            } else {
                bytes.truncate(place);
            }
            std::fs::write(&path, &bytes).expect("written");

            let whole = ends.iter().filter(|end| **end <= place).count() - 1;
            let journal = Journal::open(directory.path()).expect("opened");
            prop_assert_eq!(&journal.events()[..], &before[..whole]);
            let event = journal.append(SystemTime::now(), 0, warning("next")).expect("written");
            drop(journal);
            let journal = Journal::open(directory.path()).expect("opened");
            let events = journal.events();
            prop_assert_eq!(events.last(), Some(&event));
        }
    }
}
