//! What the configuration accepts, what it refuses, and how it says so.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use helix_model::capability::{CapabilityName, RequirementFile};
use helix_model::pressure::StallShare;
use proptest::prelude::*;

use super::problem::Problem;
use super::sources::{SmallFile, Sources, VariableError};
use super::{Config, ConfigProblems};

/// The example that is shipped.
pub(super) const EXAMPLE: &str = include_str!("../../../../packaging/agent.toml");

/// An environment and files made up for a test.
#[derive(Default)]
pub(super) struct Made {
    variables: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<&'static str, (&'static str, u32)>,
}

impl Made {
    pub(super) fn with_variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.insert(name, value);
        self
    }

    pub(super) fn with_file(mut self, path: &'static str, text: &'static str, mode: u32) -> Self {
        self.files.insert(path, (text, mode));
        self
    }

    pub(super) fn with_tls(self) -> Self {
        let certificate = "-----BEGIN CERTIFICATE-----\n";
        self.with_file("/etc/helix/tls/agent.crt", certificate, 0o644)
            .with_file(
                "/etc/helix/tls/agent.key",
                "-----BEGIN EC PRIVATE KEY-----\n",
                0o640,
            )
            .with_file("/etc/helix/tls/clients.crt", certificate, 0o644)
    }
}

impl Sources for Made {
    fn variable(&self, name: &str) -> Result<String, VariableError> {
        self.variables
            .get(name)
            .map(|value| (*value).to_owned())
            .ok_or(VariableError::Unset)
    }

    fn file(&self, path: &Path) -> io::Result<SmallFile> {
        let file = path.to_str().and_then(|path| self.files.get(path));
        let (text, mode) = file.ok_or(io::ErrorKind::NotFound)?;
        Ok(SmallFile {
            text: (*text).to_owned(),
            mode: *mode,
        })
    }
}

fn parse(text: &str) -> Result<Config, ConfigProblems> {
    Config::parse_with(text, "agent.toml", &Made::default())
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> ConfigProblems {
    problems_with(text, &Made::default())
}

fn problems_with(text: &str, sources: &Made) -> ConfigProblems {
    match Config::parse_with(text, "agent.toml", sources) {
        Err(problems) => problems,
        Ok(config) => panic!("nothing is wrong with {text:?}: {config:?}"),
    }
}

pub(super) fn parse_with(text: &str, sources: &Made) -> Result<Config, ConfigProblems> {
    Config::parse_with(text, "agent.toml", sources)
}

/// Checks that exactly these are the problems, in this order.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_with(text, &Made::default(), expected);
}

#[track_caller]
pub(super) fn check_with(text: &str, sources: &Made, expected: &[&str]) {
    let problems = problems_with(text, sources);
    let messages: Vec<&str> = problems.problems().iter().map(Problem::message).collect();
    assert_eq!(messages, expected, "{problems}");
}

/// The example with every key in force.
pub(super) fn uncommented() -> String {
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| !first.is_whitespace()) => rest,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn example_sources() -> Made {
    Made::default()
        .with_tls()
        .with_file(
            "/etc/helix/tls/controllers.crt",
            "-----BEGIN CERTIFICATE-----\n",
            0o644,
        )
        .with_variable("HELIX_ARTIFACTS_KEY", "c2VjcmV0c2VjcmV0")
        .with_file("/etc/helix/artifacts.sas", "sv=2024&sig=abc\n", 0o640)
}

