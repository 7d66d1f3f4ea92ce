//! `helix queues`: listing, making, changing, removing.

use helix_api::client::{Client, ClientError};
use helix_api::{ProblemKind, Queue, QueueSettings, Visibility};
use jiff::tz::TimeZone;

use super::show::{self, Line};
use super::{connect, failed};
use crate::arguments::{Common, OutputFormat, QueuesArguments, QueuesCommand, SetQueueArguments};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::table::{Cell, Style, Table};
use crate::render::text;
use crate::screen::{Reader, Screen};

/// Does what is asked about queues.
pub(crate) async fn execute(
    common: &Common,
    arguments: QueuesArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let client = connect(common)?;
    match arguments.command.unwrap_or(QueuesCommand::List) {
        QueuesCommand::List => list(&client, screen).await,
        QueuesCommand::Set(set) => self::set(&client, set, screen).await,
        QueuesCommand::Remove { name } => remove(&client, &name, screen).await,
    }
}

async fn list(client: &Client, screen: &Screen) -> Result<Exit, Error> {
    let found = client.queues().await.map_err(failed("list the queues"))?;
    if screen.format() == OutputFormat::Json {
        for queue in &found.queues {
            if screen.json(&Line::Queue(queue))? == Reader::Left {
                break;
            }
        }
        return Ok(Exit::Success);
    }
    if found.queues.is_empty() {
        screen.note("no queues; `helix queues set NAME` makes one")?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["QUEUE", "WAITING", "RUNNING", "DELIVERIES", "FOR", "NOTE"]);
    for queue in &found.queues {
        let (whom, style) = match queue.visibility {
            Visibility::Open => ("everybody", Style::Faint),
            Visibility::Internal => ("internal", Style::Normal),
        };
        table.push([
            show::cell(&queue.name).into(),
            queue.counts.waiting.to_string().into(),
            queue.counts.running.to_string().into(),
            queue.max_delivery_count.to_string().into(),
            Cell::styled(whom, style),
            text::line(&note(queue), 100).into(),
        ]);
    }
    screen.data(&table.render(screen.out_palette()))?;
    Ok(Exit::Success)
}

fn note(queue: &Queue) -> String {
    let removal = queue
        .estimated_removal
        .map(|at| format!("to be removed on {}", at.strftime("%Y-%m-%d")))
        .unwrap_or_default();
    let parts = [
        queue.operating_system_group.as_str(),
        queue.architecture.as_str(),
        queue.description.as_str(),
        removal.as_str(),
    ];
    let said: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    said.join(", ")
}

async fn set(client: &Client, set: SetQueueArguments, screen: &Screen) -> Result<Exit, Error> {
    let name = set.name.clone();
    let before = match client.queue(&name).await {
        Ok(queue) => Some(queue),
        Err(ClientError::Problem(problem)) if problem.kind == ProblemKind::NotFound => None,
        Err(error) => return Err(failed(format!("look at queue `{name}`"))(error)),
    };
    let is_new = before.is_none();
    let settings = merged(before, set);
    let queue = client.put_queue(&name, &settings).await;
    let queue = queue.map_err(failed(format!("set queue `{name}`")))?;
    if screen.format() == OutputFormat::Json {
        screen.json(&Line::Queue(&queue))?;
    } else {
        let done = if is_new { "made" } else { "changed" };
        screen.data(&format!("queue {} is {done}\n", text::clean(&queue.name)))?;
    }
    Ok(Exit::Success)
}

/// What is given, over what was there.
fn merged(before: Option<Queue>, set: SetQueueArguments) -> QueueSettings {
    let mut settings = match before {
        None => QueueSettings::default(),
        Some(queue) => QueueSettings {
            description: queue.description,
            operating_system_group: queue.operating_system_group,
            architecture: queue.architecture,
            max_delivery_count: queue.max_delivery_count,
            visibility: queue.visibility,
            estimated_removal: queue.estimated_removal,
            priority: queue.priority,
        },
    };
    let fill = |field: &mut String, given: Option<String>| {
        if let Some(given) = given {
            *field = given;
        }
    };
    fill(&mut settings.description, set.description);
    fill(&mut settings.operating_system_group, set.os);
    fill(&mut settings.architecture, set.architecture);
    if let Some(count) = set.max_deliveries {
        settings.max_delivery_count = count;
    }
    if set.internal {
        settings.visibility = Visibility::Internal;
    }
    if set.open {
        settings.visibility = Visibility::Open;
    }
    if let Some(date) = set.removal {
        let midnight = date.to_zoned(TimeZone::UTC);
        settings.estimated_removal = midnight.ok().map(|zoned| zoned.timestamp());
    }
    if let Some(priority) = set.priority {
        settings.priority = priority;
    }
    settings
}

async fn remove(client: &Client, name: &str, screen: &Screen) -> Result<Exit, Error> {
    let removed = client.delete_queue(name).await;
    removed.map_err(failed(format!("remove queue `{name}`")))?;
    if screen.format() == OutputFormat::Json {
        screen.json(&Line::QueueRemoved { name })?;
    } else {
        screen.data(&format!("queue {} is removed\n", text::clean(name)))?;
    }
    Ok(Exit::Success)
}
