//! `helix`, the command line of Helix for people.
//!
//! This room is a client of the agent's gRPC contract and of the controller's REST API (`jobs`), and
//! nothing more: it owns the arguments, the connection with its reconnecting, and how events look to
//! a person or to a program that reads `--json`. Only `helix up` starts an agent,
//! in this very process, for a machine where nothing is set up.
//!
//! Start reading at `arguments`, then `commands::run`, which uses everything
//! else. Rules without input and output are in `client::cursor` (what was seen),
//! `queue` (who is next) and `render` (events to text).

mod arguments;
mod client;
mod commands;
mod demo;
mod error;
mod exit;
mod jobs;
mod json;
mod payloads;
mod render;
mod results;
mod screen;
mod signals;
mod summary;
mod work_item;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use helix_agent::LAUNCHER_SUBCOMMAND;

use crate::arguments::{Addressed, Arguments, ColorChoice, Command, OutputFormat};
use crate::error::Error;
use crate::exit::Exit;
use crate::screen::Screen;

/// The command line, for those who describe it elsewhere: manual pages, completions.
#[must_use]
pub fn command_line() -> clap::Command {
    Arguments::command()
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything that could start a thread: a launcher forks.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == LAUNCHER_SUBCOMMAND)
    {
        return launch();
    }
    let parsed = Arguments::command()
        .try_get_matches()
        .and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?, matches)));
    let (arguments, addressed) = match parsed {
        Ok((arguments, matches)) => (arguments, Addressed::new(&matches)),
        Err(error) => {
            // Help and version are data and no error; clap knows which is which.
            let exit = if error.use_stderr() {
                usage_exit()
            } else {
                Exit::Success
            };
            let _ = error.print();
            return exit.into();
        }
    };
    let screen = Arc::new(Screen::new(
        arguments.common.color,
        arguments.common.output(),
    ));
    if let Command::Up(up) = &arguments.command {
        commands::up::log(up);
    }
    let outcome = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(arguments, addressed, &screen));
            // A thread that is stuck in a write must not keep the program.
            runtime.shutdown_background();
            outcome
        }
        Err(source) => Err(Error::Runtime { source }),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            screen.error(&error);
            error.exit().into()
        }
    }
}

/// Turns this process into the launcher of an agent of `helix up`.
fn launch() -> ExitCode {
    let Err(error) = helix_agent::launcher_main() else {
        return Exit::Success.into();
    };
    let error = Error::Launcher {
        cause: error.to_string(),
    };
    Screen::new(ColorChoice::Never, OutputFormat::Text).error(&error);
    error.exit().into()
}

/// What wrong arguments end with. `helix results` is asked for a verdict by scripts, which know 1 and 2 from other
/// tools of its kind.
fn usage_exit() -> Exit {
    let matches = Arguments::command()
        .ignore_errors(true)
        .try_get_matches()
        .ok();
    match matches.as_ref().and_then(ArgMatches::subcommand_name) {
        Some("results") => Exit::NoResults,
        _ => Exit::Usage,
    }
}

async fn dispatch(
    arguments: Arguments,
    addressed: Addressed,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    let common = &arguments.common;
    match arguments.command {
        Command::Run(run) => commands::run::execute(common, *run, screen).await,
        Command::Attach(attach) => commands::attach::execute(common, attach, screen).await,
        Command::Logs(logs) => commands::logs::execute(common, addressed, logs, screen).await,
        Command::Cancel(cancel) => {
            commands::cancel::execute(common, addressed, cancel, screen).await
        }
        Command::Submit(submit) => jobs::submit::execute(common, *submit, screen).await,
        Command::Watch(watch) => jobs::watch::execute(common, watch, screen).await,
        Command::Jobs(jobs) => jobs::list::execute(common, jobs, screen).await,
        Command::Retry(retry) => jobs::retry::execute(common, retry, screen).await,
        Command::Explain(explain) => jobs::explain::execute(common, explain, screen).await,
        Command::Flaky(flaky) => jobs::flaky::execute(common, flaky, screen).await,
        Command::Queues(queues) => jobs::queues::execute(common, queues, screen).await,
        Command::Agents(agents) => jobs::agents::execute(common, agents, screen).await,
        Command::Ps(ps) => commands::ps::execute(common, ps, screen).await,
        Command::Capacity(capacity) => commands::capacity::execute(common, capacity, screen).await,
        Command::Drain(drain) => commands::drain::execute(common, drain, screen).await,
        Command::Up(up) => commands::up::execute(up, screen).await,
        Command::Results(results) => match &results.job {
            Some(job) => jobs::results::execute(common, job, &results, screen).await,
            None => results::execute(common, &results, screen),
        },
        Command::Resume => commands::resume::execute(common, screen).await,
    }
}
