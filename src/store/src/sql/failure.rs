//! What goes wrong inside, and what callers are told of it.

use sqlx::error::ErrorKind;

use crate::StoreError;

/// Why an operation did not come to its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// It must not be done: the answer to whoever asked. What was written is undone.
    Refused(StoreError),
    /// The database did not do its part.
    Database(sqlx::Error),
}

/// What helps against a failure of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Doing it again at once: others were in the way.
    Again,
    /// Waiting: it cannot be reached, or somebody keeps it busy.
    Later,
    /// None without a person.
    None,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    /// Something is stored that cannot be.
    pub(super) fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Refused(StoreError::Broken(format!(
            "it holds what cannot be: {what}"
        )))
    }

    /// Whether a row was not taken because another has its key.
    pub(super) fn is_duplicate(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        error.kind() == ErrorKind::UniqueViolation
    }

    /// What to tell whoever asked.
    pub(super) fn into_answer(self) -> StoreError {
        match self {
            Self::Refused(answer) => answer,
            Self::Database(error) => answer(&error),
        }
    }
}

/// What to tell of a failure of the database.
pub(super) fn answer(error: &sqlx::Error) -> StoreError {
    let text = error.to_string();
    match remedy(error) {
        Remedy::Again | Remedy::Later => StoreError::Unavailable(text),
        Remedy::None => StoreError::Broken(text),
    }
}

/// What helps against a failure.
pub(super) fn remedy(error: &sqlx::Error) -> Remedy {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some(code)
                if error
                    .try_downcast_ref::<sqlx::sqlite::SqliteError>()
                    .is_some() =>
            {
                sqlite_remedy(code)
            }
            Some(code) => postgres_remedy(code),
            None => Remedy::None,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Remedy::Later,
        _ => Remedy::None,
    }
}

/// The primary codes of SQLite are the last eight bits of those that it gives.
fn sqlite_remedy(code: &str) -> Remedy {
    /// `SQLITE_BUSY` and `SQLITE_LOCKED`.
    const TAKEN: [u32; 2] = [5, 6];
    match code.parse::<u32>() {
        Ok(code) if TAKEN.contains(&(code & 0xff)) => Remedy::Later,
        _ => Remedy::None,
    }
}

fn postgres_remedy(code: &str) -> Remedy {
    match code {
        // Serialisation failure, deadlock.
        "40001" | "40P01" => Remedy::Again,
        // Statement or lock cancelled, or a server that goes, comes, or has no room.
        "55P03" | "57014" | "57P01" | "57P02" | "57P03" | "57P05" => Remedy::Later,
        _ if code.starts_with("08") || code.starts_with("53") => {
            // Out of disk is no matter of waiting.
            if code == "53100" {
                Remedy::None
            } else {
                Remedy::Later
            }
        }
        // A standby, or a server that was told not to write, until it is told otherwise.
        _ => Remedy::None,
    }
}
