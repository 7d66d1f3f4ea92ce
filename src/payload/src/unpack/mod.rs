//! An archive becomes a tree that stays inside its root.
//!
//! The format is told by content, never by name: zip, tar, tar.gz, tar.zst. Everything in an
//! archive is taken for hostile: names and links are judged in `name` and `directory`, entries are
//! made in `root`, limits and cancellation are in `session`, and the two containers are read in
//! `tar` and `zip`.
//!
//! Owners, extended attributes and access lists of an archive are ignored: what is unpacked belongs
//! to this process. Files keep their time of modification when it comes from a tar; the times in a
//! zip name no time zone and are not kept.

mod detect;
mod name;
mod options;
mod pax;
mod root;
mod session;
mod sparse;
mod tar;
mod zip;

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek as _};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tokio_util::sync::CancellationToken;

use crate::error::{ArchiveProblem, Error};
use crate::progress::Progress;

use detect::{Signature, read_head, signature, tar_format};
use name::{EntryName, Separators};
use root::Root;
use session::{Charged, Output, Session};

pub use options::{Format, NotAnArchive, UnpackLimits, UnpackOptions, Unpacked};

/// Bytes of the archive read ahead of a decoder.
const READ_AHEAD_BYTES: usize = 128 << 10;

/// Largest window a Zstandard frame may ask for, as a power of two: 128 MiB, which is what its
/// highest ordinary level uses.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;

/// Unpacks the archive at `archive` into the directory `destination`, created if it is missing.
///
/// The destination may hold something already, such as another payload; see `root` for what happens
/// when a name comes twice. Links in the path `destination` itself are followed.
///
/// The work runs on a blocking thread. When the token is cancelled or the future dropped, it stops
/// at the next block; what was written by then stays, for the caller to remove.
pub async fn unpack(
    archive: &Path,
    destination: &Path,
    options: &UnpackOptions,
    cancellation: &CancellationToken,
) -> Result<Unpacked, Error> {
    let archive = archive.to_path_buf();
    let destination = destination.to_path_buf();
    let options = options.clone();
    crate::blocking::run("unpack the archive", cancellation, move |cancellation| {
        unpack_blocking(&archive, &destination, &options, cancellation)
    })
    .await
}

/// The same on the calling thread.
pub fn unpack_blocking(
    archive: &Path,
    destination: &Path,
    options: &UnpackOptions,
    cancellation: &CancellationToken,
) -> Result<Unpacked, Error> {
    let failed = |error| Error::io("read", archive, error);
    let mut file = File::open(archive).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::archive(ArchiveProblem::NotAnArchive));
    }
    let mut session = Session::new(options, archive, metadata.len(), cancellation);
    let head = read_head(&mut file).map_err(failed)?;
    file.rewind().map_err(failed)?;

    let format = match signature(&head) {
        Signature::Zip => {
            let mut root = Root::open(destination, options.mode_mask)?;
            zip::unpack(file, &mut root, &mut session)?;
            Format::Zip
        }
        Signature::Unknown => place_bare(file, destination, &mut session)?,
        packed @ (Signature::Gzip | Signature::Zstd | Signature::Tar) => {
            let rest = file.try_clone().map_err(failed)?;
            let mut content = decoder(packed, file).map_err(failed)?;
            let head = read_head(&mut content).map_err(|error| session.read_failed(None, error))?;
            if tar::begins(&head) {
                let mut root = Root::open(destination, options.mode_mask)?;
                let mut content = Cursor::new(head).chain(content);
                tar::unpack(&mut content, &mut root, &mut session)?;
                drain(&mut content, &mut session)?;
                tar_format(packed)
            } else {
                // Compressed, but no tar in it.
                let mut file = rest;
                file.rewind().map_err(failed)?;
                place_bare(file, destination, &mut session)?
            }
        }
    };
    let unpacked = Unpacked {
        format,
        entries: session.entries(),
        bytes: session.bytes(),
    };
    if let Some(progress) = &options.progress {
        let Unpacked { entries, bytes, .. } = unpacked;
        progress.send_replace(Progress::Unpacking { entries, bytes });
    }
    Ok(unpacked)
}

fn decoder(signature: Signature, file: File) -> std::io::Result<Box<dyn Read>> {
    let file = BufReader::with_capacity(READ_AHEAD_BYTES, file);
    Ok(match signature {
        // Both go on where one member or frame ends and another begins.
        Signature::Gzip => Box::new(MultiGzDecoder::new(file)),
        Signature::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Signature::Zip | Signature::Tar | Signature::Unknown => Box::new(file),
    })
}

/// Reads what is behind the end mark of a tar, so that the checksums of the compression are seen.
fn drain(content: &mut dyn Read, session: &mut Session<'_>) -> Result<(), Error> {
    let mut buffer = vec![0; READ_AHEAD_BYTES];
    loop {
        session.check_cancelled()?;
        match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            // It counts like content: padding is short, and a bomb may hide here too.
            Ok(length) => session
                .charge_padding(length as u64)
                .map_err(|limit| Error::archive(ArchiveProblem::Limit(limit)))?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(session.read_failed(None, error)),
        }
    }
}

/// Puts a file that is no archive into the destination, if the caller wants that.
fn place_bare(
    mut file: File,
    destination: &Path,
    session: &mut Session<'_>,
) -> Result<Format, Error> {
    let name = match &session.options.not_an_archive {
        NotAnArchive::Refuse => return Err(Error::archive(ArchiveProblem::NotAnArchive)),
        NotAnArchive::Place(name) => name.as_bytes(),
    };
    let name = EntryName::parse(name, Separators::Slash, 1)
        .map_err(|problem| Error::entry(name, problem))?;
    let mut root = Root::open(destination, session.options.mode_mask)?;
    session.begin_entry()?;
    let place: PathBuf = root.place(&name);
    let mut placed = root.file(&name, 0o644)?;
    let mut output = Output {
        file: &mut placed,
        place: &place,
        charged: Charged::AsCopied,
    };
    session.copy(&name, &mut file, &mut output)?;
    Ok(Format::Bare)
}
