//! Zip: the central directory is walked entry by entry, each entry is inflated and checked.
//!
//! Only the directory at the end of the file counts; what local headers claim is not looked at
//! beyond finding the content.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use ::zip::read::{ArchiveOffset, Config, OwnedZipFileEntry};
use ::zip::result::ZipError;
use ::zip::unstable::read::ZipIterable;
use ::zip::{CompressionMethod, SUPPORTED_COMPRESSION_METHODS, ZipReadOptions};

use crate::directory::MAX_LINK_TARGET;
use crate::error::{ArchiveProblem, EntryKind, Error, Limit, show_bytes};

use super::name::{EntryName, Separators, Shape};
use super::root::Root;
use super::session::{Charged, Output, Session};

/// Length of the record at the very end of a zip, without its comment.
const END_RECORD_BYTES: usize = 22;

/// Longest comment of that record.
const MAX_COMMENT_BYTES: usize = 65_535;

/// Permissions of a file, and of a directory, of which the archive says nothing.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// Unpacks the zip `file`.
pub(super) fn unpack(file: File, root: &mut Root, session: &mut Session<'_>) -> Result<(), Error> {
    let reader = FileAt {
        file: Arc::new(file),
        position: 0,
        length: session.archive_bytes(),
    };
    let mut content_reader = reader.clone();
    // With the offset known nothing is searched for: a search keeps every place that looks right,
    // of which a hostile file can hold as many as it has room for.
    let config = Config {
        archive_offset: ArchiveOffset::Known(0),
    };
    let mut directory = match ZipIterable::try_new(reader.clone(), config) {
        Ok(directory) => directory,
        Err(ZipError::InvalidArchive(_)) if !has_end_record(&reader) => {
            return Err(Error::archive(ArchiveProblem::Truncated));
        }
        Err(error) => return Err(failed(session, None, error)),
    };
    let count = session.options.limits.max_entries;
    if directory.len() as u64 > count {
        return Err(Error::archive(ArchiveProblem::Limit(Limit::Entries {
            count,
        })));
    }
    let entries = directory
        .files()
        .map_err(|error| failed(session, None, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed(session, None, error))?;
        unpack_entry(&entry.into(), &mut content_reader, root, session)?;
    }
    Ok(())
}

/// What an entry is, by its attributes and its name.
enum What {
    File { mode: u32 },
    Directory { mode: u32 },
    Symlink,
    Special(EntryKind),
}

fn unpack_entry(
    entry: &OwnedZipFileEntry,
    content_reader: &mut FileAt,
    root: &mut Root,
    session: &mut Session<'_>,
) -> Result<(), Error> {
    session.begin_entry()?;
    let raw_name = entry
        .name()
        .map(|name| name.as_bytes().to_vec())
        .unwrap_or_else(|_| entry.name_raw().to_vec());
    let max_depth = session.options.limits.max_depth;
    let name = EntryName::parse(&raw_name, Separators::SlashOrBackslash, max_depth)
        .map_err(|problem| Error::entry(&raw_name, problem))?;

    let what = what(entry, &name);
    match what {
        What::Directory { mode } => return root.directory(&name, mode),
        What::Special(kind) => return Err(name.refuse(ArchiveProblem::SpecialFile(kind))),
        What::File { .. } | What::Symlink => {}
    }
    if entry.encrypted() {
        return Err(name.refuse(ArchiveProblem::Encrypted));
    }
    let method = entry.compression();
    if !SUPPORTED_COMPRESSION_METHODS.contains(&method) {
        let feature = method_name(method);
        return Err(name.refuse(ArchiveProblem::Unsupported { feature }));
    }
    session.check_file(&name, entry.size())?;
    // The borrowed form of the entry: dropped half-read, the owned one reads itself to its end.
    let mut content = entry
        .as_ref()
        .with_reader(content_reader, ZipReadOptions::new())
        .map_err(|error| failed(session, Some(&name), error))?;
    let size = match what {
        What::File { mode } => {
            let place = root.place(&name);
            let mut file = root.file(&name, mode)?;
            let mut output = Output {
                file: &mut file,
                place: &place,
                charged: Charged::AsCopied,
            };
            session.copy(&name, &mut content, &mut output)?
        }
        What::Symlink | What::Directory { .. } | What::Special(_) => {
            let mut target = Vec::new();
            Read::take(&mut content, MAX_LINK_TARGET as u64 + 1)
                .read_to_end(&mut target)
                .map_err(|error| session.read_failed(Some(&name), error))?;
            root.symlink(&name, &target)?;
            target.len() as u64
        }
    };
    if size != entry.size() {
        return Err(name.refuse(ArchiveProblem::Truncated));
    }
    Ok(())
}

