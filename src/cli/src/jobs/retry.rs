//! `helix retry`: what did not pass, as a new job.

use std::sync::Arc;

use helix_api::RetryRequest;

use super::submit::told;
use super::{connect, failed, watch};
use crate::arguments::{Common, RetryArguments};
use crate::error::Error;
use crate::exit::Exit;
use crate::screen::Screen;

/// Makes the new job and prints its id, or watches it.
pub(crate) async fn execute(
    common: &Common,
    arguments: RetryArguments,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    let client = connect(common)?;
    let request = RetryRequest {
        id: arguments.id,
        name: None,
        items: (!arguments.item.is_empty()).then_some(arguments.item),
    };
    let submitted = client.retry(&arguments.job, &request).await;
    let submitted = submitted.map_err(failed(format!("retry job `{}`", arguments.job)))?;
    told(&submitted, arguments.watch, screen)?;
    if arguments.watch {
        return watch::watch(&client, &[submitted.job], screen).await;
    }
    Ok(Exit::Success)
}
