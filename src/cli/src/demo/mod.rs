//! `helix up --demo`: real test suites, submitted to a real controller, run by a real
//! agent.
//!
//! The suites are those of crates that cargo has downloaded to build this very
//! program: nobody wrote them for the purpose, and no network is needed. One of
//! them finds no compiler in its first attempt, fails, goes to the end of the
//! queue and passes; another asks for what no machine here has.

mod board;
mod drive;
mod report;
mod suites;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use helix_api::client::Client;

use crate::demo::board::Board;
use crate::demo::drive::Driver;
use crate::demo::suites::{Toolchain, find_suites, work_items};
use crate::error::Error;
use crate::exit::Exit;
use crate::screen::Screen;

/// Where the suites are sent.
pub(crate) const QUEUE: &str = "local";

/// Why the demonstration cannot be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// There is no Rust on this machine.
    #[error("cannot ask `{program}` for its toolchain")]
    NoToolchain {
        program: String,
        #[source]
        source: std::io::Error,
    },
    /// There is, but it does not work.
    #[error("`{program}` does not say where its toolchain is")]
    OddToolchain { program: String },
    /// Cargo has downloaded none of the crates.
    #[error("cargo has no sources of {} below `{}`", missing.join(", "), below.display())]
    NoSources {
        missing: Vec<String>,
        below: PathBuf,
    },
    /// A file of our own cannot be made.
    #[error("cannot make `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// An archive cannot be made.
    #[error("cannot pack `{}`", directory.display())]
    Pack {
        directory: PathBuf,
        #[source]
        source: crate::payloads::PayloadError,
    },
}

impl DemoError {
    /// What to do.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoToolchain { .. } | Self::OddToolchain { .. } => {
                Some("the demonstration needs Rust: https://rustup.rs".to_owned())
            }
            Self::NoSources { .. } => Some(
                "`cargo fetch` in the sources of Helix downloads them; elsewhere, run something \
                 of your own with `helix up` and `helix run`"
                    .to_owned(),
            ),
            Self::File { .. } | Self::Pack { .. } => None,
        }
    }
}

/// Gives the demonstration through the controller behind `client`, with files of its own below
/// `directory`. Success means that all went as it was meant to.
pub(crate) async fn give(
    client: &Client,
    directory: &Path,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    let failed = |source| Error::Demo { source };
    let toolchain = Toolchain::find().await.map_err(failed)?;
    let suites = find_suites(&toolchain.cargo_home).map_err(failed)?;
    let files = directory.join("demo");
    let packing = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&files).map_err(|source| DemoError::File {
            path: files.clone(),
            source,
        })?;
        work_items(&suites, &toolchain, &files)
    });
    let items = packing
        .await
        .map_err(|error| Error::Runtime {
            source: error.into(),
        })?
        .map_err(failed)?;
    let board = Board::new(screen, items.iter().map(|item| item.name.as_str()));
    Driver::new(client, items, board).drive().await
}
