//! What the configuration accepts, what it refuses, and how it says so: by theme, and here what the
//! themes share. How files are read at all is tested in `helix-settings`.

mod artifacts;
mod basics;
mod controller;
mod example;
mod network;
mod policies;
mod tools;

use helix_settings::{ConfigProblems, GivenSources, Problem};

use super::Config;

/// The example that is shipped.
pub(super) const EXAMPLE: &str = include_str!("../../../../../packaging/agent.toml");

/// The files that the example names in `[listen.tls]`.
fn tls_files() -> GivenSources {
    let certificate = "-----BEGIN CERTIFICATE-----\n";
    let key = "-----BEGIN EC PRIVATE KEY-----\n";
    GivenSources::default()
        .with_file("/etc/helix/tls/agent.crt", certificate, 0o644)
        .with_file("/etc/helix/tls/agent.key", key, 0o640)
        .with_file("/etc/helix/tls/clients.crt", certificate, 0o644)
}

fn parse(text: &str) -> Result<Config, ConfigProblems> {
    Config::parse_with(text, "agent.toml", &GivenSources::default())
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> ConfigProblems {
    problems_with(text, &GivenSources::default())
}

fn problems_with(text: &str, sources: &GivenSources) -> ConfigProblems {
    match Config::parse_with(text, "agent.toml", sources) {
        Err(problems) => problems,
        Ok(config) => panic!("nothing is wrong with {text:?}: {config:?}"),
    }
}

pub(super) fn parse_with(text: &str, sources: &GivenSources) -> Result<Config, ConfigProblems> {
    Config::parse_with(text, "agent.toml", sources)
}

/// Checks that exactly these are the problems, in this order.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_with(text, &GivenSources::default(), expected);
}

#[track_caller]
fn check_with(text: &str, sources: &GivenSources, expected: &[&str]) {
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

fn example_sources() -> GivenSources {
    tls_files()
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