pub(super) fn example() -> Config {
    Config::parse_with(&uncommented(), "packaging/agent.toml", &example_sources())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn empty_configuration_is_the_default() {
    let config = good("");
    // What is built in for tools that are known needs no configuration, and no tool is known.
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}

#[test]
fn example_as_shipped_is_the_default() {
    assert_eq!(
        format!("{:?}", good(EXAMPLE)),
        format!("{:?}", Config::default())
    );
}

#[test]
fn example_with_every_line_in_force_is_valid_and_shows_the_defaults() {
    let config = example();
    let default = Config::default();
    assert_eq!(config.queues, default.queues);
    assert_eq!(config.slots, default.slots);
    assert_eq!(config.state_directory, default.state_directory);
    assert_eq!(config.work_directory, default.work_directory);
    assert_eq!(config.config_root, default.config_root);
    assert_eq!(config.probe_interval, default.probe_interval);
    assert_eq!(
        config.resources.disk_reserve_bytes,
        default.resources.disk_reserve_bytes
    );
    assert_eq!(config.listen.address, default.listen.address);
    assert_eq!(config.monitoring, default.monitoring);
    assert_eq!(
        format!("{:?}", config.output),
        format!("{:?}", default.output)
    );
    let mut payload = config.payload.clone();
    payload.cache_directory = None;
    assert_eq!(format!("{payload:?}"), format!("{:?}", default.payload));
    assert_eq!(config.artifacts.file_bytes, default.artifacts.file_bytes);
    assert_eq!(config.artifacts.total_bytes, default.artifacts.total_bytes);
    assert_eq!(config.artifacts.files, default.artifacts.files);
    assert_eq!(
        format!("{:?}", config.results),
        format!("{:?}", default.results)
    );
    assert_eq!(config.health, default.health);
    assert_eq!(config.pressure, default.pressure);
    assert_eq!(
        format!("{:?}", config.retention),
        format!("{:?}", default.retention)
    );
    assert_eq!(config.drain_timeout, default.drain_timeout);
    let policy = config.provisioners[0].policy;
    let default = helix_model::provisioning::ProvisioningPolicy::default();
    assert_eq!(policy.time_limit, default.time_limit);
    assert_eq!(policy.first_cool_down, default.first_cool_down);
    assert_eq!(policy.max_cool_down, default.max_cool_down);
}

/// The keys that a table knows: what it says of one that it does not.
fn known_keys(table: &str) -> Vec<String> {
    let text = format!("{table}\nzzzzzzzz = 1\n");
    let report = problems(&text).to_string();
    let hint = report
        .split("unknown key")
        .nth(1)
        .and_then(|rest| rest.split("hint: there are ").nth(1))
        .and_then(|rest| rest.lines().next())
        .unwrap_or_else(|| panic!("{report}"));
    hint.split(", ")
        .map(|key| key.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn example_has_every_key() {
    let tables = [
        "",
        "[resources]",
        "[listen]",
        "[listen.tls]",
        "[controller]",
        "[controller.tls]",
        "[monitoring]",
        "[launcher]",
        "[output]",
        "[payload]",
        "[artifacts]",
        "[results]",
        "[[probes]]",
        "[[provisioners]]",
        "[health]",
        "[pressure]",
        "[pressure.elevated]",
        "[pressure.elevated.enter]",
        "[retention]",
        "[shutdown]",
        "[[requirement_files]]\nkind = \"version\"",
        "[[requirement_files]]\nkind = \"tool-versions\"",
    ];
    let text = uncommented();
    let mut missing = Vec::new();
    for table in tables {
        for key in known_keys(table) {
            let is_there = text.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{key} = "))
                    || line.starts_with(&format!("[{key}]"))
                    || line.starts_with(&format!("[[{key}]]"))
                    || line.contains(&format!(".{key}]"))
                    || line.contains(&format!("{{ {key} = "))
                    || line.contains(&format!(", {key} = "))
            });
            if !is_there {
                missing.push(format!("{table} {key}"));
            }
        }
    }
    assert_eq!(missing, [] as [String; 0]);
}

#[test]
fn every_problem_is_told_at_once_with_place_and_hint() {
    let report = problems(
        "slots = 0\n\
         slot = 2\n\
         machine_name = 7\n\
         \n\
         [listen]\n\
         address = \"0.0.0.0:7420\"\n\
         \n\
         [shutdown]\n\
         drain_timeout = \"soon\"\n",
    )
    .to_string();
    assert_eq!(
        report,
        "\
agent.toml:1:9: `slots` must be from 1 to 4096, not 0
  1 | slots = 0
    |         ^

agent.toml:2:1: unknown key `slot`
  2 | slot = 2
    | ^^^^
  hint: did you mean `slots`?

agent.toml:3:16: `machine_name` must be a string, not a whole number
  3 | machine_name = 7
    |                ^

agent.toml:6:11: `listen.address` `0.0.0.0:7420` can be reached by other machines, and without TLS and client certificates whoever reaches it can run commands here
  6 | address = \"0.0.0.0:7420\"
    |           ^^^^^^^^^^^^^^
  hint: set `certificate`, `key` and `client_ca` in `[listen.tls]`; or, in a network where nobody is to be feared, `insecure_without_tls = \"i-understand-that-anyone-can-run-commands\"`

agent.toml:9:17: `shutdown.drain_timeout` cannot be `soon`
  9 | drain_timeout = \"soon\"
    |                 ^^^^^^
  hint: write a number and a unit (ms, s, m, h, d), such as \"90s\" or \"1h 30m\"

agent.toml: 5 problems",
    );
}

#[test]
fn mistakes_of_syntax_do_not_hide_the_others() {
    let problems = problems("slots = \nqueues = [\"a b\"]\nname = \"x\n[resources]\nmemory = 5\n");
    let text = problems.to_string();
    for place in [
        "agent.toml:1:",
        "agent.toml:2:11: `queues`",
        "agent.toml:3:",
        "agent.toml:5:10: `resources.memory`",
    ] {
        assert!(text.contains(place), "{place}: {text}");
    }
    assert!(
        !text.contains("unknown key `name`"),
        "the line is broken anyway: {text}"
    );
}

#[test]
fn file_that_cannot_be_read_is_a_problem_with_a_hint() {
    let problems = Config::load(Path::new("/nonexistent/agent.toml")).expect_err("it is not there");
    let text = problems.to_string();
    assert!(
        text.starts_with("/nonexistent/agent.toml: the configuration cannot be read: "),
        "{text}"
    );
    assert!(text.contains("hint: "), "{text}");
}

#[test]
fn sections_may_be_written_in_any_way_that_toml_allows() {
    let config = good(
        "output = { head = \"1 MiB\" }\nresources.memory = \"2 GiB\"\nprobes = [{ capability = \"x\", command = [\"true\"] }]\n",
    );
    assert_eq!(config.output.head_bytes, 1 << 20);
    assert_eq!(config.resources.memory_bytes, Some(2 << 30));
    assert_eq!(config.probes.len(), 1);
}

#[test]
fn wrong_shape_of_a_section_is_told_with_the_right_one() {
    check(
        "listen = 7420\nprobes = { capability = \"x\" }\nprovisioners = [1]\n",
        &[
            "`listen` must be a table, not a whole number",
            "`probes` must be a list of tables, not a table",
            "`provisioners` must be a list of tables, not a whole number",
        ],
    );
}

#[test]
fn address_off_loopback_needs_tls_or_the_word() {
    let open = "[listen]\naddress = \"[::]:7420\"\n";
    assert_eq!(problems(open).problems().len(), 1);
    let word = "insecure_without_tls = \"i-understand-that-anyone-can-run-commands\"\n";
    assert!(good(&format!("{open}{word}")).listen.tls.is_none());
    check(
        &format!("{open}insecure_without_tls = true\n"),
        &[
            "`listen.insecure_without_tls` takes only the one word that cannot be written by mistake",
        ],
    );
    let tls = "[listen.tls]\ncertificate = \"/etc/helix/tls/agent.crt\"\nkey = \"/etc/helix/tls/agent.key\"\nclient_ca = \"/etc/helix/tls/clients.crt\"\n";
    let sources = Made::default().with_tls();
    let config = Config::parse_with(&format!("{open}{tls}"), "c", &sources).expect("it is secure");
    let tls_config = config.listen.tls.expect("it was given");
    assert_eq!(tls_config.key, Path::new("/etc/helix/tls/agent.key"));
    check_with(
        &format!("{open}{word}{tls}"),
        &sources,
        &["`listen.insecure_without_tls` and `listen.tls` contradict each other"],
    );
}

#[test]
fn tls_needs_all_three_files_in_good_order() {
    let sources = Made::default()
        .with_file("/c", "-----BEGIN PRIVATE KEY-----\n", 0o600)
        .with_file("/k", "-----BEGIN PRIVATE KEY-----\n", 0o644);
    check_with(
        "[listen.tls]\ncertificate = \"/c\"\nkey = \"/k\"\n",
        &sources,
        &[
            "`listen.tls.client_ca` is missing",
            "`listen.tls.certificate` is in `/c`, which has no `CERTIFICATE` in it",
            "`listen.tls.key` is the file `/k`, which everybody can read",
        ],
    );
    check_with(
        "[listen.tls]\ncertificate = \"/x\"\nkey = \"k\"\nclient_ca = \"\"\n",
        &sources,
        &[
            "`listen.tls.certificate` cannot be read from `/x`: entity not found",
            "`listen.tls.key` must be an absolute path, not `k`",
            "`listen.tls.client_ca` must not be empty",
        ],
    );
}

#[test]
fn monitoring_can_be_off_and_needs_a_word_off_loopback() {
    assert_eq!(good("[monitoring]\naddress = \"\"\n").monitoring, None);
    let open = "[monitoring]\naddress = \"10.0.0.7:7421\"\n";
    assert_eq!(problems(open).problems().len(), 1);
    let config = good(&format!(
        "{open}insecure_without_tls = \"i-understand-that-anyone-can-read-this\"\n"
    ));
    assert_eq!(config.monitoring.map(|address| address.port()), Some(7421));
}

#[test]
fn addresses_are_no_names_and_do_not_clash() {
    check(
        "[listen]\naddress = \"localhost:7420\"\n",
        &["`listen.address` must be an IP address and a port, not `localhost:7420`"],
    );
    check(
        "[monitoring]\naddress = \"127.0.0.1:7420\"\n",
        &[
            "`listen.address` `127.0.0.1:7420` and `monitoring.address` `127.0.0.1:7420` are the same",
        ],
    );
    good("[listen]\naddress = \"127.0.0.1:0\"\n[monitoring]\naddress = \"127.0.0.1:0\"\n");
}

#[test]
fn directories_are_absolute_and_apart() {
    check(
        "work_directory = \"work\"\n",
        &["`work_directory` must be an absolute path, not `work`"],
    );
    check(
        "work_directory = \"/a/../b\"\n",
        &["`work_directory` must not have `..` in it, as `/a/../b` has"],
    );
    for (state, work) in [("/a", "/a"), ("/a", "/a/work/"), ("/a/state", "/a//")] {
        let text = format!("state_directory = \"{state}\"\nwork_directory = \"{work}\"\n");
        assert_eq!(problems(&text).problems().len(), 1, "{text}");
    }
    let config = good("state_directory = \"/a\"\nwork_directory = \"/ab/\"\n");
    assert_eq!(config.work_directory, Path::new("/ab"));
}

#[test]
fn config_root_comes_from_the_file_then_the_environment() {
    let sources = Made::default().with_variable("HELIX_CONFIG_ROOT", "/mnt/helix");
    let root = |text: &str, sources: &Made| {
        Config::parse_with(text, "c", sources)
            .expect("it is valid")
            .config_root
    };
    assert_eq!(root("", &sources), Path::new("/mnt/helix"));
    assert_eq!(root("config_root = \"/opt\"", &sources), Path::new("/opt"));
    assert_eq!(root("", &Made::default()), Path::new("/etc/helix"));
    let relative = Made::default().with_variable("HELIX_CONFIG_ROOT", "helix");
    check_with(
        "",
        &relative,
        &["the environment variable `HELIX_CONFIG_ROOT` is no absolute path"],
    );
}

#[test]
fn numbers_have_bounds_and_may_be_written_in_any_base() {
    assert_eq!(good("slots = 0x1_0").slots, 16);
    assert_eq!(good("slots = 4_096").slots, 4096);
    for slots in [
        "-1",
        "0",
        "4097",
        "99999999999999999999999999999999999999999999",
    ] {
        check(
            &format!("slots = {slots}"),
            &[&format!("`slots` must be from 1 to 4096, not {slots}")],
        );
    }
    check(
        "slots = 1.5",
        &["`slots` must be a whole number, not a number with decimals"],
    );
}

#[test]
fn sizes_and_times_need_units_and_have_bounds() {
    check(
        "[output]\nhead = 64\ntail = \"1 KiB\"\n[retention]\nage = \"5m\"\nsize = \"much\"\n",
        &[
            "`output.head` must be an amount of bytes, not a whole number",
            "`output.tail` must be at least \"4 KiB\", not \"1 KiB\"",
            "`retention.age` must be from \"1h\" to \"365d\", not \"5m\"",
            "`retention.size` cannot be `much`",
        ],
    );
}

#[test]
fn artifact_secrets_come_from_outside_and_are_never_repeated() {
    let config = example();
    assert_eq!(
        config.artifacts.options.names().collect::<Vec<_>>(),
        ["account_key", "account_name", "sas_token"],
    );
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("c2VjcmV0") && !shown.contains("sig=abc"),
        "{shown}"
    );

    let text = "[artifacts]\nurl = \"az://c\"\n[artifacts.options]\naccount_name = \"a\"\naccount_key = \"hunter2\"\n";
    check(
        text,
        &[
            "`artifacts.options.account_key` may be a secret and must not stand in the configuration",
        ],
    );
    let message = problems(text).problems()[0].message().to_owned();
    assert!(!message.contains("hunter2"));
}

