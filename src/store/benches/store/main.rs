//! What the store in SQLite does in a second, and what the disk allows.
//!
//! `cargo bench -p helix-store` prints, for an empty store and for one in which a million items wait,
//! how many items are taken, recorded and settled, beside a bare loop that makes one small row durable
//! after another on the same disk. `HELIX_BENCH_DIR` says where the database is (else the directory for
//! temporary files), `HELIX_BENCH_WAITING` how many wait, `HELIX_BENCH_POSTGRES` is the URL of an empty
//! PostgreSQL database to measure as well.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use helix_model::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};
use helix_store::{
    AgentName, AttemptState, ControllerId, ItemEnd, ItemEndKind, Judgement, LaneId, NewItem,
    NewJob, Next, Options, Progress, Queue, RetryPlace, Settlement, Store, Taken, VerdictKind,
    Visibility, open,
};
use sqlx::{Connection, SqliteConnection};

/// How many callers there are at once.
const CALLERS: usize = 64;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<()> {
    let place = std::env::var_os("HELIX_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let directory = tempfile::TempDir::new_in(place)?;
    let bare = bare_loop(directory.path()).await?;
    println!("bare loop, one durable row after another: {bare:.0}/s");
    let url = format!("sqlite://{}/helix.db", directory.path().display());
    let store = open(&url, &Options::default()).await?;
    rounds("SQLite", &store, Some(bare)).await?;
    if let Ok(url) = std::env::var("HELIX_BENCH_POSTGRES") {
        rounds("PostgreSQL", &open(&url, &Options::default()).await?, None).await?;
    }
    Ok(())
}

async fn rounds(name: &str, store: &Arc<dyn Store>, bare: Option<f64>) -> Result<()> {
    let waiting = std::env::var("HELIX_BENCH_WAITING");
    let waiting: usize = waiting.map_or(Ok(1_000_000), |text| text.parse())?;
    store.put_queue(queue()?).await?;
    round(name, "nothing else waits", store, bare).await?;
    let begin = Instant::now();
    let jobs = waiting.div_ceil(10_000);
    for number in 0..jobs {
        store
            .submit(job(&format!("crowd{number}"), 10_000)?, SystemTime::now())
            .await?;
    }
    let rate = (jobs * 10_000) as f64 / begin.elapsed().as_secs_f64();
    println!(
        "{name}: {} items submitted by {jobs} jobs: {rate:.0} items/s",
        jobs * 10_000
    );
    round(name, "with those waiting", store, bare).await
}

/// Submits 10,000 items, and has 64 callers take, record and settle them.
async fn round(name: &str, when: &str, store: &Arc<dyn Store>, bare: Option<f64>) -> Result<()> {
    static ROUND: AtomicU64 = AtomicU64::new(0);
    let id = format!("round{}", ROUND.fetch_add(1, Ordering::Relaxed));
    let begin = Instant::now();
    store.submit(job(&id, 10_000)?, SystemTime::now()).await?;
    println!(
        "{name}, {when}: 10,000 items submitted in {:?}",
        begin.elapsed()
    );
    let begin = Instant::now();
    let lanes = store.lanes().await?;
    let lane = lanes
        .iter()
        .find(|lane| lane.job.as_str() == id)
        .context("the lane")?
        .id;
    println!(
        "{name}, {when}: {} lanes listed in {:?}",
        lanes.len(),
        begin.elapsed()
    );
    let begin = Instant::now();
    for number in 0..100 {
        take(store, lane, &format!("{id}-alone-{number}")).await?;
    }
    println!(
        "{name}, {when}: one caller takes an item in {:?}",
        begin.elapsed() / 100
    );
    let attempts = Arc::new(AtomicU64::new(0));
    let taken = many("take", name, when, bare, 3000, |_| {
        let (store, attempts, id) = (Arc::clone(store), Arc::clone(&attempts), id.clone());
        async move {
            let number = attempts.fetch_add(1, Ordering::Relaxed);
            take(&store, lane, &format!("{id}-{number}")).await
        }
    })
    .await?;
    let taken: Arc<[Taken]> = taken.into();
    many("record", name, when, bare, taken.len(), |number| {
        let (store, taken) = (Arc::clone(store), Arc::clone(&taken));
        async move {
            let progress = Progress {
                accepted: Some(SystemTime::now()),
                last_event: 1,
                ..Progress::default()
            };
            Ok(store.record(&taken[number].fence, progress).await?)
        }
    })
    .await?;
    many("settle", name, when, bare, taken.len(), |number| {
        let (store, taken) = (Arc::clone(store), Arc::clone(&taken));
        async move {
            Ok(store
                .settle(&taken[number].fence, settlement(), SystemTime::now())
                .await?)
        }
    })
    .await?;
    many("take, record and settle", name, when, bare, 3000, |_| {
        let (store, attempts, id) = (Arc::clone(store), Arc::clone(&attempts), id.clone());
        async move {
            let number = attempts.fetch_add(1, Ordering::Relaxed);
            let taken = take(&store, lane, &format!("{id}-{number}")).await?;
            let progress = Progress {
                accepted: Some(SystemTime::now()),
                last_event: 1,
                ..Progress::default()
            };
            store.record(&taken.fence, progress).await?;
            Ok(store
                .settle(&taken.fence, settlement(), SystemTime::now())
                .await?)
        }
    })
    .await?;
    Ok(())
}

/// Makes as many calls, 64 at a time, and prints how many there were in a second.
async fn many<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
    what: &str,
    name: &str,
    when: &str,
    bare: Option<f64>,
    count: usize,
    call: impl Fn(usize) -> F,
) -> Result<Vec<T>> {
    let gate = Arc::new(tokio::sync::Semaphore::new(CALLERS));
    let begin = Instant::now();
    let mut tasks = Vec::with_capacity(count);
    for number in 0..count {
        let permit = Arc::clone(&gate).acquire_owned().await?;
        let call = call(number);
        tasks.push(tokio::spawn(async move {
            let answer = call.await;
            drop(permit);
            answer
        }));
    }
    let mut answers = Vec::with_capacity(count);
    for task in tasks {
        answers.push(task.await??);
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    let ratio = bare.map_or(String::new(), |bare| {
        format!(", {:.2} of the bare loop", rate / bare)
    });
    println!("{name}, {when}: {what}: {rate:.0}/s{ratio}");
    Ok(answers)
}

async fn take(store: &Arc<dyn Store>, lane: LaneId, attempt: &str) -> Result<Taken> {
    let (controller, agent) = (ControllerId("c".to_owned()), AgentName("m".to_owned()));
    let attempts = [AttemptId::new(attempt)?];
    let taken = store
        .take(&controller, lane, &agent, &attempts, SystemTime::now())
        .await?;
    taken.into_iter().next().context("nothing waits any more")
}

/// What the disk allows to a program that makes one row durable after another.
async fn bare_loop(directory: &Path) -> Result<f64> {
    let url = format!("sqlite://{}/bare.db?mode=rwc", directory.display());
    let mut connection = SqliteConnection::connect(&url).await?;
    let begin = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
        CREATE TABLE rows (key INTEGER PRIMARY KEY, text TEXT)";
    sqlx::raw_sql(begin).execute(&mut connection).await?;
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < Duration::from_secs(2) {
        let insert = sqlx::query("INSERT INTO rows (text) VALUES ('a row')");
        insert.execute(&mut connection).await?;
        count += 1;
    }
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(rate)
}

fn queue() -> Result<Queue> {
    Ok(Queue {
        name: QueueName::new("q")?,
        description: String::new(),
        operating_system_group: String::new(),
        architecture: String::new(),
        max_delivery_count: NonZeroU32::MIN,
        visibility: Visibility::Open,
        estimated_removal: None,
        priority: 0,
    })
}

fn job(id: &str, items: usize) -> Result<NewJob> {
    let item = |number: usize| {
        Ok(NewItem {
            id: WorkItemId::new(format!("{id}.{number}"))?,
            name: FriendlyName::new(format!("suite {number}"))?,
            specification: vec![b'x'; 500],
            demand: vec![b'd'; 100],
            retries_requested: 0,
            retry_place: RetryPlace::Anywhere,
        })
    };
    Ok(NewJob {
        id: JobId::new(id)?,
        queue: QueueName::new("q")?,
        name: String::new(),
        creator: "ada".to_owned(),
        source: String::new(),
        priority: 0,
        properties: BTreeMap::new(),
        retry_of: None,
        items: (0..items).map(item).collect::<Result<_>>()?,
    })
}

fn settlement() -> Settlement {
    Settlement {
        state: AttemptState::Judged(Judgement {
            kind: VerdictKind::Passed,
            reason: String::new(),
            message: String::new(),
            helix_exit_code: 0,
            elapsed: Some(Duration::from_millis(3)),
            cpu_time: None,
            peak_memory_bytes: None,
        }),
        progress: Progress::default(),
        log: Some(helix_store::LogPlace::Here),
        short_log: b"a line of output\n".to_vec(),
        log_bytes: 17,
        next: Next::End(ItemEnd {
            kind: ItemEndKind::Passed,
            helix_exit_code: 0,
            reason: String::new(),
            message: String::new(),
        }),
    }
}
