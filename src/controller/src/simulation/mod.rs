//! Whole histories in a moment: the real scheduler and attempts, on a clock that jumps from one
//! event to the next, with a simulated store, network and machines. Everything follows from one seed.
//!
//! Machines stop, boot and lose their disks; networks are cut; the store is away or does not say what
//! it did; controllers are dropped wherever they wait and begin anew; clocks are set. Then all of it
//! heals, and in the end ([`verdict`]) each item must have ended once, with nothing lost.
//!
//! `HELIX_SIMULATION_SEED` runs one seed, `HELIX_SIMULATION_SEEDS` says how many are run.

mod agent;
mod chance;
mod link;
mod scenario;
mod store;
mod verdict;

use std::sync::atomic::{AtomicU64, Ordering};

/// How many seeds are run where nothing is said.
const SEEDS: u64 = 600;

/// Runs one seed to its end, and says in a few numbers what happened.
fn run(seed: u64) -> scenario::Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(scenario::play(seed))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_item_ends_once_whatever_happens() {
    if let Some(seed) = number("HELIX_SIMULATION_SEED") {
        log_to_stderr();
        let told = run(seed);
        assert!(
            told.problems.is_empty(),
            "seed {seed}: {:#?}",
            told.problems
        );
        return;
    }
    let seeds = number("HELIX_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let told = std::panic::catch_unwind(|| run(seed));
                    let problems = match told {
                        Ok(told) => told.problems,
                        Err(_) => vec!["it panicked".to_owned()],
                    };
                    if !problems.is_empty() {
                        let mut failed = failed.lock().expect("nobody panics with it");
                        failed.push((seed, problems));
                        // Enough to look at.
                        next.fetch_add(seeds, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics with it");
    assert!(
        failed.is_empty(),
        "run again with HELIX_SIMULATION_SEED=<seed>: {failed:#?}"
    );
}

#[test]
fn same_seed_is_the_same_history() {
    for seed in [3, 1_000_003] {
        let (once, again) = (run(seed), run(seed));
        assert!(
            once == again,
            "seed {seed} went {once:?}, and then {again:?}"
        );
    }
}

/// Logs of a single seed are for reading.
fn log_to_stderr() {
    let format = helix_telemetry::LogFormat::Text;
    let target = helix_telemetry::LogTarget::from_environment("simulation", format);
    // Without it, there is nothing to read.
    let _ = helix_telemetry::init(&target);
}
