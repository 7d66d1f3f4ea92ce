//! What the cache holds, who holds it, and what goes when room is needed.
//!
//! One lock guards the whole state; it is never held over more than a rename or a look at the file
//! system's free space, and never over a wait.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use nix::sys::statvfs::statvfs;

use crate::digest::Sha256;
use crate::error::Error;
use crate::http::Client;

use super::flight::Flight;
use super::layout::{AnswerKey, Found, Key, KnownAnswer, Layout};
use super::options::{CacheOptions, CacheUsage};

/// Answers that are remembered; each is a small file, and every job brings new ones.
const MAX_ANSWERS: usize = 4096;

/// The cache, shared by everything that works for it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) options: CacheOptions,
    pub(super) client: Client,
    state: Mutex<State>,
    /// Locked as long as the cache is open.
    _lock: fs::File,
}

#[derive(Debug, Default)]
pub(super) struct State {
    archives: HashMap<Sha256, Archive>,
    partials: HashMap<Key, PartialEntry>,
    answers: HashMap<AnswerKey, (Tick, KnownAnswer)>,
    pub(super) flights: HashMap<Key, Arc<Flight>>,
    clock: Tick,
    discarded: u64,
}

/// A moment, by the order of events.
type Tick = u64;

#[derive(Debug)]
struct Archive {
    bytes: u64,
    holders: usize,
    used: Tick,
    trust: Trust,
}

/// Whether an archive is what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// This process hashed it.
    Verified,
    /// An earlier process left it; it is hashed once before it is handed out.
    Adopted,
}

/// A half archive.
#[derive(Debug)]
struct PartialEntry {
    /// Bytes set aside for it; at least what is on disk.
    reserved: u64,
    /// Bytes on disk.
    written: u64,
    used: Tick,
    activity: Activity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// A download is at it.
    Busy,
    /// It waits to be continued.
    Idle,
}

/// What is wanted of eviction.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// This much more fits.
    Room { needed: u64 },
    /// At most this much is kept.
    Shrink { target: u64 },
}

impl Shared {
    pub(super) fn new(
        layout: Layout,
        options: CacheOptions,
        client: Client,
        lock: fs::File,
        found: Found,
    ) -> Self {
        let mut state = State::default();
        for (sha256, bytes) in found.archives {
            let used = state.tick();
            let archive = Archive {
                bytes,
                holders: 0,
                used,
                trust: Trust::Adopted,
            };
            state.archives.insert(sha256, archive);
        }
        for (key, bytes) in found.partials {
            let used = state.tick();
            let activity = Activity::Idle;
            let entry = PartialEntry {
                reserved: bytes,
                written: bytes,
                used,
                activity,
            };
            state.partials.insert(key, entry);
        }
        for (key, answer) in found.answers {
            let used = state.tick();
            state.answers.insert(key, (used, answer));
        }
        Self {
            layout,
            options,
            client,
            state: Mutex::new(state),
            _lock: lock,
        }
    }

