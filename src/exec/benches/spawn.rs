//! What supervision costs, against the same done by a bare loop in the same run.
//!
//! Prints the time of a launch (launcher, supervisor and spool, from making the spool to its final
//! status) against spawn, pipe and wait; the throughput of output into the spool against reading a
//! pipe and appending to a file; and the memory of an idle supervisor. Rounds alternate and the
//! median of their ratios counts, so that other load on the machine hits both sides.
//!
//! As root also the launch of isolated commands (a user and a control group each, with directories
//! that change hands; then with a view of their own as well) against a bare loop that starts the
//! command as another user in a control group and captures its output.
//!
//! With `spawn`, `isolated`, `output` or `memory` as an argument only that part is run.
//! `HELIX_BENCH_DIR` says where the spools go, the temporary directory by default.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark prints what it has measured"
)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use helix_exec::control::{self, Notice, Order, StopReason};
use helix_exec::frame::{self, MAX_CONTROL_FRAME, MAX_LAUNCHER_FRAME};
use helix_exec::launcher::{self, Config, ControlGroups, Pool, Reply, Request, Roots, Users, View};
use helix_exec::spool::status::{Ending, Status};
use helix_exec::spool::{SpoolLimits, Stream};
use helix_exec::{
    Directories, LaunchRequest, Limits, Needles, Network, OutputStreams, ProcessIdentity,
    ResourceLimits, SpoolReader, SpoolWriter,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use tempfile::TempDir;

const ROUNDS: usize = 15;
const LAUNCHES: u32 = 100;
const OUTPUT_BYTES: u64 = 256 << 20;

/// Has this program be the bare loop of isolated commands.
const BARE_LOOP: &str = "bare-loop";

fn main() {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let [_, first, group, directory, view] = arguments.as_slice()
        && first == BARE_LOOP
    {
        return bare_loop(group.as_ref(), directory.as_ref(), view == "view");
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
        isolated();
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

/// Not below `/tmp`, which commands may have their own of.
const ISOLATED_DIRECTORY: &str = "/var/lib";

const USER: u32 = 60_900;

fn isolated() {
    if !nix::unistd::geteuid().is_root() {
        println!("isolated commands: skipped, only root can run commands as other users");
        return;
    }
    let views = [
        ("user and control group", false),
        (
            "the same, with /tmp, /proc and shared memory of its own",
            true,
        ),
    ];
    for (name, view) in views {
        let directory = TempDir::with_prefix_in("helix-bench-", ISOLATED_DIRECTORY);
        let directory = directory.expect("a directory");
        let group = format!("helix-bench-{}", std::process::id());
        let mut bench = Bench::start_with(directory, |config| {
            let first = USER;
            config.users = Some(Users {
                pool: Pool::Range { first, count: 4 },
                groups: Vec::new(),
            });
            config.control_groups = ControlGroups::Beneath(group.clone().into());
            config.state_directory = Some(config_state());
            config.view = View {
                private_temporary: view,
                hidden_processes: view,
                private_ipc: view,
            };
        });
        println!("isolated, {name}, {ROUNDS} rounds of {LAUNCHES} times `/bin/true`:");
        let bare_group = hierarchy().join(&group).join("bare");
        std::fs::create_dir_all(&bare_group).expect("a control group");
        let bare = std::cell::RefCell::new(Bare::start(&bare_group, view));
        compare(
            &mut bench,
            |seconds| format!("{:7.0} µs each", seconds * 1e6 / f64::from(LAUNCHES)),
            |_| (0..LAUNCHES).for_each(|_| bare.borrow_mut().run()),
            |bench| (0..LAUNCHES).for_each(|_| bench.run_isolated(&["/bin/true"])),
            1.5,
        );
        bare.borrow().clear();
        drop((bench, bare));
        std::fs::remove_dir(bare_group).expect("an empty group");
        for slot in 0..4 {
            // Those that were used.
            let _ = std::fs::remove_dir(hierarchy().join(&group).join(format!("slot-{slot}")));
        }
        std::fs::remove_dir(hierarchy().join(&group)).expect("an empty group");
        std::fs::remove_dir_all(config_state()).expect("locks");
    }
}

fn config_state() -> PathBuf {
    PathBuf::from(format!("/run/helix-bench-{}", std::process::id()))
}

fn hierarchy() -> PathBuf {
    let unified = PathBuf::from("/sys/fs/cgroup/unified");
    if unified.is_dir() {
        unified
    } else {
        PathBuf::from("/sys/fs/cgroup")
    }
}

/// The bare loop, in a process of its own that has one thread: it changes what it sees of the
/// machine before each command, and back after. One item for each byte that it reads.
fn bare_loop(group: &Path, directory: &Path, view: bool) {
    let namespace = |kind| File::open(format!("/proc/self/ns/{kind}")).expect("a namespace");
    let machine = [namespace("mnt"), namespace("ipc")];
    let (mut wish, mut number) = ([0], 0);
    while std::io::stdin().read(&mut wish).expect("a wish") == 1 {
        number += 1;
        let parent = directory.join(format!("bare{number}"));
        run_bare_as_user(group, &parent, view);
        if view {
            for namespace in &machine {
                setns(namespace, CloneFlags::empty()).expect("back");
            }
        }
        std::io::stdout().write_all(&[1]).expect("told");
        std::io::stdout().flush().expect("told");
    }
}

/// The steps of an isolated launch and no more: directories that become the user's, a view of its
/// own, the command as that user in a control group, its output into a file, its end, its counters,
/// the directories back.
fn run_bare_as_user(group: &Path, parent: &Path, view: bool) {
    use std::os::unix::process::CommandExt as _;
    let user = USER + 3;
    std::fs::create_dir(parent).expect("a directory");
    let own = ["e", "t"].map(|name| parent.join(name));
    for directory in &own {
        std::fs::create_dir(directory).expect("a directory");
        std::os::unix::fs::chown(directory, Some(user), Some(user)).expect("given");
    }
    if view {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC).expect("a view of its own");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).expect("apart");
        for place in ["/tmp", "/var/tmp"] {
            mount(Some(&own[1]), place, none, MsFlags::MS_BIND, none).expect("a mount");
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), flags, none).expect("a mount");
    }
    let mut child = Command::new("/bin/true")
        .env_clear()
        .uid(user)
        .gid(user)
        .current_dir(&own[0])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command started");
    // It may have ended by now: a child of the standard library cannot be born in a group.
    let _ = std::fs::write(group.join("cgroup.procs"), child.id().to_string());
    let mut console = File::create(parent.join("console")).expect("a file");
    std::io::copy(&mut child.stdout.take().expect("a pipe"), &mut console).expect("output");
    std::io::copy(&mut child.stderr.take().expect("a pipe"), &mut console).expect("output");
    assert!(child.wait().expect("an exit status").success());
    std::fs::read_to_string(group.join("cpu.stat")).expect("counters");
    for directory in &own {
        std::os::unix::fs::chown(directory, Some(0), Some(0)).expect("back");
    }
}

