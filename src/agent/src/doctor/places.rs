//! Directories and the disks below them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use helix_machine::free::DiskSpace;
use nix::unistd::{Uid, User};

use super::finding::{Check, Finding, Verdict};
use crate::config::Config;

const MIB: u64 = 1 << 20;
/// With less than this the agent cannot write down what it takes.
const FEWEST_BYTES: u64 = 64 * MIB;
/// An attempt takes a few dozen files, a checkout thousands.
const FEWEST_INODES: u64 = 1_000;
const FEW_INODES: u64 = 50_000;

/// Whether the findings are about the user that counts.
pub(super) fn user(config: &Config) -> Finding {
    let (own, directory) = (Uid::effective(), &config.state_directory);
    let what = format!("this runs as `{}`", name(own.as_raw()));
    let verdict = match fs::metadata(directory) {
        Ok(metadata) if metadata.uid() == own.as_raw() => Verdict::Ok,
        Ok(metadata) => {
            let owner = name(metadata.uid());
            Verdict::warning(
                format!(
                    "the agent runs as `{owner}`, who owns `{}`; what is said of rights and of the \
                     launcher counts for whoever runs this",
                    directory.display()
                ),
                format!("sudo -u {owner} helix-agent doctor"),
            )
        }
        Err(_) => Verdict::skipped("there is no state directory yet whose owner could tell"),
    };
    Finding::new(Check::User, what, verdict)
}

/// Where the agent keeps what must outlive it.
pub(super) fn state_directory(config: &Config) -> Finding {
    let path = &config.state_directory;
    let finding = |verdict| {
        Finding::new(
            Check::StateDirectory,
            format!("`{}`", path.display()),
            verdict,
        )
    };
    finding(match directory(path) {
        Err(verdict) => verdict,
        Ok(metadata) if metadata.mode() & 0o077 != 0 => Verdict::warning(
            format!(
                "others than the agent may enter it (mode {:04o}), and logs and payloads are in it",
                metadata.mode() & 0o7777
            ),
            format!("chmod 0700 {}", path.display()),
        ),
        Ok(_) => writable(path),
    })
}

/// Where work items run.
pub(super) fn work_directory(config: &Config, items_have_users: bool) -> Finding {
    let path = &config.work_directory;
    let finding = |verdict| {
        Finding::new(
            Check::WorkDirectory,
            format!("`{}`", path.display()),
            verdict,
        )
    };
    if let Err(verdict) = directory(path) {
        return finding(verdict);
    }
    let closed = path
        .ancestors()
        .find(|above| fs::metadata(above).is_ok_and(|metadata| metadata.mode() & 0o001 == 0));
    finding(match closed {
        Some(closed) if items_have_users => Verdict::barring(
            format!(
                "work items run as other users, who may not pass through `{}`",
                closed.display()
            ),
            format!("chmod o+x {}", closed.display()),
        ),
        Some(_) | None => writable(path),
    })
}

/// A directory that is there, or will be made by the agent.
fn directory(path: &Path) -> Result<fs::Metadata, Verdict> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(metadata),
        Ok(_) => Err(Verdict::barring(
            "it is no directory",
            "remove it, or configure another place",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.ancestors().skip(1).find(|above| above.exists());
            let verdict = writable(above.unwrap_or(Path::new("/")));
            Err(match verdict {
                Verdict::Ok => Verdict::skipped("it is not there yet; the agent makes it"),
                _ => Verdict::barring(
                    "it is not there, and whoever runs this may not make it",
                    format!(
                        "install -d -o helix-agent -g helix-agent {}",
                        path.display()
                    ),
                ),
            })
        }
        Err(error) => Err(Verdict::barring(
            format!("it cannot be looked at: {error}"),
            "make it, and those above it, passable for the agent's user",
        )),
    }
}

/// Whether a file can be made in a directory; tried out, since modes are not all there is.
fn writable(path: &Path) -> Verdict {
    match tempfile::Builder::new()
        .prefix(".doctor-")
        .tempfile_in(path)
    {
        Ok(_) => Verdict::Ok,
        Err(error) => {
            let error = error.raw_os_error().map_or_else(
                || error.to_string(),
                |code| io::Error::from_raw_os_error(code).to_string(),
            );
            Verdict::barring(
                format!("no file can be made in `{}`: {error}", path.display()),
                format!(
                    "give it to the agent's user, mount it writable, or make room: {}",
                    path.display()
                ),
            )
        }
    }
}