    /// The state. A panic elsewhere leaves it usable: no step leaves it half changed.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn usage(&self) -> CacheUsage {
        let state = self.lock();
        CacheUsage {
            archives: state.archives.len(),
            archive_bytes: state.archive_bytes(),
            held_bytes: state.held_bytes(),
            partial_bytes: state.partials.values().map(|partial| partial.written).sum(),
            max_bytes: self.options.limits.max_bytes,
        }
    }

    /// Sets room for `bytes` in all aside for the half archive of `key`, dropping what nobody holds.
    pub(super) fn reserve(&self, key: &Key, bytes: u64) -> Result<(), Error> {
        let mut trash = Vec::new();
        let result = self.reserve_locked(key, bytes, &mut trash);
        empty(&trash);
        result
    }

    fn reserve_locked(&self, key: &Key, bytes: u64, trash: &mut Vec<PathBuf>) -> Result<(), Error> {
        let limits = &self.options.limits;
        let mut state = self.lock();
        let reserved = state
            .partials
            .get(key)
            .map_or(0, |partial| partial.reserved);
        let needed = bytes.saturating_sub(reserved);
        if needed == 0 {
            return Ok(());
        }
        // Nothing is dropped for what would not fit all the same.
        let in_use_bytes = state.in_use();
        if in_use_bytes.saturating_add(needed) > limits.max_bytes {
            let limit_bytes = limits.max_bytes;
            return Err(Error::CacheFull {
                needed_bytes: needed,
                in_use_bytes,
                limit_bytes,
            });
        }
        self.evict(&mut state, Goal::Room { needed }, trash);
        // What others have been promised and not yet written is as good as gone.
        let promised: u64 = state
            .partials
            .values()
            .map(|partial| partial.reserved.saturating_sub(partial.written))
            .sum();
        let wanted = limits
            .min_free_bytes
            .saturating_add(promised)
            .saturating_add(needed);
        let free = self.free_bytes()?;
        let freed: u64 = trash.iter().map(|path| bytes_of(path)).sum();
        let missing = wanted.saturating_sub(free.saturating_add(freed));
        let droppable = state.total().saturating_sub(in_use_bytes);
        if missing > droppable {
            return Err(Error::LowSpace {
                path: self.layout.root().to_path_buf(),
                free_bytes: free.saturating_add(freed),
                needed_bytes: wanted,
            });
        }
        if missing > 0 {
            let target = state.total().saturating_sub(missing);
            self.evict(&mut state, Goal::Shrink { target }, trash);
        }
        if let Some(partial) = state.partials.get_mut(key) {
            partial.reserved = bytes;
        }
        Ok(())
    }

    /// Drops what nobody holds until at most `target` bytes are kept; returns the bytes freed.
    pub(super) fn shrink(&self, target: u64) -> u64 {
        let mut trash = Vec::new();
        let freed = self.evict(&mut self.lock(), Goal::Shrink { target }, &mut trash);
        empty(&trash);
        freed
    }

    /// Moves what nobody holds to the trash, least recently used first, until `goal` is reached.
    ///
    /// The names are free for new files at once; the files themselves are deleted by the caller,
    /// without the lock, since that can take its time.
    fn evict(&self, state: &mut State, goal: Goal, trash: &mut Vec<PathBuf>) -> u64 {
        let limit = match goal {
            Goal::Room { needed } => self.options.limits.max_bytes.saturating_sub(needed),
            Goal::Shrink { target } => target,
        };
        let mut freed = 0;
        while state.total() > limit {
            let Some(victim) = state.least_recently_used() else {
                break;
            };
            let (path, bytes) = match victim {
                Victim::Archive(sha256) => {
                    let bytes = state
                        .archives
                        .remove(&sha256)
                        .map_or(0, |archive| archive.bytes);
                    (self.layout.archive(&sha256), bytes)
                }
                Victim::Partial(key) => {
                    let bytes = state
                        .partials
                        .remove(&key)
                        .map_or(0, |partial| partial.written);
                    // Without its note the half is worth nothing, should the rename fail.
                    discard(&self.layout.note(&key));
                    (self.layout.partial(&key), bytes)
                }
            };
            state.discarded += 1;
            let discarded = self.layout.trash().join(state.discarded.to_string());
            match fs::rename(&path, &discarded) {
                Ok(()) => {
                    freed += bytes;
                    trash.push(discarded);
                    tracing::debug!(path = %path.display(), bytes, "dropped from the payload cache");
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot drop from the payload cache");
                }
            }
        }
        self.forget_answers(state);
        freed
    }

    /// Forgets answers whose archive is gone, and the oldest when there are too many.
    fn forget_answers(&self, state: &mut State) {
        let State {
            answers, archives, ..
        } = state;
        let mut kept: Vec<Tick> = answers
            .values()
            .filter(|(_, answer)| archives.contains_key(&answer.sha256))
            .map(|(used, _)| *used)
            .collect();
        kept.sort_unstable();
        let oldest = kept
            .len()
            .checked_sub(MAX_ANSWERS)
            .map_or(0, |excess| kept.get(excess).copied().unwrap_or_default());
        answers.retain(|key, (used, answer)| {
            let keep = *used >= oldest && archives.contains_key(&answer.sha256);
            if !keep {
                discard(&self.layout.answer(key));
            }
            keep
        });
    }

    pub(super) fn remember(&self, key: AnswerKey, answer: KnownAnswer) -> Result<(), Error> {
        self.layout.write_answer(&key, &answer)?;
        let mut state = self.lock();
        let used = state.tick();
        state.answers.insert(key, (used, answer));
        if state.answers.len() > MAX_ANSWERS {
            self.forget_answers(&mut state);
        }
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        let root = self.layout.root();
        let status = statvfs(root)
            .map_err(|errno| Error::io("look at the free space of", root, errno.into()))?;
        // The types differ between systems.
        #[allow(clippy::useless_conversion, reason = "a narrower type on some systems")]
        let blocks = u64::from(status.blocks_available());
        #[allow(clippy::useless_conversion, reason = "a narrower type on some systems")]
        let block_bytes = u64::from(status.fragment_size());
        Ok(blocks.saturating_mul(block_bytes))
    }
}

enum Victim {
    Archive(Sha256),
    Partial(Key),
}

impl State {
    fn tick(&mut self) -> Tick {
        self.clock += 1;
        self.clock
    }

    fn archive_bytes(&self) -> u64 {
        self.archives.values().map(|archive| archive.bytes).sum()
    }

    fn held_bytes(&self) -> u64 {
        self.archives
            .values()
            .filter(|archive| archive.holders > 0)
            .map(|archive| archive.bytes)
            .sum()
    }

