//! The controller's own directory: made, kept from a second controller, and telling where the
//! first one listens.

use std::fs::{self, DirBuilder, File};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::controller::StartError;

const LOCK: &str = "lock";
/// Where the REST API is served.
const LISTENING: &str = "listening";
/// Where agents announce themselves and open tunnels.
const AGENTS: &str = "agents";

/// The state directory, which no second controller uses as long as this is there.
#[derive(Debug)]
pub(crate) struct Ground {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Ground {
    /// Makes the directory, if it is not there, and keeps others out of it.
    pub(crate) fn take(path: &Path) -> Result<Self, StartError> {
        let failed = |operation, path: &Path, source| StartError::File {
            operation,
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| failed("make the directory", path, source))?;
        let lock = path.join(LOCK);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .map_err(|source| failed("open", &lock, source))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            StartError::AlreadyRunning {
                path: path.to_owned(),
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Writes the addresses to the files `listening` and `agents`, which are the only way to learn
    /// of ports that the system has chosen.
    pub(crate) fn tell_where(
        &self,
        http: SocketAddr,
        agents: SocketAddr,
    ) -> Result<(), StartError> {
        // The REST API comes last: whoever waits for it finds the other.
        for (name, address) in [(AGENTS, agents), (LISTENING, http)] {
            let path = self.path.join(name);
            let next = self.path.join(format!("{name}.next"));
            fs::write(&next, format!("{address}\n"))
                .and_then(|()| fs::rename(&next, &path))
                .map_err(|source| StartError::File {
                    operation: "write the address to",
                    path,
                    source,
                })?;
        }
        Ok(())
    }

    /// Takes the addresses back; a stale one would lead the next client astray.
    pub(crate) fn forget_where(&self) {
        for name in [LISTENING, AGENTS] {
            let _ = fs::remove_file(self.path.join(name));
        }
    }
}
