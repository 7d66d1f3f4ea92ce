//! The command line of `helix-agent`, and the life of the daemon around
//! [`Agent`].

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use helix_model::ids::{NameError, QueueName};
use helix_telemetry::{LogFormat, LogTarget};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agent::Agent;
use crate::config::Config;
use crate::doctor;
use crate::installation::{self, Installation, Mode, Prefix, Removal, System};
use crate::launcher::launcher_main;
use crate::reload::{Change, ReloadError};
use crate::service_manager;

/// Where the configuration is looked for.
const DEFAULT_CONFIG: &str = "/etc/helix/agent.toml";
/// The agent waits more than it works; more threads would only cost memory.
const WORKER_THREADS: usize = 2;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// All went well.
    Success = 0,
    /// The agent could not start, a launcher could not go on, a check of the doctor failed, or
    /// nothing could be installed or removed.
    Failed = 1,
    /// The command line is wrong; what clap answers.
    Usage = 2,
    /// The configuration is wrong (`EX_CONFIG`).
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The Helix worker agent: takes work items over gRPC, runs each in a process
/// tree of its own, streams its output, judges the result.
///
/// It takes nothing that it cannot run at once, and says why. Whatever happens
/// to it, what it runs goes on: the next agent takes it up again.
#[derive(Debug, Parser)]
#[command(
    name = "helix-agent",
    version = helix_telemetry::VERSION,
    after_help = "Exit codes: 0 ended as asked, 1 could not start, install or uninstall, or a check failed, \
                  2 wrong arguments, 78 wrong configuration.\n\n\
                  Signals: SIGTERM or SIGINT takes nothing new and waits for what runs, up to \
                  the drain timeout; a second one leaves at once. What still runs then goes on \
                  and is taken up by the next agent. SIGHUP reads the configuration and the \
                  certificates again and puts them in force whole, or not at all and says why in \
                  the log; what runs is not touched.\n\n\
                  Environment: HELIX_LOG sets what is logged, such as `debug` or \
                  `info,helix_agent=debug`."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent until a signal ends it.
    Run {
        #[command(flatten)]
        source: ConfigSource,
        /// How the log is written: auto, text, json or journald. `auto` is the
        /// journal under systemd, else text.
        #[arg(long, default_value_t = LogFormat::Auto, value_name = "FORMAT")]
        log_format: LogFormat,
    },
    /// Check the configuration, and say everything that is wrong with it.
    ///
    /// Exits 0 when it can be used and 78 when not.
    Validate {
        #[command(flatten)]
        source: ConfigSource,
    },
    /// Look at what breaks in practice, and say what to do about it.
    ///
    /// Changes nothing, and needs no running agent. Run it as the agent's user: what it says of
    /// rights and of the launcher counts for whoever runs it. Exits 0 when no check failed,
    /// warnings or not, and 1 when one did. A running agent does those that cost next to nothing
    /// again and again, and takes no work while one fails that work would break with.
    Doctor {
        #[command(flatten)]
        source: ConfigSource,
        /// Write one JSON document: `outcome` (`ok` or `failed`) and `checks`, each with `name`,
        /// `outcome` (`ok`, `warning`, `failed` or `skipped`), `what`, `why` and `remedy`.
        #[arg(long)]
        json: bool,
    },
    /// Make a service of this program, where no package manager does.
    ///
    /// Puts the programs beside this one in their place, with units (or property lists), users,
    /// directories and a configuration, and says what to do next. What was put where is written
    /// down for `uninstall`. May be repeated, also with newer programs: daemons that run are
    /// restarted if these accept the configuration, and work items run on. A configuration that is
    /// there is never changed.
    Install(InstallArguments),
    /// Take off what `install` put here.
    ///
    /// Stops the agent, which drains first, and ends what runs after that as interrupted.
    /// Configuration, state and users stay.
    Uninstall(UninstallArguments),
    /// Serve launch requests on standard input, for the agent that started this.
    #[command(name = crate::launcher::SUBCOMMAND, hide = true)]
    Launcher,
}

