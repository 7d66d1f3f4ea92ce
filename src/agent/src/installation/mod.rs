//! The daemon as a service of this machine, and off it again, where no package manager does that:
//! `helix-agent install` and `helix-agent uninstall`.
//!
//! All that is done is data first: [`plan`] looks at the machine and makes [`step::Step`]s, which a
//! dry run shows and [`run`] takes. Nothing is touched before the whole plan is made, and
//! [`refusal`] says why there is none. What was put where is kept in a [`manifest`], and what goes
//! later is what is in there.
//!
//! The texts of units, property lists and configurations are those in `systemd/`, `launchd/` and
//! `packaging/`, which the packages are made of too ([`texts`]).

mod accounts;
mod files;
mod manifest;
mod place;
mod plan;
mod refusal;
mod removal;
mod run;
mod step;
#[cfg(test)]
mod tests;
mod texts;

use std::path::PathBuf;

use helix_model::ids::QueueName;

use place::Place;
pub(crate) use place::{Prefix, System};
use plan::Plan;
use refusal::Refusal;
use run::Runner;

/// What is wanted of an installation.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    /// The system of an image; absent: the one that runs this.
    pub(crate) root: Option<PathBuf>,
    /// Beneath which the programs go.
    pub(crate) prefix: Prefix,
    /// For a configuration that is not there yet.
    pub(crate) queues: Vec<QueueName>,
    /// The same.
    pub(crate) machine_name: Option<String>,
    /// Whether the daemons are enabled and started.
    pub(crate) start: bool,
}

/// What is wanted of a removal.
#[derive(Debug, Clone)]
pub(crate) struct Removal {
    /// As for [`Installation::root`].
    pub(crate) root: Option<PathBuf>,
    /// Whether configuration, state and users go too.
    pub(crate) purge: bool,
}

/// Whether anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Every step is taken.
    Run,
    /// Every step is told, and none taken.
    DryRun,
}

/// Why it was not done, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallationError {
    /// It cannot be done here. Nothing was touched.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A step failed. Those before it were taken; taking them again does no harm.
    #[error(transparent)]
    Failed(#[from] run::StepError),
}

impl InstallationError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Failed(_) => {
                "put that right, then do the same again; what was done counts".to_owned()
            }
        }
    }
}

/// Makes a service of the programs beside the running one. `say` gets every line for the person.
pub(crate) fn install(
    wanted: &Installation,
    mode: Mode,
    say: &mut dyn FnMut(&str),
) -> Result<(), InstallationError> {
    let system = System::native();
    let place = Place::new(system, wanted.root.clone());
    refusal::machine(&place, mode)?;
    let programs = refusal::programs()?;
    let plan = plan::install(&place, wanted, &programs)?;
    carry_out(&place, &plan, mode, say)
}

/// Takes off what an installation put here.
pub(crate) fn uninstall(
    wanted: &Removal,
    mode: Mode,
    say: &mut dyn FnMut(&str),
) -> Result<(), InstallationError> {
    let place = Place::new(System::native(), wanted.root.clone());
    refusal::machine(&place, mode)?;
    let plan = removal::plan(&place, wanted.purge)?;
    carry_out(&place, &plan, mode, say)
}

fn carry_out(
    place: &Place,
    plan: &Plan,
    mode: Mode,
    say: &mut dyn FnMut(&str),
) -> Result<(), InstallationError> {
    let mut runner = Runner::new(place);
    for step in &plan.steps {
        match mode {
            Mode::DryRun => say(&format!("{step}{}", runner.outlook(step))),
            Mode::Run => runner.take(step, say)?,
        }
    }
    if mode == Mode::Run {
        for line in &plan.next {
            say(line);
        }
    }
    Ok(())
}
