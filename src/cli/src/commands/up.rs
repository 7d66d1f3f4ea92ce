//! `helix up`: a controller and an agent in this very process, for a machine where nothing is
//! set up.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use helix_agent::{Agent, Connect, ControllerConfig};
use helix_api::QueueSettings;
use helix_api::client::{Client, Options};
use helix_controller::Running as Controller;
use helix_telemetry::{LogFormat, LogTarget};
use tempfile::TempDir;

use crate::arguments::{OutputFormat, UpArguments};
use crate::demo;
use crate::error::Error;
use crate::exit::Exit;
use crate::jobs::failed;
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

/// How long the controller is asked again whether it knows the agent.
const MEETING_PATIENCE: Duration = Duration::from_secs(30);

/// What is logged by `up`: what it says itself in a line, that nothing is isolated and that controller
/// and agent have their metrics in one place, is left out.
const WARNINGS: &str = "warn,helix_agent::core::isolation=error,helix_agent::monitoring=error";

/// Sets up the log of both: warnings for `up`, errors for the demonstration.
pub(crate) fn log(arguments: &UpArguments) {
    let mut target = LogTarget::from_environment("helix", LogFormat::Text);
    let level = if arguments.demo { "error" } else { WARNINGS };
    target.filter.get_or_insert_with(|| level.to_owned());
    // There is none yet, so that this cannot fail.
    let _ = helix_telemetry::init(&target);
}

/// Starts controller and agent, and stays until Ctrl-C, or until the demonstration is over.
pub(crate) async fn execute(arguments: UpArguments, screen: &Arc<Screen>) -> Result<Exit, Error> {
    for address in [arguments.listen, arguments.agent_listen] {
        if !address.ip().is_loopback() {
            return Err(Error::NotLoopback { address });
        }
    }
    let home = Home::open(&arguments)?;
    let system = System::start(&arguments, home.path()).await?;
    let exit = if arguments.demo {
        demonstrate(&system, &home, screen).await
    } else {
        stay(&system, &home, screen).await
    };
    system.stop().await;
    home.leave(screen).await?;
    exit
}

/// A controller with one agent.
struct System {
    controller: Controller,
    agent: Agent,
    client: Client,
    slots: u32,
}

impl System {
    async fn start(arguments: &UpArguments, home: &Path) -> Result<Self, Error> {
        let mut config = helix_controller::Config::for_loopback(&home.join("controller"));
        config.name = Some("helix-up".to_owned());
        if !arguments.demo {
            config.http.address = arguments.listen;
        }
        let controller = helix_controller::start(config)
            .await
            .map_err(|source| Error::ControllerStart { source })?;
        let url = format!("http://{}", controller.http_address());
        let client = Client::new(&Options {
            url: url.clone(),
            token: None,
            authorities: None,
            patience: MEETING_PATIENCE,
            user_agent: concat!("helix/", env!("CARGO_PKG_VERSION")).to_owned(),
        })
        .map_err(|source| Error::ControllerSetup { url, source })?;
        let mut config = helix_agent::Config::for_loopback(&home.join("agent"));
        config.slots = arguments.slots.unwrap_or_else(processors);
        if !arguments.demo {
            config.listen.address = arguments.agent_listen;
        }
        let slots = config.slots;
        let address = format!("http://{}", controller.agents_address());
        // An address on loopback with a port is always one.
        let addresses = address.parse().into_iter().collect();
        config.controller = Some(ControllerConfig {
            addresses,
            connect: Connect::Tunnel,
            tls: None,
        });
        let agent = Agent::start(config)
            .await
            .map_err(|source| Error::Agent { source })?;
        let system = Self {
            controller,
            agent,
            client,
            slots,
        };
        system.make_queue().await?;
        Ok(system)
    }

    /// The queue that everything is sent to, as it was or new.
    async fn make_queue(&self) -> Result<(), Error> {
        let queues = self.client.queues().await.map_err(failed("list queues"))?;
        if queues.queues.iter().any(|queue| queue.name == demo::QUEUE) {
            return Ok(());
        }
        let settings = QueueSettings {
            description: "this machine".to_owned(),
            ..QueueSettings::default()
        };
        let made = self.client.put_queue(demo::QUEUE, &settings).await;
        made.map(drop).map_err(failed("make a queue"))
    }

    async fn stop(self) {
        self.agent.shutdown().await;
        self.controller.shutdown().await;
    }
}

/// The directory of both.
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

async fn demonstrate(system: &System, home: &Home, screen: &Arc<Screen>) -> Result<Exit, Error> {
    let exit = demo::give(&system.client, home.path(), screen).await?;
    if let Home::Kept(path) = home {
        screen.note(&format!(
            "jobs, logs and results are in {}; `helix up --directory {0}` shows them again",
            path.display()
        ))?;
    }
    Ok(exit)
}

async fn stay(system: &System, home: &Home, screen: &Arc<Screen>) -> Result<Exit, Error> {
    let mut interrupts = Interrupts::listen(PATIENCE)?;
    welcome(system, home, screen)?;
    interrupts.next().await;
    screen.note("taking nothing new, waiting for what runs; Ctrl-C again leaves at once")?;
    tokio::select! {
        _ = system.agent.drain(DRAIN_LIMIT) => {}
        _ = interrupts.next() => {
            screen.note("leaving; what still runs is taken up by the next `helix up`")?;
        }
    }
    Ok(Exit::Success)
}

fn welcome(system: &System, home: &Home, screen: &Screen) -> Result<(), Error> {
    let controller = system.controller.http_address();
    let agent = system.agent.address();
    let directory = home.path().display().to_string();
    if screen.format() == OutputFormat::Json {
        screen.json(&Notice::Up {
            controller: format!("http://{controller}"),
            address: format!("http://{agent}"),
            directory,
            slots: system.slots,
        })?;
        return Ok(());
    }
    let option = |name: &str, address: String, usual: &str| match address.as_str() {
        address if address == usual => String::new(),
        address => format!(" --{name} {address}"),
    };
    let controller_option = option(
        "controller",
        format!("http://{controller}"),
        "http://127.0.0.1:7410",
    );
    let agent_option = option("agent", agent.to_string(), "127.0.0.1:7420");
    let palette = screen.out_palette();
    let slots = units::count(system.slots.into(), "slot");
    let queue = demo::QUEUE;
    let mut text = format!(
        "{} at http://{controller}, with an agent at {agent} that has {slots}; files in \
         {directory}\n\n",
        palette.green("helix is up")
    );
    for (command, what) in [
        (
            format!("helix submit{controller_option} --queue {queue} --watch . -- ls -l"),
            "run a command in a copy of this directory",
        ),
        (
            format!("helix jobs{controller_option}"),
            "what was submitted",
        ),
        (
            format!("helix agents{controller_option}"),
            "who runs it, and whether it can take more",
        ),
        (
            format!("helix run{agent_option} -- echo hello"),
            "run a command on the agent, past every queue",
        ),
        (
            "Ctrl-C".to_owned(),
            "take nothing new, wait for what runs, and end",
        ),
    ] {
        text.push_str(&format!("  {command:<58} {}\n", palette.dim(what)));
    }
    let isolation = "Commands run as you, their limits on memory and processors are not enforced: the service of a \
                     package does that.";
    text.push_str(&format!("\n{}\n", palette.dim(isolation)));
    screen.data(&text)?;
    Ok(())
}
