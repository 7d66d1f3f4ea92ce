//! `helix agents`: listing, draining, resuming through a controller.

use helix_api::client::Client;
use helix_api::{Agent, AgentLiveness};

use super::show::{self, Line};
use super::{connect, failed};
use crate::arguments::{AgentsArguments, AgentsCommand, Common, OutputFormat};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::table::{Cell, Style, Table};
use crate::render::{text, units};
use crate::screen::{Reader, Screen};

/// Does what is asked about agents.
pub(crate) async fn execute(
    common: &Common,
    arguments: AgentsArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let client = connect(common)?;
    match arguments.command.unwrap_or(AgentsCommand::List) {
        AgentsCommand::List => list(&client, screen).await,
        AgentsCommand::Drain { name, reason } => {
            let drained = client.drain(&name, &reason).await;
            let drained = drained.map_err(failed(format!("drain agent `{name}`")))?;
            if screen.format() == OutputFormat::Json {
                screen.json(&Line::Draining(&drained))?;
            } else {
                let attempts = units::count(drained.running.into(), "attempt");
                let name = text::clean(&drained.agent);
                screen.data(&format!("{name} is draining; {attempts} still running\n"))?;
            }
            Ok(Exit::Success)
        }
        AgentsCommand::Resume { name } => {
            let resumed = client.resume(&name).await;
            let resumed = resumed.map_err(failed(format!("resume agent `{name}`")))?;
            if screen.format() == OutputFormat::Json {
                screen.json(&Line::Resumed(&resumed))?;
            } else {
                let name = text::clean(&resumed.agent);
                screen.data(&match resumed.ready {
                    true => format!("{name} takes work again\n"),
                    false => format!("{name} is resumed, but not ready; `helix agents` says why\n"),
                })?;
            }
            Ok(Exit::Success)
        }
    }
}

async fn list(client: &Client, screen: &Screen) -> Result<Exit, Error> {
    let found = client.agents().await.map_err(failed("list the agents"))?;
    if screen.format() == OutputFormat::Json {
        for agent in &found.agents {
            if screen.json(&Line::Agent(agent))? == Reader::Left {
                break;
            }
        }
        return Ok(Exit::Success);
    }
    if found.agents.is_empty() {
        screen.note("no agents; one comes by `[controller]` in its configuration")?;
        return Ok(Exit::Success);
    }
    screen.data(&table(&found.agents).render(screen.out_palette()))?;
    Ok(Exit::Success)
}

fn table(agents: &[Agent]) -> Table<7> {
    let mut table = Table::new([
        "AGENT", "LIVENESS", "SEEN", "STATE", "FREE", "QUEUES", "WHY",
    ]);
    for agent in agents {
        let (liveness, style) = match agent.liveness {
            AgentLiveness::Alive => ("alive", Style::Good),
            AgentLiveness::Silent => ("silent", Style::Odd),
            AgentLiveness::Lost => ("lost", Style::Bad),
        };
        let head: [Cell; 3] = [
            show::cell(&agent.name).into(),
            Cell::styled(liveness, style),
            Cell::styled(format!("{} ago", show::age(agent.seen)), Style::Faint),
        ];
        let rest: [Cell; 4] = match &agent.capacity {
            None => Default::default(),
            Some(capacity) => [
                show::cell(&capacity.state).into(),
                format!("{}/{}", capacity.free.slots, capacity.total.slots).into(),
                match capacity.queues.as_slice() {
                    [] => Cell::styled("all", Style::Faint),
                    queues => show::cell(&queues.join(", ")).into(),
                },
                text::line(&capacity.reasons.join("; "), 100).into(),
            ],
        };
        let ([name, liveness, seen], [state, free, queues, why]) = (head, rest);
        table.push([name, liveness, seen, state, free, queues, why]);
    }
    table
}
