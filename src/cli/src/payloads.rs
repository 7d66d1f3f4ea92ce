//! Payloads from this machine: directories packed, files hashed, both given to
//! an agent on loopback by `file` URL.
//!
//! The archive of a directory depends on its content alone, not on times or the
//! order of reading, so that the agent's cache knows it again by its digest.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use helix_proto::agent::v1::{self as wire, payload};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use uuid::Uuid;
use walkdir::WalkDir;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::arguments::payload::{PayloadArgument, PayloadSource, Submodules};
use crate::client::Address;
use crate::error::Error;
use crate::exit::Exit;

/// Payloads for the contract, and the archives behind them, which live as long.
#[derive(Debug, Default)]
pub(crate) struct Payloads {
    /// In the order of the arguments.
    pub(crate) wire: Vec<wire::Payload>,
    archives: Vec<TempDir>,
}

/// Why a payload cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    /// The agent sees other files than we do.
    #[error("the agent at `{address}` cannot read the files of this machine")]
    Elsewhere { address: String },
    /// Something is not there or not readable.
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A walk through a directory failed.
    #[error("cannot go through the directory")]
    Walk {
        #[source]
        source: walkdir::Error,
    },
    /// A socket, a device or a pipe.
    #[error("`{}` is neither a file, a directory nor a link", path.display())]
    Special { path: PathBuf },
    /// Archives carry names as text.
    #[error("the name `{}` is not UTF-8", path.display())]
    Name { path: PathBuf },
    /// The archive cannot be written.
    #[error("cannot write a temporary archive")]
    Write {
        #[source]
        source: io::Error,
    },
}

impl PayloadError {
    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Elsewhere { .. } | Self::Special { .. } | Self::Name { .. } => Exit::Usage,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NoInput,
            Self::Read { .. } | Self::Walk { .. } | Self::Write { .. } => Exit::InputOutput,
        }
    }

    /// What to do.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Elsewhere { .. } => {
                Some("put the archive where the agent can fetch it, and give its URL".to_owned())
            }
            Self::Special { .. } => Some("payloads hold files, directories and links".to_owned()),
            Self::Read { .. } | Self::Walk { .. } | Self::Name { .. } | Self::Write { .. } => None,
        }
    }
}

impl Payloads {
    /// Makes payloads of `arguments` for the agent at `address`. Reads and packs
    /// files, which can take long.
    pub(crate) fn prepare(arguments: &[PayloadArgument], address: &Address) -> Result<Self, Error> {
        let mut payloads = Self::default();
        for argument in arguments {
            payloads.add(argument, address)?;
        }
        Ok(payloads)
    }

    fn add(&mut self, argument: &PayloadArgument, address: &Address) -> Result<(), Error> {
        let (source, sha256) = match &argument.source {
            PayloadSource::Url { url, sha256 } => (
                payload::Source::Url(url.clone()),
                sha256.map(|digest| digest.to_vec()).unwrap_or_default(),
            ),
            PayloadSource::Git {
                url,
                commit,
                submodules,
            } => {
                let git = wire::GitSource {
                    url: url.clone(),
                    commit: commit.clone(),
                    submodules: *submodules == Submodules::Fetched,
                };
                (payload::Source::Git(git), Vec::new())
            }
            PayloadSource::Path(path) => {
                let failed = |source| Error::Payload {
                    path: path.clone(),
                    source,
                };
                let (archive, digest) = self.local(path, address).map_err(failed)?;
                (payload::Source::Url(file_url(&archive)), digest.to_vec())
            }
        };
        self.wire.push(wire::Payload {
            source: Some(source),
            destination: argument.destination.clone(),
            sha256,
        });
        Ok(())
    }

    fn local(
        &mut self,
        path: &Path,
        address: &Address,
    ) -> Result<(PathBuf, [u8; 32]), PayloadError> {
        if !address.is_loopback() {
            return Err(PayloadError::Elsewhere {
                address: address.to_string(),
            });
        }
        let read = |source| PayloadError::Read {
            path: path.to_owned(),
            source,
        };
        let path = path.canonicalize().map_err(read)?;
        let archive = if path.is_dir() {
            self.packed(&path)?
        } else {
            path.clone()
        };
        let digest = digest(&archive).map_err(|source| PayloadError::Read {
            path: archive.clone(),
            source,
        })?;
        Ok((archive, digest))
    }

