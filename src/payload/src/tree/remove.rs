//! A tree is removed, however deep, and whatever permissions its directories have.

use std::io;
use std::path::Path;

use nix::errno::Errno;

use crate::directory::{Directory, is_errno, join};
use crate::error::{EntryKind, Error};

/// What a directory that is moved up is called; a number follows.
const MOVED: &str = ".helix-removed-";

/// Removes `path` and all below it.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    let failed = |error| Error::io("remove", path, error);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let parent = match Directory::open(parent) {
        Ok(parent) => parent,
        Err(error) if is_errno(&error, Errno::ENOENT) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let name = name.as_encoded_bytes();
    match parent.kind(name).map_err(failed)? {
        None => return Ok(()),
        Some(EntryKind::Directory) => {}
        Some(_) => return parent.unlink(name).map_err(failed),
    }
    let top = open(&parent, name).map_err(failed)?;
    Emptying {
        path,
        top,
        moved: 0,
    }
    .run()?;
    parent.remove_directory(name).map_err(failed)
}

/// A directory being emptied.
///
/// A directory below it that is not empty has its entries removed, and its own directories moved up
/// to the top, where their turn comes. So the work needs two open directories and no stack, however
/// deep a tree somebody made.
struct Emptying<'a> {
    path: &'a Path,
    top: Directory,
    moved: u64,
}

impl Emptying<'_> {
    fn run(&mut self) -> Result<(), Error> {
        loop {
            let mut removed_any = false;
            let mut first_failure = None;
            let listed = self
                .top
                .list()
                .map_err(|error| Error::io("list", self.path, error))?;
            for listed in listed {
                let name = listed
                    .map_err(|error| Error::io("list", self.path, error))?
                    .name;
                match self.remove_one(&name) {
                    Ok(()) => removed_any = true,
                    Err(error) => {
                        let place = join(self.path, &name);
                        first_failure.get_or_insert_with(|| Error::io("remove", place, error));
                    }
                }
            }
            match (removed_any, first_failure) {
                // What is listed while entries come and go need not be all there is.
                (true, _) => {}
                (false, Some(failure)) => return Err(failure),
                (false, None) => return Ok(()),
            }
        }
    }

    /// Removes the entry `name` of the top with all below it, but for what is moved up.
    fn remove_one(&mut self, name: &[u8]) -> io::Result<()> {
        if remove_simple(&self.top, name)? == Removed::Whole {
            return Ok(());
        }
        let directory = open(&self.top, name)?;
        let mut first_failure = None;
        for listed in directory.list()? {
            let inner = listed?.name;
            let result = remove_simple(&directory, &inner).and_then(|removed| match removed {
                Removed::Whole => Ok(()),
                Removed::NotEmpty => self.move_up(&directory, &inner),
            });
            if let Err(error) = result {
                first_failure.get_or_insert(error);
            }
        }
        match self.top.remove_directory(name) {
            Ok(()) => Ok(()),
            Err(error) => Err(first_failure.unwrap_or(error)),
        }
    }

    fn move_up(&mut self, directory: &Directory, name: &[u8]) -> io::Result<()> {
        let mut opened_up = false;
        loop {
            self.moved += 1;
            let new_name = format!("{MOVED}{}", self.moved);
            match directory.rename(name, &self.top, new_name.as_bytes()) {
                Ok(()) => return Ok(()),
                // Somebody had the same idea for a name.
                Err(error)
                    if [Errno::ENOTEMPTY, Errno::EEXIST, Errno::ENOTDIR]
                        .iter()
                        .any(|errno| is_errno(&error, *errno)) => {}
                // Its `..` changes, which takes the right to write to it.
                Err(error) if is_errno(&error, Errno::EACCES) && !opened_up => {
                    opened_up = true;
                    directory.open_up(name)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Removed {
    /// The entry is gone.
    Whole,
    /// It is a directory with something in it.
    NotEmpty,
}

/// Removes `name` if that takes one step.
fn remove_simple(directory: &Directory, name: &[u8]) -> io::Result<Removed> {
    let failure = match directory.unlink(name) {
        Ok(()) => return Ok(Removed::Whole),
        Err(error) if is_errno(&error, Errno::ENOENT) => return Ok(Removed::Whole),
        Err(error) => error,
    };
    // Systems differ in how they say that it is a directory.
    if directory.kind(name)? != Some(EntryKind::Directory) {
        return Err(failure);
    }
    match directory.remove_directory(name) {
        Ok(()) => Ok(Removed::Whole),
        Err(error) if is_errno(&error, Errno::ENOTEMPTY) || is_errno(&error, Errno::EEXIST) => {
            Ok(Removed::NotEmpty)
        }
        Err(error) => Err(error),
    }
}

/// Opens the directory `name` so that its entries can be listed and removed.
fn open(parent: &Directory, name: &[u8]) -> io::Result<Directory> {
    let directory = match parent.enter(name) {
        Err(error) if is_errno(&error, Errno::EACCES) => {
            parent.open_up(name)?;
            parent.enter(name)?
        }
        entered => entered?,
    };
    if directory.mode()? & 0o700 != 0o700 {
        directory.set_mode(0o700)?;
    }
    Ok(directory)
}
