//! Statements on a connection to either database: values in, rows out.

use std::borrow::Cow;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    Arguments, AssertSqlSafe, Column, PgConnection, Row as _, SqlSafeStr, SqliteConnection,
};

use super::dialect::Dialect;
use super::failure::Failure;
use crate::Change;

/// How many rows are inserted by one statement: few sizes, so that few statements are prepared.
const CHUNKS: [usize; 3] = [128, 16, 1];

/// A value in a statement. What may be absent has its kind all the same, as some databases ask.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(Some(value))
    }
}

/// Makes a list of values of whatever can be one.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::sql::session::Value::from($value)),*]
    };
}
pub(super) use values;

/// A connection, in a transaction or not.
#[derive(Debug)]
pub(super) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// A connection, and what is to be told when its work is durable.
#[derive(Debug)]
pub(super) struct Session<'c> {
    connection: Connection<'c>,
    pub(super) changes: Vec<Change>,
}

impl<'c> Session<'c> {
    pub(super) fn new(connection: Connection<'c>) -> Self {
        Self {
            connection,
            changes: Vec::new(),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self.connection {
            Connection::Sqlite(_) => Dialect::Sqlite,
            Connection::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement and says how many rows it changed.
    pub(super) async fn execute(
        &mut self,
        sql: impl SqlSafeStr,
        values: Vec<Value>,
    ) -> Result<u64, Failure> {
        let changed = match &mut self.connection {
            Connection::Sqlite(connection) => sqlx::query_with(sql, sqlite_arguments(values)?)
                .execute(&mut **connection)
                .await?
                .rows_affected(),
            Connection::Postgres(connection) => sqlx::query_with(sql, postgres_arguments(values)?)
                .execute(&mut **connection)
                .await?
                .rows_affected(),
        };
        Ok(changed)
    }

    /// Runs several statements that have no values.
    pub(super) async fn execute_all(&mut self, sql: impl SqlSafeStr) -> Result<(), Failure> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                sqlx::raw_sql(sql).execute(&mut **connection).await?;
            }
            Connection::Postgres(connection) => {
                sqlx::raw_sql(sql).execute(&mut **connection).await?;
            }
        }
        Ok(())
    }

    /// All rows that a query finds.
    pub(super) async fn rows(
        &mut self,
        sql: impl SqlSafeStr,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, Failure> {
        Ok(match &mut self.connection {
            Connection::Sqlite(connection) => {
                let query = sqlx::query_with(sql, sqlite_arguments(values)?);
                let rows = query.fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Connection::Postgres(connection) => {
                let query = sqlx::query_with(sql, postgres_arguments(values)?);
                let rows = query.fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// The first row that a query finds.
    pub(super) async fn row(
        &mut self,
        sql: impl SqlSafeStr,
        values: Vec<Value>,
    ) -> Result<Option<Row>, Failure> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Inserts rows of as many values each as there are columns. `into` is the table with its
    /// columns, as in `lanes (job, demand)`.
    pub(super) async fn insert(
        &mut self,
        into: &str,
        columns: usize,
        values: Vec<Value>,
    ) -> Result<(), Failure> {
        let mut left = values.len() / columns.max(1);
        let mut values = values.into_iter();
        for size in CHUNKS {
            if left < size {
                continue;
            }
            let dialect = self.dialect();
            let rows: Vec<_> = (0..size)
                .map(|row| dialect.row_of_places(row * columns + 1, columns))
                .collect();
            let sql: std::sync::Arc<str> =
                format!("INSERT INTO {into} VALUES {}", rows.join(", ")).into();
            while left >= size {
                let chunk = values.by_ref().take(size * columns).collect();
                self.execute(AssertSqlSafe(sql.clone()), chunk).await?;
                left -= size;
            }
        }
        Ok(())
    }
}

/// As many places for values, from the first one on, in brackets.
pub(super) fn placeholders(first: usize, count: usize) -> String {
    let places: Vec<_> = (first..first + count)
        .map(|place| format!("${place}"))
        .collect();
    format!("({})", places.join(", "))
}

fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments, Failure> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Int(value) => Arguments::add(&mut arguments, value),
            Value::Text(value) => Arguments::add(&mut arguments, value),
            Value::Blob(value) => Arguments::add(&mut arguments, value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn postgres_arguments(values: Vec<Value>) -> Result<PgArguments, Failure> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Int(value) => arguments.add(value),
            // PostgreSQL keeps no text with a zero in it.
            Value::Text(Some(text)) if text.contains('\0') => {
                arguments.add(text.replace('\0', "\u{FFFD}"))
            }
            Value::Text(value) => arguments.add(value),
            Value::Blob(value) => arguments.add(value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// A row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// Reads one kind of value out of a row.
macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $kind:ty) => {
        $(#[$doc])*
        pub(super) fn $name(&self, column: &str) -> Result<$kind, Failure> {
            Ok(match self {
                Self::Sqlite(row) => row.try_get(column)?,
                Self::Postgres(row) => row.try_get(column)?,
            })
        }
    };
}

impl Row {
    getter!(
        /// A number that is there.
        int, i64
    );
    getter!(
        /// A number that may be absent.
        maybe_int, Option<i64>
    );
    getter!(
        /// A text that is there.
        text, String
    );
    getter!(
        /// A text that may be absent.
        maybe_text, Option<String>
    );
    getter!(
        /// Bytes that are there.
        blob, Vec<u8>
    );

    /// A number that was stored from an unsigned one.
    pub(super) fn count(&self, column: &str) -> Result<u64, Failure> {
        u64::try_from(self.int(column)?).map_err(|_| self.wrong(column, "a negative number"))
    }

    /// The same, for shorter numbers.
    pub(super) fn small(&self, column: &str) -> Result<u32, Failure> {
        u32::try_from(self.int(column)?).map_err(|_| self.wrong(column, "a number out of range"))
    }

    /// A text that is read by a function of its own.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &self,
        column: &str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Result<T, Failure> {
        parse(self.text(column)?).map_err(|error| self.wrong(column, error))
    }

    /// A value that no release has stored.
    pub(super) fn wrong(&self, column: &str, what: impl std::fmt::Display) -> Failure {
        let columns: Cow<'_, str> = match self {
            Self::Sqlite(row) => names(row.columns().iter().map(Column::name)),
            Self::Postgres(row) => names(row.columns().iter().map(Column::name)),
        };
        Failure::damaged(format!("column `{column}` of ({columns}): {what}"))
    }
}

fn names<'a>(columns: impl Iterator<Item = &'a str>) -> Cow<'a, str> {
    columns.collect::<Vec<_>>().join(", ").into()
}