#[test]
fn artifact_options_name_what_they_lack() {
    let sources = Made::default()
        .with_file("/public", "secret", 0o644)
        .with_file("/empty", "\n", 0o600);
    let text = "[artifacts]\nurl = \"s3://b\"\n[artifacts.options]\n\
        a = { env = \"UNSET\" }\n\
        b = { file = \"/public\" }\n\
        c = { file = \"/empty\" }\n\
        d = { file = \"/absent\" }\n\
        e = { vault = \"x\" }\n\
        f = { env = \"A\", file = \"/b\" }\n\
        g = [1]\n";
    check_with(
        text,
        &sources,
        &[
            "`artifacts.options.a` needs the environment variable `UNSET`, which is not set",
            "`artifacts.options.b` is in the file `/public`, which everybody can read",
            "`artifacts.options.c` is in the file `/empty`, which is empty",
            "`artifacts.options.d` needs the file `/absent`: entity not found",
            "`artifacts.options.e` cannot come from `vault`",
            "`artifacts.options.f` must name one place to take the value from",
            "`artifacts.options.g` must be a string or a truth value, not a list",
        ],
    );
}

#[test]
fn artifact_store_is_checked_without_touching_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let folder = directory.path().join("made-by-nobody");
    good(&format!(
        "[artifacts]\nurl = \"file://{}\"\n",
        folder.display()
    ));
    assert!(!folder.exists());
    for url in [
        "",
        "artifacts",
        "file://relative/x",
        "ftp://host/x",
        "az://",
        "https://user:word@host/",
    ] {
        let problems = problems(&format!("[artifacts]\nurl = \"{url}\"\n"));
        assert_eq!(problems.problems().len(), 1, "{url}: {problems}");
        assert!(
            !problems.problems()[0].message().contains("word"),
            "{problems}"
        );
    }
    check(
        "[artifacts.options]\nregion = \"eu\"\n",
        &["`artifacts.options` are for a store, and there is no `artifacts.url`"],
    );
}