    fn total(&self) -> u64 {
        let partial_bytes: u64 = self.partials.values().map(|partial| partial.reserved).sum();
        self.archive_bytes().saturating_add(partial_bytes)
    }

    /// What cannot be dropped.
    fn in_use(&self) -> u64 {
        let busy_bytes: u64 = self
            .partials
            .values()
            .filter(|partial| partial.activity == Activity::Busy)
            .map(|partial| partial.reserved)
            .sum();
        self.held_bytes().saturating_add(busy_bytes)
    }

    fn least_recently_used(&self) -> Option<Victim> {
        let archives = self
            .archives
            .iter()
            .filter(|(_, archive)| archive.holders == 0)
            .map(|(sha256, archive)| (archive.used, Victim::Archive(*sha256)));
        let partials = self
            .partials
            .iter()
            .filter(|(_, partial)| partial.activity == Activity::Idle)
            .map(|(key, partial)| (partial.used, Victim::Partial(*key)));
        archives
            .chain(partials)
            .min_by_key(|(used, _)| *used)
            .map(|(_, victim)| victim)
    }

    /// Counts one more holder of an archive; `None` if it is not here.
    pub(super) fn hold(&mut self, sha256: &Sha256) -> Option<(u64, Trust)> {
        let used = self.tick();
        let archive = self.archives.get_mut(sha256)?;
        archive.holders += 1;
        archive.used = used;
        Some((archive.bytes, archive.trust))
    }

    /// Counts one holder less.
    pub(super) fn release(&mut self, sha256: &Sha256) {
        let used = self.tick();
        if let Some(archive) = self.archives.get_mut(sha256) {
            archive.holders = archive.holders.saturating_sub(1);
            archive.used = used;
        }
    }

    /// This process has hashed the archive and found it right.
    pub(super) fn verified(&mut self, sha256: &Sha256) {
        if let Some(archive) = self.archives.get_mut(sha256) {
            archive.trust = Trust::Verified;
        }
    }

    /// Forgets an archive of an earlier process that turned out to be damaged or gone; returns
    /// whether it was still that one.
    pub(super) fn lose_adopted(&mut self, sha256: &Sha256) -> bool {
        let adopted = self
            .archives
            .get(sha256)
            .is_some_and(|archive| archive.trust == Trust::Adopted);
        if adopted {
            self.archives.remove(sha256);
        }
        adopted
    }

    /// A half archive has become a whole one, which is held once.
    pub(super) fn complete(&mut self, key: &Key, sha256: Sha256, bytes: u64) {
        self.partials.remove(key);
        let used = self.tick();
        let archive = self.archives.entry(sha256).or_insert(Archive {
            bytes,
            holders: 0,
            used,
            trust: Trust::Verified,
        });
        archive.holders += 1;
        archive.used = used;
        archive.trust = Trust::Verified;
    }

    /// A download begins, or goes on, with `bytes` of the half archive here.
    pub(super) fn partial_busy(&mut self, key: Key, bytes: u64) {
        let used = self.tick();
        let entry = PartialEntry {
            reserved: bytes,
            written: bytes,
            used,
            activity: Activity::Busy,
        };
        self.partials.insert(key, entry);
    }

    /// So many bytes of the half archive are on disk.
    pub(super) fn partial_written(&mut self, key: &Key, bytes: u64) {
        if let Some(partial) = self.partials.get_mut(key) {
            partial.written = bytes;
            partial.reserved = partial.reserved.max(bytes);
        }
    }

    /// The download has stopped, and the half archive waits to be continued.
    pub(super) fn partial_idle(&mut self, key: &Key, bytes: u64) {
        let used = self.tick();
        if let Some(partial) = self.partials.get_mut(key) {
            let activity = Activity::Idle;
            *partial = PartialEntry {
                reserved: bytes,
                written: bytes,
                used,
                activity,
            };
        }
    }

    /// The half archive is gone.
    pub(super) fn partial_gone(&mut self, key: &Key) {
        self.partials.remove(key);
    }

    /// What the source of `key` gave the last time.
    pub(super) fn answer(&mut self, key: &AnswerKey) -> Option<KnownAnswer> {
        let tick = self.tick();
        let (used, answer) = self.answers.get_mut(key)?;
        *used = tick;
        Some(answer.clone())
    }
}

/// Marks the file of an archive as used now, for the next process.
pub(super) fn touch(path: &std::path::Path) {
    let touched = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(path = %path.display(), %error, "cannot note the use of an archive");
    }
}

fn bytes_of(path: &std::path::Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn empty(trash: &[PathBuf]) {
    trash.iter().for_each(|path| discard(path));
}

/// Deletes a file that nothing refers to any more; what is left is found by the next scan.
pub(super) fn discard(path: &std::path::Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot delete from the payload cache");
    }
}