/// A bare loop that runs, and a place for its directories.
struct Bare {
    child: Child,
    directory: TempDir,
}

impl Bare {
    fn start(group: &Path, view: bool) -> Self {
        let directory = TempDir::with_prefix_in("helix-bench-", ISOLATED_DIRECTORY);
        let directory = directory.expect("a directory");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(directory.path(), mode).expect("a mode");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg(BARE_LOOP)
            .args([group, directory.path()])
            .arg(if view { "view" } else { "no view" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bare loop started");
        Self { child, directory }
    }

    fn run(&mut self) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        input.write_all(&[1]).expect("a wish");
        let output = self.child.stdout.as_mut().expect("a pipe");
        output.read_exact(&mut [0]).expect("the bare loop goes on");
    }

    fn clear(&self) {
        for entry in std::fs::read_dir(self.directory.path())
            .expect("readable")
            .flatten()
        {
            std::fs::remove_dir_all(entry.path()).expect("removed");
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
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
        let elapsed = started.elapsed().as_secs_f64();
        bench.clear();
        elapsed
    };
    // Once without counting, so that caches are warm for both.
    time(bench, &bare);
    time(bench, &supervised);
    let rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| (time(bench, &bare), time(bench, &supervised)))
        .collect();
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

    /// Runs a command in directories of its own, which it is given for the time.
    fn run_isolated(&mut self, command: &[&str]) {
        let parent = self.directory.path().join(format!("w{}", self.next + 1));
        std::fs::create_dir(&parent).expect("a directory");
        for name in ["e", "t"] {
            std::fs::create_dir(parent.join(name)).expect("a directory");
        }
        self.run(command, |request| {
            request.working_directory = parent.join("e").into();
            request.directories = Some(Directories {
                parent: parent.clone().into(),
                names: vec!["e".into(), "t".into()],
                temporary: Some("t".into()),
            });
        });
        self.finished.push(parent);
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

    /// Removes the spools of a round; whoever runs items does that when there is time.
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
