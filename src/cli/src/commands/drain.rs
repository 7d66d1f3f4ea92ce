//! `helix drain`: the agent takes nothing new.

use helix_proto::agent::v1::DrainRequest;

use crate::arguments::{Common, DrainArguments, OutputFormat};
use crate::client::{Connection, failed};
use crate::error::Error;
use crate::exit::Exit;
use crate::json::Notice;
use crate::render::units;
use crate::screen::Screen;

/// Drains the agent and says what still runs.
pub(crate) async fn execute(
    common: &Common,
    arguments: DrainArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let connection = Connection::open(common).await?;
    let running = connection
        .client()
        .drain(DrainRequest {
            reason: arguments.reason,
        })
        .await
        .map_err(failed("drain the agent"))?
        .into_inner()
        .running;
    if screen.format() == OutputFormat::Json {
        screen.json(&Notice::Draining { running })?;
    } else {
        let attempts = units::count(running.into(), "attempt");
        screen.data(&format!("draining; {attempts} still running\n"))?;
    }
    Ok(Exit::Success)
}
