//! A machine with a service manager, on which the packages of agent and command line are installed
//! as on any other.

use std::process::Output;

use tokio::io::AsyncReadExt as _;
use tokio::process::Child;

use crate::container::{Container, Ran};
use crate::eventually;
use crate::packages::{self, NEXT, PACKAGES, Packages};

/// Lets the work item end that [`Machine::begin_counting`] starts.
pub const GATE: &str = "/run/gate";

/// Where the packages of a version are in the container.
fn shelf(packages: &Packages) -> String {
    format!("/packages/{}", packages.version())
}

/// A container that has all packages at hand.
#[derive(Debug)]
pub struct Machine {
    /// The container.
    pub container: Container,
}

impl Machine {
    /// Boots a machine on which nothing is installed. Without a container says that the calling
    /// test is skipped.
    pub async fn bare() -> Option<Self> {
        Container::available()?;
        let shelves: Vec<_> = [packages::current(), packages::next()]
            .map(|packages| (packages.directory().to_owned(), shelf(packages)))
            .into();
        let shelves: Vec<_> = shelves
            .iter()
            .map(|(from, to)| (from.clone(), to.as_str()))
            .collect();
        let container = Container::boot(&shelves).await?;
        Some(Self { container })
    }

    /// Installs agent and command line, configures two slots that insist on isolation, and starts
    /// nothing. What is given are further lines of the configuration.
    pub async fn install(configuration: &str) -> Option<Self> {
        let machine = Self::bare().await?;
        machine.install_current(&PACKAGES).await.good();
        machine.configure(configuration).await;
        Some(machine)
    }

    /// The same, and starts the agent.
    pub async fn start() -> Option<Self> {
        let machine = Self::install("").await?;
        machine.enable().await;
        Some(machine)
    }

    /// Installs packages of the version of this tree.
    pub async fn install_current(&self, names: &[&str]) -> Ran {
        self.install_packages(packages::current(), names).await
    }

    /// Installs packages of a later version.
    pub async fn upgrade(&self, names: &[&str]) -> Ran {
        self.install_packages(packages::next(), names).await
    }

    async fn install_packages(&self, packages: &Packages, names: &[&str]) -> Ran {
        let shelf = shelf(packages);
        let files: Vec<_> = names
            .iter()
            .map(|name| format!("{shelf}/{}", packages.deb(name)))
            .collect();
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        self.dpkg(&[&["--install"], &files[..]].concat()).await
    }

    /// Runs dpkg, which asks nobody anything.
    pub async fn dpkg(&self, arguments: &[&str]) -> Ran {
        let command = ["env", "DEBIAN_FRONTEND=noninteractive", "dpkg"];
        self.container.run(&[&command, arguments].concat()).await
    }

    /// Writes a configuration of two slots that insist on isolation and wait for nothing when they
    /// are to end.
    pub async fn configure(&self, more: &str) {
        let configuration = format!(
            "slots = 2\n{more}\n\
             [launcher]\nsocket = \"/run/helix/launcher.sock\"\n\
             [isolation]\nrequire = [\"user\", \"tree\", \"private-tmp\", \"hidden-processes\"]\n\
             [shutdown]\ndrain_timeout = \"100ms\"\n"
        );
        self.container
            .write("/etc/helix/agent.toml", &configuration)
            .await;
    }

    /// Enables and starts the agent.
    pub async fn enable(&self) {
        self.systemctl(&["enable", "--now", "helix-agent.service"])
            .await;
    }

    /// Whether the package of this name is installed in the later version.
    pub async fn is_upgraded(&self, name: &str) -> bool {
        let ran = self
            .container
            .run(&["dpkg-query", "--show", "--showformat=${Version}", name])
            .await;
        ran.good() == NEXT
    }

    /// Has the service manager do something that must succeed.
    ///
    /// # Panics
    ///
    /// If it does not, with the end of the journal.
    pub async fn systemctl(&self, arguments: &[&str]) -> String {
        let ran = self
            .container
            .run(&[&["systemctl"], arguments].concat())
            .await;
        if ran.exit_code != Some(0) {
            let journal = self.container.run(&["journalctl", "-b", "-n", "60"]).await;
            panic!("systemctl {arguments:?}: {ran:?}\n{}", journal.output);
        }
        ran.good()
    }

    /// The value of a unit's property.
    pub async fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", unit, "--property", name, "--value"])
            .await
    }

    /// Whether anything has this path.
    pub async fn has_file(&self, path: &str) -> bool {
        let ran = self.container.run(&["test", "-e", path]).await;
        ran.exit_code == Some(0)
    }

    /// Waits until a file is there.
    pub async fn await_file(&self, path: &str) {
        eventually(path, async || {
            self.has_file(path).await.then_some(()).ok_or("not there")
        })
        .await;
    }

    /// Runs a shell line as a work item to its end.
    ///
    /// # Panics
    ///
    /// If the container cannot be entered.
    pub async fn run_item(&self, line: &str) -> Output {
        self.start_item(line)
            .wait_with_output()
            .await
            .expect("a child")
    }

    /// Starts a shell line as a work item, with pipes to its streams.
    #[must_use]
    pub fn start_item(&self, line: &str) -> Child {
        self.container
            .spawn(&["helix", "run", "--quiet", "--shell", line])
    }

    /// Starts a work item that counts until [`GATE`] is there and ends with exit
    /// code 7, and waits until it has begun.
    ///
    /// # Panics
    ///
    /// If it does not begin.
    pub async fn begin_counting(&self) -> Child {
        let mut item = self.start_item(&format!(
            "i=0; while [ ! -e {GATE} ]; do echo $i; i=$((i+1)); sleep 0.02; done; echo end; exit 7"
        ));
        let mut first = [0; 2];
        let output = item.stdout.as_mut().expect("a pipe");
        output.read_exact(&mut first).await.expect("it begins");
        assert_eq!(&first, b"0\n");
        item
    }

    /// Lets the counting end, and checks that nobody disturbed it.
    ///
    /// # Panics
    ///
    /// If somebody did.
    pub async fn end_counting(&self, mut item: Child) {
        // It goes on counting while it is being looked at.
        let mut more = [0; "1\n2\n3\n4\n5\n".len()];
        let output = item.stdout.as_mut().expect("a pipe");
        output.read_exact(&mut more).await.expect("it goes on");
        assert_eq!(&more, b"1\n2\n3\n4\n5\n");
        self.container.run(&["touch", GATE]).await.good();
        let output = item.wait_with_output().await.expect("a child");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{errors}");
        let console = String::from_utf8(output.stdout).expect("a text");
        let numbers = console.strip_suffix("end\n").expect("the last line");
        for (expected, line) in (6..).zip(numbers.lines()) {
            assert_eq!(line, expected.to_string(), "{console}");
        }
    }

    /// Says what has failed since the machine was started.
    pub async fn failed_units(&self) -> String {
        self.systemctl(&["list-units", "--state=failed", "--no-legend", "--plain"])
            .await
    }

    /// Messages of the journal, one JSON object each.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    pub async fn journal(&self, unit: &str) -> Vec<serde_json::Value> {
        let arguments = ["journalctl", "-b", "-o", "json", "-u", unit];
        let text = self.container.run(&arguments).await.good();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}
