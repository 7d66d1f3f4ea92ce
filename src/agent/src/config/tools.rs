//! `[labels]`, `[[probes]]`, `[[provisioners]]` and `[[requirement_files]]`: what the machine has,
//! how that is found out, how it gets there, and who asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use helix_machine::catalog::Label;
use helix_machine::command::{CommandLine, CommandTemplate, Environment};
use helix_machine::probe::{PatternError, Probe, VersionPattern};
use helix_machine::provision::{DiskFloor, Provisioner, ProvisionerName};
use helix_machine::requirement_files::{RequirementFiles, Rule};
use helix_model::capability::{CapabilityName, MAX_CAPABILITY_BYTES, RequirementFile};
use helix_model::path::RelativePath;
use helix_model::provisioning::ProvisioningPolicy;
use helix_settings::value::{self, parsed};
use helix_settings::{Complaint, Entry, Item, Section, Value};

use super::Config;

/// How long a probe may take if nothing is said.
const PROBE_TIME_LIMIT: Duration = Duration::from_secs(30);

const SECOND: Duration = Duration::from_secs(1);
const TEN_MINUTES: Duration = Duration::from_secs(10 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Reads all four. `config` has its directories by now.
pub(super) fn read(root: &Section<'_>, config: &mut Config) {
    if let Some(section) = root.section("labels") {
        config.labels = labels(section);
    }
    let mut probed = BTreeSet::new();
    for section in root.sections("probes") {
        config.probes.extend(probe(section, &mut probed));
    }
    let log_directory = config.state_directory.join("provisioning");
    let mut names = BTreeSet::new();
    for section in root.sections("provisioners") {
        config
            .provisioners
            .extend(provisioner(section, &log_directory, &probed, &mut names));
    }
    // What a provisioner brings is probed.
    let labels = config.labels.iter().map(|label| label.name.clone());
    let known: BTreeSet<CapabilityName> = probed.into_iter().chain(labels).collect();
    config.requirement_files = requirement_files(root.sections("requirement_files"), &known);
}

fn labels(section: Section<'_>) -> Vec<Label> {
    let read = |entry: Entry<'_>| {
        let name = entry.name().parse::<CapabilityName>().map_err(|error| {
            Complaint::new(format!("cannot be the name of a label: {error}")).at(entry.key_span())
        })?;
        let value =
            match entry.item().value() {
                Value::Boolean(true) => None,
                Value::Boolean(false) => {
                    return Err(Complaint::new("cannot be false")
                        .hint("leave out a label that is not there"));
                }
                Value::String(text) => {
                    let is_fit = !text.is_empty()
                        && text.len() <= MAX_CAPABILITY_BYTES
                        && !text.contains(char::is_control);
                    if !is_fit {
                        let message =
                            format!("must have 1 to {MAX_CAPABILITY_BYTES} bytes of plain text");
                        return Err(Complaint::new(message));
                    }
                    Some(text.to_owned())
                }
                Value::Integer(integer) => Some(integer.to_string()),
                Value::Float(number) => Some(number.to_owned()),
                _ => {
                    return Err(Complaint::expected("a string or `true`", &entry.item()).hint(
                    "`gpu = true` for what is just there, `rack = \"b7\"` for what has a text",
                ));
                }
            };
        Ok(Label { name, value })
    };
    let entries = section.entries();
    entries
        .filter_map(|entry| section.heed(entry.name(), entry.item().span(), read(entry)))
        .collect()
}

/// Reads a probe. What it looks for counts as probed even if something else is wrong with it, or
/// the mistake would be complained about twice.
fn probe(section: Section<'_>, probed: &mut BTreeSet<CapabilityName>) -> Option<Probe> {
    let capability = section.require("capability", parsed::<CapabilityName>);
    probed.extend(capability.clone());
    let command = section.require("command", command_line);
    let pattern = section.get("pattern", pattern);
    let is_bad = pattern.is_none() && section.has("pattern");
    let mut time_limit = PROBE_TIME_LIMIT;
    section.set(
        "time_limit",
        &mut time_limit,
        value::duration(SECOND..=TEN_MINUTES),
    );
    let environment = section
        .section("environment")
        .map(environment)
        .unwrap_or_default();
    section.finish();
    if is_bad {
        return None;
    }
    Some(Probe {
        capability: capability?,
        command: command?,
        pattern,
        time_limit,
        environment,
    })
}