#[test]
fn labels_are_marks_or_texts() {
    let config = good("[labels]\nGPU = true\nrack = \"b7\"\ncores = 8\n\"g++\" = 12.2\n");
    let labels: Vec<_> = config
        .labels
        .iter()
        .map(|label| (label.name.as_str(), label.value.as_deref()))
        .collect();
    assert_eq!(
        labels,
        [
            ("gpu", None),
            ("cores", Some("8")),
            ("g++", Some("12.2")),
            ("rack", Some("b7"))
        ]
    );
    check(
        "[labels]\na = false\nb = []\nc = \"\"\n\"d e\" = true\n",
        &[
            "`labels.a` cannot be false",
            "`labels.b` must be a string or `true`, not a list",
            "`labels.c` must have 1 to 128 bytes of plain text",
            "`labels.d e` cannot be the name of a label: it has the character ' ' at position 2, which is not allowed there",
        ],
    );
}

const PROBE: &str = "[[probes]]\ncapability = \"tool\"\ncommand = [\"tool\", \"--version\"]\npattern = '^tool (\\S+)'\n";

#[test]
fn probes_are_read_with_their_defaults() {
    let config = good(&format!("{PROBE}[probes.environment]\nA = \"b\"\n"));
    let [probe] = &config.probes[..] else {
        panic!("{config:?}")
    };
    assert_eq!(probe.command.to_string(), "tool --version");
    assert_eq!(probe.time_limit, Duration::from_secs(30));
    assert_eq!(probe.environment.get("A"), Some("b"));
    assert_eq!(
        probe
            .pattern
            .as_ref()
            .map(|pattern| pattern.versions("tool 1.2").len()),
        Some(1)
    );
}

