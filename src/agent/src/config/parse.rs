//! From TOML to [`Config`]: the keys at the top and the small tables; larger ones have files of
//! their own.

use std::path::Path;
use std::time::Duration;

use helix_exec::launcher::Measure;
use helix_settings::address::{self, Listener};
use helix_settings::value::{self, parsed, whole};
use helix_settings::{
    Complaint, ConfigProblems, Item, ProcessSources, Section, Sources, VariableError,
};

use super::{
    Config, OutputConfig, PayloadConfig, ResourcesConfig, ResultsConfig, RetentionConfig,
    artifacts, controller, network, pressure, tools,
};

/// Names the directory with the `offline` file, where the configuration does not.
const CONFIG_ROOT_VARIABLE: &str = "HELIX_CONFIG_ROOT";

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The longest name of a machine, in bytes.
const MAX_MACHINE_NAME_BYTES: usize = 253;

/// The most slots. Far above what makes sense, far below what would make arithmetic interesting.
const MAX_SLOTS: u32 = 4096;

/// The least that is worth keeping of an output, in bytes.
const MIN_OUTPUT_BYTES: u64 = 4096;

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
    root.set_some(
        "machine_name",
        &mut config.machine_name,
        value::plain_text(MAX_MACHINE_NAME_BYTES),
    );
    root.set("queues", &mut config.queues, value::list(parsed));
    root.set("slots", &mut config.slots, whole(1..=MAX_SLOTS));
    root.set(
        "probe_interval",
        &mut config.probe_interval,
        value::duration(SECOND..=DAY),
    );
    directories(root, &mut config, sources);
    if let Some(section) = root.section("resources") {
        resources(section, &mut config.resources);
    }
    if let Some(section) = root.section("listen") {
        network::read_listen(section, &mut config.listen, sources);
    }
    if let Some(section) = root.section("controller") {
        let listen = root.section("listen");
        let has_listen_tls = listen.is_some_and(|listen| listen.has("tls"));
        config.controller = controller::read(section, &config.listen, has_listen_tls, sources);
    }
    if let Some(section) = root.section("monitoring") {
        network::read_monitoring(section, &mut config.monitoring);
    }
    if let Some(section) = root.section("launcher") {
        section.set_some("socket", &mut config.launcher_socket, value::path);
        section.finish();
    }
    if let Some(section) = root.section("isolation") {
        let require = &mut config.isolation.require;
        section.set("require", require, value::list(measure()));
        section.finish();
    }
    if let Some(section) = root.section("output") {
        output(section, &mut config.output);
    }
    if let Some(section) = root.section("payload") {
        payload(section, &mut config.payload);
    }
    if let Some(section) = root.section("artifacts") {
        artifacts::read(section, &mut config.artifacts, sources);
    }
    if let Some(section) = root.section("results") {
        results(section, &mut config.results);
    }
    tools::read(root, &mut config);
    if let Some(section) = root.section("health") {
        health(section, &mut config);
    }
    if let Some(section) = root.section("pressure") {
        pressure::read(section, &mut config.pressure);
    }
    if let Some(section) = root.section("retention") {
        retention(section, &mut config.retention);
    }
    if let Some(section) = root.section("shutdown") {
        section.set(
            "drain_timeout",
            &mut config.drain_timeout,
            value::duration(Duration::ZERO..=DAY),
        );
        section.finish();
    }
    if let Some(section) = root.section("reboot") {
        section.set_some("command", &mut config.reboot_command, tools::command_line);
        section.finish();
    }
    check_ports(root, &config);
    config
}

/// A measure of isolation by its name.
fn measure() -> impl Fn(&Item<'_>) -> Result<Measure, Complaint> {
    value::named("measure", &Measure::ALL, Measure::name)
}

