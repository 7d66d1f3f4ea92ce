//! The command line of `helix-controller`, and the life of the daemon around [`start`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use helix_telemetry::{LogFormat, LogTarget};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::controller::start;

/// Where the configuration is looked for.
const DEFAULT_CONFIG: &str = "/etc/helix/controller.toml";

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// All went well.
    Success = 0,
    /// The controller could not start.
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

/// The Helix controller: takes jobs over a REST API, hands their work items to agents, keeps every
/// attempt with its log and results.
///
/// Whatever happens to it, what runs on agents goes on: the next controller takes it up again.
#[derive(Debug, Parser)]
#[command(
    name = "helix-controller",
    version = helix_telemetry::VERSION,
    after_help = "Exit codes: 0 ended as asked, 1 could not start, 2 wrong arguments, \
                  78 wrong configuration.\n\n\
                  Signals: SIGTERM or SIGINT offers nothing new, lets go of what runs, which goes \
                  on, and ends within seconds; a second one ends it at once.\n\n\
                  Environment: HELIX_LOG sets what is logged, such as `debug` or \
                  `info,helix_controller=debug`."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller until a signal ends it.
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
    /// Copy the embedded store to a new file, of one moment, while the controller
    /// runs.
    ///
    /// To restore, stop the controller, put the file in the place of `helix.db` in
    /// the state directory, remove `helix.db-wal` and `helix.db-shm`, and start it
    /// again: what agents still run is attached to. Long logs and payloads lie in
    /// `[storage]`, not in the store.
    Backup {
        #[command(flatten)]
        source: ConfigSource,
        /// The file to make; nothing may be there.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
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
        Command::Validate { source } => validate(&source).into(),
        Command::Backup { source, file } => backup(&source, &file).into(),
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
fn backup(source: &ConfigSource, file: &Path) -> Exit {
    let config = match source.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let copied = match runtime {
        Ok(runtime) => runtime
            .block_on(helix_store::backup(&config.store_url(), file))
            .map_err(Into::into),
        Err(error) => Err(error.into()),
    };
    if copied.is_ok() {
        println!("{}: written", file.display());
    }
    report(copied)
}

fn run(source: &ConfigSource, log_format: LogFormat) -> Exit {
    let target = LogTarget::from_environment("helix-controller", log_format);
    if let Err(error) = helix_telemetry::init(&target) {
        return report(Err(error.into()));
    }
    let config = match source.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(serve(config));
            // Blocking threads may hang on a dead file system.
            runtime.shutdown_background();
            report(ended)
        }
        Err(error) => report(Err(error.into())),
    }
}

/// Says what failed, and why, once.
#[expect(clippy::print_stderr, reason = "the last word of the program")]
fn report(ended: Result<(), Box<dyn std::error::Error>>) -> Exit {
    match ended {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!(
                "controller: cannot go on: {}",
                crate::error_chain(error.as_ref())
            );
            Exit::Failed
        }
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    // Before anybody is told that the controller is ready.
    let mut ends = Ends::new()?;
    let running = start(config).await?;
    tell(&[NotifyState::Ready]);
    ends.next().await;
    tell(&[NotifyState::Stopping]);
    tracing::info!("controller ends; a second signal ends it at once");
    tokio::select! {
        () = running.shutdown() => {}
        () = ends.next() => tracing::info!("controller ends at once"),
    }
    Ok(())
}

/// Tells the service manager, if there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(error = %error, "service manager cannot be told");
    }
}

/// The signals that end the controller.
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
