//! One unpacking under way: its limits, its count, its cancellation, and the copying of content.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::error::{ArchiveProblem, Error, Limit, show_bytes};
use crate::progress::Progress;

use super::name::EntryName;
use super::options::UnpackOptions;

/// Padding that does not count: a tar is filled up to a whole number of records, some of 1 MiB.
const FREE_PADDING_BYTES: u64 = 1 << 20;

/// Bytes copied between two looks at the cancellation.
const BLOCK_BYTES: usize = 256 << 10;

/// Bytes between two reports of progress.
const REPORT_BYTES: u64 = 4 << 20;

/// Entries between two reports of progress.
const REPORT_ENTRIES: u64 = 256;

/// One unpacking under way.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub(super) options: &'a UnpackOptions,
    archive: &'a Path,
    archive_bytes: u64,
    cancellation: &'a CancellationToken,
    entries: u64,
    bytes: u64,
    padding: u64,
    buffer: Vec<u8>,
    reported_bytes: u64,
    reported_entries: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        options: &'a UnpackOptions,
        archive: &'a Path,
        archive_bytes: u64,
        cancellation: &'a CancellationToken,
    ) -> Self {
        Self {
            options,
            archive,
            archive_bytes,
            cancellation,
            entries: 0,
            bytes: 0,
            padding: 0,
            buffer: vec![0; BLOCK_BYTES],
            reported_bytes: 0,
            reported_entries: 0,
        }
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn archive_bytes(&self) -> u64 {
        self.archive_bytes
    }

    /// Counts one more entry.
    pub(super) fn begin_entry(&mut self) -> Result<(), Error> {
        self.check_cancelled()?;
        let count = self.options.limits.max_entries;
        if self.entries >= count {
            return Err(Error::archive(ArchiveProblem::Limit(Limit::Entries {
                count,
            })));
        }
        self.entries += 1;
        self.report();
        Ok(())
    }

    /// Fails if a file of `file_bytes` is more than one file may be.
    pub(super) fn check_file(&self, name: &EntryName, file_bytes: u64) -> Result<(), Error> {
        let bytes = self.options.limits.max_file_bytes;
        if file_bytes > bytes {
            return Err(name.refuse(ArchiveProblem::Limit(Limit::FileBytes { bytes })));
        }
        Ok(())
    }

    /// Counts `bytes` more of content, which need not have been written yet.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), Limit> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.check_total()
    }

    /// Counts `bytes` that were decompressed for nothing, such as padding.
    pub(super) fn charge_padding(&mut self, bytes: u64) -> Result<(), Limit> {
        self.padding = self.padding.saturating_add(bytes);
        self.check_total()
    }

    fn check_total(&self) -> Result<(), Limit> {
        let limits = &self.options.limits;
        let total = self
            .bytes
            .saturating_add(self.padding.saturating_sub(FREE_PADDING_BYTES));
        if total > limits.max_total_bytes {
            return Err(Limit::TotalBytes {
                bytes: limits.max_total_bytes,
            });
        }
        let allowed = self
            .archive_bytes
            .saturating_mul(u64::from(limits.max_ratio));
        if total > limits.ratio_free_bytes && total > allowed {
            return Err(Limit::Ratio {
                times: limits.max_ratio,
            });
        }
        Ok(())
    }

    /// Copies `from` to its end into `to`, counting as it goes, and returns the bytes copied.
    pub(super) fn copy(
        &mut self,
        name: &EntryName,
        from: &mut dyn Read,
        to: &mut Output<'_>,
    ) -> Result<u64, Error> {
        let mut copied = 0_u64;
        loop {
            self.check_cancelled()?;
            let length = match from.read(&mut self.buffer) {
                Ok(0) => return Ok(copied),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.read_failed(Some(name), error)),
            };
            copied += length as u64;
            if to.charged == Charged::AsCopied {
                self.check_file(name, copied)?;
                self.charge(length as u64)
                    .map_err(|limit| name.refuse(ArchiveProblem::Limit(limit)))?;
            }
            to.file
                .write_all(&self.buffer[..length])
                .map_err(|error| Error::io("write", to.place, error))?;
            self.report();
        }
    }

    /// Fails if the caller asked to stop.
    pub(super) fn check_cancelled(&self) -> Result<(), Error> {
        if self.cancellation.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    /// What an error in reading the archive means.
    ///
    /// Decoders report broken content as I/O errors of their own; those of the system carry its
    /// error number.
    pub(super) fn read_failed(&self, name: Option<&EntryName>, error: io::Error) -> Error {
        if error.raw_os_error().is_some() {
            return Error::io("read", self.archive, error);
        }
        let problem = match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveProblem::Truncated,
            _ => ArchiveProblem::Corrupt {
                detail: show_bytes(error.to_string().as_bytes()),
            },
        };
        match name {
            Some(name) => name.refuse(problem),
            None => Error::archive(problem),
        }
    }

    fn report(&mut self) {
        let Some(progress) = &self.options.progress else {
            return;
        };
        let due = self.bytes.saturating_sub(self.reported_bytes) >= REPORT_BYTES
            || self.entries.saturating_sub(self.reported_entries) >= REPORT_ENTRIES;
        if due || self.reported_entries == 0 {
            self.reported_bytes = self.bytes;
            self.reported_entries = self.entries;
            progress.send_replace(Progress::Unpacking {
                entries: self.entries,
                bytes: self.bytes,
            });
        }
    }
}

/// A file being written, and how its content is counted.
#[derive(Debug)]
pub(super) struct Output<'a> {
    pub(super) file: &'a mut File,
    pub(super) place: &'a Path,
    pub(super) charged: Charged,
}

/// When the content of a file is counted against the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charged {
    /// Byte by byte, as it comes.
    AsCopied,
    /// It was, before the first byte.
    Before,
}

/// Reads from `from` until `buffer` is full or the end, and returns how much that was.
pub(super) fn read_full(from: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
