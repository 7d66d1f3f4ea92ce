//! Files of an installation, compared and written as wholes.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use super::step::Content;

/// How much of two programs is compared at a time.
const PIECE_BYTES: usize = 1 << 16;

/// Puts a file in its place at one blow: a program that runs keeps its own, and nobody reads half.
pub(super) fn write(
    path: &Path,
    content: &Content,
    mode: u32,
    owner: (u32, u32),
) -> io::Result<()> {
    let above = path.parent().unwrap_or(path);
    let mut file = tempfile::NamedTempFile::new_in(above)?;
    match content {
        Content::Text(text) => file.write_all(text.as_bytes())?,
        Content::Copy(from) => {
            io::copy(&mut File::open(from)?, &mut file)?;
        }
    }
    chown(file.path(), Some(owner.0), Some(owner.1))?;
    fs::set_permissions(file.path(), Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Whether a regular file has this in it.
pub(super) fn has_content(path: &Path, content: &Content) -> io::Result<bool> {
    let there = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        looked => looked?,
    };
    if !there.is_file() {
        return Ok(false);
    }
    match content {
        Content::Text(text) => Ok(fs::read(path)? == text.as_bytes()),
        Content::Copy(from) => are_same(File::open(path)?, File::open(from)?),
    }
}

fn are_same(mut one: File, mut other: File) -> io::Result<bool> {
    let (here, there) = (one.metadata()?, other.metadata()?);
    if (here.dev(), here.ino()) == (there.dev(), there.ino()) {
        return Ok(true);
    }
    if here.len() != there.len() {
        return Ok(false);
    }
    let mut left = here.len();
    let (mut ours, mut theirs) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    while left > 0 {
        let length = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        one.read_exact(&mut ours[..length])?;
        other.read_exact(&mut theirs[..length])?;
        if ours[..length] != theirs[..length] {
            return Ok(false);
        }
        left -= length as u64;
    }
    Ok(true)
}
