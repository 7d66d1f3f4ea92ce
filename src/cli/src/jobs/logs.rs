//! `helix logs JOB ITEM`: what attempts of a work item wrote, as the controller has it.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use helix_api::ItemDetail;
use helix_api::client::{Client, Until};
use helix_proto::agent::v1::ConsoleStream;

use super::show::{self, Line};
use super::{connect, failed};
use crate::arguments::{Common, LogsArguments, OutputFormat};
use crate::error::Error;
use crate::exit::Exit;
use crate::screen::{Reader, Screen};

/// How often it is asked whether a next attempt has begun.
const LOOK_AGAIN: Duration = Duration::from_millis(700);

/// Prints the log and exits with success, whatever the work item did.
pub(crate) async fn execute(
    common: &Common,
    arguments: &LogsArguments,
    item: &str,
    screen: &Screen,
) -> Result<Exit, Error> {
    let client = connect(common)?;
    let job = arguments.attempt.as_str();
    let until = match arguments.follow {
        true => Until::End,
        false => Until::Now,
    };
    if let Some(number) = &arguments.number {
        print(&client, [job, item, number], arguments.from, until, screen).await?;
        return Ok(Exit::Success);
    }
    let mut shown = 0;
    let mut offset = arguments.from;
    loop {
        let detail = detail(&client, job, item).await?;
        let last = detail.attempts.last().map_or(0, |attempt| attempt.number);
        if last == 0 && !arguments.follow {
            return Err(Error::NotStarted {
                job: job.to_owned(),
                item: item.to_owned(),
            });
        }
        // One that came and went between two looks is not passed over.
        let next = match shown {
            0 => last,
            shown => shown + 1,
        };
        if next > 0 && next <= last {
            if shown > 0 {
                screen.note(&format!("attempt {next} of `{}`", show::cell(item)))?;
            }
            let number = next.to_string();
            if print(&client, [job, item, &number], offset, until, screen).await? == Reader::Left {
                return Ok(Exit::Success);
            }
            (shown, offset) = (next, 0);
            if arguments.follow {
                continue;
            }
        }
        if !arguments.follow || detail.item.state.is_ended() {
            return Ok(Exit::Success);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn detail(client: &Client, job: &str, item: &str) -> Result<ItemDetail, Error> {
    let what = format!("look at work item `{item}` of job `{job}`");
    client.item(job, item).await.map_err(failed(what))
}

async fn print(
    client: &Client,
    [job, item, attempt]: [&str; 3],
    offset: u64,
    until: Until,
    screen: &Screen,
) -> Result<Reader, Error> {
    let mut log = client.log(job, item, attempt, offset, until);
    loop {
        let offset = log.offset();
        let what = format!("read the log of attempt {attempt} of `{item}`");
        let Some(piece) = log.next().await.map_err(failed(what))? else {
            return Ok(Reader::Listens);
        };
        let reader = match screen.format() {
            OutputFormat::Text => screen.console(ConsoleStream::Stdout, &piece)?,
            OutputFormat::Json => {
                let text = std::str::from_utf8(&piece).ok();
                screen.json(&Line::Log {
                    job,
                    item,
                    attempt,
                    offset,
                    text,
                    base64: text.is_none().then(|| BASE64_STANDARD.encode(&piece)),
                })?
            }
        };
        if reader == Reader::Left {
            return Ok(Reader::Left);
        }
    }
}
