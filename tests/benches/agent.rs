//! How fast and how small the agent is, against the bare limit of the same
//! machine in the same run: `cargo bench --package helix-tests`.
//!
//! | what | bare limit |
//! |---|---|
//! | spawn: one trivial item after the other | a loop of spawn, capture, wait |
//! | dispatch: from the call to the command's first instruction | the same spawn |
//! | output: command to gRPC client | a pipe read and appended to a file |
//! | adoption: from the start of a new agent to bytes of each of 64 running items | - |
//! | memory and size | - |
//!
//! Rounds of both sides alternate, and the median over rounds is printed with
//! the smallest and the largest. `HELIX_BENCH_QUICK` makes it short, and
//! the names of parts as arguments leave out the others.
#![expect(
    clippy::print_stdout,
    reason = "the figures are the purpose of this program"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use helix_proto::agent::v1::agent_service_client::AgentServiceClient;
use helix_proto::agent::v1::attempt_event::Kind;
use helix_proto::agent::v1::{
    AttachRequest, AttemptSummary, ConsoleStream, ListAttemptsRequest, RunRequest, WorkItem,
};
use helix_tests::agent::{Agent, until};
use helix_tests::item::{argv, shell};
use helix_tests::programs::program;
use helix_tests::stream::Seen;
use tonic::transport::Channel;

/// How much of everything.
struct Scale {
    rounds: usize,
    items: usize,
    dispatches: usize,
    output_bytes: u64,
}

fn main() {
    let quick = std::env::var_os("HELIX_BENCH_QUICK").is_some_and(|value| !value.is_empty());
    let scale = if quick {
        Scale {
            rounds: 3,
            items: 100,
            dispatches: 100,
            output_bytes: 512 << 20,
        }
    } else {
        Scale {
            rounds: 7,
            items: 300,
            dispatches: 500,
            output_bytes: 2 << 30,
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        if wanted("memory") {
            memory().await;
        }
        if wanted("spawn") {
            spawn(&scale).await;
        }
        if wanted("dispatch") {
            dispatch(&scale).await;
        }
        if wanted("adoption") {
            adoption(&scale).await;
        }
        if wanted("output") {
            output(&scale).await;
        }
    });
}

/// Whether a part was named on the command line, or none was.
fn wanted(part: &str) -> bool {
    let mut named = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .peekable();
    named.peek().is_none() || named.any(|word| word == part)
}

async fn agent() -> Agent {
    Agent::start_with("slots = 4\n", "").await
}

async fn spawn(scale: &Scale) {
    let agent = agent().await;
    let mut client = agent.client().await;
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let began = Instant::now();
        for _ in 0..scale.items {
            bare_spawn("/bin/true", &[]);
        }
        bare.push(per_item(began, scale.items));
        let began = Instant::now();
        for _ in 0..scale.items {
            let seen = run(&mut client, argv(&["/bin/true"])).await;
            assert_eq!(seen.finished().helix_exit_code, 0);
        }
        ours.push(per_item(began, scale.items));
    }
    println!("spawn, one item at a time, microseconds per item");
    println!("  bare spawn, capture, wait   {}", spread(&mut bare));
    println!("  agent, call to verdict      {}", spread(&mut ours));
    println!(
        "  ratio                       {:.2}",
        median(&mut ours) / median(&mut bare)
    );
}

/// Work items that run while their agent is killed and another takes its place.
const ADOPTED: usize = 64;

async fn adoption(scale: &Scale) {
    let configuration = format!("slots = {ADOPTED}\n");
    let mut agent = Agent::start_with(&configuration, "").await;
    let mut attempts = Vec::new();
    for _ in 0..ADOPTED {
        let item = shell("while :; do echo line; sleep 0.02; done");
        let id = item.attempt_id.clone();
        let mut stream = agent.offer(item).await.expect("taken");
        let mut seen = Seen::default();
        until(&mut stream, &mut seen, |seen, _| !seen.stdout.is_empty()).await;
        attempts.push(id);
    }
    let (mut listening, mut streaming) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        agent.kill().await;
        let began = Instant::now();
        agent.start_again().await;
        listening.push(began.elapsed().as_secs_f64() * 1e3);
        let readers: Vec<_> = attempts
            .iter()
            .map(|id| tokio::spawn(follows(agent.address(), id.clone())))
            .collect();
        for reader in readers {
            reader.await.expect("it streams");
        }
        streaming.push(began.elapsed().as_secs_f64() * 1e3);
    }
    println!("adoption of {ADOPTED} running items by a new agent, milliseconds");
    println!("  until it listens            {}", spread(&mut listening));
    println!(
        "  until all of them stream    {}  (goal: at most 1000)",
        spread(&mut streaming)
    );
}

