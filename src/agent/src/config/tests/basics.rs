//! The keys at the top, and what is said of any key.

use std::path::Path;

use helix_settings::GivenSources;

use super::{EXAMPLE, check, check_with, good, problems};
use crate::config::Config;

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
    let sources = GivenSources::default().with_variable("HELIX_CONFIG_ROOT", "/mnt/helix");
    let root = |text: &str, sources: &GivenSources| {
        Config::parse_with(text, "c", sources)
            .expect("it is valid")
            .config_root
    };
    assert_eq!(root("", &sources), Path::new("/mnt/helix"));
    assert_eq!(root("config_root = \"/opt\"", &sources), Path::new("/opt"));
    assert_eq!(root("", &GivenSources::default()), Path::new("/etc/helix"));
    let relative = GivenSources::default().with_variable("HELIX_CONFIG_ROOT", "helix");
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
        &GivenSources::default(),
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
