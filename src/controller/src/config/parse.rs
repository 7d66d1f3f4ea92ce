//! From TOML to [`Config`]: the keys at the top; larger tables have files of their own.

use std::path::Path;

use toml::de::DeTable;

use super::problem::{Problem, line_of};
use super::section::{Complaint, Problems, Section};
use super::sources::{ProcessSources, Sources};
use super::{Config, ConfigProblems, network, places, queues, tokens, value};

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
        let name = path.display().to_string();
        match ProcessSources.file(path) {
            Ok(file) => Self::parse(&file.text, &name),
            Err(error) => {
                let message = format!("the configuration cannot be read: {error}");
                let hint =
                    "name another file with `--config`; an empty one is a valid configuration";
                let problem = Problem::of_file(message, Some(hint.to_owned()));
                Err(ConfigProblems::new(&name, "", vec![problem]))
            }
        }
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
        let (document, errors) = DeTable::parse_recoverable(text);
        let syntax: Vec<Problem> = errors
            .iter()
            .map(|error| {
                let message = error.message().lines().collect::<Vec<_>>().join(", ");
                Problem::at(error.span().unwrap_or(0..0), message, None)
            })
            .collect();
        let problems = Problems::default();
        let config = read(&Section::root(&problems, &document), sources);
        let mut list = problems.into_list();
        if !syntax.is_empty() {
            // A line that cannot be read leaves holes and stumps, about which no more need be said.
            let broken: Vec<usize> = syntax
                .iter()
                .filter_map(Problem::start)
                .map(|start| line_of(text, start))
                .collect();
            list.retain(|problem| {
                let line = problem.start().map(|start| line_of(text, start));
                !problem.is_absence() && line.is_none_or(|line| !broken.contains(&line))
            });
            list.extend(syntax);
        }
        if list.is_empty() {
            Ok(config)
        } else {
            Err(ConfigProblems::new(name, text, list))
        }
    }
}

fn read(root: &Section<'_>, sources: &dyn Sources) -> Config {
    let mut config = Config::default();
    root.set_some("name", &mut config.name, |item| {
        let name = value::text(item)?;
        if name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            let message = format!("must have 1 to {MAX_NAME_BYTES} bytes of plain text");
            return Err(Complaint::new(message));
        }
        Ok(name)
    });
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
    root.finish();
    config
}

/// Both servers cannot have one port.
fn check_ports(root: &Section<'_>, config: &Config) {
    let (http, agents) = (config.http.address, config.agents.listen);
    let overlap =
        http.ip() == agents.ip() || http.ip().is_unspecified() || agents.ip().is_unspecified();
    if http.port() == agents.port() && http.port() != 0 && overlap {
        let message =
            format!("`http.address` `{http}` and `agents.listen` `{agents}` are the same");
        let key = if root.has("agents") { "agents" } else { "http" };
        root.complain(root.span_of(key), message, None);
    }
}