#[derive(Debug, clap::Args)]
struct InstallArguments {
    /// Install into the image of a machine in this directory. Nothing is started, and users are
    /// made by the first boot.
    #[arg(long, value_name = "DIR", conflicts_with = "start")]
    root: Option<PathBuf>,
    /// Beneath which the programs go. Default: /usr/local, and on macOS /Library/Helix.
    #[arg(long, value_name = "DIR", value_parser = Prefix::parse)]
    prefix: Option<Prefix>,
    /// Serve this queue, where there is no configuration yet; may be repeated. Default: all.
    #[arg(long = "queue", value_name = "NAME", value_parser = queue)]
    queues: Vec<QueueName>,
    /// Call the machine so, where there is no configuration yet. Default: its host name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Start the daemons, now and at every boot, if they accept their configuration.
    #[arg(long)]
    start: bool,
    /// Show every step, and take none.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct UninstallArguments {
    /// Uninstall from the image of a machine in this directory.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Remove configuration, state and users too.
    #[arg(long)]
    purge: bool,
    /// Show every step, and take none.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct ConfigSource {
    /// The configuration file.
    #[arg(long, short, default_value = DEFAULT_CONFIG, value_name = "FILE")]
    config: PathBuf,
}

impl ConfigSource {
    /// The configuration, or its problems on standard error.
    #[expect(
        clippy::print_stderr,
        reason = "the report is for the person at the terminal"
    )]
    fn load(&self) -> Result<Config, Exit> {
        Config::load(&self.config).map_err(|problems| {
            eprintln!("{problems}");
            Exit::Configuration
        })
    }
}

/// The command line, for those who describe it elsewhere: manual pages, completions.
#[must_use]
pub fn command_line() -> clap::Command {
    Arguments::command()
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap knows which is which.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            };
            let _ = error.print();
            return exit.into();
        }
    };
    match arguments.command {
        // Before anything that makes a thread.
        Command::Launcher => report("launcher", launcher_main()).into(),
        Command::Validate { source } => validate(&source).into(),
        Command::Doctor { source, json } => doctor(&source, json).into(),
        Command::Install(arguments) => install(arguments).into(),
        Command::Uninstall(arguments) => uninstall(arguments).into(),
        Command::Run { source, log_format } => run(&source, log_format).into(),
    }
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
fn validate(source: &ConfigSource) -> Exit {
    match source.load() {
        Ok(_) => {
            println!("{}: ok", source.config.display());
            Exit::Success
        }
        Err(exit) => exit,
    }
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
fn doctor(source: &ConfigSource, as_json: bool) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return report("doctor", Err(error.into())),
    };
    let findings = runtime.block_on(doctor::examine(&source.config));
    // A name server or a disk may hang.
    runtime.shutdown_background();
    if as_json {
        print!("{}", doctor::json(&findings));
    } else {
        print!("{}", doctor::report(&findings));
    }
    if findings.iter().any(doctor::Finding::has_failed) {
        Exit::Failed
    } else {
        Exit::Success
    }
}

fn queue(text: &str) -> Result<QueueName, NameError> {
    QueueName::new(text)
}

fn install(arguments: InstallArguments) -> Exit {
    let wanted = Installation {
        root: arguments.root,
        prefix: arguments
            .prefix
            .unwrap_or_else(|| System::native().default_prefix()),
        queues: arguments.queues,
        machine_name: arguments.name,
        start: arguments.start,
    };
    let mode = mode(arguments.dry_run);
    told("install", |say| installation::install(&wanted, mode, say))
}

fn uninstall(arguments: UninstallArguments) -> Exit {
    let wanted = Removal {
        root: arguments.root,
        purge: arguments.purge,
    };
    let mode = mode(arguments.dry_run);
    told("uninstall", |say| {
        installation::uninstall(&wanted, mode, say)
    })
}

fn mode(dry_run: bool) -> Mode {
    if dry_run { Mode::DryRun } else { Mode::Run }
}

