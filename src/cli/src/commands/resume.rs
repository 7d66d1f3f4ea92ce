//! `helix resume`: a drained agent takes work again.

use helix_proto::agent::v1::ResumeRequest;

use crate::arguments::{Common, OutputFormat};
use crate::client::{Connection, failed};
use crate::error::Error;
use crate::exit::Exit;
use crate::json::Notice;
use crate::screen::Screen;

/// Resumes the agent and says whether something else still holds it back.
pub(crate) async fn execute(common: &Common, screen: &Screen) -> Result<Exit, Error> {
    let connection = Connection::open(common).await?;
    let ready = connection
        .client()
        .resume(ResumeRequest {})
        .await
        .map_err(failed("resume the agent"))?
        .into_inner()
        .ready;
    if screen.format() == OutputFormat::Json {
        screen.json(&Notice::Resumed { ready })?;
    } else if ready {
        screen.data("ready\n")?;
    } else {
        screen.data("resumed, but not ready; `helix capacity` says why\n")?;
    }
    Ok(Exit::Success)
}
