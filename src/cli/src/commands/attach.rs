//! `helix attach`: follows an attempt that somebody else started.

use std::sync::Arc;

use super::view::{Stopped, View, Voice};
use crate::arguments::{AttachArguments, Common, OutputFormat};
use crate::client::Connection;
use crate::client::answer::Answer;
use crate::client::cursor::Cursor;
use crate::client::follow::Follower;
use crate::error::Error;
use crate::exit::Exit;
use crate::json::Notice;
use crate::screen::Screen;
use crate::signals::Interrupts;

/// The second Ctrl-C ends the program even if it hangs.
const PATIENCE: u32 = 2;

/// Follows the attempt and exits as its work item did.
pub(crate) async fn execute(
    common: &Common,
    arguments: AttachArguments,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    let connection = Connection::open(common).await?;
    let mut interrupts = Interrupts::listen(PATIENCE)?;
    let attempt_id = arguments.attempt;
    let cursor = Cursor {
        after_event: 0,
        console_offset: arguments.from,
    };
    let mut follower = Follower::attach(&connection, attempt_id.clone(), cursor, common.patience);
    let mut view = View::new(screen, Voice::Full, &connection, common, attempt_id.clone());
    let followed = tokio::select! {
        followed = view.follow(&mut follower) => followed,
        _ = interrupts.next() => {
            screen.end_status();
            screen.note(&format!("left `{attempt_id}` alone; it goes on"))?;
            return Ok(Exit::Cancelled);
        }
    };
    let summary = match followed {
        Ok(summary) => summary,
        Err(Stopped::Failed(error)) => return Err(error),
        Err(Stopped::Refused(refusal)) => {
            let what = format!("follow `{attempt_id}`");
            return Err(Error::Call {
                what,
                answer: Answer::Refused(refusal),
            });
        }
    };
    for line in summary.lines(screen.error_palette()) {
        screen.note(&line)?;
    }
    let exit = summary.end().map_or(Exit::Infrastructure, |end| end.exit());
    if screen.format() == OutputFormat::Json {
        screen.json(&Notice::Ended {
            attempt_id: &attempt_id,
            exit_code: exit.code(),
        })?;
    }
    Ok(exit)
}
