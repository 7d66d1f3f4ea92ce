//! Stores to test, and things to put into them.

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use helix_model::ids::{AttemptId, FriendlyName, JobId, QueueName, WorkItemId};
use helix_model::work_item::Delivery;
use helix_store::{
    AgentName, AttemptState, ControllerId, Counts, Fence, Item, ItemEnd, ItemEndKind, Judgement,
    NewItem, NewJob, Next, Options, Progress, Queue, Refusal, RetryPlace, Settlement, Store, Taken,
    TestFailure, VerdictKind, Visibility, open,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

pub(crate) const POSTGRES: &str = "HELIX_TEST_POSTGRES";

/// Makes one test of each named function for each store.
macro_rules! on_every_store {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(std::sync::Arc::new(helix_store::MemoryStore::new())).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                $crate::support::with_sqlite(super::$name).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                $crate::support::with_postgres(super::$name).await;
            })*
        }
    };
}
pub(crate) use on_every_store;

/// Runs a test on a fresh SQLite database.
pub(crate) async fn with_sqlite<F: Future<Output = ()>>(test: impl FnOnce(Arc<dyn Store>) -> F) {
    let directory = TempDir::new().expect("a directory");
    let store = open(&sqlite_url(&directory), &Options::default()).await;
    test(store.expect("a store")).await;
}

pub(crate) fn sqlite_url(directory: &TempDir) -> String {
    format!("sqlite://{}/helix.db", directory.path().display())
}

/// Runs a test on a fresh PostgreSQL database, if there is a server.
pub(crate) async fn with_postgres<F: Future<Output = ()>>(test: impl FnOnce(Arc<dyn Store>) -> F) {
    with_postgres_url(async |url: String| {
        let store = open(&url, &Options::default()).await.expect("a store");
        test(store).await;
    })
    .await;
}

