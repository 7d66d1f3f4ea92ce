//! A tree is copied into another directory.

use std::collections::HashMap;
use std::fs::{File, FileTimes, Metadata, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use tokio_util::sync::CancellationToken;

use crate::directory::{Directory, is_errno, join};
use crate::error::{ArchiveProblem, EntryKind, Error, Limit};

use super::{Placed, TreeLimits};

/// Bytes copied between two looks at the cancellation; large, so that the kernel can share blocks.
const BLOCK_BYTES: u64 = 64 << 20;

/// Copies what is in `from` into `to`.
pub(super) fn place(
    from: &Path,
    to: &Path,
    limits: TreeLimits,
    cancellation: &CancellationToken,
) -> Result<Placed, Error> {
    let source = Directory::open(from).map_err(|error| Error::io("open", from, error))?;
    let target = Directory::open_or_create(to).map_err(|error| Error::io("create", to, error))?;
    let same = |first: &Metadata, second: &Metadata| {
        (first.dev(), first.ino()) == (second.dev(), second.ino())
    };
    let identity = |directory: &Directory, path| {
        directory
            .metadata()
            .map_err(|error| Error::io("look at", path, error))
    };
    let target_identity = identity(&target, to)?;
    if same(&identity(&source, from)?, &target_identity) {
        return Err(Error::io(
            "copy into itself",
            to,
            io::ErrorKind::InvalidInput.into(),
        ));
    }
    let root = target
        .try_clone()
        .map_err(|error| Error::io("open", to, error))?;
    let mut placing = Placing {
        from,
        to,
        limits,
        cancellation,
        placed: Placed::default(),
        root,
        several_names: HashMap::new(),
    };
    let mut open = vec![placing.level(source, target, PathBuf::new(), None)?];
    while let Some(mut level) = open.pop() {
        let Some(name) = level.names.pop() else {
            placing.finish(level)?;
            continue;
        };
        let below = placing.entry(&level, &name, open.len() + 1)?;
        open.push(level);
        if let Some((source, metadata, target)) = below {
            // Found again by its identity when the target lies somewhere below the source.
            if same(&metadata, &target_identity) {
                let place = placing.path_of(&open, &name);
                return Err(Error::io(
                    "copy into itself",
                    place,
                    io::ErrorKind::InvalidInput.into(),
                ));
            }
            let path = open
                .last()
                .map(|level| join(&level.path, &name))
                .unwrap_or_default();
            open.push(placing.level(source, target, path, Some(metadata))?);
        }
    }
    Ok(placing.placed)
}

struct Placing<'a> {
    from: &'a Path,
    to: &'a Path,
    limits: TreeLimits,
    cancellation: &'a CancellationToken,
    placed: Placed,
    /// The target's top.
    root: Directory,
    /// Where the first name of each file with several names went, by device and inode.
    several_names: HashMap<(u64, u64), Vec<Vec<u8>>>,
}

/// A directory being copied, with what of it is still to come.
struct Level {
    source: Directory,
    target: Directory,
    /// Where it is, from the top.
    path: PathBuf,
    names: Vec<Vec<u8>>,
    /// What its copy gets once it is full; `None` at the top, which belongs to the caller.
    metadata: Option<Metadata>,
}

/// A directory found in a source, what is known of it, and its copy.
type Below = (Directory, Metadata, Directory);