fn provisioner(
    section: Section<'_>,
    log_directory: &Path,
    probed: &BTreeSet<CapabilityName>,
    names: &mut BTreeSet<ProvisionerName>,
) -> Option<Provisioner> {
    let name = section.require("name", |item| {
        let name = ProvisionerName::new(&value::text(item)?)
            .map_err(|error| Complaint::new(format!("cannot be used: {error}")))?;
        if names.insert(name.clone()) {
            return Ok(name);
        }
        Err(Complaint::new(format!(
            "`{name}` is the name of an earlier one"
        )))
    });
    let capability = section.require("capability", |item| {
        let capability = parsed::<CapabilityName>(item)?;
        if probed.contains(&capability) {
            return Ok(capability);
        }
        Err(Complaint::new(format!(
            "`{capability}` has no probe that could see it arrive"
        ))
        .hint("add one in `[[probes]]`: an installation counts only if its probe sees it"))
    });
    let command = section.require("command", |item| {
        CommandTemplate::new(words(item)?)
            .map_err(|error| Complaint::new(format!("is wrong: {error}")))
    });
    let mut provisioner_versions = Vec::new();
    section.set("versions", &mut provisioner_versions, value::list(parsed));
    let default_version = section.get("default_version", parsed);
    let environment = section
        .section("environment")
        .map(environment)
        .unwrap_or_default();
    let policy = policy(&section);
    let mut logs = log_directory.to_owned();
    section.set("log_directory", &mut logs, value::path);
    let floor = section.get("min_free_disk", value::size(1));
    let mut disk = PathBuf::from("/");
    section.set("disk", &mut disk, value::path);
    if let (Some(default), false) = (&default_version, provisioner_versions.is_empty())
        && !provisioner_versions.contains(default)
    {
        let message =
            format!("`provisioners.default_version` `{default}` is none of its `versions`");
        section.complain(section.span_of("default_version"), message, None);
    }
    section.finish();
    Some(Provisioner {
        name: name?,
        capability: capability?,
        versions: provisioner_versions,
        default_version,
        command: command?,
        environment,
        policy,
        log_directory: logs,
        min_free_disk: floor.map(|bytes| DiskFloor { path: disk, bytes }),
    })
}

fn policy(section: &Section<'_>) -> ProvisioningPolicy {
    let mut policy = ProvisioningPolicy::default();
    section.set(
        "time_limit",
        &mut policy.time_limit,
        value::duration(SECOND..=DAY),
    );
    section.set_some(
        "usual_duration",
        &mut policy.usual_duration,
        value::duration(SECOND..=DAY),
    );
    let first = section.get("cool_down", value::duration(SECOND..=MONTH));
    let most = section.get("max_cool_down", value::duration(SECOND..=MONTH));
    policy.first_cool_down = first.unwrap_or(policy.first_cool_down);
    // Who sets only one of them means both.
    policy.max_cool_down = most.unwrap_or(policy.max_cool_down.max(policy.first_cool_down));
    if policy.max_cool_down < policy.first_cool_down {
        let message = "`provisioners.max_cool_down` is less than `cool_down`".to_owned();
        section.complain(section.span_of("max_cool_down"), message, None);
    }
    policy
}