/// Waits until output arrives that was written after the agent's start.
async fn follows(address: std::net::SocketAddr, attempt_id: String) {
    let client = AgentServiceClient::connect(format!("http://{address}")).await;
    let mut client = client.expect("it listens");
    let list = ListAttemptsRequest {
        page_size: 1000,
        ..ListAttemptsRequest::default()
    };
    let rows = client.list_attempts(list).await.expect("a list");
    let mut rows = rows.into_inner().attempts.into_iter();
    let is_it = |row: &AttemptSummary| {
        let attempt = row.attempt.as_ref();
        attempt.is_some_and(|attempt| attempt.attempt_id == attempt_id)
    };
    let row = rows.find(is_it);
    let request = AttachRequest {
        attempt_id,
        console_offset: row.expect("known").console_bytes,
        ..AttachRequest::default()
    };
    let mut stream = client.attach(request).await.expect("known").into_inner();
    while let Some(response) = stream.message().await.expect("unbroken") {
        if let Some(Kind::Console(_)) = response.event.expect("an event").kind {
            return;
        }
    }
    panic!("the item has ended");
}

async fn dispatch(scale: &Scale) {
    let agent = agent().await;
    let mut client = agent.client().await;
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..scale.dispatches {
        let began = now();
        bare.push(micros(&bare_spawn("/bin/date", &["+%s%N"]), began));
        let began = now();
        let seen = run(&mut client, argv(&["/bin/date", "+%s%N"])).await;
        ours.push(micros(&seen.stdout, began));
    }
    println!("dispatch on an idle agent, microseconds to the command's own first clock reading");
    println!(
        "  bare spawn   p50 {:.0}  p99 {:.0}",
        median(&mut bare),
        percentile(&mut bare, 99)
    );
    println!(
        "  agent        p50 {:.0}  p99 {:.0}",
        median(&mut ours),
        percentile(&mut ours, 99)
    );
    println!(
        "  ratio        p50 {:.2}",
        median(&mut ours) / median(&mut bare)
    );
}

async fn output(scale: &Scale) {
    let agent = agent().await;
    let mut client = agent.client().await;
    let line = format!("head -c {} /dev/zero", scale.output_bytes);
    let directory = tempfile::tempdir().expect("a directory");
    let (mut bare, mut ours, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let began = Instant::now();
        bare_output(&line, &directory.path().join("output"));
        bare.push(mebibytes_per_second(began, scale.output_bytes));
        let began = Instant::now();
        let (received, dropped) = receive(&mut client, shell(&line)).await;
        assert_eq!(received + dropped, scale.output_bytes, "bytes vanished");
        ours.push(mebibytes_per_second(began, received));
        memory.push(resident_mebibytes(agent.pid()));
        if dropped > 0 {
            println!(
                "  ({} MiB were dropped: the reader fell behind)",
                dropped >> 20
            );
        }
    }
    println!("output of one item, MiB per second");
    println!("  bare pipe into a file       {}", spread(&mut bare));
    println!("  command to gRPC client      {}", spread(&mut ours));
    println!(
        "  ratio                       {:.2}",
        median(&mut ours) / median(&mut bare)
    );
    println!("  agent resident after it     {} MiB", spread(&mut memory));
}

