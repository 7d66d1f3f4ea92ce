//! Disks that are small enough to be filled.

use std::path::PathBuf;
use std::process::Command;

use crate::tools::skipped;

/// A small disk in memory at a path, gone when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of `size`, such as `6m`. Without the rights it says that the
    /// calling test is skipped.
    ///
    /// # Panics
    ///
    /// If the directory cannot be made.
    #[must_use]
    pub fn mount(path: PathBuf, size: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skipped("a small disk can only be mounted by root");
            return None;
        }
        std::fs::create_dir_all(&path).expect("created");
        let options = format!("size={size},mode=0755");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path)
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(path));
        }
        skipped("a small disk cannot be mounted here");
        None
    }

    /// Fills it, but for some hundred bytes.
    ///
    /// # Panics
    ///
    /// If no file can be made on it.
    pub fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.0.join("filler")).expect("created");
        for size in [65_536, 4096, 512] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Removes what it was filled with.
    ///
    /// # Panics
    ///
    /// If it was not filled.
    pub fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as a supervisor may still be at home there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
