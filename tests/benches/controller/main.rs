//! How fast and how small the controller is, against what people use today on the same machine in
//! the same run: `cargo bench --package helix-tests --bench controller`.
//!
//! | part | what | against |
//! |---|---|---|
//! | peers | trivial items from submission to the last known result, one and two at a time | GNU parallel, Celery with Redis, Slurm; a loop of spawn, capture, wait |
//! | latency | from submission to the command's first instruction, idle | Celery |
//! | scale | a million waiting items and ten thousand simulated agents: memory, CPU, dispatch rate | - |
//!
//! Rounds alternate; the median is printed with the smallest and the largest. A peer that is not
//! installed is left out, which is said: `parallel`, `redis-server`, `slurmctld` are looked for in
//! `PATH`, Celery below `HELIX_BENCH_PYTHON` (a Python that can import it). `HELIX_BENCH_QUICK` makes
//! it short, and names of parts as arguments leave out the others.
#![expect(
    clippy::print_stdout,
    reason = "the figures are the purpose of this program"
)]

mod celery;
mod crowd;
mod figures;
mod latency;
mod peers;
mod scale;
mod slurm;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Extent {
    rounds: usize,
    items: usize,
    /// Of peers that take a second for an item.
    slow_items: usize,
    dispatches: usize,
    agents: u32,
    waiting: usize,
    scale_seconds: u64,
}

fn main() {
    if latency::is_stamp() {
        return;
    }
    let quick = std::env::var_os("HELIX_BENCH_QUICK").is_some_and(|value| !value.is_empty());
    let extent = if quick {
        Extent {
            rounds: 3,
            items: 100,
            slow_items: 5,
            dispatches: 50,
            agents: 500,
            waiting: 20_000,
            scale_seconds: 5,
        }
    } else {
        Extent {
            rounds: 5,
            items: 500,
            slow_items: 20,
            dispatches: 300,
            agents: 10_000,
            waiting: 1_000_000,
            scale_seconds: 30,
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        if wanted("peers") {
            peers::measure(&extent).await;
        }
        if wanted("latency") {
            latency::measure(&extent).await;
        }
        if wanted("scale") {
            scale::measure(&extent).await;
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