impl Placing<'_> {
    fn level(
        &mut self,
        source: Directory,
        target: Directory,
        path: PathBuf,
        metadata: Option<Metadata>,
    ) -> Result<Level, Error> {
        let failed = |error| Error::io("list", self.from.join(&path), error);
        let mut names = Vec::new();
        for listed in source.list().map_err(failed)? {
            names.push(listed.map_err(failed)?.name);
            // Counted here, so that no list grows beyond the limit.
            self.placed.entries += 1;
            let count = self.limits.max_entries;
            if self.placed.entries > count {
                return Err(refuse(
                    &path,
                    ArchiveProblem::Limit(Limit::Entries { count }),
                ));
            }
        }
        Ok(Level {
            source,
            target,
            path,
            names,
            metadata,
        })
    }

    fn path_of(&self, open: &[Level], name: &[u8]) -> PathBuf {
        join(
            &self.from.join(
                open.last()
                    .map(|level| level.path.clone())
                    .unwrap_or_default(),
            ),
            name,
        )
    }

    /// Copies one entry; a directory is made and returned, to be gone into.
    fn entry(&mut self, level: &Level, name: &[u8], depth: usize) -> Result<Option<Below>, Error> {
        if self.cancellation.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let place = join(&level.path, name);
        let from = self.from.join(&place);
        let to = self.to.join(&place);
        let kind = level
            .source
            .kind(name)
            .map_err(|error| Error::io("look at", &from, error))?;
        match kind {
            Some(EntryKind::File) => self.file(level, name, &place).map(|()| None),
            Some(EntryKind::Symlink) => {
                let link = level
                    .source
                    .read_link(name)
                    .map_err(|error| Error::io("read the link", &from, error))?;
                replace(&level.target, name, |target| target.symlink(&link, name))
                    .map_err(|error| Error::io("create the link", &to, error))?;
                Ok(None)
            }
            Some(EntryKind::Directory) => {
                let levels = self.limits.max_depth;
                if depth > levels {
                    return Err(refuse(
                        &place,
                        ArchiveProblem::Limit(Limit::Depth { levels }),
                    ));
                }
                let source = level
                    .source
                    .enter(name)
                    .map_err(|error| Error::io("open", &from, error))?;
                let metadata = source
                    .metadata()
                    .map_err(|error| Error::io("look at", &from, error))?;
                let target = make_directory(&level.target, name)
                    .map_err(|error| Error::io("create", &to, error))?;
                Ok(Some((source, metadata, target)))
            }
            Some(special) => Err(refuse(&place, ArchiveProblem::SpecialFile(special))),
            // It was there a moment ago.
            None => Err(Error::io("look at", &from, io::ErrorKind::NotFound.into())),
        }
    }

    fn file(&mut self, level: &Level, name: &[u8], place: &Path) -> Result<(), Error> {
        let to = self.to.join(place);
        let read_failed = |error| Error::io("read", self.from.join(place), error);
        let source = level.source.open_file(name).map_err(read_failed)?;
        let metadata = source.metadata().map_err(read_failed)?;
        let identity = (metadata.dev(), metadata.ino());
        if let Some(first) = self.several_names.get(&identity) {
            return self
                .hard_link(first, level, name)
                .map_err(|error| Error::io("create the hard link", &to, error));
        }

        self.placed.bytes = self.placed.bytes.saturating_add(metadata.len());
        let bytes = self.limits.max_total_bytes;
        if self.placed.bytes > bytes {
            return Err(refuse(
                place,
                ArchiveProblem::Limit(Limit::TotalBytes { bytes }),
            ));
        }
        let write_failed = |error| Error::io("copy to", &to, error);
        let target = replace(&level.target, name, |target| target.create_file(name))
            .map_err(write_failed)?;
        self.content(&source, &metadata, &target, &to)?;
        let mode = metadata.mode() & 0o777;
        target
            .set_permissions(Permissions::from_mode(mode))
            .map_err(write_failed)?;
        let modified = metadata.modified().map_err(write_failed)?;
        target
            .set_times(FileTimes::new().set_modified(modified))
            .map_err(write_failed)?;

        if metadata.nlink() > 1 {
            let components = place
                .iter()
                .map(|component| component.as_encoded_bytes().to_vec())
                .collect();
            self.several_names.insert(identity, components);
        }
        Ok(())
    }

    fn content(
        &self,
        source: &File,
        metadata: &Metadata,
        target: &File,
        to: &Path,
    ) -> Result<(), Error> {
        let failed = |error| Error::io("copy to", to, error);
        let length = metadata.len();
        // `st_blocks` counts 512 bytes each, whatever the file system's own blocks are.
        if metadata.blocks().saturating_mul(512) >= length {
            self.range(source, target, length, to)?;
        } else {
            let mut end = 0;
            while let Some((start, stop)) = next_data(source, end, length).map_err(failed)? {
                for mut file in [source, target] {
                    file.seek(SeekFrom::Start(start)).map_err(failed)?;
                }
                self.range(source, target, stop - start, to)?;
                end = stop;
            }
        }
        // A file that shrank meanwhile is padded as its length promised, and one that grew is cut.
        target.set_len(length).map_err(failed)
    }

    /// Copies `length` bytes from where each file stands.
    fn range(&self, source: &File, target: &File, length: u64, to: &Path) -> Result<(), Error> {
        let mut left = length;
        while left > 0 {
            if self.cancellation.is_cancelled() {
                return Err(Error::Cancelled);
            }
            // Between two files the standard library lets the kernel copy, or share the blocks.
            let mut block = source.take(left.min(BLOCK_BYTES));
            let mut target = target;
            let copied = io::copy(&mut block, &mut target)
                .map_err(|error| Error::io("copy to", to, error))?;
            if copied == 0 {
                break;
            }
            left -= copied;
        }
        Ok(())
    }

    fn hard_link(&self, first: &[Vec<u8>], level: &Level, name: &[u8]) -> io::Result<()> {
        let Some((leaf, parents)) = first.split_last() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut directory = self.root.try_clone()?;
        for parent in parents {
            directory = directory.enter(parent)?;
        }
        replace(&level.target, name, |target| {
            directory.hard_link(leaf, target, name)
        })
    }

    /// Gives a directory its mode, once nothing more is made in it.
    fn finish(&self, level: Level) -> Result<(), Error> {
        let Some(metadata) = level.metadata else {
            return Ok(());
        };
        level
            .target
            .set_mode(metadata.mode() & 0o777)
            .map_err(|error| Error::io("set the mode of", self.to.join(&level.path), error))
    }
}

