//! What is installed beside the programs: the texts that the packages are made of, with the paths of
//! the programs that are elsewhere here.

use helix_model::ids::QueueName;

use super::place::{Prefix, System};

/// Units, in the directory of those that the administrator has.
pub(super) const UNITS: [(&str, &str); 6] = [
    (
        "helix-agent.service",
        include_str!("../../../../systemd/helix-agent.service"),
    ),
    (
        "helix-launcher.service",
        include_str!("../../../../systemd/helix-launcher.service"),
    ),
    (
        "helix-launcher.socket",
        include_str!("../../../../systemd/helix-launcher.socket"),
    ),
    (
        "helix-items.service",
        include_str!("../../../../systemd/helix-items.service"),
    ),
    (
        "helix.slice",
        include_str!("../../../../systemd/helix.slice"),
    ),
    (
        "helix-root@.service",
        include_str!("../../../../systemd/helix-root@.service"),
    ),
];

pub(super) const SYSUSERS: &str = include_str!("../../../../systemd/sysusers.d/helix-agent.conf");
pub(super) const TMPFILES: &str = include_str!("../../../../systemd/tmpfiles.d/helix-agent.conf");
pub(super) const POLKIT: &str = include_str!("../../../../systemd/polkit/helix-agent.rules");
pub(super) const LAUNCHER_CONFIGURATION: &str = include_str!("../../../../packaging/launcher.json");
pub(super) const ROOT_TASK: &str = include_str!("../../../../packaging/libexec/root-task");
pub(super) const RESTART: &str = include_str!("../../../../packaging/libexec/restart-agent");
pub(super) const README: &str = include_str!("../../../../packaging/README.md");
pub(super) const REBOOT_TASK: &str = include_str!("../../../../packaging/examples/root.d/reboot");

/// Property lists, with the label of each. The launcher comes first: the agent asks for it.
pub(super) const LISTS: [(&str, &str); 2] = [
    (
        "helix.launcher",
        include_str!("../../../../launchd/helix.launcher.plist"),
    ),
    (
        "helix.agent",
        include_str!("../../../../launchd/helix.agent.plist"),
    ),
];

pub(super) const MACOS_LAUNCHER_CONFIGURATION: &str =
    include_str!("../../../../packaging/macos/launcher.json");
const MACOS_CONFIGURATION: &str = include_str!("../../../../packaging/macos/agent.toml");
const CONFIGURATION: &str = include_str!("../../../../packaging/agent.toml");

/// Paths in the texts, and what of the prefix stands for each. Those of packages on Linux, and of
/// the property lists.
const MOVED: [(&str, &str); 4] = [
    ("/usr/bin/helix-", "/bin/helix-"),
    ("/usr/libexec/helix/", "/libexec/helix/"),
    ("/usr/share/doc/helix-agent/", "/share/doc/helix-agent/"),
    ("/Library/Helix/bin/helix-", "/bin/helix-"),
];

/// A text with the programs where they are.
pub(super) fn moved(text: &str, prefix: &Prefix) -> String {
    MOVED.iter().fold(text.to_owned(), |text, (from, to)| {
        text.replace(from, &format!("{}{to}", prefix.as_str()))
    })
}

/// Every key with its default.
pub(super) fn example(system: System) -> String {
    match system {
        System::Systemd => isolated(),
        System::Launchd => CONFIGURATION.to_owned(),
    }
}

/// The example, with items isolated by the launcher beside the agent; as it is in the packages.
fn isolated() -> String {
    let socket = "socket = \"/run/helix/launcher.sock\"\n";
    CONFIGURATION
        .replacen("\n#[launcher]\n", "\n[launcher]\n", 1)
        .replacen(&format!("\n#{socket}"), &format!("\n{socket}"), 1)
}

/// The configuration of an agent that has none yet.
pub(super) fn configuration(
    system: System,
    machine_name: Option<&str>,
    queues: &[QueueName],
) -> String {
    let mut lines = String::new();
    if let Some(name) = machine_name {
        lines.push_str(&format!("machine_name = {}\n", quoted(name)));
    }
    if !queues.is_empty() {
        let queues: Vec<_> = queues.iter().map(|queue| quoted(queue.as_str())).collect();
        lines.push_str(&format!("queues = [{}]\n", queues.join(", ")));
    }
    // Before the first table, and beside the keys that are meant.
    let (text, before) = match system {
        System::Systemd => (isolated(), "#machine_name = "),
        System::Launchd => (MACOS_CONFIGURATION.to_owned(), "state_directory = "),
    };
    text.replacen(&format!("\n{before}"), &format!("\n{lines}{before}"), 1)
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The users that [`SYSUSERS`] makes.
pub(super) fn users() -> impl Iterator<Item = &'static str> {
    SYSUSERS.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("u")).then(|| words.next()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn texts_name_no_program_of_a_package() {
        let prefix = Prefix::parse("/opt/helix").unwrap();
        let texts = UNITS.iter().chain(&LISTS).map(|(_, text)| *text);
        let mut programs = 0;
        for text in texts.chain([ROOT_TASK, RESTART]) {
            let moved = moved(text, &prefix);
            assert!(!moved.contains("/usr/bin/helix"), "{moved}");
            assert!(!moved.contains("/usr/libexec/helix"), "{moved}");
            assert!(!moved.contains("/Library/Helix/bin"), "{moved}");
            programs += moved.matches("/opt/helix/bin/helix-").count();
        }
        // Two daemons on each system, and the two checks of the restart.
        assert_eq!(programs, 6);
        assert!(moved(UNITS[5].1, &prefix).contains("/opt/helix/libexec/helix/root-task"));
    }

    #[test]
    fn configuration_says_what_was_asked_for_and_reads_back() {
        let queues = ["gpu", "a.b"].map(|name| QueueName::new(name).unwrap());
        let name = "it's \"the\" \\ machine";
        for system in [System::Systemd, System::Launchd] {
            let text = configuration(system, Some(name), &queues);
            let config = Config::parse(&text, "agent.toml").unwrap();
            assert_eq!(config.machine_name.as_deref(), Some(name));
            assert_eq!(config.queues, queues);
            assert!(config.launcher_socket.is_some());
            let plain = Config::parse(&configuration(system, None, &[]), "agent.toml").unwrap();
            assert_eq!(plain.machine_name, None);
            assert_eq!(plain.queues, []);
            assert!(plain.launcher_socket.is_some());
        }
        assert_eq!(quoted("a\n\u{7f}"), "\"a\\u000A\\u007F\"");
    }

    #[test]
    fn users_are_those_of_the_launchers_configuration_and_the_agent() {
        let launcher: serde_json::Value = serde_json::from_str(LAUNCHER_CONFIGURATION).unwrap();
        let named = launcher["users"]["pool"]["named"].as_array().unwrap();
        let mut expected: Vec<_> = named.iter().map(|user| user.as_str().unwrap()).collect();
        expected.insert(0, launcher["client"].as_str().unwrap());
        assert_eq!(users().collect::<Vec<_>>(), expected);
    }
}
