//! From TOML to [`Config`]: the keys at the top; larger tables have files of their own.

use std::path::Path;

use helix_settings::address::{self, Listener};
use helix_settings::{ProcessSources, Section, Sources, value};

use super::{Config, ConfigProblems, network, places, queues, tokens};

/// The longest name of a controller, in bytes.
const MAX_NAME_BYTES: usize = 128;

impl Config {
    /// Reads the configuration from a file, and what it refers to from this process's environment
    /// and other files.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in the order of the file.
    pub fn load(path: &Path) -> Result<Self, ConfigProblems> {
        helix_settings::load(path, &ProcessSources, |root| read(root, &ProcessSources))
    }

    /// Reads the configuration from a text that people call `name`, and what it refers to from this
    /// process's environment and files.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in the order of the text.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigProblems> {
        Self::parse_with(text, name, &ProcessSources)
    }

    /// The same with other places to take variables and files from.
    pub(super) fn parse_with(
        text: &str,
        name: &str,
        sources: &dyn Sources,
    ) -> Result<Self, ConfigProblems> {
        helix_settings::read(text, name, |root| read(root, sources))
    }
}

fn read(root: &Section<'_>, sources: &dyn Sources) -> Config {
    let mut config = Config::default();
    root.set_some("name", &mut config.name, value::plain_text(MAX_NAME_BYTES));
    root.set("state_directory", &mut config.state_directory, value::path);
    root.set_some("external_url", &mut config.external_url, network::http_url);
    if let Some(section) = root.section("store") {
        places::read_store(&section, &mut config.store, sources);
    }
    if let Some(section) = root.section("storage") {
        places::read_storage(&section, &mut config.storage, sources);
    }
    tokens::read(root, &mut config.tokens);
    if let Some(section) = root.section("http") {
        network::read_http(&section, &mut config.http, sources);
    }
    network::check_http(root, &config);
    if let Some(section) = root.section("agents") {
        network::read_agents(&section, &mut config.agents, sources);
    }
    queues::read(root, &mut config.queues);
    check_ports(root, &config);
    config
}

/// Both servers cannot have one port.
fn check_ports(root: &Section<'_>, config: &Config) {
    let http = Listener {
        table: "http",
        key: "address",
        address: config.http.address,
    };
    let agents = Listener {
        table: "agents",
        key: "listen",
        address: config.agents.listen,
    };
    address::check_apart(root, http, agents);
}
