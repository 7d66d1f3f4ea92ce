//! The schema and its numbered migrations. A migration that was released never changes: what a later
//! release wants otherwise is another migration.

use sqlx::AssertSqlSafe;

use super::dialect::Dialect;
use super::failure::Failure;
use super::session::{Session, values};
use crate::StoreError;

/// All migrations, the first first. The number of one is its place, counted from 1.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("../../migrations/0001_first.sql")];

/// Two controllers that start at once take turns: the key of a lock that nobody else has a use for.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(5210447226341177443)";

/// Brings a database to this release's schema.
///
/// # Errors
///
/// [`StoreError::Broken`] for a database of a newer release; what the database says else.
pub(super) async fn migrate(session: &mut Session<'_>) -> Result<(), Failure> {
    migrate_to(session, MIGRATIONS).await
}

/// Brings a database to the schema of these migrations, all or nothing.
pub(super) async fn migrate_to(
    session: &mut Session<'_>,
    migrations: &[&str],
) -> Result<(), Failure> {
    let dialect = session.dialect();
    session.execute_all(dialect.begin_writing()).await?;
    let done = apply(session, migrations).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = session.execute_all(end).await;
    done.and(ended)
}

async fn apply(session: &mut Session<'_>, migrations: &[&str]) -> Result<(), Failure> {
    let dialect = session.dialect();
    if dialect == Dialect::Postgres {
        // Not every database that speaks the protocol has these locks. Without them the second of two
        // that migrate at once fails, and finds all done when it is started again.
        session.execute_all("SAVEPOINT lock").await?;
        match session.row(MIGRATION_LOCK, values![]).await {
            Ok(_) => session.execute_all("RELEASE SAVEPOINT lock").await?,
            Err(_) => session.execute_all("ROLLBACK TO SAVEPOINT lock").await?,
        }
    }
    let table = "CREATE TABLE IF NOT EXISTS helix_schema (version BIGINT NOT NULL PRIMARY KEY)";
    session.execute(table, values![]).await?;
    let sql = "SELECT COALESCE(MAX(version), 0) AS version FROM helix_schema";
    let row = session.row(sql, values![]).await?;
    let present = row.map_or(Ok(0), |row| row.count("version"))?;
    let known = migrations.len() as u64;
    if present > known {
        return Err(StoreError::Broken(format!(
            "it was written by a newer release: its schema is number {present}, this release knows \
             {known}"
        ))
        .into());
    }
    let missing = migrations.iter().zip(1_i64..);
    for (migration, version) in missing.skip(usize::try_from(present).unwrap_or(usize::MAX)) {
        session
            .execute_all(AssertSqlSafe(dialect.migration(migration)))
            .await?;
        let sql = "INSERT INTO helix_schema (version) VALUES ($1)";
        session.execute(sql, values![version]).await?;
    }
    Ok(())
}