/// Runs a test with the URL of a fresh PostgreSQL database, if there is a server.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub(crate) async fn with_postgres_url(test: impl AsyncFnOnce(String)) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Ok(server) = std::env::var(POSTGRES) else {
        eprintln!("skipped: {POSTGRES} names no PostgreSQL server");
        return;
    };
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("helix_test_{}_{number}", std::process::id());
    let mut admin = PgConnection::connect(&server)
        .await
        .expect("the test server");
    let run = async |admin: &mut PgConnection, sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(admin)
            .await
            .expect("a statement");
    };
    run(&mut admin, format!("CREATE DATABASE {name}")).await;
    let (server, _) = server.rsplit_once('/').expect("a URL with a database");
    test(format!("{server}/{name}")).await;
    run(&mut admin, format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

/// As many seconds after a fixed time.
pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

pub(crate) fn queue_name(name: &str) -> QueueName {
    QueueName::new(name).expect("a good name")
}

pub(crate) fn job_id(id: &str) -> JobId {
    JobId::new(id).expect("a good id")
}

pub(crate) fn item_id(id: &str) -> WorkItemId {
    WorkItemId::new(id).expect("a good id")
}

pub(crate) fn attempt_id(id: &str) -> AttemptId {
    AttemptId::new(id).expect("a good id")
}

pub(crate) fn agent(name: &str) -> AgentName {
    AgentName(name.to_owned())
}

pub(crate) fn controller(name: &str) -> ControllerId {
    ControllerId(name.to_owned())
}

pub(crate) fn queue(name: &str, max_delivery_count: u32) -> Queue {
    Queue {
        name: queue_name(name),
        description: "machines under the stairs".to_owned(),
        operating_system_group: "linux".to_owned(),
        architecture: "x86_64".to_owned(),
        max_delivery_count: NonZeroU32::new(max_delivery_count).expect("not zero"),
        visibility: Visibility::Internal,
        estimated_removal: Some(at(1_000_000)),
        priority: -3,
    }
}

pub(crate) fn new_item(job: &str, name: &str, demand: &str, retries: u32) -> NewItem {
    NewItem {
        id: item_id(&format!("{job}.{name}")),
        name: FriendlyName::new(name).expect("a good name"),
        specification: format!("run {name}").into_bytes(),
        demand: demand.as_bytes().to_vec(),
        retries_requested: retries,
        retry_place: RetryPlace::AnotherMachine,
    }
}

/// A job in queue `q` whose items are called `i0`, `i1` and so on.
pub(crate) fn new_job(id: &str, items: usize, retries: u32) -> NewJob {
    NewJob {
        id: job_id(id),
        queue: queue_name("q"),
        name: "a job".to_owned(),
        creator: "ada".to_owned(),
        source: "repo@main".to_owned(),
        priority: 7,
        properties: BTreeMap::from([("build".to_owned(), "42".to_owned())]),
        retry_of: None,
        items: (0..items)
            .map(|number| new_item(id, &format!("i{number}"), "any", retries))
            .collect(),
    }
}

/// A store with queue `q` of 3 deliveries and one job.
pub(crate) async fn with_job(store: &dyn Store, id: &str, items: usize, retries: u32) {
    store.put_queue(queue("q", 3)).await.expect("a queue");
    store
        .submit(new_job(id, items, retries), at(0))
        .await
        .expect("a job");
}

/// Takes as many items as there are attempt ids from the first lane of a job.
pub(crate) async fn take(
    store: &dyn Store,
    who: &str,
    job: &str,
    machine: &str,
    attempts: &[&str],
    now: SystemTime,
) -> Vec<Taken> {
    let lanes = store.lanes().await.expect("lanes");
    let Some(lane) = lanes.iter().find(|lane| lane.job == job_id(job)) else {
        return Vec::new();
    };
    let attempts: Vec<_> = attempts.iter().map(|id| attempt_id(id)).collect();
    let taken = store
        .take(&controller(who), lane.id, &agent(machine), &attempts, now)
        .await;
    taken.expect("taken")
}

/// Takes one item and has its agent accept it.
pub(crate) async fn start(store: &dyn Store, job: &str, attempt: &str, now: SystemTime) -> Taken {
    let taken = take(store, "c", job, "m1", &[attempt], now).await.remove(0);
    store
        .record(&taken.fence, accepted(now))
        .await
        .expect("recorded");
    taken
}

pub(crate) fn accepted(now: SystemTime) -> Progress {
    Progress {
        accepted: Some(now),
        last_event: 1,
        ..Progress::default()
    }
}

pub(crate) fn fence(attempt: &str, epoch: u64) -> Fence {
    Fence {
        attempt: attempt_id(attempt),
        epoch,
    }
}

pub(crate) fn refusal(machine: &str, now: SystemTime, until: SystemTime) -> Refusal {
    Refusal {
        agent: agent(machine),
        reason: "BUSY".to_owned(),
        message: "no room".to_owned(),
        at: now,
        until,
        times: 0,
    }
}

pub(crate) fn end(kind: ItemEndKind) -> ItemEnd {
    ItemEnd {
        kind,
        helix_exit_code: i32::from(kind != ItemEndKind::Passed),
        reason: "EXIT_CODE".to_owned(),
        message: "it ended".to_owned(),
    }
}

pub(crate) fn judged(kind: VerdictKind) -> AttemptState {
    AttemptState::Judged(Judgement {
        kind,
        reason: "EXIT_CODE".to_owned(),
        message: "the command exited with 1".to_owned(),
        helix_exit_code: 1,
        elapsed: Some(Duration::from_micros(1_234_567)),
        cpu_time: None,
        peak_memory_bytes: Some(1 << 40),
    })
}

pub(crate) fn settlement(state: AttemptState, next: Next) -> Settlement {
    Settlement {
        state,
        progress: Progress::default(),
        log: None,
        short_log: Vec::new(),
        log_bytes: 0,
        next,
    }
}

pub(crate) fn passes() -> Settlement {
    settlement(
        judged(VerdictKind::Passed),
        Next::End(end(ItemEndKind::Passed)),
    )
}

/// A failure that is retried.
pub(crate) fn fails_once(delivery: Delivery) -> Settlement {
    let next = Next::Wait {
        delivery: delivery.after_failure().expect("a retry is left"),
        not_before: None,
        avoid: None,
        retry: true,
        reason: "it failed".to_owned(),
    };
    let mut settlement = settlement(judged(VerdictKind::Failed), next);
    settlement.progress.last_event = 9;
    settlement.progress.results = Some((
        Counts {
            total: 2,
            passed: 1,
            failed: 1,
            ..Counts::default()
        },
        vec![TestFailure {
            name: "suite::flaky".to_owned(),
            message: "1 is not 2".to_owned(),
            stack: "at line 3".to_owned(),
            file: "results.xml".to_owned(),
        }],
    ));
    settlement
}

pub(crate) async fn the_item(store: &dyn Store, job: &str, name: &str) -> Item {
    let item = store.item(&job_id(job), name).await.expect("an answer");
    item.expect("an item")
}

/// The names of taken items, in their order.
pub(crate) fn names(taken: &[Taken]) -> Vec<&str> {
    taken.iter().map(|taken| taken.name.as_str()).collect()
}
