//! A process that is killed while it writes loses nothing that it was told is stored.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use helix_store::{Options, open};
use tempfile::TempDir;

use crate::support::*;

/// Holds the URL of the database in the process that is to be killed.
const CHILD: &str = "HELIX_STORE_TEST_CHILD";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_kill_on_sqlite() {
    let directory = TempDir::new().expect("a directory");
    survive(&sqlite_url(&directory)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_kill_on_postgres() {
    with_postgres_url(async |url: String| survive(&url).await).await;
}

async fn survive(url: &str) {
    let mut answered = 0;
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "kill::the_process_that_is_killed", "--nocapture"])
            .env(CHILD, url)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let begin = Instant::now();
        let long = Duration::from_millis(400 + 150 * round);
        let mut told = Vec::new();
        while begin.elapsed() < long || told.len() < 5 {
            let Some(Ok(line)) = lines.next() else { break };
            told.extend(line.strip_prefix("settled ").map(str::to_owned));
        }
        child.kill().expect("killed");
        // What it had said before it was killed counts too.
        for line in lines.map_while(Result::ok) {
            told.extend(line.strip_prefix("settled ").map(str::to_owned));
        }
        child.wait().expect("ended");
        assert!(told.len() >= 5, "it was killed before it did anything");
        answered += told.len();
        check(url, &told).await;
    }
    assert!(answered > 20);
}

async fn check(url: &str, told: &[String]) {
    let store = open(url, &Options::default())
        .await
        .expect("it opens again");
    for item in told {
        let (job, name) = item.split_once('.').expect("an item");
        let item = the_item(&*store, job, name).await;
        assert!(
            matches!(item.state, helix_store::ItemState::Ended(_)),
            "{} was settled and is {:?}",
            item.id,
            item.state
        );
    }
    // Whatever was under way is whole: counters are those of the items.
    let jobs = store
        .jobs(&helix_store::JobFilter::default(), None, 1000)
        .await
        .expect("jobs");
    for job in jobs.entries {
        let counts = job.counts;
        let ended = counts.passed + counts.failed + counts.timed_out + counts.cancelled;
        assert_eq!(
            counts.waiting + counts.running + ended + counts.dead,
            counts.total
        );
        let items = store
            .items(&job.id, None, 1000)
            .await
            .expect("items")
            .entries;
        let waiting = items
            .iter()
            .filter(|item| item.state == helix_store::ItemState::Waiting);
        assert_eq!(waiting.count() as u64, counts.waiting, "{}", job.id);
        assert_eq!(items.len() as u64, counts.total);
    }
}

/// Not a test by itself: does nothing unless it is started by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::print_stdout,
    reason = "this is how it tells what was answered"
)]
async fn the_process_that_is_killed() {
    let Ok(url) = std::env::var(CHILD) else {
        return;
    };
    let store = open(&url, &Options::default()).await.expect("a store");
    store.put_queue(queue("q", 3)).await.expect("a queue");
    let me = std::process::id();
    for round in 0..10_000 {
        let job = format!("j{me}-{round}");
        store
            .submit(new_job(&job, 20, 0), at(0))
            .await
            .expect("a job");
        let mut tasks = Vec::new();
        for number in 0..20 {
            let (store, job) = (store.clone(), job.clone());
            tasks.push(tokio::spawn(async move {
                let attempt = format!("{job}-{number}");
                let Some(taken) = take(&*store, "c", &job, "m", &[&attempt], at(1))
                    .await
                    .pop()
                else {
                    return;
                };
                store
                    .settle(&taken.fence, passes(), at(2))
                    .await
                    .expect("settled");
                println!("settled {}", taken.item);
                std::io::stdout().flush().expect("told");
            }));
        }
        for task in tasks {
            task.await.expect("no panic");
        }
    }
}
