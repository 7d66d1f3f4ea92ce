//! Moments at which a test may have a process die. In a release build there are none.
//!
//! A test that wants a process dead at a [`point`] names a directory in the environment variable
//! `HELIX_FAULTS` of the program and puts a file there with the name of the point: whose text is the
//! id of the process to kill, or `self`. The first process to come by takes the file away (it is
//! `<name>.hit` from then on), so a fault happens once.

/// Comes by a moment of this name.
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    debug::point(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod debug {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::{Pid, getpid};

    pub(super) fn point(name: &str) {
        static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
        let directory =
            DIRECTORY.get_or_init(|| std::env::var_os("HELIX_FAULTS").map(PathBuf::from));
        let Some(directory) = directory else { return };
        let (file, hit) = (directory.join(name), directory.join(format!("{name}.hit")));
        if std::fs::rename(file, &hit).is_err() {
            return;
        }
        let victim = std::fs::read_to_string(hit).unwrap_or_default();
        let victim = match victim.trim().parse() {
            Ok(pid) => Pid::from_raw(pid),
            Err(_) => getpid(),
        };
        // One that is gone already is what the test wants.
        let _ = kill(victim, Signal::SIGKILL);
    }
}
