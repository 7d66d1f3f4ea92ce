//! Harness of the end-to-end tests: the real programs, on loopback, in a
//! directory of their own.
//!
//! The tests know the programs only by their command lines, their configuration
//! and their wires. Nothing here waits for a fixed time: conditions are polled
//! with a long limit, and a limit that is reached says what was last seen.

pub mod agent;
pub mod archive;
pub mod container;
pub mod controller;
pub mod disk;
pub mod guest;
pub mod http;
pub mod isolated;
pub mod item;
pub mod machine;
pub mod packages;
pub mod postgres;
pub mod programs;
pub mod proxy;
pub mod stream;
pub mod tools;

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long a condition may take before a test gives up. Long, as it is only
/// ever reached when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `probe` gives a value.
///
/// # Panics
///
/// After [`PATIENCE`], with the last thing that `probe` saw.
pub async fn eventually<T, E, F>(what: &str, mut probe: F) -> T
where
    F: AsyncFnMut() -> Result<T, E>,
    E: Debug,
{
    let began = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if began.elapsed() > PATIENCE => {
                panic!("{what} did not happen in {PATIENCE:?}; last seen: {seen:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// As [`eventually`], for what takes as long as it takes: gives up only when what is seen has not
/// changed for so long.
///
/// # Panics
///
/// After [`PATIENCE`] without a change, with the last thing that `probe` saw.
pub async fn eventually_all<T, E, F>(what: &str, mut probe: F) -> T
where
    F: AsyncFnMut() -> Result<T, E>,
    E: Debug + PartialEq,
{
    let (mut since, mut last) = (Instant::now(), None);
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if last.as_ref() != Some(&seen) => {
                (since, last) = (Instant::now(), Some(seen));
            }
            Err(seen) if since.elapsed() > PATIENCE => {
                panic!("{what} comes no nearer in {PATIENCE:?}; last seen: {seen:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
