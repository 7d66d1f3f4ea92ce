//! `helix up --demo`: real test suites, through a real agent, out of a small
//! queue.
//!
//! The suites are those of crates that cargo has downloaded to build this very
//! program: nobody wrote them for the purpose, and no network is needed. One of
//! them finds no compiler on its first delivery, fails, goes to the end of the
//! queue and passes; another asks for what no machine here has.

mod board;
mod drive;
mod report;
mod suites;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::arguments::Common;
use crate::client::Connection;
use crate::demo::board::Board;
use crate::demo::drive::Driver;
use crate::demo::suites::{Toolchain, find_suites, work_items};
use crate::error::Error;
use crate::exit::Exit;
use crate::screen::Screen;

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

/// Gives the demonstration to the agent behind `connection`, with files of its
/// own below `directory`. Success means that all went as it was meant to.
pub(crate) async fn give(
    common: &Common,
    connection: &Connection,
    directory: &Path,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    let failed = |source| Error::Demo { source };
    let toolchain = Toolchain::find().await.map_err(failed)?;
    let suites = find_suites(&toolchain.cargo_home).map_err(failed)?;
    let files = directory.join("demo");
    let compiler = files.join("late-rustc");
    let items = {
        let (files, compiler, toolchain) = (files.clone(), compiler.clone(), toolchain.clone());
        let packing = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&files).map_err(|source| DemoError::File {
                path: files.clone(),
                source,
            })?;
            // Left by an earlier demonstration in the same directory.
            let _ = fs::remove_file(&compiler);
            work_items(&suites, &toolchain, &files, &compiler)
        });
        packing
            .await
            .map_err(|error| Error::Runtime {
                source: error.into(),
            })?
            .map_err(failed)?
    };
    let board = Board::new(screen, items.iter().map(|item| item.name.as_str()));
    let install_compiler = || {
        symlink(&toolchain.rustc, &compiler).map_err(|source| {
            failed(DemoError::File {
                path: compiler.clone(),
                source,
            })
        })
    };
    Driver::new(common, connection, items, board)
        .drive(install_compiler)
        .await
}
