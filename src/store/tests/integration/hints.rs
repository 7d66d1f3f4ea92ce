//! Hints of changes.

use std::sync::Arc;
use std::time::Duration;

use helix_store::{Change, Hints, Options, Store, open};
use tokio::sync::broadcast::Receiver;

use crate::support::*;

on_every_store!(changes_are_hinted_at);

/// Waits for a hint that says this, or that anything may have changed.
async fn hear(changes: &mut Receiver<Change>, expected: &Change) {
    let heard = async {
        loop {
            match changes.recv().await {
                Ok(change) if change == *expected || change == Change::Everything => break,
                Ok(_) => {}
                Err(error) => panic!("{error} before {expected:?}"),
            }
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(20), heard).await;
    heard.unwrap_or_else(|_| panic!("no hint of {expected:?}"));
}

async fn changes_are_hinted_at(store: Arc<dyn Store>) {
    let mut changes = store.changes();
    with_job(&*store, "j", 2, 0).await;
    let waiting = Change::Waiting(queue_name("q"));
    let job = Change::Job(job_id("j"));
    hear(&mut changes, &waiting).await;
    hear(&mut changes, &job).await;
    let mut changes = store.changes();
    let taken = take(&*store, "c", "j", "m", &["a"], at(1)).await;
    store
        .give_back(&taken[0].fence, &refusal("m", at(1), at(1)), at(1))
        .await
        .expect("back");
    hear(&mut changes, &waiting).await;
    start(&*store, "j", "b", at(2)).await;
    hear(&mut changes, &job).await;
    store
        .cancel(&job_id("j"), None, "", at(3))
        .await
        .expect("cancelled");
    hear(&mut changes, &Change::Cancel).await;
}

#[tokio::test]
async fn controllers_of_one_database_hear_of_each_other() {
    for hints in [Hints::Listen, Hints::Ask] {
        with_postgres_url(async |url: String| {
            let options = Options {
                hints,
                ask_every: Duration::from_millis(20),
                ..Options::default()
            };
            let mine = open(&url, &options).await.expect("a store");
            let theirs = open(&url, &options).await.expect("a store");
            with_job(&*mine, "warm", 1, 0).await;
            let mut changes = theirs.changes();
            if hints == Hints::Ask {
                // What was there before it first asked is news to it once.
                tokio::time::sleep(Duration::from_millis(200)).await;
                changes = theirs.changes();
            }
            mine.submit(new_job("j", 1, 0), at(1))
                .await
                .expect("stored");
            hear(&mut changes, &Change::Waiting(queue_name("q"))).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let mut changes = theirs.changes();
            start(&*mine, "j", "a", at(1)).await;
            hear(&mut changes, &Change::Job(job_id("j"))).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let mut changes = theirs.changes();
            mine.cancel(&job_id("j"), None, "", at(1))
                .await
                .expect("cancelled");
            hear(&mut changes, &Change::Cancel).await;
        })
        .await;
    }
}
