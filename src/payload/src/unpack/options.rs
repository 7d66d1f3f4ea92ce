//! How archives are unpacked, and how much they may hold.

use crate::progress::ProgressSender;

/// How much one archive may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Bytes of all content together; holes in sparse files count. Default 64 GiB.
    pub max_total_bytes: u64,
    /// Bytes of one file. Default 32 GiB.
    pub max_file_bytes: u64,
    /// Entries, directories and links included. Default 2,000,000.
    pub max_entries: u64,
    /// How many times as large as the archive the content may be. Default 200.
    pub max_ratio: u32,
    /// Bytes of content up to which the ratio does not matter: small archives of zeros do no harm.
    /// Default 256 MiB.
    pub ratio_free_bytes: u64,
    /// Components of a name. Default 128.
    pub max_depth: usize,
}

/// How an archive is unpacked.
#[derive(Clone, Debug)]
pub struct UnpackOptions {
    /// How much it may hold.
    pub limits: UnpackLimits,
    /// What happens with a file that is no archive.
    pub not_an_archive: NotAnArchive,
    /// The permission bits that entries may have, from 0 to 0o777. Files stay at least readable
    /// and writable for their owner, directories also searchable; set-user-id, set-group-id and
    /// sticky bits are never kept. Default 0o755.
    pub mode_mask: u32,
    /// Told how far it has come.
    pub progress: Option<ProgressSender>,
}

/// What happens with a file that is no archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NotAnArchive {
    /// It is an error.
    #[default]
    Refuse,
    /// It is copied into the destination under this name, which is one path component.
    Place(String),
}

/// The format of an archive, told by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Zip, and everything built on it (`.nupkg`, `.jar`, `.whl`, …).
    Zip,
    /// Tar without compression.
    Tar,
    /// Tar compressed with gzip.
    TarGzip,
    /// Tar compressed with Zstandard.
    TarZstd,
    /// No archive, placed as it is.
    Bare,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The format of the archive.
    pub format: Format,
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            max_total_bytes: 64 * GIB,
            max_file_bytes: 32 * GIB,
            max_entries: 2_000_000,
            max_ratio: 200,
            ratio_free_bytes: 256 << 20,
            max_depth: 128,
        }
    }
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self {
            limits: UnpackLimits::default(),
            not_an_archive: NotAnArchive::default(),
            mode_mask: 0o755,
            progress: None,
        }
    }
}
