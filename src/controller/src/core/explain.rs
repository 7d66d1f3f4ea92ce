//! Why a work item does not run.

use std::collections::BTreeMap;

use helix_model::ids::JobId;
use helix_model::liveness::Liveness;
use helix_model::matching::{could_ever, could_now, nearest_misses};
use helix_store::{AgentName, Item, ItemState, Refusal, StoreError};

use super::{AgentStanding, Core, lane_item};

/// Why a work item does not run, or that it does.
#[derive(Debug)]
pub(crate) struct Explanation {
    /// The item.
    pub(crate) item: Item,
    /// How it looks altogether.
    pub(crate) prospect: Prospect,
    /// The same in a sentence.
    pub(crate) message: String,
    /// For each thing that nobody has, who comes nearest, a sentence each.
    pub(crate) nearest: Vec<String>,
    /// What each agent says, by name.
    pub(crate) agents: Vec<AgentAnswer>,
    /// Why agents did not take it when they were asked.
    pub(crate) refusals: Vec<Refusal>,
}

/// How it looks for a work item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Prospect {
    /// It has ended.
    Ended,
    /// An agent has it or is being asked.
    Underway,
    /// An agent could take it now.
    Now,
    /// Agents could take it that are busy, draining or silent, or that it is kept from for a time.
    Later,
    /// Not one agent that is known can ever take it as it is.
    Never,
}

/// Whether an agent could take a work item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentAnswer {
    /// The agent.
    pub(crate) agent: AgentName,
    /// Whether it could: now, later or never.
    pub(crate) prospect: Prospect,
    /// The reason in capitals. Empty where it could now.
    pub(crate) reason: String,
    /// A sentence.
    pub(crate) message: String,
}

impl Core {
    /// Why an item, by its id or its name, does not run; none if there is no such item.
    ///
    /// # Errors
    ///
    /// The store does not answer, or there is no such job.
    pub(crate) async fn explain(
        &self,
        job: &JobId,
        item: &str,
    ) -> Result<Option<Explanation>, StoreError> {
        let Some(item) = self.store().item(job, item).await? else {
            return Ok(None);
        };
        let refusals = self.store().refusals(&item.id).await?;
        let specification = self.store().specification(&item.id).await?;
        let queue = match self.store().job(job).await? {
            Some(job) => job.queue,
            None => return Ok(None),
        };
        let standings = self.agents();
        let wanted = specification.and_then(|(_, demand)| lane_item(&queue, &demand).ok());
        let mut explanation = Explanation {
            item,
            prospect: Prospect::Never,
            message: String::new(),
            nearest: Vec::new(),
            agents: Vec::new(),
            refusals,
        };
        match &explanation.item.state {
            ItemState::Ended(end) => {
                explanation.prospect = Prospect::Ended;
                explanation.message = if end.message.is_empty() {
                    "it has passed".to_owned()
                } else {
                    format!("it has ended: {}", end.message)
                };
                return Ok(Some(explanation));
            }
            ItemState::Offered { agent, .. } => {
                explanation.prospect = Prospect::Underway;
                explanation.message = format!("agent `{agent}` is being asked");
            }
            ItemState::Running { agent, .. } => {
                explanation.prospect = Prospect::Underway;
                explanation.message = format!("agent `{agent}` has it");
            }
            ItemState::Waiting => {}
        }
        let Some(wanted) = wanted else {
            "what it wants of a machine cannot be read".clone_into(&mut explanation.message);
            return Ok(Some(explanation));
        };
        let now = self.now();
        explanation.agents = standings
            .iter()
            .map(|standing| self.answer(&wanted, standing, &explanation.refusals))
            .collect();
        if explanation.prospect == Prospect::Underway {
            return Ok(Some(explanation));
        }
        explanation.prospect = overall(&explanation.agents);
        explanation.message = match explanation.prospect {
            Prospect::Now => "an agent has room for it: it is offered in a moment, or other work \
                              goes first"
                .to_owned(),
            Prospect::Later => "agents could run it that do not take it now".to_owned(),
            _ if standings.is_empty() => "no agent is known".to_owned(),
            _ => "not one of the agents that are known can run it as it is".to_owned(),
        };
        let able = standings.iter().any(|standing| {
            standing
                .report
                .as_ref()
                .is_some_and(|report| could_ever(&wanted, report, now).is_ok())
        });
        if !able {
            let reports: BTreeMap<String, _> = standings
                .iter()
                .filter_map(|standing| Some((standing.name.0.clone(), standing.report.as_deref()?)))
                .collect();
            explanation.nearest = nearest_misses(&wanted, &reports);
        }
        Ok(Some(explanation))
    }

    fn answer(
        &self,
        wanted: &helix_model::work_item::WorkItem,
        standing: &AgentStanding,
        refusals: &[Refusal],
    ) -> AgentAnswer {
        let now = self.now();
        let answer = |prospect, reason: &str, message: String| AgentAnswer {
            agent: standing.name.clone(),
            prospect,
            reason: reason.to_owned(),
            message,
        };
        let Some(report) = &standing.report else {
            let message = "it has not been reached since this controller started".to_owned();
            return answer(Prospect::Later, "SILENT", message);
        };
        if let Err(misfit) = could_now(wanted, report, standing.free, now) {
            let prospect = if misfit.passes() {
                Prospect::Later
            } else {
                Prospect::Never
            };
            return answer(prospect, misfit.reason(), misfit.sentence());
        }
        match standing.liveness {
            Liveness::Alive => {}
            Liveness::Silent => {
                let message = "it has not been heard of for a while".to_owned();
                return answer(Prospect::Later, "SILENT", message);
            }
            Liveness::Lost => {
                let message = "it has not been heard of for so long that it is given up".to_owned();
                return answer(Prospect::Later, "LOST", message);
            }
        }
        let kept = refusals
            .iter()
            .find(|refusal| refusal.agent == standing.name && refusal.until > now);
        if let Some(refusal) = kept {
            return answer(Prospect::Later, &refusal.reason, refusal.message.clone());
        }
        answer(Prospect::Now, "", "it could take it now".to_owned())
    }
}

fn overall(agents: &[AgentAnswer]) -> Prospect {
    for prospect in [Prospect::Now, Prospect::Later] {
        if agents.iter().any(|agent| agent.prospect == prospect) {
            return prospect;
        }
    }
    Prospect::Never
}
