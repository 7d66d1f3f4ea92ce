//! Of work that nobody can run: who comes nearest, for each requirement.

use std::collections::BTreeMap;

use super::AgentReport;
use crate::capability::{Missing, Requirement};
use crate::resources::{ResourceKind, Resources, Shortfall};
use crate::work_item::WorkItem;

/// How many agents are named before the rest is only counted.
const MAX_NAMED: usize = 3;

/// For each thing that an item wants and not one of the agents has, who comes nearest: a sentence
/// each, which begins in lower case and has no full stop. Where each thing is to be had somewhere,
/// but never all at one place, the agents that lack least.
#[must_use]
pub fn nearest_misses(
    work_item: &WorkItem,
    agents: &BTreeMap<String, &AgentReport>,
) -> Vec<String> {
    if agents.is_empty() {
        return vec!["there is no agent".to_owned()];
    }
    let of_queue: BTreeMap<&str, &AgentReport> = agents
        .iter()
        .map(|(name, agent)| (name.as_str(), *agent))
        .filter(|(_, agent)| agent.queues.is_empty() || agent.queues.contains(&work_item.queue))
        .collect();
    if of_queue.is_empty() {
        let count = agents.len();
        return vec![format!(
            "no agent serves the queue `{}`; there {} for other queues",
            work_item.queue,
            if count == 1 {
                "is one".to_owned()
            } else {
                format!("are {count}")
            }
        )];
    }
    let mut misses: Vec<String> = work_item
        .requirements
        .iter()
        .filter_map(|requirement| tool(requirement, &of_queue))
        .collect();
    misses.extend(sizes(&work_item.resources.amounts(), &of_queue));
    if misses.is_empty() {
        misses.extend(least_lacking(work_item, &of_queue));
    }
    misses
}

/// A requirement that not one agent meets.
fn tool(requirement: &Requirement, agents: &BTreeMap<&str, &AgentReport>) -> Option<String> {
    let missing: Vec<(&str, Missing)> = agents
        .iter()
        .filter_map(|(name, agent)| {
            let missing = agent
                .capabilities
                .missing(std::slice::from_ref(requirement));
            missing.into_iter().next().map(|missing| (*name, missing))
        })
        .collect();
    if missing.len() < agents.len() {
        return None;
    }
    let wanted = missing.first()?.1.requirement();
    let mut present: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, missing) in &missing {
        if let Some(value) = &missing.present {
            present.entry(value.to_string()).or_default().push(name);
        }
    }
    if present.is_empty() {
        return Some(format!("no agent has `{wanted}` in any version"));
    }
    let have: Vec<String> = present
        .iter()
        .take(MAX_NAMED)
        .map(|(value, names)| format!("{} {} {value}", named(names), has(names.len())))
        .collect();
    Some(format!("no agent has `{wanted}`: {}", have.join("; ")))
}

/// Amounts that are more than the largest agent has.
fn sizes(wanted: &Resources, agents: &BTreeMap<&str, &AgentReport>) -> Vec<String> {
    let largest = agents
        .values()
        .fold(Resources::default(), |most, agent| Resources {
            slots: most.slots.max(agent.total.slots),
            cpu_millis: most.cpu_millis.max(agent.total.cpu_millis),
            memory_bytes: most.memory_bytes.max(agent.total.memory_bytes),
            disk_bytes: most.disk_bytes.max(agent.total.disk_bytes),
        });
    let short = |shortfall: Shortfall| {
        let unit = match shortfall.kind {
            ResourceKind::Slots => "slots",
            ResourceKind::Cpu => "thousandths of a CPU",
            ResourceKind::Memory => "bytes of memory",
            ResourceKind::Disk => "bytes of disk space",
        };
        format!(
            "no agent has {} {unit}: the largest has {}",
            shortfall.wanted, shortfall.available
        )
    };
    largest.shortfalls(wanted).into_iter().map(short).collect()
}

/// The agents that lack the fewest things.
fn least_lacking(work_item: &WorkItem, agents: &BTreeMap<&str, &AgentReport>) -> Option<String> {
    let amounts = work_item.resources.amounts();
    let lacking = |agent: &AgentReport| {
        let tools = agent.capabilities.missing(&work_item.requirements).len();
        tools + agent.total.shortfalls(&amounts).len()
    };
    let least = agents.values().map(|agent| lacking(agent)).min()?;
    if least == 0 {
        return None;
    }
    let (name, agent) = agents.iter().find(|(_, agent)| lacking(agent) == least)?;
    let missing = agent.capabilities.missing(&work_item.requirements);
    let mut lacks: Vec<String> = missing.iter().map(ToString::to_string).collect();
    lacks.extend(sizes(&amounts, &BTreeMap::from([(*name, *agent)])));
    Some(format!(
        "each thing that it wants is to be had, but not all of them on one machine; `{name}` comes \
         nearest and lacks {}",
        lacks.join(", ")
    ))
}

fn named(names: &[&str]) -> String {
    let mut texts: Vec<String> = names
        .iter()
        .take(MAX_NAMED)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > MAX_NAMED {
        texts.push(format!("{} more", names.len() - MAX_NAMED));
    }
    texts.join(", ")
}

fn has(count: usize) -> &'static str {
    if count == 1 { "has" } else { "have" }
}
