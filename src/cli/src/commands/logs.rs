//! `helix logs`: what an attempt wrote, and nothing else.

use std::sync::Arc;

use helix_proto::agent::v1::{AttemptEvent, ConsoleStream, attempt_event::Kind};

use super::ps;
use crate::arguments::{Addressed, Common, LogsArguments, OutputFormat, Partner};
use crate::client::Connection;
use crate::client::answer::Answer;
use crate::client::cursor::Cursor;
use crate::client::follow::{FollowError, Follower, Step};
use crate::error::Error;
use crate::exit::Exit;
use crate::jobs;
use crate::json::EventLine;
use crate::render::units;
use crate::screen::{Reader, Screen};

/// Where to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// At the terminal event.
    End,
    /// When the console was read up to here.
    Offset(u64),
}

/// Prints the console and exits with success, whatever the work item did.
pub(crate) async fn execute(
    common: &Common,
    addressed: Addressed,
    arguments: LogsArguments,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    match (&arguments.item, addressed.partner()) {
        // A job and a work item are a controller's, unless an agent is named here and now.
        (Some(_), Partner::Agent) if addressed.agent_is_meant() => return Err(Error::NotAtAnAgent),
        (Some(item), _) => {
            return jobs::logs::execute(common, &arguments, item, screen).await;
        }
        (None, Partner::Agent) => {}
        (None, Partner::Controller) => {
            return Err(Error::WhichItem {
                job: arguments.attempt,
            });
        }
        (None, Partner::Unclear) => {
            return Err(Error::Unclear {
                name: arguments.attempt,
            });
        }
    }
    let connection = Connection::open(common).await?;
    let attempt_id = arguments.attempt;
    let until = match arguments.follow {
        true => Until::End,
        false => present_end(&connection, &attempt_id).await?,
    };
    if until == Until::Offset(arguments.from) {
        return Ok(Exit::Success);
    }
    let cursor = Cursor {
        after_event: 0,
        console_offset: arguments.from,
    };
    let mut follower = Follower::attach(&connection, attempt_id.clone(), cursor, common.patience);
    loop {
        match follower.next().await {
            Ok(Some(Step::Event(event))) => {
                if show(&attempt_id, &event, screen)? == Reader::Left {
                    break;
                }
            }
            Ok(Some(Step::Lost { .. } | Step::Restored)) => {}
            Ok(None) => break,
            Err(error) => {
                let offset = follower.cursor().console_offset;
                return Err(failed(error, &connection, common, attempt_id, offset));
            }
        }
        if let Until::Offset(end) = until
            && follower.cursor().console_offset >= end
        {
            break;
        }
    }
    Ok(Exit::Success)
}

/// Where the console of a running attempt ends now. An attempt that is not
/// among the running ones has ended or is not known; attaching tells which.
async fn present_end(connection: &Connection, attempt_id: &str) -> Result<Until, Error> {
    let attempts = ps::list(&mut connection.client(), true, usize::MAX).await?;
    let is_it = |id: &str| id == attempt_id;
    Ok(attempts
        .iter()
        .find(|summary| {
            summary
                .attempt
                .as_ref()
                .is_some_and(|one| is_it(&one.attempt_id))
        })
        .map_or(Until::End, |summary| Until::Offset(summary.console_bytes)))
}

fn show(attempt_id: &str, event: &AttemptEvent, screen: &Screen) -> Result<Reader, Error> {
    match &event.kind {
        Some(Kind::Console(_) | Kind::ConsoleGap(_)) if screen.format() == OutputFormat::Json => {
            screen.json(&EventLine::new(attempt_id, event))
        }
        Some(Kind::Console(chunk)) => screen.console(chunk.stream(), &chunk.data),
        Some(Kind::ConsoleGap(gap)) => {
            let dropped = units::bytes(gap.dropped_bytes);
            screen.console(
                ConsoleStream::Agent,
                format!("[{dropped} of output are not kept]\n").as_bytes(),
            )
        }
        Some(_) | None => Ok(Reader::Listens),
    }
}

fn failed(
    error: FollowError,
    connection: &Connection,
    common: &Common,
    attempt_id: String,
    console_offset: u64,
) -> Error {
    let answer = match error {
        FollowError::Refused(refusal) => Answer::Refused(refusal),
        FollowError::Answer(answer) => answer,
        FollowError::Lost(cause) => {
            return Error::Lost {
                address: Box::new(connection.address().clone()),
                patience: common.patience,
                attempt_id,
                console_offset,
                cause,
            };
        }
    };
    Error::Call {
        what: format!("read the console of `{attempt_id}`"),
        answer,
    }
}
