//! What every store must do, tested on all of them: in memory, in SQLite, in PostgreSQL.
//!
//! `HELIX_TEST_POSTGRES` is the URL of a PostgreSQL server on which databases may be made, such as
//! `postgres://postgres@127.0.0.1:5432/postgres`. Without it the tests of that store say that they
//! are skipped.

mod cancelling;
mod crowd;
mod damage;
mod ends;
mod hints;
mod histories;
mod jobs;
mod kill;
mod lanes;
mod ownership;
mod support;