fn requirement_files(
    sections: Vec<Section<'_>>,
    known: &BTreeSet<CapabilityName>,
) -> RequirementFiles {
    let mut rules: Vec<Rule> = Vec::new();
    let mut ignored = Vec::new();
    let mut paths = BTreeSet::new();
    for section in sections {
        let path = section.require("path", |item| {
            let path = RelativePath::new(&value::text(item)?)
                .map_err(|error| Complaint::new(format!("cannot be used: {error}")))?;
            if path.is_root() {
                return Err(Complaint::new("must name a file"));
            }
            if paths.insert(path.clone()) {
                return Ok(path);
            }
            Err(Complaint::new(format!("`{path}` has a rule already")))
        });
        let kind = section.require("kind", value::text);
        let kind = match kind.as_deref() {
            Some("version") => {
                let capability = section.require("capability", parsed);
                capability.map(|capability| Some(RequirementFile::Version { capability }))
            }
            Some("global-json") => {
                let capability = section.require("capability", parsed);
                capability.map(|capability| Some(RequirementFile::GlobalJson { capability }))
            }
            Some("tool-versions") => {
                let capabilities = section.require("tools", tools);
                capabilities
                    .map(|capabilities| Some(RequirementFile::ToolVersions { capabilities }))
            }
            Some("ignore") => Some(None),
            Some(other) => {
                let message = format!("`requirement_files.kind` cannot be `{other}`");
                let hint = "there are `version`, `global-json`, `tool-versions` and `ignore`";
                section.complain(section.span_of("kind"), message, Some(hint.to_owned()));
                // Which other keys there may be depends on the kind.
                continue;
            }
            None => continue,
        };
        section.finish();
        match (path, kind) {
            (Some(path), Some(Some(kind))) => rules.push(Rule { path, kind }),
            (Some(path), Some(None)) => ignored.push(path),
            (None, _) | (_, None) => {}
        }
    }
    RequirementFiles::new(rules, &ignored, |capability| known.contains(capability))
}

fn tools(item: &Item<'_>) -> Result<BTreeMap<String, CapabilityName>, Complaint> {
    const HINT: &str =
        "such as { nodejs = \"node\" }: the tool's name in the file, and the capability";
    let entries = item
        .entries()
        .ok_or_else(|| Complaint::expected("a table", item).hint(HINT))?;
    entries
        .map(|entry| {
            let value = entry.item();
            let Value::String(text) = value.value() else {
                return Err(Complaint::new("must name capabilities with strings")
                    .hint(HINT)
                    .at(value.span()));
            };
            let capability = text.parse().map_err(|error| {
                Complaint::new(format!("has `{text}`, which is no capability: {error}"))
                    .at(value.span())
            })?;
            Ok((entry.name().to_owned(), capability))
        })
        .collect()
}

fn environment(section: Section<'_>) -> Environment {
    let mut environment = Environment::default();
    // A password or a token, perhaps, even if nothing is wrong with it itself.
    section.conceal();
    for entry in section.entries() {
        let set = value::any_text(&entry.item()).and_then(|value| {
            environment
                .set(entry.name(), &value)
                .map_err(|error| Complaint::new(format!("cannot be set: {error}")))
        });
        section.heed(entry.name(), entry.item().span(), set);
    }
    environment
}

fn words(item: &Item<'_>) -> Result<Vec<String>, Complaint> {
    const HINT: &str = "write the program and its arguments as a list, such as [\"xcodebuild\", \"-version\"]; \
                        no shell is involved unless the program is one";
    if item.elements().is_none() {
        return Err(Complaint::expected("a list of strings", item).hint(HINT));
    }
    value::list(value::any_text)(item)
}

pub(super) fn command_line(item: &Item<'_>) -> Result<CommandLine, Complaint> {
    CommandLine::new(words(item)?).map_err(|error| Complaint::new(format!("is wrong: {error}")))
}

fn pattern(item: &Item<'_>) -> Result<VersionPattern, Complaint> {
    VersionPattern::new(&value::text(item)?).map_err(|error| match error {
        PatternError::NoGroup => Complaint::new("has no group in parentheses around the version")
            .hint("such as '^Xcode (\\S+)'; in single quotes, backslashes stay what they are"),
        PatternError::Syntax(error) => {
            // The error draws a picture of several lines, the last of which says what is wrong.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let reason = last.trim().trim_start_matches("error: ").to_owned();
            Complaint::new(format!("is no regular expression: {reason}"))
        }
    })
}
