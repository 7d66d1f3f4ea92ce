//! The log of an attempt while it runs: one writer, any number of readers, bounded memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use helix_model::ids::AttemptId;
use tokio::sync::watch;

use super::SHORT_LOG_BYTES;

/// How much all logs together may hold in memory, in bytes. Those that would make it more go to
/// their files, however short they are.
const MEMORY_BYTES: u64 = 64 << 20;

/// The most that one read gives, in bytes.
const READ_BYTES: usize = 64 << 10;

/// Where the logs of running attempts are kept. Clones share their memory.
#[derive(Debug, Clone)]
pub(crate) struct LogDirectory {
    path: Arc<Path>,
    in_memory: Arc<AtomicU64>,
}

/// The log of a running attempt, for those who read.
#[derive(Debug)]
pub(crate) struct LiveLog {
    place: Mutex<Place>,
    state: watch::Sender<LiveState>,
}

/// How far a live log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LiveState {
    /// Bytes so far.
    pub(crate) length: u64,
    /// Whether there will be no more.
    pub(crate) has_ended: bool,
}

/// Where the bytes are.
#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    File(Arc<File>),
}

/// Writes the log of a running attempt.
#[derive(Debug)]
pub(crate) struct LogWriter {
    live: Arc<LiveLog>,
    directory: LogDirectory,
    path: PathBuf,
    /// The agent's offset up to which everything is here or known to be lost.
    console_offset: u64,
    length: u64,
}

impl LogDirectory {
    /// Keeps logs below a directory, which is made when the first one needs it.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            in_memory: Arc::default(),
        }
    }

    /// Makes the directory, and empties it of what an earlier process left: what still runs is asked
    /// for anew.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.path)?;
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Begins a log.
    pub(crate) fn begin(&self, attempt: &AttemptId) -> LogWriter {
        // Ids have no separators and do not begin with a dot.
        self.begin_at(self.path.join(attempt.as_str()))
    }

    /// Begins a log that is somebody else's to keep. At most one of an attempt at a time, which its
    /// own log may be beside.
    pub(crate) fn begin_mirror(&self, attempt: &AttemptId) -> LogWriter {
        self.begin_at(self.path.join(format!(".{attempt}")))
    }

    fn begin_at(&self, path: PathBuf) -> LogWriter {
        LogWriter {
            live: Arc::new(LiveLog {
                place: Mutex::new(Place::Memory(Vec::new())),
                state: watch::Sender::default(),
            }),
            directory: self.clone(),
            path,
            console_offset: 0,
            length: 0,
        }
    }
}

impl LiveLog {
    /// How far it is, and a sign whenever that changes.
    pub(crate) fn state(&self) -> watch::Receiver<LiveState> {
        self.state.subscribe()
    }

