//! The default, and the examples that are shipped.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::{EXAMPLE, example, example_sources, good, parse, problems, uncommented};
use crate::config::Config;

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
fn launcher_as_shipped_fits_the_agent_as_shipped() {
    use helix_exec::launcher::Roots;
    const LAUNCHER: &str = include_str!("../../../../../packaging/launcher.json");
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