fn what(entry: &OwnedZipFileEntry, name: &EntryName) -> What {
    // The upper half of the attributes is a Unix mode wherever it is set at all, whatever system
    // the archive says it comes from: Python on Windows writes one as well.
    let mode = entry.external_attributes() >> 16;
    // The kind is often left out, also by those who give permissions.
    let kind = (mode & 0o170_000 != 0).then(|| EntryKind::of_mode(mode));
    let permissions = mode & 0o777;
    let is_directory = name.shape() == Shape::Directory
        || kind == Some(EntryKind::Directory)
        || (kind.is_none() && entry.size() == 0 && entry.external_attributes() & 0x10 != 0);
    if is_directory {
        return What::Directory {
            mode: if mode == 0 {
                DIRECTORY_MODE
            } else {
                permissions
            },
        };
    }
    match kind {
        None | Some(EntryKind::File) => What::File {
            mode: if mode == 0 { FILE_MODE } else { permissions },
        },
        Some(EntryKind::Symlink) => What::Symlink,
        // Attributes of another system can look like a mode without a meaning.
        Some(EntryKind::Unknown) => What::File { mode: FILE_MODE },
        Some(kind) => What::Special(kind),
    }
}

#[expect(
    deprecated,
    reason = "there is no other way to the number of an unknown method"
)]
fn method_name(method: CompressionMethod) -> String {
    match method {
        CompressionMethod::Unsupported(number) => format!("the compression method {number}"),
        known => format!("the compression method `{known}`"),
    }
}

/// What an error of the zip reader means.
fn failed(session: &Session<'_>, name: Option<&EntryName>, error: ZipError) -> Error {
    let problem = match error {
        ZipError::Io(error) => return session.read_failed(name, error),
        ZipError::UnsupportedArchive(feature) => ArchiveProblem::Unsupported {
            feature: feature.to_owned(),
        },
        ZipError::CompressionMethodNotSupported(method) => ArchiveProblem::Unsupported {
            feature: format!("the compression method {method}"),
        },
        ZipError::InvalidPassword => ArchiveProblem::Encrypted,
        ZipError::InvalidArchive(detail) => ArchiveProblem::Corrupt {
            detail: show_bytes(detail.as_bytes()),
        },
        error => ArchiveProblem::Corrupt {
            detail: show_bytes(error.to_string().as_bytes()),
        },
    };
    match name {
        Some(name) => name.refuse(problem),
        None => Error::archive(problem),
    }
}

/// Whether the mark of the record at the end of a zip is anywhere near the end of the file.
fn has_end_record(reader: &FileAt) -> bool {
    let tail_bytes = (END_RECORD_BYTES + MAX_COMMENT_BYTES) as u64;
    let mut tail = Vec::new();
    let mut reader = FileAt {
        position: reader.length.saturating_sub(tail_bytes),
        ..reader.clone()
    };
    reader.read_to_end(&mut tail).is_ok() && tail.windows(4).any(|window| window == b"PK\x05\x06")
}

/// A file read at a place of its own, so that two readers of one file do not disturb each other.
#[derive(Clone, Debug)]
struct FileAt {
    file: Arc<File>,
    position: u64,
    length: u64,
}

impl Read for FileAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for FileAt {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        // The system takes offsets as signed numbers.
        match position.filter(|position| i64::try_from(*position).is_ok()) {
            Some(position) => {
                self.position = position;
                Ok(position)
            }
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}
