//! From a field of a work item as agents get it back to the place in the submission where it was
//! said.

use helix_api::submit::{JobRequest, Settings};

/// The JSONPath of what the rules call `work_item.…` in the item of this index.
pub(super) fn path(request: &JobRequest, index: usize, field: &str) -> String {
    let item_path = format!("$.items[{index}]");
    let field = field.strip_prefix("work_item.").unwrap_or(field);
    let Some(item) = request.items.get(index) else {
        return item_path;
    };
    let (own, defaults) = (&item.settings, &request.defaults);
    let (head, rest) = split(field);
    let place = |name: &str, in_own: bool| match in_own {
        true => format!("{item_path}.{name}"),
        false => format!("$.defaults.{name}"),
    };
    match head {
        "command" => match rest.strip_prefix(".argv.arguments") {
            Some(rest) => format!("{item_path}.command.argv{rest}"),
            None => format!("{item_path}.command{rest}"),
        },
        "friendly_name" => format!("{item_path}.name"),
        "environment" => {
            let names: Vec<&String> = merged_names(defaults, own);
            match entry(rest).and_then(|(at, _)| names.get(at)) {
                Some(name) => {
                    let parent = place("environment", own.environment.contains_key(*name));
                    child(&parent, name)
                }
                None => place("environment", !own.environment.is_empty()),
            }
        }
        "limits" => {
            let (name, in_own) = match rest {
                ".wall_timeout" => (
                    "limits.wall_timeout_seconds",
                    own.limits.wall_timeout_seconds.is_some(),
                ),
                ".silence_timeout" => (
                    "limits.silence_timeout_seconds",
                    own.limits.silence_timeout_seconds.is_some(),
                ),
                ".kill_grace" => (
                    "limits.kill_grace_seconds",
                    own.limits.kill_grace_seconds.is_some(),
                ),
                ".output_bytes" => ("limits.output_bytes", own.limits.output_bytes.is_some()),
                _ => ("limits", true),
            };
            place(name, in_own)
        }
        "resources" => {
            let in_own = match rest {
                ".slots" => own.resources.slots.is_some(),
                ".cpu_millis" => own.resources.cpu_millis.is_some(),
                ".memory_bytes" => own.resources.memory_bytes.is_some(),
                ".disk_bytes" => own.resources.disk_bytes.is_some(),
                ".processes" => own.resources.processes.is_some(),
                _ => true,
            };
            place(&format!("resources{rest}"), in_own)
        }
        "network" => place("network", own.network.is_some()),
        _ => {
            let Some(before) = list_length(defaults, head) else {
                return item_path;
            };
            match entry(rest) {
                Some((at, rest)) if at < before => format!("$.defaults.{head}[{at}]{rest}"),
                Some((at, rest)) => format!("{item_path}.{head}[{}]{rest}", at - before),
                // The list as a whole, which is too long.
                None => place(head, list_length(own, head).is_some_and(|own| own > 0)),
            }
        }
    }
}

/// The path of an entry of a map.
pub(super) fn child(path: &str, name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_');
    if plain {
        return format!("{path}.{name}");
    }
    let mut quoted = String::new();
    for character in name.chars().take(128) {
        match character {
            '\'' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.extend(control.escape_unicode()),
            other => quoted.push(other),
        }
    }
    format!("{path}['{quoted}']")
}

fn list_length(settings: &Settings, name: &str) -> Option<usize> {
    Some(match name {
        "secrets" => settings.secrets.len(),
        "payloads" => settings.payloads.len(),
        "correlation_payloads" => settings.correlation_payloads.len(),
        "requirements" => settings.requirements.len(),
        "artifact_globs" => settings.artifact_globs.len(),
        _ => return None,
    })
}

/// The names of the variables in the order in which they were put together.
fn merged_names<'a>(defaults: &'a Settings, own: &'a Settings) -> Vec<&'a String> {
    let mut names: Vec<&String> = defaults
        .environment
        .keys()
        .chain(own.environment.keys())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// `payloads[2].url` as `payloads` and `[2].url`.
fn split(field: &str) -> (&str, &str) {
    field.split_at(field.find(['.', '[']).unwrap_or(field.len()))
}

/// `[2].url` as 2 and `.url`.
fn entry(rest: &str) -> Option<(usize, &str)> {
    let (number, rest) = rest.strip_prefix('[')?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}