fn directories(root: &Section<'_>, config: &mut Config, sources: &dyn Sources) {
    root.set("state_directory", &mut config.state_directory, value::path);
    root.set("work_directory", &mut config.work_directory, value::path);
    let (state, work) = (&config.state_directory, &config.work_directory);
    // What runs may fill or wreck the one, and must not get at the other.
    if work.starts_with(state) || state.starts_with(work) {
        let message = format!(
            "`work_directory` `{}` and `state_directory` `{}` must not be one in the other",
            work.display(),
            state.display()
        );
        let key = if root.has("work_directory") {
            "work_directory"
        } else {
            "state_directory"
        };
        let hint = "work items write to the former, and must not get at the latter";
        root.complain(root.span_of(key), message, Some(hint.to_owned()));
    }
    if root.has("config_root") {
        root.set("config_root", &mut config.config_root, value::path);
        return;
    }
    match sources.variable(CONFIG_ROOT_VARIABLE) {
        Ok(path) if Path::new(&path).is_absolute() => config.config_root = path.into(),
        Err(VariableError::Unset) => {}
        Ok(_) | Err(VariableError::NotText) => {
            let message =
                format!("the environment variable `{CONFIG_ROOT_VARIABLE}` is no absolute path");
            root.complain_of_file(message, "unset it, or set `config_root` instead");
        }
    }
}

fn resources(section: Section<'_>, config: &mut ResourcesConfig) {
    section.set_some(
        "cpu_millis",
        &mut config.cpu_millis,
        whole(1..=1_000_000_000),
    );
    section.set_some("memory", &mut config.memory_bytes, value::size(1));
    section.set(
        "disk_reserve",
        &mut config.disk_reserve_bytes,
        value::size(0),
    );
    section.finish();
}

fn output(section: Section<'_>, config: &mut OutputConfig) {
    section.set(
        "head",
        &mut config.head_bytes,
        value::size(MIN_OUTPUT_BYTES),
    );
    section.set(
        "tail",
        &mut config.tail_bytes,
        value::size(MIN_OUTPUT_BYTES),
    );
    section.finish();
}

fn payload(section: Section<'_>, config: &mut PayloadConfig) {
    section.set_some("cache_directory", &mut config.cache_directory, value::path);
    section.set("cache_size", &mut config.cache_bytes, value::size(0));
    section.set("archive_size", &mut config.archive_bytes, value::size(1));
    section.set("unpacked_size", &mut config.unpacked_bytes, value::size(1));
    section.set("entries", &mut config.entries, whole(1..=1_000_000_000));
    section.set("ratio", &mut config.ratio, whole(1..=1_000_000));
    section.set(
        "deadline",
        &mut config.deadline,
        value::duration(SECOND..=DAY),
    );
    section.set("allow_file_urls", &mut config.allow_file_urls, value::truth);
    section.finish();
}

fn results(section: Section<'_>, config: &mut ResultsConfig) {
    section.set("files", &mut config.files, whole(1..=1_000_000));
    section.set("file_size", &mut config.file_bytes, value::size(1));
    section.set("time", &mut config.time, value::duration(SECOND..=DAY));
    section.finish();
}

fn health(section: Section<'_>, config: &mut Config) {
    let health = &mut config.health;
    section.set(
        "infrastructure_failures",
        &mut health.max_failures,
        whole(1..=1000),
    );
    let first = section.get("quarantine", value::duration(SECOND..=DAY));
    let most = section.get("max_quarantine", value::duration(SECOND..=DAY));
    health.first_quarantine = first.unwrap_or(health.first_quarantine);
    // Who sets only one of them means both.
    health.max_quarantine = most.unwrap_or(health.max_quarantine.max(health.first_quarantine));
    if health.max_quarantine < health.first_quarantine {
        let message = "`health.max_quarantine` is less than `quarantine`".to_owned();
        section.complain(section.span_of("max_quarantine"), message, None);
    }
    section.finish();
}

fn retention(section: Section<'_>, config: &mut RetentionConfig) {
    section.set("age", &mut config.age, value::duration(HOUR..=YEAR));
    section.set("size", &mut config.bytes, value::size(1));
    section.finish();
}

/// Both servers cannot have one port.
fn check_ports(root: &Section<'_>, config: &Config) {
    if let Some(monitoring) = config.monitoring {
        let of = |table, address| Listener {
            table,
            key: "address",
            address,
        };
        let listen = of("listen", config.listen.address);
        address::check_apart(root, listen, of("monitoring", monitoring));
    }
}
