//! From the submission of an item to its command's first instruction, on an idle system.

use std::path::Path;
use std::time::Duration;

use helix_tests::controller::Controller;
use nix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::Extent;
use crate::celery::Celery;
use crate::figures::percentile;

/// Has this program be a command that writes the time down.
const STAMP: &str = "stamp";

/// Whether this process is such a command; it is over then.
pub(crate) fn is_stamp() -> bool {
    let now = monotonic();
    let arguments: Vec<_> = std::env::args_os().collect();
    let [_, first, path] = arguments.as_slice() else {
        return false;
    };
    if first != STAMP {
        return false;
    }
    let part = Path::new(path).with_extension("part");
    std::fs::write(&part, now.to_string())
        .and_then(|()| std::fs::rename(&part, path))
        .expect("written");
    true
}

pub(crate) async fn measure(extent: &Extent) {
    let directory = tempfile::tempdir().expect("a directory");
    let stamp = std::env::current_exe().expect("this program");
    let stamp = stamp.to_str().expect("text");
    let controller = Controller::start().await;
    let _agent = controller.agent("bench", 2).await;
    let celery = Celery::start(2);
    let (mut ours, mut whole, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..extent.dispatches + 5 {
        let file = directory.path().join(number.to_string());
        let path = file.to_str().expect("text").to_owned();
        let job = format!("latency{number}");
        let began = monotonic();
        controller
            .submit(
                &job,
                vec![json!({ "name": "stamp", "command": { "argv": [stamp, STAMP, path] } })],
            )
            .await;
        let started = written(&file).await;
        controller.ended(&job).await;
        let ended = monotonic();
        if let Some(celery) = &celery {
            let file = directory.path().join(format!("celery{number}"));
            let path = file.to_str().expect("text");
            let began = celery.run(&format!("{stamp} {STAMP} {path}"));
            if number >= 5 {
                theirs.push((written(&file).await - began) * 1000.0);
            }
        }
        // The first few find cold caches.
        if number >= 5 {
            ours.push((started - began) * 1000.0);
            whole.push((ended - began) * 1000.0);
        }
    }
    println!(
        "one item on an idle system, {} times, ms",
        extent.dispatches
    );
    let show = |name: &str, values: &mut [f64]| {
        println!(
            "  {name}  p50 {:7.2}  p99 {:7.2}",
            percentile(values, 50),
            percentile(values, 99)
        );
    };
    show("helix, REST call to first instruction   ", &mut ours);
    show("helix, REST call to known result, polled", &mut whole);
    if !theirs.is_empty() {
        show("Celery, call to first instruction       ", &mut theirs);
        println!(
            "  helix takes {:.2} of Celery's time",
            percentile(&mut ours, 50) / percentile(&mut theirs, 50)
        );
    }
}

async fn written(file: &Path) -> f64 {
    loop {
        if let Ok(text) = std::fs::read_to_string(file) {
            return text.parse().expect("a time");
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// Seconds on a clock that all processes share and nobody sets.
fn monotonic() -> f64 {
    Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock")).as_secs_f64()
}