#[test]
fn problems_of_probes_are_told() {
    check(
        "[[probes]]\ncommand = \"tool --version\"\npattern = '\\d+'\ntime_limit = \"1h\"\n\
         [[probes]]\ncapability = \"a b\"\ncommand = []\npattern = '('\nenvironment = { \"A=B\" = \"c\" }\n",
        &[
            "`probes.capability` is missing",
            "`probes.command` must be a list of strings, not a string",
            "`probes.pattern` has no group in parentheses around the version",
            "`probes.time_limit` must be from \"1s\" to \"10m\", not \"1h\"",
            "`probes.capability` cannot be `a b`: it has the character ' ' at position 2, which is not allowed there",
            "`probes.command` is wrong: a command needs a program to run",
            "`probes.pattern` is no regular expression: unclosed group",
            "`probes.environment.A=B` cannot be set: `A=B` cannot be the name of a variable",
        ],
    );
}

#[test]
fn provisioners_are_read_with_their_defaults() {
    let config = good(&format!(
        "state_directory = \"/s\"\n{PROBE}[[provisioners]]\nname = \"p\"\ncapability = \"tool\"\ncommand = [\"get\", \"{{version}}\"]\ncool_down = \"5h\"\n"
    ));
    let [provisioner] = &config.provisioners[..] else {
        panic!("{config:?}")
    };
    assert!(provisioner.command.wants_version());
    assert_eq!(provisioner.log_directory, Path::new("/s/provisioning"));
    assert_eq!(provisioner.min_free_disk, None);
    assert_eq!(
        provisioner.policy.first_cool_down,
        Duration::from_secs(5 * 3600)
    );
    assert_eq!(
        provisioner.policy.max_cool_down,
        Duration::from_secs(5 * 3600)
    );
}

