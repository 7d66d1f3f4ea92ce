//! A half archive: bytes appended and hashed as they come, until it is a whole one.
//!
//! All of it blocks on the disk.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::{Hasher, Sha256};
use crate::error::{Error, is_disk_full};

use super::layout::{Key, Note};
use super::lease::Hold;
use super::state::{Shared, discard};

/// Room is set aside in steps of this many bytes where the size is not known beforehand.
const RESERVE_BYTES: u64 = 16 << 20;

/// Bytes read at once when what is here already is hashed.
const READ_BYTES: usize = 1 << 20;

/// A half archive that one download is at. Dropped, it is kept to be continued, if it can be.
#[derive(Debug)]
pub(super) struct Partial {
    shared: Arc<Shared>,
    key: Key,
    path: PathBuf,
    file: File,
    bytes: u64,
    reserved: u64,
    hasher: Hasher,
    fate: Fate,
}

/// What becomes of a half archive when it is dropped.
#[derive(Debug)]
enum Fate {
    /// It is of no use to anybody.
    Discard,
    /// It waits to be continued; the note is on disk.
    Keep(Note),
    /// It has another name by now.
    Moved,
}

impl Partial {
    /// Opens the half archive of `key`, with what an earlier download left of it.
    pub(super) fn open(shared: &Arc<Shared>, key: Key) -> Result<Self, Error> {
        let path = shared.layout.partial(&key);
        let failed = |error| Error::io("open", &path, error);
        // Marked busy before it is looked at, so that it does not go meanwhile.
        shared.lock().partial_busy(key, 0);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                shared.lock().partial_gone(&key);
                return Err(failed(error));
            }
        };
        let mut partial = Self {
            shared: shared.clone(),
            key,
            path: path.clone(),
            file,
            bytes: 0,
            reserved: 0,
            hasher: Hasher::default(),
            fate: Fate::Discard,
        };
        match shared.layout.read_note(&key) {
            Some(note) => partial.take_over(note)?,
            None => partial.restart()?,
        }
        Ok(partial)
    }

    /// Bytes here so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the server said of the content so far, if there is any.
    pub(super) fn note(&self) -> Option<&Note> {
        match &self.fate {
            Fate::Keep(note) if self.bytes > 0 => Some(note),
            Fate::Keep(_) | Fate::Discard | Fate::Moved => None,
        }
    }

    /// Throws away what is here.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        self.fate = Fate::Discard;
        discard(&self.shared.layout.note(&self.key));
        self.file
            .set_len(0)
            .map_err(|error| Error::io("empty", &self.path, error))?;
        self.bytes = 0;
        self.hasher = Hasher::default();
        self.shared.lock().partial_written(&self.key, 0);
        Ok(())
    }

    /// Begins anew with content that can be continued with the help of `note`.
    pub(super) fn begun(mut self, note: Note) -> Result<Self, Error> {
        self.restart()?;
        self.shared.layout.write_note(&self.key, &note)?;
        self.fate = Fate::Keep(note);
        Ok(self)
    }

    /// Sets room aside for `total` bytes in all.
    pub(super) fn expect(&mut self, total: u64) -> Result<(), Error> {
        if total > self.reserved {
            self.shared.reserve(&self.key, total)?;
            self.reserved = total;
        }
        Ok(())
    }

    /// Appends `content`.
    pub(super) fn append(&mut self, content: &[u8]) -> Result<(), Error> {
        let end = self.bytes + content.len() as u64;
        if end > self.reserved {
            self.expect(end.next_multiple_of(RESERVE_BYTES))
                // Near the limit a whole step may be too much where the content is not.
                .or_else(|_| self.expect(end))?;
        }
        let written = match self.file.write_all_at(content, self.bytes) {
            // The limits are those of the cache alone; others fill the disk as well.
            Err(error) if is_disk_full(&error) && self.shared.shrink(0) > 0 => {
                self.file.write_all_at(content, self.bytes)
            }
            written => written,
        };
        written.map_err(|error| Error::io("write", &self.path, error))?;
        self.hasher.update(content);
        self.bytes = end;
        self.shared.lock().partial_written(&self.key, end);
        Ok(())
    }

    /// The SHA-256 of what is here.
    pub(super) fn sha256(&self) -> Sha256 {
        self.hasher.clone().finish()
    }

    /// Makes it a whole archive, held once.
    pub(super) fn complete(mut self) -> Result<Hold, Error> {
        let sha256 = self.sha256();
        let archive = self.shared.layout.archive(&sha256);
        let failed = |error| Error::io("keep", &archive, error);
        // On disk before it has its name: after a crash, a name must not promise too much.
        self.file
            .set_permissions(Permissions::from_mode(0o400))
            .map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        {
            let mut state = self.shared.lock();
            fs::rename(&self.path, &archive).map_err(failed)?;
            state.complete(&self.key, sha256, self.bytes);
        }
        self.fate = Fate::Moved;
        let hold = Hold::counted(&self.shared, sha256, self.bytes);
        discard(&self.shared.layout.note(&self.key));
        File::open(self.shared.layout.archives())
            .and_then(|directory| directory.sync_all())
            .map_err(failed)?;
        Ok(hold)
    }

    /// Throws it away.
    pub(super) fn discard(mut self) {
        self.fate = Fate::Discard;
    }

    /// Hashes what an earlier download left.
    fn take_over(&mut self, note: Note) -> Result<(), Error> {
        let failed = |error| Error::io("read", &self.path, error);
        let length = self.file.metadata().map_err(failed)?.len();
        let mut buffer = vec![0; READ_BYTES];
        while self.bytes < length {
            let read = self.file.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                break;
            }
            self.hasher.update(&buffer[..read]);
            self.bytes += read as u64;
        }
        self.fate = Fate::Keep(note);
        self.reserved = self.bytes;
        self.shared.lock().partial_written(&self.key, self.bytes);
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        match &self.fate {
            Fate::Moved => {}
            Fate::Keep(note) if self.bytes > 0 && note.validators.allow_range() => {
                self.shared.lock().partial_idle(&self.key, self.bytes);
            }
            Fate::Keep(_) | Fate::Discard => {
                // The name first: once it is not busy any more, another download may take it.
                discard(&self.path);
                discard(&self.shared.layout.note(&self.key));
                self.shared.lock().partial_gone(&self.key);
            }
        }
    }
}
