//! `helix up`: an agent in this very process, for a machine where nothing is set
//! up.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use helix_agent::{Agent, Config};
use helix_telemetry::{LogFormat, LogTarget};
use tempfile::TempDir;

use crate::arguments::{Common, OutputFormat, UpArguments};
use crate::client::Connection;
use crate::demo;
use crate::error::Error;
use crate::exit::Exit;
use crate::json::Notice;
use crate::render::units;
use crate::screen::Screen;
use crate::signals::Interrupts;

/// Drain, leave, and leave even if we hang.
const PATIENCE: u32 = 3;
/// Work items may take days; whoever is in a hurry says so with a second Ctrl-C.
const DRAIN_LIMIT: Duration = Duration::from_secs(30 * 24 * 3600);

const REMOVE_LIMIT: Duration = Duration::from_secs(5);
const REMOVE_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Sets up the agent's log: warnings for `up`, errors for the demonstration.
pub(crate) fn log(arguments: &UpArguments) {
    let mut target = LogTarget::from_environment("helix", LogFormat::Text);
    let level = if arguments.demo { "error" } else { "warn" };
    target.filter.get_or_insert_with(|| level.to_owned());
    // There is none yet, so that this cannot fail.
    let _ = helix_telemetry::init(&target);
}

/// Starts the agent and stays until Ctrl-C, or until the demonstration is over.
pub(crate) async fn execute(
    common: &Common,
    arguments: UpArguments,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    if !arguments.listen.ip().is_loopback() {
        return Err(Error::NotLoopback {
            address: arguments.listen,
        });
    }
    let home = Home::open(&arguments)?;
    let mut config = Config::for_loopback(home.path());
    config.slots = arguments.slots.unwrap_or_else(processors);
    if !arguments.demo {
        config.listen.address = arguments.listen;
    }
    let slots = config.slots;
    let agent = Agent::start(config)
        .await
        .map_err(|source| Error::Agent { source })?;
    let exit = if arguments.demo {
        demonstrate(common, &agent, &home, screen).await
    } else {
        stay(&agent, &home, slots, screen).await
    };
    agent.shutdown().await;
    home.leave(screen).await?;
    exit
}

/// The agent's directory.
enum Home {
    /// It stays.
    Kept(PathBuf),
    /// It goes with the program.
    Passing(TempDir),
}

impl Home {
    fn open(arguments: &UpArguments) -> Result<Self, Error> {
        let failed = |path: &Path, source| Error::Directory {
            path: path.to_owned(),
            source,
        };
        let wanted = match &arguments.directory {
            Some(directory) => directory.clone(),
            None if arguments.demo => {
                let builder = tempfile::Builder::new().prefix("helix-demo-").tempdir();
                return builder
                    .map(Self::Passing)
                    .map_err(|source| failed(&std::env::temp_dir(), source));
            }
            None => state_directory().map_err(|source| failed(Path::new("~"), source))?,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&wanted)
            .and_then(|()| fs::canonicalize(&wanted))
            .map(Self::Kept)
            .map_err(|source| failed(&wanted, source))
    }

    /// Removes what is not to stay. The agent's last tasks may be removing work
    /// directories at the same time, so that some of what is found is gone when
    /// it is reached for: then it is done again.
    async fn leave(self, screen: &Screen) -> Result<(), Error> {
        let Self::Passing(directory) = self else {
            return Ok(());
        };
        let path = directory.keep();
        let give_up_at = Instant::now() + REMOVE_LIMIT;
        loop {
            match fs::remove_dir_all(&path) {
                Ok(()) => return Ok(()),
                Err(_) if !path.exists() => return Ok(()),
                Err(error) if Instant::now() >= give_up_at => {
                    let path = path.display();
                    return screen.note(&format!("`{path}` could not be removed: {error}"));
                }
                Err(_) => tokio::time::sleep(REMOVE_AGAIN_AFTER).await,
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Passing(directory) => directory.path(),
        }
    }
}

/// Where the user's programs keep state, by the XDG rules.
fn state_directory() -> io::Result<PathBuf> {
    let given = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let base = match given.filter(|path| path.is_absolute()) {
        Some(base) => base,
        None => std::env::home_dir()
            .filter(|home| home.is_absolute())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the user has no home"))?
            .join(".local/state"),
    };
    Ok(base.join("helix/up"))
}

fn processors() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors).unwrap_or(u32::MAX)
}

async fn demonstrate(
    common: &Common,
    agent: &Agent,
    home: &Home,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    let connection = Connection::to_loopback(agent.address()).await?;
    let exit = demo::give(common, &connection, home.path(), screen).await?;
    if let Home::Kept(path) = home {
        screen.note(&format!(
            "logs, results and files are in {}",
            path.display()
        ))?;
    }
    Ok(exit)
}

async fn stay(agent: &Agent, home: &Home, slots: u32, screen: &Arc<Screen>) -> Result<Exit, Error> {
    let mut interrupts = Interrupts::listen(PATIENCE)?;
    welcome(agent, home, slots, screen)?;
    interrupts.next().await;
    screen.note("taking nothing new, waiting for what runs; Ctrl-C again leaves at once")?;
    tokio::select! {
        _ = agent.drain(DRAIN_LIMIT) => {}
        _ = interrupts.next() => {
            screen.note("leaving; what still runs is taken up by the next `helix up`")?;
        }
    }
    Ok(Exit::Success)
}

fn welcome(agent: &Agent, home: &Home, slots: u32, screen: &Screen) -> Result<(), Error> {
    let address = agent.address();
    let directory = home.path().display().to_string();
    if screen.format() == OutputFormat::Json {
        screen.json(&Notice::Up {
            address: format!("http://{address}"),
            directory,
            slots,
        })?;
        return Ok(());
    }
    let agent_option = match address.to_string().as_str() {
        "127.0.0.1:7420" => String::new(),
        other => format!(" --agent {other}"),
    };
    let palette = screen.out_palette();
    let slots = units::count(slots.into(), "slot");
    let mut text = format!(
        "{} at http://{address} with {slots}, files in {directory}\n\n",
        palette.green("helix is up")
    );
    for (command, what) in [
        (
            format!("helix run{agent_option} -- echo hello"),
            "run a command and follow it",
        ),
        (format!("helix ps --all{agent_option}"), "what ran"),
        (
            format!("helix capacity{agent_option}"),
            "what the agent can take",
        ),
        (
            "Ctrl-C".to_owned(),
            "take nothing new, wait for what runs, and end",
        ),
    ] {
        text.push_str(&format!("  {command:<46} {}\n", palette.dim(what)));
    }
    screen.data(&text)?;
    Ok(())
}