#[test]
fn problems_of_provisioners_are_told() {
    let provisioner =
        "[[provisioners]]\nname = \"p\"\ncapability = \"tool\"\ncommand = [\"get\"]\n";
    check(
        &format!(
            "{PROBE}{provisioner}{provisioner}\
             versions = [\"1.0\", \"-rf\"]\ndefault_version = \"2.0\"\nmax_cool_down = \"1s\"\n\
             [[provisioners]]\nname = \"../x\"\ncapability = \"other\"\ncommand = [\"{{version}}\"]\n"
        ),
        &[
            "`provisioners.name` `p` is the name of an earlier one",
            "`provisioners.versions` cannot be `-rf`: at position 1 a version should start, with a digit or with `v` and a digit, not with '-'",
            "`provisioners.max_cool_down` is less than `cool_down`",
            "`provisioners.name` cannot be used: a provisioner's name has 1 to 64 letters, digits, `.`, `_` or `-` and starts with a letter or digit",
            "`provisioners.capability` `other` has no probe that could see it arrive",
            "`provisioners.command` is wrong: the program must not depend on the version; only arguments may have `{version}`",
        ],
    );
    check(
        &format!("{PROBE}{provisioner}versions = [\"1.0\"]\ndefault_version = \"2.0\"\n"),
        &["`provisioners.default_version` `2.0` is none of its `versions`"],
    );
    // A probe with a mistake is still a probe.
    let text = format!("{}\n{provisioner}", PROBE.replace("(\\S+)", "("));
    check(
        &text,
        &["`probes.pattern` is no regular expression: unclosed group"],
    );
}

