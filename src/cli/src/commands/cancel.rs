//! `helix cancel`: asks an attempt to end.

use helix_proto::agent::v1::CancelRequest;

use crate::arguments::{Addressed, CancelArguments, Common, OutputFormat, Partner};
use crate::client::{Connection, failed, to_wire};
use crate::error::Error;
use crate::exit::Exit;
use crate::jobs;
use crate::json::Notice;
use crate::screen::Screen;

/// Sends the wish and says whether it came in time.
pub(crate) async fn execute(
    common: &Common,
    addressed: Addressed,
    arguments: CancelArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let reason = &arguments.reason;
    // One of the two is there, clap sees to it.
    let first = arguments.attempt.or(arguments.job.clone());
    let first = first.unwrap_or_default();
    match (&arguments.job, &arguments.item, addressed.partner()) {
        (Some(_), _, _) | (_, Some(_), _) if addressed.agent_is_meant() => {
            return Err(Error::NotAtAnAgent);
        }
        (Some(job), _, _) => return jobs::cancel::job(common, job, reason, screen).await,
        (None, Some(item), _) => {
            return jobs::cancel::item(common, &first, item, reason, screen).await;
        }
        (None, None, Partner::Agent) => {}
        // How long a job's work items are given to end, they say themselves.
        (None, None, Partner::Controller) if arguments.grace.is_none() => {
            return jobs::cancel::job(common, &first, reason, screen).await;
        }
        (None, None, Partner::Controller | Partner::Unclear) => {
            return Err(Error::Unclear { name: first });
        }
    }
    let connection = Connection::open(common).await?;
    let attempt_id = first;
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
