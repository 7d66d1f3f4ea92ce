//! `helix cancel`: asks an attempt to end.

use helix_proto::agent::v1::CancelRequest;

use crate::arguments::{CancelArguments, Common, OutputFormat};
use crate::client::{Connection, failed, to_wire};
use crate::error::Error;
use crate::exit::Exit;
use crate::json::Notice;
use crate::screen::Screen;

/// Sends the wish and says whether it came in time.
pub(crate) async fn execute(
    common: &Common,
    arguments: CancelArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let connection = Connection::open(common).await?;
    let attempt_id = arguments.attempt;
    let request = CancelRequest {
        attempt_id: attempt_id.clone(),
        grace: arguments.grace.map(to_wire),
        reason: arguments.reason,
    };
    let response = connection
        .client()
        .cancel(request)
        .await
        .map_err(failed(format!("cancel `{attempt_id}`")))?
        .into_inner();
    if screen.format() == OutputFormat::Json {
        screen.json(&Notice::CancelRequested {
            attempt_id: &attempt_id,
            already_ended: response.already_ended,
        })?;
    } else if response.already_ended {
        screen.data(&format!("{attempt_id} had ended before\n"))?;
    } else {
        screen.data(&format!("{attempt_id} is asked to end\n"))?;
    }
    Ok(Exit::Success)
}