    /// Packs `directory` into a temporary archive that an agent of another user
    /// can read and other people of this machine cannot find: the directory
    /// around it can be passed through, but not listed.
    fn packed(&mut self, directory: &Path) -> Result<PathBuf, PayloadError> {
        let write = |source| PayloadError::Write { source };
        let home = tempfile::Builder::new()
            .prefix("helix-payload-")
            .permissions(Permissions::from_mode(0o711))
            .tempdir()
            .map_err(write)?;
        let archive = home.path().join(format!("{}.zip", Uuid::new_v4().simple()));
        let mut file = File::create_new(&archive).map_err(write)?;
        let mut packer = Packer::new(&mut file);
        packer.directory(directory, &[])?;
        packer.finish()?;
        file.set_permissions(Permissions::from_mode(0o644))
            .map_err(write)?;
        self.archives.push(home);
        Ok(archive)
    }
}

/// The digest (SHA-256) of a file. Reads all of it.
pub(crate) fn digest_of(path: &Path) -> Result<[u8; 32], PayloadError> {
    digest(path).map_err(|source| PayloadError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Writes a zip archive.
pub(crate) struct Packer<W: Write + Seek> {
    zip: ZipWriter<io::BufWriter<W>>,
}

impl<W: Write + Seek> Packer<W> {
    /// An archive with nothing in it.
    pub(crate) fn new(archive: W) -> Self {
        Self {
            zip: ZipWriter::new(io::BufWriter::new(archive)),
        }
    }

    /// Adds everything below `directory` in the order of names, save what lies
    /// in it under one of the names `left_out`.
    pub(crate) fn directory(
        &mut self,
        directory: &Path,
        left_out: &[&str],
    ) -> Result<(), PayloadError> {
        let is_wanted = |entry: &walkdir::DirEntry| {
            entry.depth() != 1 || !left_out.iter().any(|name| entry.file_name() == *name)
        };
        let walk = WalkDir::new(directory).min_depth(1).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(is_wanted) {
            let entry = entry.map_err(|source| PayloadError::Walk { source })?;
            self.entry(directory, entry.path())?;
        }
        Ok(())
    }

    /// Adds a file with these permissions.
    pub(crate) fn file(
        &mut self,
        name: &str,
        permissions: u32,
        content: &[u8],
    ) -> Result<(), PayloadError> {
        self.zip
            .start_file(name, options(permissions))
            .map_err(zip_error)?;
        self.zip
            .write_all(content)
            .map_err(|source| PayloadError::Write { source })
    }

    /// Completes the archive.
    pub(crate) fn finish(self) -> Result<(), PayloadError> {
        let write = |source| PayloadError::Write { source };
        let buffer = self.zip.finish().map_err(zip_error)?;
        buffer
            .into_inner()
            .map_err(|error| write(error.into_error()))?
            .flush()
            .map_err(write)
    }

    fn entry(&mut self, directory: &Path, path: &Path) -> Result<(), PayloadError> {
        let read = |source| PayloadError::Read {
            path: path.to_owned(),
            source,
        };
        let name = text(path.strip_prefix(directory).unwrap_or(path))?;
        let metadata = fs::symlink_metadata(path).map_err(read)?;
        let kind = metadata.file_type();
        let options = options(metadata.permissions().mode() & 0o777)
            .large_file(metadata.len() >= u64::from(u32::MAX));
        if kind.is_dir() {
            self.zip.add_directory(name, options).map_err(zip_error)
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(read)?;
            self.zip
                .add_symlink(name, text(&target)?, options)
                .map_err(zip_error)
        } else if kind.is_file() {
            let mut file = File::open(path).map_err(read)?;
            self.zip.start_file(name, options).map_err(zip_error)?;
            copy(&mut file, &mut self.zip, path)
        } else {
            Err(PayloadError::Special {
                path: path.to_owned(),
            })
        }
    }
}

/// The same for every file of the same mode, whenever it is packed.
fn options(permissions: u32) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(permissions)
}

fn zip_error(error: ZipError) -> PayloadError {
    PayloadError::Write {
        source: error.into(),
    }
}

/// Like `io::copy`, but tells which of the two sides failed.
fn copy(from: &mut File, to: &mut impl Write, path: &Path) -> Result<(), PayloadError> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to
                .write_all(&buffer[..length])
                .map_err(|source| PayloadError::Write { source })?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(PayloadError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
}

fn text(path: &Path) -> Result<&str, PayloadError> {
    path.to_str().ok_or_else(|| PayloadError::Name {
        path: path.to_owned(),
    })
}

/// The SHA-256 of a file.
pub(crate) fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The `file` URL of an absolute path.
fn file_url(path: &Path) -> String {
    let mut url = "file://".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn sample() -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("b/empty")).unwrap();
        fs::write(root.join("b/run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(root.join("b/run.sh"), Permissions::from_mode(0o755)).unwrap();
        fs::write(root.join("a ü.txt"), "text").unwrap();
        symlink("b/run.sh", root.join("link")).unwrap();
        directory
    }

    fn pack(directory: &Path, archive: impl Write + Seek) -> Result<(), PayloadError> {
        let mut packer = Packer::new(archive);
        packer.directory(directory, &[])?;
        packer.finish()
    }

    fn packed(directory: &Path) -> Vec<u8> {
        let mut archive = Cursor::new(Vec::new());
        pack(directory, &mut archive).unwrap();
        archive.into_inner()
    }

    #[test]
    fn modes_links_and_empty_directories_are_kept() {
        let directory = sample();
        let mut zip = zip::ZipArchive::new(Cursor::new(packed(directory.path()))).unwrap();
        let mut found = Vec::new();
        for at in 0..zip.len() {
            let mut file = zip.by_index(at).unwrap();
            let mut content = String::new();
            file.read_to_string(&mut content).unwrap();
            let mode = file.unix_mode().unwrap();
            found.push((
                file.name().unwrap().into_owned(),
                mode & 0o170_000,
                mode & 0o111 != 0,
                content,
            ));
        }
        let expect = |name: &str, kind, executable, content: &str| {
            (name.to_owned(), kind, executable, content.to_owned())
        };
        assert_eq!(
            found,
            [
                expect("a ü.txt", 0o100_000, false, "text"),
                expect("b/", 0o040_000, true, ""),
                expect("b/empty/", 0o040_000, true, ""),
                expect("b/run.sh", 0o100_000, true, "#!/bin/sh\n"),
                expect("link", 0o120_000, true, "b/run.sh"),
            ]
        );
    }

    #[test]
    fn what_is_left_out_is_left_out_at_the_top_only() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/a")).unwrap();
        fs::create_dir_all(directory.path().join("b/a")).unwrap();
        let mut archive = Cursor::new(Vec::new());
        let mut packer = Packer::new(&mut archive);
        packer.directory(directory.path(), &["a"]).unwrap();
        packer.file("c", 0o755, b"content").unwrap();
        packer.finish().unwrap();
        let zip = zip::ZipArchive::new(archive).unwrap();
        let names: Vec<_> = zip
            .file_names()
            .map(|name| name.unwrap().into_owned())
            .collect();
        assert_eq!(names, ["b/", "b/a/", "c"]);
    }

    #[test]
    fn the_same_files_make_the_same_archive() {
        assert_eq!(packed(sample().path()), packed(sample().path()));
    }

    #[test]
    fn a_socket_is_no_payload() {
        let directory = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let error = pack(directory.path(), Cursor::new(Vec::new())).unwrap_err();
        assert!(matches!(error, PayloadError::Special { .. }), "{error:?}");
    }

    #[test]
    fn the_archive_can_be_opened_but_not_found_by_others() {
        let directory = sample();
        let argument = directory.path().to_str().unwrap().parse().unwrap();
        let address = Address::parse("127.0.0.1").unwrap();
        let payloads = Payloads::prepare(&[argument], &address).unwrap();
        let home = payloads.archives[0].path().to_owned();
        assert_eq!(
            fs::metadata(&home).unwrap().permissions().mode() & 0o777,
            0o711
        );
        let Some(payload::Source::Url(url)) = &payloads.wire[0].source else {
            panic!("no URL")
        };
        let archive = PathBuf::from(url.strip_prefix("file://").unwrap());
        assert_eq!(
            fs::metadata(&archive).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(
            payloads.wire[0].sha256,
            Sha256::digest(fs::read(&archive).unwrap()).to_vec()
        );
        drop(payloads);
        assert!(!home.exists());
    }

    #[test]
    fn a_far_agent_is_not_given_paths() {
        let argument: PayloadArgument = "/etc".parse().unwrap();
        let address = Address::parse("build-7").unwrap();
        let error = Payloads::prepare(&[argument], &address).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.hint().is_some());
    }

    #[test]
    fn urls_of_odd_paths_are_encoded() {
        assert_eq!(
            file_url(Path::new("/a b/ü%#?.zip")),
            "file:///a%20b/%C3%BC%25%23%3F.zip"
        );
    }
}
