//! Where the controller is, and how it knows us; and whom a command means that both an agent and a
//! controller understand.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

/// The connection to a controller.
#[derive(Debug, Args)]
pub(crate) struct ControllerArguments {
    /// The controller: `https://host`, or `http://` on this machine.
    ///
    /// The token is taken from HELIX_TOKEN or from `--token-file`, never from the command line, where
    /// others could see it. It is not sent in the clear but to this machine.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "HELIX_CONTROLLER",
        default_value = "http://127.0.0.1:7410",
        help_heading = "Connection"
    )]
    pub(crate) controller: String,
    /// File with the controller's token; only its owner should be able to read it.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HELIX_TOKEN_FILE",
        help_heading = "Connection"
    )]
    pub(crate) token_file: Option<PathBuf>,
}

/// How somebody to talk to was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    /// Not at all: the default.
    Nowhere,
    /// By a variable of the environment.
    Environment,
    /// On the command line.
    CommandLine,
}

/// How the two were named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addressed {
    /// The agent.
    pub(crate) agent: Named,
    /// The controller.
    pub(crate) controller: Named,
}

/// Whom a command means that both understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partner {
    /// An agent.
    Agent,
    /// A controller.
    Controller,
    /// Both were named in the same way: the person has to say.
    Unclear,
}

impl Addressed {
    /// Out of what clap found.
    pub(crate) fn new(matches: &ArgMatches) -> Self {
        // Options that hold everywhere are found at the innermost command.
        let mut innermost = matches;
        while let Some((_, next)) = innermost.subcommand() {
            innermost = next;
        }
        let named = |option: &str| match innermost.value_source(option) {
            Some(ValueSource::CommandLine) => Named::CommandLine,
            Some(ValueSource::EnvVariable) => Named::Environment,
            _ => Named::Nowhere,
        };
        Self {
            agent: named("agent"),
            controller: named("controller"),
        }
    }

    /// Whether an agent was named on the command line, and no controller.
    pub(crate) fn agent_is_meant(self) -> bool {
        self.agent == Named::CommandLine && self.controller != Named::CommandLine
    }

    /// Who is meant where the other arguments do not say: whoever was named more plainly, and an agent
    /// where nobody was.
    pub(crate) fn partner(self) -> Partner {
        match self.agent.cmp(&self.controller) {
            std::cmp::Ordering::Greater => Partner::Agent,
            std::cmp::Ordering::Less => Partner::Controller,
            std::cmp::Ordering::Equal if self.agent == Named::Nowhere => Partner::Agent,
            std::cmp::Ordering::Equal => Partner::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::arguments::Arguments;

    fn check(arguments: &[&str], agent: Named, controller: Named, partner: Partner) {
        let all = ["helix", "cancel", "x"].iter().chain(arguments);
        let matches = Arguments::command().try_get_matches_from(all).unwrap();
        let found = Addressed::new(&matches);
        assert_eq!(found, Addressed { agent, controller }, "{arguments:?}");
        assert_eq!(found.partner(), partner, "{arguments:?}");
    }

    #[test]
    fn whoever_is_named_is_meant() {
        check(&[], Named::Nowhere, Named::Nowhere, Partner::Agent);
        let (agent, controller) = (["--agent", "a"], ["--controller", "http://c"]);
        check(&agent, Named::CommandLine, Named::Nowhere, Partner::Agent);
        check(
            &controller,
            Named::Nowhere,
            Named::CommandLine,
            Partner::Controller,
        );
        let both = [agent, controller].concat();
        check(
            &both,
            Named::CommandLine,
            Named::CommandLine,
            Partner::Unclear,
        );
    }

    #[test]
    fn the_command_line_counts_more_than_the_environment() {
        for (agent, controller, expected) in [
            (Named::Environment, Named::CommandLine, Partner::Controller),
            (Named::CommandLine, Named::Environment, Partner::Agent),
            (Named::Environment, Named::Environment, Partner::Unclear),
            (Named::Environment, Named::Nowhere, Partner::Agent),
            (Named::Nowhere, Named::Environment, Partner::Controller),
        ] {
            let found = Addressed { agent, controller }.partner();
            assert_eq!(found, expected, "{agent:?} {controller:?}");
        }
    }
}
