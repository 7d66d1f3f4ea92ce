//! Many waiting items and many agents on one controller.

use std::time::{Duration, Instant};

use helix_tests::controller::Controller;
use serde_json::json;

use crate::Extent;
use crate::crowd::{Crowd, use_of};

/// Items of one submission.
const BATCH: usize = 10_000;

pub(crate) async fn measure(extent: &Extent) {
    let files = nix::sys::resource::Resource::RLIMIT_NOFILE;
    // A connection to each agent, and some more.
    let needed = u64::from(extent.agents) + 1000;
    if let Ok((_, most)) = nix::sys::resource::getrlimit(files) {
        let _ = nix::sys::resource::setrlimit(files, most, most);
        if most < needed {
            println!("scale is left out: at most {most} open files, {needed} are needed");
            return;
        }
    }
    let controller = Controller::start().await;
    let pid = controller.pid();
    let (empty, _) = use_of(pid);
    println!("one controller, the embedded store, on the same machine as its agents");
    println!("  resident, with nothing to do             {empty:9.1} MiB");

    let began = Instant::now();
    let mut submitted = 0;
    while submitted < extent.waiting {
        let items = (0..BATCH.min(extent.waiting - submitted))
            .map(|number| json!({ "name": number.to_string(), "command": { "argv": ["/bin/true"] } }))
            .collect();
        controller.submit(&format!("job{submitted}"), items).await;
        submitted += BATCH;
    }
    let took = began.elapsed().as_secs_f64();
    let waiting = u32::try_from(extent.waiting).expect("few enough");
    println!(
        "  {waiting} items submitted in jobs of {BATCH}: {:9.0} items per second",
        f64::from(waiting) / took
    );
    idle(pid, &format!("resident, {waiting} items waiting")).await;

    let crowd = Crowd::start().await;
    let began = Instant::now();
    crowd
        .announce(controller.agents_address(), extent.agents)
        .await;
    while crowd.watched() < u64::from(extent.agents) && began.elapsed() < Duration::from_secs(120) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "  {} of {} agents watched after            {:9.1} s",
        crowd.watched(),
        extent.agents,
        began.elapsed().as_secs_f64()
    );
    let (before, (_, cpu_before)) = (crowd.ran(), use_of(pid));
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(extent.scale_seconds)).await;
    let seconds = began.elapsed().as_secs_f64();
    let ran = u32::try_from(crowd.ran() - before).expect("few enough");
    let (resident, cpu) = use_of(pid);
    println!(
        "  dispatched                               {:9.0} items per second",
        f64::from(ran) / seconds
    );
    println!("  resident meanwhile                       {resident:9.1} MiB");
    println!(
        "  CPU meanwhile                            {:9.2} processors",
        (cpu - cpu_before) / seconds
    );
}

/// Memory and CPU of a process that has nothing to do.
async fn idle(pid: u32, what: &str) {
    const SECONDS: f64 = 5.0;
    let (_, before) = use_of(pid);
    tokio::time::sleep(Duration::from_secs_f64(SECONDS)).await;
    let (resident, after) = use_of(pid);
    println!("  {what:<40} {resident:9.1} MiB");
    println!(
        "  CPU meanwhile                            {:9.3} processors",
        (after - before) / SECONDS
    );
}
