//! What the machine has free now. Cheap: a system call for a disk, one small file for memory.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use sysinfo::{MemoryRefreshKind, System};

/// What is free on the file system of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that a process without privileges may still write.
    pub free_bytes: u64,
    /// Bytes of the whole file system.
    pub total_bytes: u64,
    /// Files and directories that a process without privileges may still make; none if the file
    /// system makes room for them as it needs (btrfs, APFS).
    pub free_inodes: Option<u64>,
}

/// Space that cannot be measured.
#[derive(Debug, thiserror::Error)]
#[error("measure the free space of the file system of `{}`", path.display())]
pub struct DiskError {
    /// Any path on the file system.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl DiskSpace {
    /// What is free on the file system of `path`, which must exist.
    ///
    /// Blocks for as long as the file system takes to answer: no time for a local one, for ever for
    /// a network one whose server is gone.
    ///
    /// # Errors
    ///
    /// There is no such path, or it may not be looked at.
    pub fn of(path: &Path) -> Result<Self, DiskError> {
        let space = statvfs(path).map_err(|error| DiskError {
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
            total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
            free_inodes: (space.f_files > 0).then_some(space.f_favail),
        })
    }
}

/// Main memory, all there is and what is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All there is in bytes, or the limit of the container around this process if that is less.
    pub total_bytes: u64,
    /// What can be had without swapping, in bytes: free memory and caches that can be dropped.
    /// Never more than `total_bytes`.
    pub available_bytes: u64,
}

/// Memory that cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The system cannot be asked.
    #[error("ask the system for its memory")]
    System(#[source] sysinfo::Error),
    /// The system says that there is none.
    #[error("the system says that it has no memory")]
    None,
}

impl Memory {
    /// Asks the system.
    ///
    /// # Errors
    ///
    /// It does not say.
    pub fn read() -> Result<Self, MemoryError> {
        let mut system = System::new().map_err(MemoryError::System)?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let all = Self {
            total_bytes: system.total_memory(),
            available_bytes: system.available_memory(),
        };
        let memory = match system.cgroup_limits() {
            Some(limits) => all.within(limits.total_memory, limits.rss),
            None => all,
        };
        if memory.total_bytes == 0 {
            return Err(MemoryError::None);
        }
        Ok(memory)
    }

    /// What is left of it in a container that may use `limit` bytes and has `anonymous` bytes in
    /// use that cannot be dropped.
    ///
    /// What the container has in use altogether would not do: that counts every file that was ever
    /// read, so that a container which has been up for a while would seem to have nothing left.
    fn within(self, limit: u64, anonymous: u64) -> Self {
        let total_bytes = self.total_bytes.min(limit);
        Self {
            total_bytes,
            available_bytes: self
                .available_bytes
                .min(total_bytes.saturating_sub(anonymous)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;

    use super::{DiskSpace, Memory};

    #[test]
    fn file_system_of_an_existing_path_has_a_size() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let space = DiskSpace::of(directory.path()).expect("it can be measured");
        assert!(space.total_bytes > 0);
        assert!(space.free_bytes <= space.total_bytes, "{space:?}");
    }

    #[test]
    fn missing_path_is_an_error_that_names_it() {
        let path = Path::new("/nonexistent/helix");
        let error = DiskSpace::of(path).expect_err("it does not exist");
        assert_eq!(error.path, path);
        assert_eq!(error.source.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn container_has_what_its_limit_leaves() {
        let machine = Memory {
            total_bytes: 64,
            available_bytes: 40,
        };
        let within = |limit, anonymous| {
            let memory = machine.within(limit, anonymous);
            (memory.total_bytes, memory.available_bytes)
        };
        assert_eq!(within(16, 6), (16, 10));
        assert_eq!(within(16, 20), (16, 0));
        assert_eq!(within(60, 6), (60, 40));
        assert_eq!(within(u64::MAX, 0), (64, 40));
    }

    #[test]
    fn memory_is_there_and_available_is_not_more() {
        let memory = Memory::read().expect("the system says");
        assert!(memory.total_bytes > 0);
        assert!(memory.available_bytes > 0);
        assert!(memory.available_bytes <= memory.total_bytes, "{memory:?}");
    }
}
