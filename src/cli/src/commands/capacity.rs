//! `helix capacity`: what an agent can take, once or again and again.

use helix_proto::agent::v1::{Capacity, GetCapacityRequest, WatchCapacityRequest};
use jiff::Timestamp;

use crate::arguments::{CapacityArguments, Common, OutputFormat};
use crate::client::answer::Answer;
use crate::client::{Backoff, Connection, failed};
use crate::error::Error;
use crate::exit::Exit;
use crate::json::CapacityLine;
use crate::render::{self, text, units};
use crate::screen::{Reader, Screen};

/// Clears the terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Shows the capacity.
pub(crate) async fn execute(
    common: &Common,
    arguments: CapacityArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let connection = Connection::open(common).await?;
    if arguments.watch {
        return watch(&connection, screen).await;
    }
    let capacity = connection
        .client()
        .get_capacity(GetCapacityRequest {})
        .await
        .map_err(failed("read the agent's capacity"))?
        .into_inner()
        .capacity
        .unwrap_or_default();
    show(&capacity, "", screen)?;
    Ok(Exit::Success)
}

/// Goes on until Ctrl-C ends the program or nobody reads any more. An agent
/// that is away is waited for: whoever watches wants to see it come back.
async fn watch(connection: &Connection, screen: &Screen) -> Result<Exit, Error> {
    let before = if screen.can_redraw() { CLEAR } else { "" };
    let mut backoff = Backoff::new();
    loop {
        let cause = match watch_once(connection, before, &mut backoff, screen).await? {
            Watched::ReaderLeft => return Ok(Exit::Success),
            Watched::Broken(cause) => cause,
        };
        let delay = backoff.next_delay();
        screen.note(&format!(
            "lost the agent: {}; trying again in {}",
            text::line(&cause, 200),
            units::duration(delay)
        ))?;
        tokio::time::sleep(delay).await;
    }
}

enum Watched {
    ReaderLeft,
    Broken(String),
}

async fn watch_once(
    connection: &Connection,
    before: &str,
    backoff: &mut Backoff,
    screen: &Screen,
) -> Result<Watched, Error> {
    const WHAT: &str = "watch the agent's capacity";
    let broken = |status: tonic::Status| match Answer::from(status) {
        Answer::Broken(cause) => Ok(Watched::Broken(cause.to_string())),
        answer => Err(Error::Call {
            what: WHAT.to_owned(),
            answer,
        }),
    };
    let mut stream = match connection
        .client()
        .watch_capacity(WatchCapacityRequest::default())
        .await
    {
        Ok(response) => response.into_inner(),
        Err(status) => return broken(status),
    };
    loop {
        match stream.message().await {
            Ok(Some(response)) => {
                *backoff = Backoff::new();
                let capacity = response.capacity.unwrap_or_default();
                if show(&capacity, before, screen)? == Reader::Left {
                    return Ok(Watched::ReaderLeft);
                }
            }
            Ok(None) => return Ok(Watched::Broken("the stream ended".to_owned())),
            Err(status) => return broken(status),
        }
    }
}

fn show(capacity: &Capacity, before: &str, screen: &Screen) -> Result<Reader, Error> {
    if screen.format() == OutputFormat::Json {
        return screen.json(&CapacityLine::new(capacity));
    }
    let page = render::capacity::page(capacity, Timestamp::now(), screen.out_palette());
    screen.data(&format!("{before}{page}"))
}