/// Writes what is done as it is done, and why it was not.
#[expect(clippy::print_stderr, reason = "the answer of the command")]
fn told(
    who: &str,
    does: impl FnOnce(&mut dyn FnMut(&str)) -> Result<(), installation::InstallationError>,
) -> Exit {
    // Nobody has to listen to the end: that must not end the work halfway.
    let mut say = |line: &str| drop(writeln!(std::io::stdout(), "{line}"));
    match does(&mut say) {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("{who}: cannot go on: {}", crate::error_chain(&error));
            eprintln!("  hint: {}", error.hint());
            Exit::Failed
        }
    }
}

fn run(source: &ConfigSource, log_format: LogFormat) -> Exit {
    let target = LogTarget::from_environment("helix-agent", log_format);
    if let Err(error) = helix_telemetry::init(&target) {
        return report("agent", Err(error.into()));
    }
    let config = match source.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(serve(config, &source.config));
            // Blocking threads may hang on a dead file system.
            runtime.shutdown_background();
            report("agent", ended)
        }
        Err(error) => report("agent", Err(error.into())),
    }
}

/// Says what failed, and why, once.
#[expect(clippy::print_stderr, reason = "the last word of the program")]
fn report(who: &str, ended: Result<(), Box<dyn std::error::Error>>) -> Exit {
    match ended {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!(
                "{who}: cannot go on: {}",
                crate::error_chain(error.as_ref())
            );
            Exit::Failed
        }
    }
}

async fn serve(config: Config, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // Before anybody is told that the agent is ready.
    let mut ends = Ends::new()?;
    let mut hang_ups = signal(SignalKind::hangup())?;
    let mut agent = Agent::start(config).await?;
    service_manager::tell(&[NotifyState::Ready]);
    agent.report_to_service_manager();
    let reloads = async {
        while hang_ups.recv().await.is_some() {
            reload(&mut agent, file).await;
        }
    };
    tokio::select! {
        () = ends.next() => {}
        // Whoever asks for the end does not wait for probes.
        () = reloads => {}
    }
    service_manager::tell(&[NotifyState::Stopping]);
    let drain_timeout = agent.drain_timeout();
    tracing::info!(
        limit_ms = u64::try_from(drain_timeout.as_millis()).unwrap_or(u64::MAX),
        "agent ends once nothing runs; a second signal ends it at once"
    );
    tokio::select! {
        left = agent.drain(drain_timeout) => {
            tracing::info!(left, "agent ends; what is left goes on and is taken up again");
        }
        () = ends.next() => tracing::info!("agent ends at once"),
    }
    agent.shutdown().await;
    Ok(())
}

/// Reads the configuration again and puts it in force, or says why not.
async fn reload(agent: &mut Agent, file: &Path) {
    service_manager::tell_of_reload();
    tracing::info!(path = %file.display(), "configuration is read again");
    let file = file.to_owned();
    // Its files may lie on a slow disk.
    let loaded = tokio::task::spawn_blocking(move || Config::load(&file)).await;
    let outcome = match loaded {
        Ok(Ok(config)) => agent.reload(config).await.map_err(|error| {
            if let ReloadError::NeedsRestart { keys } = &error {
                log_changes(keys, "configuration would change with a restart");
            }
            crate::error_chain(&error)
        }),
        Ok(Err(problems)) => Err(problems.to_string()),
        Err(panicked) => Err(panicked.to_string()),
    };
    match outcome {
        Ok(changes) => {
            log_changes(&changes, "configuration changed");
            tracing::info!(changes = changes.len(), "configuration is in force");
        }
        Err(why) => tracing::error!("configuration stays as it was, whole: {why}"),
    }
    // Also after a refusal: the agent goes on.
    service_manager::tell(&[NotifyState::Ready]);
}

/// One line for each key, that says all: whoever reloads looks at the journal, which shows no fields.
fn log_changes(changes: &[Change], what: &'static str) {
    for Change { key, before, after } in changes {
        tracing::info!(
            key,
            before,
            after,
            "{what}: `{key}` from {before} to {after}"
        );
    }
}

/// The signals that end the agent.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
