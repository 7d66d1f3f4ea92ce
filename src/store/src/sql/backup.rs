//! Copies of the embedded database while it is used.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::connect::sqlite_path;
use super::failure::answer;
use crate::StoreError;

/// Writes a copy of an SQLite database to a file that is not there yet, readable for its owner only.
/// The copy is of one moment, and the database may be used meanwhile by this process and others. To
/// restore it: end the controller, remove the database and the files beside it whose names end in
/// `-wal` and `-shm`, and put the copy in its place.
///
/// # Errors
///
/// [`StoreError::Invalid`] if the URL is of no SQLite database, or the file is there; else what the
/// database or the system says. There is no file then.
pub async fn backup(url: &str, to: &Path) -> Result<(), StoreError> {
    let Some(database) = sqlite_path(url)? else {
        return Err(StoreError::Invalid(
            "only an SQLite database is copied here, a server has tools of its own".to_owned(),
        ));
    };
    if to.exists() {
        return Err(StoreError::Invalid(format!(
            "`{}` is there already",
            to.display()
        )));
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let done = copy(&database, &partial)
        .await
        .and_then(|()| publish(&partial, to).map_err(|error| could_not_write(to, &error)));
    if done.is_err() {
        // What is half a copy helps nobody; that it cannot be removed is not the first error.
        let _ = std::fs::remove_file(&partial);
    }
    done
}

async fn copy(database: &Path, partial: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(partial)
        .map_err(|error| could_not_write(partial, &error))?;
    let Some(text) = partial.to_str() else {
        return Err(StoreError::Invalid(
            "the name of the copy is no text".to_owned(),
        ));
    };
    let connect = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(false)
        .disable_statement_logging();
    let mut connection = connect.connect().await.map_err(|error| answer(&error))?;
    let copied = sqlx::query("VACUUM INTO $1")
        .bind(text)
        .execute(&mut connection)
        .await;
    let closed = connection.close().await;
    copied.map_err(|error| answer(&error))?;
    closed.map_err(|error| answer(&error))
}

/// Makes the copy durable, then gives it its name.
fn publish(partial: &Path, to: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    std::fs::rename(partial, to)?;
    match to.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

fn could_not_write(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Broken(format!(
        "`{}` could not be written: {error}",
        path.display()
    ))
}