#[test]
fn requirement_files_extend_replace_and_turn_off_what_is_built_in() {
    let config = good(
        "[labels]\nxcode = \"16.1\"\nruby = \"3.3\"\n\
         [[requirement_files]]\npath = \"./eng//sdk.txt\"\nkind = \"version\"\ncapability = \"dotnet-sdk\"\n\
         [[requirement_files]]\npath = \".ruby-version\"\nkind = \"ignore\"\n\
         [[requirement_files]]\npath = \".tool-versions\"\nkind = \"tool-versions\"\ntools = { a = \"b\" }\n",
    );
    let rules = config.requirement_files.rules();
    let paths: Vec<&str> = rules.iter().map(|rule| rule.path.as_str()).collect();
    assert_eq!(paths, ["eng/sdk.txt", ".tool-versions", ".xcode-version"]);
    let capabilities =
        BTreeMap::from([("a".to_owned(), CapabilityName::new("b").expect("a name"))]);
    assert_eq!(
        rules[1].kind,
        RequirementFile::ToolVersions { capabilities }
    );
}

#[test]
fn problems_of_requirement_files_are_told() {
    check(
        "[[requirement_files]]\npath = \"../x\"\nkind = \"version\"\n\
         [[requirement_files]]\npath = \".\"\nkind = \"yaml\"\ncapability = \"a\"\n\
         [[requirement_files]]\npath = \"x\"\nkind = \"tool-versions\"\ntools = { a = 1 }\ncapability = \"a\"\n\
         [[requirement_files]]\npath = \"x\"\nkind = \"ignore\"\n",
        &[
            "`requirement_files.capability` is missing",
            "`requirement_files.path` cannot be used: the path has a `..` component, it must stay below its root",
            "`requirement_files.path` must name a file",
            "`requirement_files.kind` cannot be `yaml`",
            "`requirement_files.tools` must name capabilities with strings",
            "unknown key `requirement_files.capability`",
            "`requirement_files.path` `x` has a rule already",
        ],
    );
}

#[test]
fn quarantine_that_starts_above_its_default_maximum_raises_it() {
    let config = good("[health]\nquarantine = \"3h\"\n");
    assert_eq!(config.health.max_quarantine, Duration::from_secs(3 * 3600));
    check(
        "[health]\nquarantine = \"3h\"\nmax_quarantine = \"1h\"\ninfrastructure_failures = 0\n",
        &[
            "`health.max_quarantine` is less than `quarantine`",
            "`health.infrastructure_failures` must be from 1 to 1000, not 0",
        ],
    );
}

