//! What supervision costs, against the same done by a bare loop in the same run.
//!
//! Prints the time of a launch (launcher, supervisor and spool, from making the spool to its final
//! status) against spawn, pipe and wait; the throughput of output into the spool against reading a
//! pipe and appending to a file; and the memory of an idle supervisor. Rounds alternate and the
//! median of their ratios counts, so that other load on the machine hits both sides.
//!
//! As root also the launch of isolated commands (a user and a control group each, with directories
//! that change hands; then with a view of their own as well) against a bare loop that takes the same
//! steps.
//!
//! With `spawn`, `isolated`, `output` or `memory` as an argument only that part is run.
//! `HELIX_BENCH_DIR` says where the spools go, the temporary directory by default.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark prints what it has measured"
)]

#[cfg(target_os = "linux")]
mod bare_loop;
#[cfg(target_os = "linux")]
mod isolated;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use helix_exec::control::{self, Notice, Order, StopReason};
use helix_exec::frame::{self, MAX_CONTROL_FRAME, MAX_LAUNCHER_FRAME};
use helix_exec::launcher::{self, Config, Reply, Request, Roots};
use helix_exec::spool::status::{Ending, Status};
use helix_exec::spool::{SpoolLimits, Stream};
use helix_exec::{
    LaunchRequest, Limits, Needles, Network, OutputStreams, ProcessIdentity, ResourceLimits,
    SpoolReader, SpoolWriter,
};
use tempfile::TempDir;

const ROUNDS: usize = 15;
const LAUNCHES: u32 = 100;
const OUTPUT_BYTES: u64 = 256 << 20;

fn main() {
    #[cfg(target_os = "linux")]
    if bare_loop::is_this() {
        return;
    }
    let directory = match std::env::var_os("HELIX_BENCH_DIR") {
        Some(path) => TempDir::new_in(path),
        None => TempDir::new(),
    }
    .expect("a directory for the spools");
    let mut bench = Bench::start(directory);
    // What cargo itself passes along begins with a dash.
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let is_wanted = |part| wanted.as_deref().is_none_or(|wanted| wanted == part);
    if is_wanted("spawn") {
        spawn(&mut bench);
    }
    if is_wanted("isolated") {
        #[cfg(target_os = "linux")]
        isolated::measure();
        #[cfg(not(target_os = "linux"))]
        println!("isolated commands: skipped, what bounds them is that of Linux");
    }
    if is_wanted("output") {
        output(&mut bench);
    }
    if is_wanted("memory") {
        bench.memory();
    }
}

fn spawn(bench: &mut Bench) {
    println!("one at a time, {ROUNDS} rounds of {LAUNCHES} times `/bin/true`:");
    compare(
        bench,
        |seconds| format!("{:7.0} µs each", seconds * 1e6 / f64::from(LAUNCHES)),
        |_| (0..LAUNCHES).for_each(|_| run_bare(&["/bin/true"], &mut std::io::sink())),
        |bench| (0..LAUNCHES).for_each(|_| bench.run(&["/bin/true"], |_| {})),
        1.5,
    );
}

fn output(bench: &mut Bench) {
    let count = format!("count={}", OUTPUT_BYTES >> 16);
    let writer = ["/bin/dd", "if=/dev/zero", "bs=64k", &count, "status=none"];
    type Change = fn(&mut LaunchRequest);
    let cases: [(&str, Change); 3] = [
        ("all of it kept", |request| {
            request.spool_limits.head_bytes = 1 << 30
        }),
        ("head and tail kept", |_| {}),
        ("all of it kept, 20 needles", |request| {
            request.spool_limits.head_bytes = 1 << 30;
            let needles = (0..20).map(|n| format!("secret number {n} of twenty").into_bytes());
            request.needles = Needles::new(needles);
        }),
    ];
    for (name, change) in cases {
        println!(
            "output of {} MiB in writes of 64 KiB, {name}:",
            OUTPUT_BYTES >> 20
        );
        compare(
            bench,
            |seconds| format!("{:7.0} MiB/s", 256.0 / seconds),
            |bench| {
                let path = bench.directory.path().join("raw");
                run_bare(&writer, &mut File::create(&path).expect("a file"));
            },
            |bench| bench.run(&writer, change),
            1.0 / 0.8,
        );
    }
}

/// Alternates the two sides and prints what each took, and the ratio of their times.
fn compare(
    bench: &mut Bench,
    show: impl Fn(f64) -> String,
    bare: impl Fn(&mut Bench),
    supervised: impl Fn(&mut Bench),
    goal: f64,
) {
    let time = |bench: &mut Bench, side: &dyn Fn(&mut Bench)| {
        let started = Instant::now();
        side(bench);
        started.elapsed().as_secs_f64()
    };
    // Once without counting, so that caches are warm for both.
    time(bench, &bare);
    time(bench, &supervised);
    let rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| (time(bench, &bare), time(bench, &supervised)))
        .collect();
    // Only now: ext4 is slow to make files for half a minute after many were removed.
    bench.clear();
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let bare = median(rounds.iter().map(|round| round.0).collect());
    let supervised = median(rounds.iter().map(|round| round.1).collect());
    let ratio = median(rounds.iter().map(|round| round.1 / round.0).collect());
    println!("  bare        {}", show(bare));
    println!("  supervised  {}", show(supervised));
    println!("  time ratio  {ratio:7.2}  (goal: at most {goal:.2})");
}

