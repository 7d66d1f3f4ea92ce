//! The way to a database: from its URL to connections.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    ConnectOptions, Connection as _, PgConnection, PgPool, Postgres, Sqlite, SqliteConnection,
    SqlitePool, Transaction,
};

use super::Options;
use super::dialect::Dialect;
use super::failure::Failure;
use super::session::{Connection, Session};
use crate::StoreError;

/// How many statements a connection keeps prepared.
const PREPARED: usize = 300;

/// How long a new connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// A database, and connections for those who read.
#[derive(Debug)]
pub(super) enum Target {
    Sqlite {
        options: Box<SqliteConnectOptions>,
        readers: SqlitePool,
    },
    Postgres {
        options: Box<PgConnectOptions>,
        readers: PgPool,
        /// Whether it can notify.
        notifies: AtomicBool,
    },
}

/// A connection that belongs to whoever has it.
#[derive(Debug)]
pub(super) enum Owned {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

impl Owned {
    pub(super) fn session(&mut self) -> Session<'_> {
        Session::new(match self {
            Self::Sqlite(connection) => Connection::Sqlite(connection),
            Self::Postgres(connection) => Connection::Postgres(connection),
        })
    }

    pub(super) async fn close(self) {
        let closed = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "a connection to the database could not be closed properly");
        }
    }
}

/// A connection of those who read.
pub(super) enum Reader {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Reader {
    pub(super) fn session(&mut self) -> Session<'_> {
        Session::new(match self {
            Self::Sqlite(connection) => Connection::Sqlite(connection),
            Self::Postgres(connection) => Connection::Postgres(connection),
        })
    }
}

/// A connection of which all statements see the same. Given up, it is undone.
pub(super) enum Snapshot {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Snapshot {
    pub(super) fn session(&mut self) -> Session<'_> {
        Session::new(match self {
            Self::Sqlite(transaction) => Connection::Sqlite(transaction),
            Self::Postgres(transaction) => Connection::Postgres(transaction),
        })
    }

    /// Gives the connection back at once.
    pub(super) async fn end(self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(transaction) => transaction.rollback().await?,
            Self::Postgres(transaction) => transaction.rollback().await?,
        }
        Ok(())
    }
}

impl Target {
    /// Understands a URL. Nothing is connected yet, save that a file that is missing is made.
    pub(super) fn new(url: &str, options: &Options) -> Result<Self, StoreError> {
        if let Some(path) = sqlite_path(url)? {
            return Self::sqlite(&path, options);
        }
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            // The URL is not repeated: it may hold a password.
            return Err(StoreError::Invalid(
                "a database URL begins with `sqlite://` or `postgres://`".to_owned(),
            ));
        }
        let connect = PgConnectOptions::from_str(url)
            .map_err(|error| StoreError::Invalid(format!("the database URL: {error}")))?
            .application_name("helix")
            .statement_cache_capacity(PREPARED)
            .disable_statement_logging();
        let readers = PgPoolOptions::new()
            .max_connections(options.readers.max(1))
            .acquire_timeout(CONNECT_PATIENCE)
            .connect_lazy_with(connect.clone());
        Ok(Self::Postgres {
            options: Box::new(connect),
            readers,
            notifies: AtomicBool::new(false),
        })
    }

    fn sqlite(path: &Path, options: &Options) -> Result<Self, StoreError> {
        make_file(path)?;
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(options.busy_timeout)
            .foreign_keys(true)
            .statement_cache_capacity(PREPARED)
            // A page cache of 64 MiB: a large submission need not spill while it is written.
            .pragma("cache_size", "-65536")
            // A log that a large submission made long is cut when it has been put in place.
            .pragma("journal_size_limit", "67108864")
            .disable_statement_logging();
        let reading = connect
            .clone()
            .pragma("query_only", "ON")
            .pragma("cache_size", "-8192");
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .acquire_timeout(CONNECT_PATIENCE)
            .test_before_acquire(false)
            .connect_lazy_with(reading);
        Ok(Self::Sqlite {
            options: Box::new(connect),
            readers,
        })
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite { .. } => Dialect::Sqlite,
            Self::Postgres { .. } => Dialect::Postgres,
        }
    }

    /// Whether others are told of changes by the database.
    pub(super) fn notifies(&self) -> bool {
        match self {
            Self::Sqlite { .. } => false,
            Self::Postgres { notifies, .. } => notifies.load(Ordering::Relaxed),
        }
    }

    /// A new connection that may write.
    pub(super) async fn connect(&self) -> Result<Owned, sqlx::Error> {
        match self {
            Self::Sqlite { options, .. } => Ok(Owned::Sqlite(Box::new(options.connect().await?))),
            Self::Postgres { options, .. } => {
                let connected = tokio::time::timeout(CONNECT_PATIENCE, options.connect()).await;
                let connection = connected.map_err(|_| sqlx::Error::PoolTimedOut)??;
                Ok(Owned::Postgres(Box::new(connection)))
            }
        }
    }

    /// A connection to read by one statement.
    pub(super) async fn reader(&self) -> Result<Reader, Failure> {
        Ok(match self {
            Self::Sqlite { readers, .. } => Reader::Sqlite(readers.acquire().await?),
            Self::Postgres { readers, .. } => Reader::Postgres(readers.acquire().await?),
        })
    }

    /// A connection to read by several statements.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Failure> {
        let begin = self.dialect().begin_reading();
        Ok(match self {
            Self::Sqlite { readers, .. } => Snapshot::Sqlite(readers.begin_with(begin).await?),
            Self::Postgres { readers, .. } => Snapshot::Postgres(readers.begin_with(begin).await?),
        })
    }
}

/// The file of an embedded database, if the URL is of one.
pub(super) fn sqlite_path(url: &str) -> Result<Option<PathBuf>, StoreError> {
    let Some(path) = url.strip_prefix("sqlite://") else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        return Err(StoreError::Invalid(format!(
            "`{url}`: the path of a database is absolute, as in `sqlite:///var/lib/helix/helix.db`"
        )));
    }
    Ok(Some(path))
}

/// Makes the file with access for its owner only; the journals get the same from SQLite. A file that
/// is there is left as it is.
fn make_file(path: &Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::Broken(format!(
            "the file `{}` could not be made: {error}",
            path.display()
        ))),
    }
}
