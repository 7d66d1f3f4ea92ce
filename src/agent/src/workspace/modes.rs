//! Modes of files that all work items of a job may read and none may change.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmod, fchmodat, fstatat};

/// Directories open at a time on the way down. Far more than a payload has.
const MAX_DEPTH: usize = 128;

/// Lets everybody read what is in a directory, enter its directories and run what its
/// owner can run, and nobody but the owner change any of it.
///
/// No link is followed, whoever put it there.
pub(crate) fn show_to_all(root: &Path) -> io::Result<()> {
    let directory = Dir::open(root, directory_flags(), Mode::empty())?;
    fchmod(directory.as_fd(), DIRECTORY)?;
    show(directory, MAX_DEPTH)
}

const DIRECTORY: Mode = Mode::S_IRWXU
    .union(Mode::S_IRGRP)
    .union(Mode::S_IXGRP)
    .union(Mode::S_IROTH)
    .union(Mode::S_IXOTH);

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn show(mut directory: Dir, depth: usize) -> io::Result<()> {
    let names: Vec<_> = directory
        .iter()
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .collect::<Result<_, _>>()?;
    for name in names {
        if !matches!(name.to_bytes(), b"." | b"..") {
            show_one(&directory, &name, depth)?;
        }
    }
    Ok(())
}

fn show_one(parent: &Dir, name: &CStr, depth: usize) -> io::Result<()> {
    let stat = fstatat(parent.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_bits_truncate(stat.st_mode);
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => {
            // Entered only afterwards, when nobody else can change what is in it.
            change(parent, name, mode, DIRECTORY)?;
            let depth = depth.checked_sub(1).ok_or(Errno::ELOOP)?;
            let below = Dir::openat(parent.as_fd(), name, directory_flags(), Mode::empty())?;
            show(below, depth)
        }
        SFlag::S_IFREG => change(parent, name, mode, readable(mode)),
        // A link has no mode of its own, and nothing else comes out of a payload.
        _ => Ok(()),
    }
}

/// The mode of a file that all may read, and run if its owner may.
fn readable(mode: Mode) -> Mode {
    let read = Mode::S_IRUSR | Mode::S_IRGRP | Mode::S_IROTH;
    let run = Mode::S_IXUSR | Mode::S_IXGRP | Mode::S_IXOTH;
    let own = mode & (Mode::S_IWUSR | Mode::S_IXUSR);
    if mode.contains(Mode::S_IXUSR) {
        own | read | run
    } else {
        own | read
    }
}

fn change(parent: &Dir, name: &CStr, mode: Mode, wanted: Mode) -> io::Result<()> {
    if mode != wanted {
        fchmodat(parent.as_fd(), name, wanted, FchmodatFlags::NoFollowSymlink)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn files_become_readable_to_all_and_changeable_by_none() {
        let top = tempfile::tempdir().expect("a directory");
        let root = top.path().join("p");
        let outside = top.path().join("outside");
        fs::create_dir_all(root.join("a/b")).expect("made");
        fs::set_permissions(top.path(), Permissions::from_mode(0o700)).expect("set");
        for (name, mode) in [("plain", 0o600), ("a/run", 0o700), ("a/b/open", 0o666)] {
            fs::write(root.join(name), "").expect("written");
            fs::set_permissions(root.join(name), Permissions::from_mode(mode)).expect("set");
        }
        fs::write(&outside, "").expect("written");
        fs::set_permissions(&outside, Permissions::from_mode(0o600)).expect("set");
        symlink(&outside, root.join("a/link")).expect("linked");
        symlink(top.path(), root.join("a/away")).expect("linked");
        fs::set_permissions(root.join("a"), Permissions::from_mode(0o777)).expect("set");
        fs::set_permissions(root.join("a/b"), Permissions::from_mode(0o700)).expect("set");

        show_to_all(&root).expect("shown");

        let mode = |path: &Path| fs::symlink_metadata(path).expect("there").mode() & 0o7777;
        for (name, expected) in [
            ("", 0o755),
            ("a", 0o755),
            ("a/b", 0o755),
            ("plain", 0o644),
            ("a/run", 0o755),
            ("a/b/open", 0o644),
        ] {
            assert_eq!(mode(&root.join(name)), expected, "{name}");
        }
        assert_eq!(mode(&outside), 0o600);
        assert_eq!(mode(top.path()), 0o700);
    }

    #[test]
    fn root_that_is_a_link_is_not_followed() {
        let top = tempfile::tempdir().expect("a directory");
        symlink("/etc", top.path().join("p")).expect("linked");
        show_to_all(&top.path().join("p")).expect_err("a link");
    }
}