/// Calls `create`, once more after removing a file or link that is in its place.
fn replace<T>(
    target: &Directory,
    name: &[u8],
    create: impl Fn(&Directory) -> io::Result<T>,
) -> io::Result<T> {
    match create(target) {
        Err(error) if is_errno(&error, Errno::EEXIST) => {
            target.unlink(name)?;
            create(target)
        }
        done => done,
    }
}

fn make_directory(parent: &Directory, name: &[u8]) -> io::Result<Directory> {
    match parent.make(name) {
        Err(error) if is_errno(&error, Errno::EEXIST) => {
            let directory = parent.enter(name)?;
            directory.set_mode(0o700)?;
            Ok(directory)
        }
        made => {
            made?;
            parent.enter(name)
        }
    }
}

/// The next stretch of `file` at or behind `from` that is no hole.
fn next_data(file: &File, from: u64, length: u64) -> io::Result<Option<(u64, u64)>> {
    use nix::unistd::{Whence, lseek};
    let offset = |place: u64| i64::try_from(place).map_err(|_| io::Error::from(Errno::EOVERFLOW));
    let place = |offset: i64| u64::try_from(offset).map_err(|_| io::Error::from(Errno::EOVERFLOW));
    if from >= length {
        return Ok(None);
    }
    let start = match lseek(file, offset(from)?, Whence::SeekData) {
        Ok(start) => place(start)?,
        // Nothing but a hole up to the end.
        Err(Errno::ENXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::EINVAL) => return Ok(Some((from, length))),
        Err(errno) => return Err(errno.into()),
    };
    let stop = place(lseek(file, offset(start)?, Whence::SeekHole)?)?.min(length);
    Ok((start < stop).then_some((start, stop)))
}

fn refuse(place: &Path, problem: ArchiveProblem) -> Error {
    Error::Tree {
        path: place.to_path_buf(),
        problem,
    }
}
