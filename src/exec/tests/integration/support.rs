//! A launcher of its own for each test, and attempts to launch with it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use helix_exec::control::{self, Notice, Order, StopReason};
use helix_exec::frame::{self, MAX_CONTROL_FRAME, MAX_LAUNCHER_FRAME};
use helix_exec::launcher::{self, Config, Refusal, Reply, Request, Roots};
use helix_exec::spool::status::{Ended, Status};
use helix_exec::spool::{Piece, SpoolLimits, Stream};
use helix_exec::{
    LaunchRequest, Limits, Needles, Network, OutputStreams, ProcessId, ProcessIdentity,
    ResourceLimits, SpoolReader, SpoolWriter,
};
use tempfile::TempDir;

/// Longer than anything here takes on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A launcher that runs, and a directory for all that it does.
pub(crate) struct Launcher {
    pub(crate) child: Child,
    pub(crate) connection: UnixStream,
    directory: TempDir,
    next: u64,
}

/// An attempt that was launched.
pub(crate) struct Attempt {
    pub(crate) supervisor: ProcessIdentity,
    pub(crate) spool: PathBuf,
}

impl Launcher {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), |_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change)
    }

    /// Starts in a directory that may be one of a special kind.
    pub(crate) fn start_in(directory: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        std::fs::create_dir(directory.path().join("spools")).unwrap();
        std::fs::create_dir(directory.path().join("work")).unwrap();
        let mut config = config(directory.path());
        change(&mut config);
        let path = directory.path().join("launcher.json");
        std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
        let (connection, child) = start_child(&path);
        Self {
            child,
            connection,
            directory,
            next: 0,
        }
    }

    /// Starts another in the place of one that has ended.
    pub(crate) fn start_again(&mut self) {
        (self.connection, self.child) = start_child(&self.path().join("launcher.json"));
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    /// A request for a shell line, with a spool that is made and has a first line.
    pub(crate) fn shell(&mut self, line: &str) -> LaunchRequest {
        self.command(&["/bin/sh", "-c", line])
    }

    pub(crate) fn command(&mut self, command: &[&str]) -> LaunchRequest {
        self.next += 1;
        let spool = self.path().join("spools").join(self.next.to_string());
        let spool_limits = SpoolLimits::default();
        let mut writer = SpoolWriter::create(&spool, spool_limits).unwrap();
        writer.append(Stream::Agent, b"first line\n");
        assert_eq!(writer.problems(), []);
        LaunchRequest {
            command: command.iter().map(|part| (*part).into()).collect(),
            environment: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            working_directory: self.work().into(),
            spool: spool.into(),
            umask: 0o022,
            limits: Limits {
                wall: Some(PATIENCE),
                silence: None,
                grace: Duration::from_secs(60),
                output_bytes: None,
            },
            streams: OutputStreams::Separate,
            spool_limits,
            needles: Needles::default(),
            directories: None,
            resources: ResourceLimits::default(),
            network: Network::default(),
        }
    }

    pub(crate) fn launch(&mut self, request: LaunchRequest) -> Attempt {
        self.try_launch(request).unwrap()
    }

    pub(crate) fn try_launch(&mut self, request: LaunchRequest) -> Result<Attempt, Refusal> {
        let spool = request.spool.as_path().to_owned();
        self.send(77, request);
        match self.reply() {
            Reply::Launched {
                number: 77,
                supervisor,
            } => Ok(Attempt { supervisor, spool }),
            Reply::Refused {
                number: 77,
                refusal,
            } => Err(refusal),
            reply => panic!("reply to something else: {reply:?}"),
        }
    }

    pub(crate) fn send(&mut self, number: u64, request: LaunchRequest) {
        let request = Request::Launch {
            number,
            launch: Box::new(request),
        };
        frame::write(&mut self.connection, &request, MAX_LAUNCHER_FRAME).unwrap();
    }

    pub(crate) fn reply(&mut self) -> Reply {
        frame::read(&mut self.connection, MAX_LAUNCHER_FRAME)
            .unwrap()
            .expect("launcher left")
    }

    /// Runs a shell line to its end.
    pub(crate) fn run_shell(&mut self, line: &str) -> (Ended, String) {
        let request = self.shell(line);
        self.run(request)
    }

    /// Runs a request to its end; how it ended, and its whole log.
    pub(crate) fn run(&mut self, request: LaunchRequest) -> (Ended, String) {
        let attempt = self.launch(request);
        let ended = attempt.wait();
        (ended, attempt.log())
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_child(config: &Path) -> (UnixStream, Child) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_helix-launcher"));
    command.arg("--config").arg(config).arg("--connection");
    let (connection, child) = launcher::start_child(command).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    (connection, child)
}

pub(crate) fn config(directory: &Path) -> Config {
    Config {
        spool_roots: Roots::Beneath(vec![directory.join("spools")]),
        work_roots: Roots::Beneath(vec![directory.join("work")]),
        ..Config::unprivileged(nix::unistd::geteuid().as_raw())
    }
}

impl Attempt {
    pub(crate) fn connect(&self) -> UnixStream {
        let stream = control::connect(&self.spool).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn reader(&self) -> SpoolReader {
        SpoolReader::open(&self.spool).unwrap()
    }

    pub(crate) fn status(&self) -> Option<Status> {
        self.reader().status().unwrap()
    }

    /// The command's process id, once it was started.
    pub(crate) fn command(&self) -> ProcessId {
        until("the command was started", || match self.status()? {
            Status::Launched(launched) => Some(launched.command),
            Status::Ended(ended) => panic!("it has ended: {ended:?}"),
        })
    }

    /// Waits for the end as a client does: for the notice, and if there is none, for the status.
    pub(crate) fn wait(&self) -> Ended {
        if let Ok(mut stream) = control::connect(&self.spool) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            while let Ok(Some(Notice::Progress { .. })) =
                frame::read(&mut stream, MAX_CONTROL_FRAME)
            {}
        }
        until("the attempt has ended", || match self.status()? {
            Status::Launched(_) => None,
            Status::Ended(ended) => Some(*ended),
        })
    }

    pub(crate) fn stop(&self, reason: StopReason, grace: Duration) {
        let order = Order::Stop { reason, grace };
        frame::write(&mut self.connect(), &order, MAX_CONTROL_FRAME).unwrap();
    }

    pub(crate) fn raw_log(&self) -> Vec<u8> {
        let mut log = Vec::new();
        self.reader().write_log(&mut log).unwrap();
        log
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.raw_log()).into_owned()
    }

    /// Waits until the log holds a text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        until(&format!("`{text}` is in the log"), || {
            self.log().contains(text).then_some(())
        });
    }

    /// The whole console by stream, with the offsets checked.
    pub(crate) fn pieces(&self) -> Vec<(Stream, Vec<u8>)> {
        let mut reader = self.reader();
        let mut pieces: Vec<(Stream, Vec<u8>)> = Vec::new();
        let mut offset = 0;
        loop {
            match reader.read_at(offset, 100_000).unwrap() {
                Piece::End => return pieces,
                Piece::Gap(gap) => panic!("a gap: {gap:?}"),
                Piece::Chunk(chunk) => {
                    assert_eq!(chunk.offset, offset);
                    offset += chunk.bytes.len() as u64;
                    match pieces.last_mut() {
                        Some((stream, bytes)) if *stream == chunk.stream => {
                            bytes.extend(chunk.bytes);
                        }
                        _ => pieces.push((chunk.stream, chunk.bytes)),
                    }
                }
            }
        }
    }
}

/// Polls a condition, for as long as it may take on a busy machine.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether a process is there and not only waiting to be collected.
pub(crate) fn is_alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// Reads a file that a command writes a process id into.
pub(crate) fn pid_in(path: &Path) -> i32 {
    until("a process id was written", || {
        let mut text = String::new();
        std::fs::File::open(path)
            .ok()?
            .read_to_string(&mut text)
            .ok()?;
        text.strip_suffix('\n')?.parse().ok()
    })
}

/// Says why a test has not tested anything.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
