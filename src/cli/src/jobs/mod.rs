//! What people do with a controller: jobs, queues, agents. Start at [`connect`]; each command has a
//! file, and `show` knows how things look.

pub(crate) mod agents;
pub(crate) mod cancel;
pub(crate) mod explain;
pub(crate) mod flaky;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod queues;
pub(crate) mod results;
pub(crate) mod retry;
mod show;
pub(crate) mod submit;
mod upload;
pub(crate) mod watch;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use helix_api::client::{Client, ClientError, Options};

use crate::arguments::Common;
use crate::error::Error;

/// The variable that holds the token.
const TOKEN_VARIABLE: &str = "HELIX_TOKEN";

/// A client of the controller that is meant; nothing is sent yet.
pub(crate) fn connect(common: &Common) -> Result<Client, Error> {
    let authorities = match &common.ca {
        None => None,
        Some(path) => Some(fs::read(path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?),
    };
    let options = Options {
        url: common.controller.controller.clone(),
        token: token(common.controller.token_file.as_deref())?,
        authorities,
        patience: common.patience,
        user_agent: concat!("helix/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    Client::new(&options).map_err(|source| Error::ControllerSetup {
        url: common.controller.controller.clone(),
        source,
    })
}

/// The token of the environment, or of a file.
fn token(file: Option<&Path>) -> Result<Option<String>, Error> {
    if let Ok(token) = std::env::var(TOKEN_VARIABLE)
        && !token.trim().is_empty()
    {
        return Ok(Some(token.trim().to_owned()));
    }
    let Some(path) = file else { return Ok(None) };
    let failed = |source| Error::TokenFile {
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let message = "others can read it";
        return Err(failed(io::Error::other(message)));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(failed(io::Error::other("it is not one line with a token")));
    }
    Ok(Some(token.to_owned()))
}

/// What was being done when a call failed.
pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(ClientError) -> Error {
    let what = what.into();
    move |source| Error::Controller { what, source }
}