#[test]
fn pressure_thresholds_are_percent_and_leave_below_enter() {
    let config = good(
        "[pressure.high]\nenter = { cpu_some = 97.25, io_full = 5, memory_full = \"never\" }\n",
    );
    let policy = config.pressure.expect("it is on by default");
    assert_eq!(Ok(policy.high.enter.cpu_some), StallShare::parse("97.25"));
    assert_eq!(policy.high.leave.cpu_some, policy.high.enter.cpu_some);
    assert_eq!(policy.high.enter.memory_full, StallShare::NEVER);
    assert_eq!(policy.high.leave.io_full, StallShare::percent(5));
    assert_eq!(policy.high.enter.memory_some, StallShare::percent(25));
    assert!(good("[pressure]\nenabled = false\n").pressure.is_none());
    check(
        "[pressure.high]\nenter = { cpu_some = 101, io_full = -1, memory_full = 0 }\nleave = { memory_some = 30, cpu = 1 }\n",
        &[
            "`pressure.high.enter.cpu_some` must be above 0 and at most 100 percent, not 101",
            "`pressure.high.enter.io_full` must be above 0 and at most 100 percent, not -1",
            "`pressure.high.enter.memory_full` must be above 0 and at most 100 percent, not 0",
            "`pressure.high.leave.memory_some` is 30.00 %, which is above 25.00 %, where the level is entered",
            "unknown key `pressure.high.leave.cpu`",
        ],
    );
}

#[test]
fn loopback_configuration_is_kept_below_its_directory() {
    let directory = PathBuf::from("/somewhere");
    let config = Config::for_loopback(&directory);
    for path in [
        &config.state_directory,
        &config.work_directory,
        &config.config_root,
        &config.cache_directory(),
    ] {
        assert!(path.starts_with(&directory), "{}", path.display());
    }
    assert!(config.listen.address.ip().is_loopback());
    assert_eq!(config.listen.address.port(), 0);
}

proptest! {
    // Whatever is done to the example, it is taken or refused with places, and nothing panics.
    #[test]
    fn damaged_example_never_panics(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..30_usize, "[\\[\\]{}=\"'#.,a-z0-9 \\n]{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = uncommented().chars().collect();
        for (index, length, insert) in cuts {
            let start = index.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = Config::parse_with(&text, "c", &example_sources()) {
            prop_assert!(!problems.problems().is_empty());
            prop_assert!(!problems.to_string().is_empty());
        }
    }

    #[test]
    fn any_text_is_taken_or_refused(text in "\\PC{0,300}") {
        let _ = parse(&text);
    }
}

#[test]
fn isolation_that_is_required_is_known_by_name() {
    use helix_exec::launcher::Measure;
    let names = Measure::ALL.map(Measure::name);
    let config = good(&format!("[isolation]\nrequire = {names:?}"));
    assert_eq!(config.isolation.require, Measure::ALL);
    for name in names {
        assert!(EXAMPLE.contains(&format!("`{name}`")), "{name} is not told");
    }
    let problems = Config::parse_with(
        "[isolation]\nrequire = [\"user\", \"usr\"]",
        "agent.toml",
        &Made::default(),
    );
    let text = problems.expect_err("no such measure").to_string();
    assert!(
        text.contains("agent.toml:2:20: `isolation.require` cannot have `usr`"),
        "{text}"
    );
    assert!(
        text.contains("hint: there are `session`, `user`,"),
        "{text}"
    );
}

#[test]
fn launcher_as_shipped_fits_the_agent_as_shipped() {
    use helix_exec::launcher::Roots;
    const LAUNCHER: &str = include_str!("../../../../packaging/launcher.json");
    // The user by whose name it calls the client is there once the agent is installed.
    let text = LAUNCHER.replace("\"helix-agent\"", "1");
    let launcher: helix_exec::launcher::Config =
        serde_json::from_str(&text).expect("a configuration");
    let agent = Config::default();
    let beneath = |root: PathBuf| Roots::Beneath(vec![root]);
    assert_eq!(launcher.work_roots, beneath(agent.work_directory));
    assert_eq!(
        launcher.spool_roots,
        beneath(agent.state_directory.join("attempts"))
    );
    // What the agent takes the launcher must not refuse.
    assert!(launcher.maxima.grace >= helix_model::work_item::MAX_KILL_GRACE);
    let wall = launcher.maxima.wall.unwrap_or(Duration::MAX);
    assert!(wall >= helix_model::work_item::MAX_WALL_TIMEOUT);
}