/// Space and inodes where attempts, their output and the cache are kept.
pub(super) fn state_disk(config: &Config) -> Finding {
    let output = config
        .output
        .head_bytes
        .saturating_add(config.output.tail_bytes);
    let wanted = output.saturating_mul(u64::from(config.slots));
    disk(
        Check::StateDisk,
        &config.state_directory,
        FEWEST_BYTES,
        wanted,
    )
}

/// The same where work items run.
pub(super) fn work_disk(config: &Config) -> Finding {
    let reserve = config.resources.disk_reserve_bytes;
    let wanted = reserve.saturating_mul(2);
    disk(
        Check::WorkDisk,
        &config.work_directory,
        reserve.max(FEWEST_BYTES),
        wanted,
    )
}

fn disk(check: Check, path: &Path, fewest: u64, wanted: u64) -> Finding {
    let there = path.ancestors().find(|above| above.exists());
    let space = match DiskSpace::of(there.unwrap_or(Path::new("/"))) {
        Ok(space) => space,
        Err(error) => {
            let why = crate::error_chain(&error);
            let what = format!("disk of `{}`", path.display());
            return Finding::new(check, what, Verdict::barring(why, "mount it again"));
        }
    };
    let inodes = space.free_inodes.unwrap_or(u64::MAX);
    let mut what = format!(
        "disk of `{}`: {} MiB of {} MiB free",
        path.display(),
        space.free_bytes / MIB,
        space.total_bytes / MIB
    );
    if let Some(inodes) = space.free_inodes {
        what.push_str(&format!(", {inodes} inodes free"));
    }
    let remedy = "remove what is not needed, lower `[retention]` and `payload.cache_size`, or use a larger disk";
    let too_few = |bytes: u64| format!("less than {} MiB are free", bytes / MIB);
    let verdict = if space.free_bytes < fewest {
        Verdict::barring(too_few(fewest), remedy)
    } else if inodes < FEWEST_INODES {
        Verdict::barring(format!("less than {FEWEST_INODES} inodes are free"), remedy)
    } else if space.free_bytes < wanted {
        Verdict::warning(too_few(wanted), remedy)
    } else if inodes < FEW_INODES {
        Verdict::warning(format!("less than {FEW_INODES} inodes are free"), remedy)
    } else {
        Verdict::Ok
    };
    Finding::new(check, what, verdict)
}

fn name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(root: &Path) -> Config {
        Config {
            state_directory: root.join("state"),
            work_directory: root.join("closed/work"),
            ..Config::default()
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn state_directory_is_the_agents_alone() {
        let root = tempfile::tempdir().unwrap();
        let config = config(root.path());
        let word = || state_directory(&config).verdict.word();
        assert_eq!(word(), "skipped");
        fs::create_dir(&config.state_directory).unwrap();
        set_mode(&config.state_directory, 0o755);
        assert_eq!(word(), "warning");
        set_mode(&config.state_directory, 0o700);
        assert_eq!(word(), "ok");
        fs::remove_dir(&config.state_directory).unwrap();
        fs::write(&config.state_directory, "").unwrap();
        assert_eq!(word(), "failed");
    }

    #[test]
    fn work_directory_must_be_within_reach_of_those_who_work_there() {
        let root = tempfile::tempdir().unwrap();
        set_mode(root.path(), 0o755);
        let config = config(root.path());
        fs::create_dir_all(&config.work_directory).unwrap();
        set_mode(&root.path().join("closed"), 0o700);
        assert_eq!(work_directory(&config, false).verdict.word(), "ok");
        let finding = work_directory(&config, true);
        assert_eq!(finding.verdict.word(), "failed");
        assert!(finding.to_string().contains("chmod o+x"), "{finding}");
        set_mode(&root.path().join("closed"), 0o711);
        assert_eq!(work_directory(&config, true).verdict.word(), "ok");
    }

    #[test]
    fn disk_that_is_nearly_full_is_told_before_it_is() {
        let root = tempfile::tempdir().unwrap();
        let word = |fewest, wanted| {
            disk(Check::WorkDisk, root.path(), fewest, wanted)
                .verdict
                .word()
        };
        assert_eq!(word(0, 0), "ok");
        assert_eq!(word(0, u64::MAX), "warning");
        assert_eq!(word(u64::MAX, u64::MAX), "failed");
    }
}