async fn memory() {
    let agent = agent().await;
    let idle = resident_mebibytes(agent.pid());
    let before = processor_ticks(agent.pid());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ticks = processor_ticks(agent.pid()) - before;
    let mut stream = agent
        .offer(shell("echo ready; sleep 60"))
        .await
        .expect("taken");
    let mut seen = Seen::default();
    until(&mut stream, &mut seen, |seen, _| seen.stdout == b"ready\n").await;
    println!("memory and size");
    println!("  agent idle, resident        {idle:.1} MiB");
    println!("  agent idle, CPU in 5 s      {ticks} ticks of 10 ms");
    for (pid, name, resident, own) in family(agent.pid()) {
        println!("  {name:<10} {pid:>8}         {resident:.1} MiB resident, {own:.1} MiB its own");
    }
    for name in ["helix-agent", "helix-launcher"] {
        let bytes = std::fs::metadata(program(name)).expect("built").len();
        println!(
            "  {name:<16} on disk    {:.1} MiB",
            bytes as f64 / 1_048_576.0
        );
    }
}

async fn run(client: &mut AgentServiceClient<Channel>, item: WorkItem) -> Seen {
    let request = RunRequest {
        work_item: Some(item),
    };
    let mut stream = client.run(request).await.expect("taken").into_inner();
    let mut seen = Seen::default();
    while let Some(response) = stream.message().await.expect("unbroken") {
        seen.take(response.event.expect("an event"));
    }
    seen
}

/// Bytes of standard output received, and bytes said to be dropped.
async fn receive(client: &mut AgentServiceClient<Channel>, item: WorkItem) -> (u64, u64) {
    let request = RunRequest {
        work_item: Some(item),
    };
    let mut stream = client.run(request).await.expect("taken").into_inner();
    let (mut received, mut dropped) = (0, 0);
    while let Some(response) = stream.message().await.expect("unbroken") {
        match response.event.and_then(|event| event.kind) {
            Some(Kind::Console(chunk)) if chunk.stream() == ConsoleStream::Stdout => {
                received += chunk.data.len() as u64;
            }
            Some(Kind::ConsoleGap(gap)) => dropped += gap.dropped_bytes,
            _ => {}
        }
    }
    (received, dropped)
}

fn bare_spawn(path: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    output.expect("it runs").stdout
}

fn bare_output(line: &str, path: &Path) {
    let mut child = Command::new("/bin/sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut pipe = child.stdout.take().expect("piped");
    let mut file = File::create(path).expect("created");
    let mut buffer = vec![0; 64 << 10];
    loop {
        match pipe.read(&mut buffer).expect("read") {
            0 => break,
            count => file.write_all(&buffer[..count]).expect("written"),
        }
    }
    child.wait().expect("waited");
    std::fs::remove_file(path).expect("removed");
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
}

fn micros(printed: &[u8], began: Duration) -> f64 {
    let nanos: u64 = String::from_utf8_lossy(printed)
        .trim()
        .parse()
        .expect("a number");
    Duration::from_nanos(nanos)
        .saturating_sub(began)
        .as_secs_f64()
        * 1e6
}

fn per_item(began: Instant, items: usize) -> f64 {
    began.elapsed().as_secs_f64() * 1e6 / items as f64
}

fn mebibytes_per_second(began: Instant, bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0 / began.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    percentile(values, 50)
}

fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * percent / 100]
}

fn spread(values: &mut [f64]) -> String {
    let median = median(values);
    format!(
        "{median:.0}  ({:.0} to {:.0})",
        values[0],
        values[values.len() - 1]
    )
}

fn resident_mebibytes(pid: u32) -> f64 {
    rollup(pid, "Rss:")
}

/// A figure of the process's memory; 0 where the system does not tell.
fn rollup(pid: u32, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.starts_with(field))
        .unwrap_or_default();
    let kibibytes: f64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    kibibytes / 1024.0
}

fn processor_ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    [11, 12]
        .iter()
        .filter_map(|index| fields.get(*index)?.parse::<u64>().ok())
        .sum()
}

/// The launcher of an agent and the supervisors that it forked: id, name,
/// resident memory and memory shared with nobody.
fn family(agent: u32) -> Vec<(u32, &'static str, f64, f64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if pid == agent || !String::from_utf8_lossy(&command).contains("helix-agent\0launcher") {
            continue;
        }
        let own = rollup(pid, "Private_Dirty:") + rollup(pid, "Private_Clean:");
        found.push((pid, "launcher or supervisor", rollup(pid, "Rss:"), own));
    }
    found
}