    /// Bytes from an offset that is below the length: some, not all.
    pub(crate) async fn read(&self, offset: u64) -> io::Result<Bytes> {
        let file = match &*self.place() {
            Place::Memory(bytes) => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let end = bytes.len().min(start.saturating_add(READ_BYTES));
                return Ok(Bytes::copy_from_slice(&bytes[start..end]));
            }
            Place::File(file) => Arc::clone(file),
        };
        let most = self.state.borrow().length.saturating_sub(offset);
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(READ_BYTES);
        blocking(move || {
            let mut buffer = vec![0; most];
            let read = file.read_at(&mut buffer, offset)?;
            buffer.truncate(read);
            Ok(buffer.into())
        })
        .await
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogWriter {
    /// For those who read.
    pub(crate) fn live(&self) -> Arc<LiveLog> {
        Arc::clone(&self.live)
    }

    /// Whether anybody else holds the log.
    pub(crate) fn has_readers(&self) -> bool {
        Arc::strong_count(&self.live) > 1
    }

    /// The agent's offset from which on bytes are wanted.
    pub(crate) fn console_offset(&self) -> u64 {
        self.console_offset
    }

    /// Bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Adds console bytes that begin at an offset of the agent. What is here already is passed over;
    /// what is skipped is marked as lost.
    pub(crate) async fn append(&mut self, offset: u64, mut data: Bytes) -> io::Result<()> {
        if offset > self.console_offset {
            self.gap(self.console_offset, offset - self.console_offset)
                .await?;
        }
        let known = self.console_offset.saturating_sub(offset);
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(data.len());
        let data = data.split_off(known);
        if data.is_empty() {
            return Ok(());
        }
        let count = data.len() as u64;
        self.write(data).await?;
        self.console_offset = self.console_offset.saturating_add(count);
        Ok(())
    }

    /// Marks bytes as lost that begin at an offset of the agent.
    pub(crate) async fn gap(&mut self, offset: u64, dropped: u64) -> io::Result<()> {
        let end = offset.saturating_add(dropped);
        if end <= self.console_offset {
            return Ok(());
        }
        let lost = end - self.console_offset;
        let mark = format!("\n[helix: {lost} bytes of output are not kept]\n");
        self.write(mark.into()).await?;
        self.console_offset = end;
        Ok(())
    }

    /// Throws everything away, to begin from the agent's first byte.
    pub(crate) fn restart(&mut self) {
        self.drop_place();
        *self.live.place() = Place::Memory(Vec::new());
        self.length = 0;
        self.console_offset = 0;
        self.live.state.send_modify(|state| state.length = 0);
    }

    /// No more comes. Readers read on to the end.
    pub(crate) fn end(&self) {
        self.live.state.send_modify(|state| state.has_ended = true);
    }

    /// The whole log, where it is short.
    pub(crate) async fn short(&self) -> io::Result<Option<Vec<u8>>> {
        if self.length > SHORT_LOG_BYTES {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < self.length {
            let more = self.live.read(bytes.len() as u64).await?;
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&more);
        }
        Ok(Some(bytes))
    }

    async fn write(&mut self, data: Bytes) -> io::Result<()> {
        let count = data.len() as u64;
        let length = self.length.saturating_add(count);
        if let Some(file) = self.file_for(count)? {
            let offset = self.length;
            blocking(move || file.write_all_at(&data, offset)).await?;
        } else if let Place::Memory(bytes) = &mut *self.live.place() {
            bytes.extend_from_slice(&data);
            self.directory.in_memory.fetch_add(count, Ordering::Relaxed);
        }
        self.length = length;
        metrics::counter!("helix_controller_log_bytes_total").increment(count);
        self.live.state.send_modify(|state| state.length = length);
        Ok(())
    }

    /// The file to write to, made when memory is not enough any more.
    fn file_for(&self, more: u64) -> io::Result<Option<Arc<File>>> {
        let mut place = self.live.place();
        let bytes = match &*place {
            Place::File(file) => return Ok(Some(Arc::clone(file))),
            Place::Memory(bytes) => bytes,
        };
        let total = self.directory.in_memory.load(Ordering::Relaxed);
        if self.length.saturating_add(more) <= SHORT_LOG_BYTES
            && total.saturating_add(more) <= MEMORY_BYTES
        {
            return Ok(None);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        // At most the length of a short log, so that nobody waits for long.
        file.write_all_at(bytes, 0)?;
        let file = Arc::new(file);
        self.directory
            .in_memory
            .fetch_sub(bytes.len() as u64, Ordering::Relaxed);
        *place = Place::File(Arc::clone(&file));
        Ok(Some(file))
    }

    fn drop_place(&self) {
        match &*self.live.place() {
            Place::Memory(bytes) => {
                self.directory
                    .in_memory
                    .fetch_sub(bytes.len() as u64, Ordering::Relaxed);
            }
            Place::File(_) => {
                // Who reads it has it open.
                let _ = std::fs::remove_file(&self.path);
            }
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // Readers hear that nothing more comes from here, ended or not.
        self.end();
        self.drop_place();
    }
}

/// Does something with a file where it may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