/// Starts a command with a pipe, copies what it writes, and waits for it.
fn run_bare(command: &[&str], to: &mut impl std::io::Write) {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command started");
    let mut pipe = child.stdout.take().expect("a pipe");
    let mut buffer = vec![0; 256 << 10];
    loop {
        match pipe.read(&mut buffer).expect("output") {
            0 => break,
            count => to.write_all(&buffer[..count]).expect("output written"),
        }
    }
    assert!(child.wait().expect("an exit status").success());
}

struct Bench {
    directory: TempDir,
    connection: UnixStream,
    child: Child,
    next: u64,
    finished: Vec<PathBuf>,
}

impl Bench {
    fn start(directory: TempDir) -> Self {
        Self::start_with(directory, |_| {})
    }

    fn start_with(directory: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let roots = Roots::Beneath(vec![directory.path().to_owned()]);
        // The owner of a directory just made is this process's user.
        let owner = directory.path().metadata().expect("the directory");
        let mut config = Config {
            spool_roots: roots.clone(),
            work_roots: roots,
            ..Config::unprivileged(std::os::unix::fs::MetadataExt::uid(&owner))
        };
        change(&mut config);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(directory.path(), mode).expect("a mode");
        let path = directory.path().join("launcher.json");
        std::fs::write(&path, serde_json::to_vec(&config).expect("JSON")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_helix-launcher"));
        command.arg("--config").arg(path).arg("--connection");
        let (connection, child) = launcher::start_child(command).expect("a launcher");
        Self {
            directory,
            connection,
            child,
            next: 0,
            finished: Vec::new(),
        }
    }

    fn run(&mut self, command: &[&str], change: impl FnOnce(&mut LaunchRequest)) {
        let (spool, _) = self.launch(command, change);
        wait(&spool);
        let status = SpoolReader::open(&spool)
            .expect("a spool")
            .status()
            .expect("a status");
        match status {
            Some(Status::Ended(ended)) => {
                assert_eq!(ended.ending, Ending::Exited { code: 0 });
                assert_eq!(ended.output.lost_bytes, 0);
            }
            status => panic!("no end: {status:?}"),
        }
        self.finished.push(spool);
    }

    /// Removes the spools; whoever runs items does that when there is time.
    fn clear(&mut self) {
        for spool in self.finished.drain(..) {
            std::fs::remove_dir_all(spool).expect("the spool removed");
        }
    }

    fn launch(
        &mut self,
        command: &[&str],
        change: impl FnOnce(&mut LaunchRequest),
    ) -> (PathBuf, ProcessIdentity) {
        self.next += 1;
        let spool = self.directory.path().join(self.next.to_string());
        let mut request = LaunchRequest {
            command: command.iter().map(|part| (*part).into()).collect(),
            environment: Vec::new(),
            working_directory: self.directory.path().into(),
            spool: spool.clone().into(),
            umask: 0o022,
            limits: Limits {
                wall: Some(Duration::from_secs(300)),
                silence: None,
                grace: Duration::from_secs(10),
                output_bytes: None,
            },
            streams: OutputStreams::Separate,
            spool_limits: SpoolLimits::default(),
            needles: Needles::default(),
            directories: None,
            resources: ResourceLimits::default(),
            network: Network::default(),
        };
        change(&mut request);
        let mut writer = SpoolWriter::create(&spool, request.spool_limits).expect("a spool");
        writer.append(Stream::Agent, b"a first line\n");
        drop(writer);
        let request = Request::Launch {
            number: self.next,
            launch: Box::new(request),
        };
        frame::write(&mut self.connection, &request, MAX_LAUNCHER_FRAME).expect("a request sent");
        match frame::read(&mut self.connection, MAX_LAUNCHER_FRAME).expect("a reply") {
            Some(Reply::Launched { supervisor, .. }) => (spool, supervisor),
            reply => panic!("{reply:?}"),
        }
    }

    fn memory(&mut self) {
        let (spool, supervisor) = self.launch(&["/bin/sleep", "1000"], |_| {});
        while !matches!(
            SpoolReader::open(&spool)
                .expect("a spool")
                .status()
                .expect("a status"),
            Some(Status::Launched(_))
        ) {
            std::thread::yield_now();
        }
        println!("memory in KiB:");
        for (name, pid) in [
            ("supervisor", supervisor.pid.0.to_string()),
            ("launcher", self.child.id().to_string()),
        ] {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
            let rollup = rollup.unwrap_or_default();
            let field = |name: &str| {
                let line = rollup.lines().find(|line| line.starts_with(name));
                line.and_then(|line| line.split_whitespace().nth(1))
                    .unwrap_or("?")
                    .to_owned()
            };
            println!(
                "  {name:<10}  resident {}, its share {}, its own {} (goal: under 2048)",
                field("Rss:"),
                field("Pss:"),
                field("Private_Dirty:")
            );
        }
        let order = Order::Stop {
            reason: StopReason::Cancel,
            grace: Duration::ZERO,
        };
        let mut stream = control::connect(&spool).expect("a supervisor");
        frame::write(&mut stream, &order, MAX_CONTROL_FRAME).expect("an order sent");
        wait(&spool);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.connection.flush();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end: by notice, and if the supervisor was quicker than that, it is there already.
fn wait(spool: &Path) {
    if let Ok(mut stream) = control::connect(spool) {
        while let Ok(Some(Notice::Progress { .. })) = frame::read(&mut stream, MAX_CONTROL_FRAME) {}
    }
}
