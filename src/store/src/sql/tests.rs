//! Tests of what is seen only from inside: plans of queries, and migrations that fail.

use sqlx::AssertSqlSafe;
use tempfile::TempDir;

use super::connect::{Owned, Target};
use super::reading::{FLAKY_SINCE, JOBS_BY_LABEL, LANES};
use super::session::{Value, values};
use super::take::{DUE, READY};
use super::{Options, schema};

async fn database(directory: &TempDir) -> Owned {
    let url = format!("sqlite://{}/helix.db", directory.path().display());
    let target = Target::new(&url, &Options::default()).expect("a good URL");
    let mut connection = target.connect().await.expect("a connection");
    schema::migrate(&mut connection.session())
        .await
        .expect("a schema");
    connection
}

/// What SQLite does for a statement, one line for each step.
async fn plan(connection: &mut Owned, sql: &str, values: Vec<Value>) -> Vec<String> {
    let mut session = connection.session();
    let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = session.rows(sql, values).await.expect("a plan");
    rows.iter()
        .map(|row| row.text("detail").expect("a step"))
        .collect()
}

fn assert_searches(plan: &[String]) {
    let bad = |step: &&String| step.starts_with("SCAN") || step.contains("TEMP B-TREE");
    assert_eq!(plan.iter().find(bad), None, "{plan:#?}");
}

#[tokio::test]
async fn nothing_that_schedules_scans_or_sorts_items() {
    let directory = TempDir::new().expect("a directory");
    let mut connection = database(&directory).await;
    let ready = plan(&mut connection, READY, values![1_i64, "m", 0_i64, 8_i64]).await;
    assert_searches(&ready);
    assert!(
        ready[0].contains("USING INDEX items_ready (lane=?)"),
        "{ready:#?}"
    );
    let due = plan(&mut connection, DUE, values![1_i64, 0_i64]).await;
    assert_searches(&due);
    assert!(
        due[0].contains("items_delayed (lane=? AND not_before<?)"),
        "{due:#?}"
    );
    let lanes = plan(&mut connection, LANES, values![]).await;
    // Lanes in which something waits are scanned, by an index that has no others.
    assert!(
        lanes[0].contains("SCAN l USING INDEX lanes_waiting"),
        "{lanes:#?}"
    );
    assert_searches(&lanes[1..]);
    let delayed = lanes.iter().find(|step| step.contains("SEARCH i "));
    assert!(
        delayed.is_some_and(|step| step.contains("items_delayed (lane=?")),
        "{lanes:#?}"
    );
}

#[tokio::test]
async fn queries_by_label_and_time_search() {
    let directory = TempDir::new().expect("a directory");
    let mut connection = database(&directory).await;
    let sql = format!("SELECT j.key FROM {JOBS_BY_LABEL} ORDER BY l.job DESC LIMIT $2");
    let jobs = plan(&mut connection, &sql, values![9_i64, 2_i64, vec![1_u8]]).await;
    assert_searches(&jobs);
    let sql = format!("SELECT f.key FROM flaky f WHERE {FLAKY_SINCE}");
    let flaky = plan(&mut connection, &sql, values![0_i64]).await;
    assert_searches(&flaky);
}

#[tokio::test]
async fn migration_that_fails_leaves_what_was_there() {
    let directory = TempDir::new().expect("a directory");
    let mut connection = database(&directory).await;
    let mut session = connection.session();
    let all = [
        schema::MIGRATIONS,
        &["CREATE TABLE half (key BIGINT); CREATE TABLE jobs (key BIGINT);"],
    ];
    let failed = schema::migrate_to(&mut session, &all.concat()).await;
    assert!(failed.is_err());
    let sql = "SELECT COUNT(*) AS found FROM sqlite_master WHERE name = 'half'";
    let found = session
        .row(sql, values![])
        .await
        .expect("asked")
        .expect("a row");
    assert_eq!(found.int("found").expect("a count"), 0);
    schema::migrate(&mut session)
        .await
        .expect("it is as it was");
    let good = [schema::MIGRATIONS, &["CREATE TABLE whole (key BIGINT);"]].concat();
    for _ in 0..2 {
        schema::migrate_to(&mut session, &good)
            .await
            .expect("the next release");
    }
    let error = schema::migrate(&mut session)
        .await
        .expect_err("a newer release was here");
    assert!(error.into_answer().to_string().contains("newer release"));
}
