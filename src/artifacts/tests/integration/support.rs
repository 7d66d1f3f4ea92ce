//! What several tests need.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use helix_artifacts::{ArtifactName, Tuning};
use sha2::{Digest, Sha256};

/// Bytes that no compression or deduplication makes smaller, the same in every run.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn name(path: &str) -> ArtifactName {
    ArtifactName::from_path(path).expect("a name")
}

/// A file of these bytes, open for reading, without a path.
pub(crate) fn file(bytes: &[u8]) -> File {
    use std::io::Write as _;
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("written");
    file
}

/// Waits until something is so; fails, saying what it is, if it never is.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "never came: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// As by default, in a hurry.
pub(crate) fn hasty() -> Tuning {
    Tuning {
        part_bytes: 64 << 10,
        within: Duration::from_secs(20),
        first_delay: Duration::from_millis(5),
        ..Tuning::default()
    }
}

/// A server of a test, ended with it.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts `program` with the arguments that `arguments` makes of a free port, and waits until
    /// it accepts connections. `None`, said on stderr, if `variable` names no program.
    pub(crate) fn start(
        variable: &str,
        arguments: impl FnOnce(u16) -> Vec<String>,
        directory: &Path,
    ) -> Option<Self> {
        let Some(program) = std::env::var_os(variable).filter(|program| !program.is_empty()) else {
            eprintln!("skipped: {variable} names no program");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let log = File::create(directory.join("server.log")).expect("a log");
        let child = Command::new(&program)
            .args(arguments(port))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let mut server = Self { child, port };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Ok(Some(status)) = server.child.try_wait() {
                panic!("{} ended with {status}", program.display());
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{} is not up",
                program.display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Failing here would hide why the test failed; a server that is gone is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
