//! `helix cancel` of a job or a work item.

use helix_api::Cancelled;

use super::show::Line;
use super::{connect, failed};
use crate::arguments::{Common, OutputFormat};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::units;
use crate::screen::Screen;

/// Cancels a job.
pub(crate) async fn job(
    common: &Common,
    job: &str,
    reason: &str,
    screen: &Screen,
) -> Result<Exit, Error> {
    let cancelled = connect(common)?.cancel_job(job, reason).await;
    let cancelled = cancelled.map_err(failed(format!("cancel job `{job}`")))?;
    told(job, &cancelled, screen)
}

/// Cancels a work item.
pub(crate) async fn item(
    common: &Common,
    job: &str,
    item: &str,
    reason: &str,
    screen: &Screen,
) -> Result<Exit, Error> {
    let cancelled = connect(common)?.cancel_item(job, item, reason).await;
    let what = format!("cancel work item `{item}` of job `{job}`");
    told(job, &cancelled.map_err(failed(what))?, screen)
}

fn told(job: &str, cancelled: &Cancelled, screen: &Screen) -> Result<Exit, Error> {
    if screen.format() == OutputFormat::Json {
        screen.json(&Line::Cancelled { job, cancelled })?;
        return Ok(Exit::Success);
    }
    let text = match (cancelled.ended, cancelled.stopping) {
        (0, 0) => "everything had ended before\n".to_owned(),
        (ended, stopping) => format!(
            "{} cancelled, {} asked to end\n",
            units::count(ended, "waiting item"),
            units::count(stopping, "running item")
        ),
    };
    screen.data(&text)?;
    Ok(Exit::Success)
}
