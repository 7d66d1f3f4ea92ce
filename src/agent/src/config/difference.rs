//! What differs between two configurations, key by key, and which keys count only at the start.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use helix_settings::{duration, size};

use super::{Config, Connect};

/// When another value of a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// For all that begins from then on.
    AtOnce,
    /// With the next start of the agent.
    Restart,
}

/// A key whose values differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) key: &'static str,
    /// For people; without anything that may be secret.
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) effect: Effect,
}

/// A key, how its value is shown and how it is compared.
struct Key {
    name: &'static str,
    effect: Effect,
    show: fn(&Config) -> String,
    is_same: fn(&Config, &Config) -> bool,
}

/// A key whose value is all shown.
macro_rules! key {
    ($name:literal, $effect:ident, $show:expr) => {
        Key {
            name: $name,
            effect: Effect::$effect,
            show: $show,
            is_same: |before, after| {
                let show: fn(&Config) -> String = $show;
                show(before) == show(after)
            },
        }
    };
}

/// A key of whose value only a part is shown.
macro_rules! key_in_part {
    ($name:literal, $effect:ident, $show:expr, $is_same:expr) => {
        Key {
            name: $name,
            effect: Effect::$effect,
            show: $show,
            is_same: $is_same,
        }
    };
}

/// Every key of the configuration, smaller tables as a whole.
const KEYS: &[Key] = &[
    key!("machine_name", AtOnce, |c| maybe(c.machine_name.as_ref())),
    key!("queues", AtOnce, |c| all(&c.queues)),
    key!("slots", AtOnce, |c| c.slots.to_string()),
    key!("state_directory", Restart, |c| path(&c.state_directory)),
    key!("work_directory", Restart, |c| path(&c.work_directory)),
    key!("config_root", AtOnce, |c| path(&c.config_root)),
    key!("probe_interval", AtOnce, |c| time(c.probe_interval)),
    key!("resources.cpu_millis", AtOnce, |c| maybe(
        c.resources.cpu_millis
    )),
    key!("resources.memory", AtOnce, |c| maybe(
        c.resources.memory_bytes.map(size::show)
    )),
    key!("resources.disk_reserve", AtOnce, |c| size::show(
        c.resources.disk_reserve_bytes
    )),
    key!("listen.address", Restart, |c| c.listen.address.to_string()),
    // Without TLS and with it are two kinds of listeners; other files are just read.
    key!("listen.tls", Restart, |c| {
        let tls = c.listen.tls.as_ref();
        tls.map_or("none", |_| "there").to_owned()
    }),
    key!("listen.tls.certificate", AtOnce, |c| {
        maybe(c.listen.tls.as_ref().map(|tls| path(&tls.certificate)))
    }),
    key!("listen.tls.key", AtOnce, |c| {
        maybe(c.listen.tls.as_ref().map(|tls| path(&tls.key)))
    }),
    key!("listen.tls.client_ca", AtOnce, |c| {
        maybe(c.listen.tls.as_ref().map(|tls| path(&tls.client_ca)))
    }),
    key!("controller.addresses", AtOnce, |c| {
        let controller = c.controller.as_ref();
        all(controller.map_or(&[][..], |one| &one.addresses[..]))
    }),
    key!("controller.connect", AtOnce, |c| {
        let connect = c.controller.as_ref().map(|one| &one.connect);
        maybe(connect.map(|connect| match connect {
            Connect::Tunnel => "tunnel",
            Connect::Announce { .. } => "announce",
        }))
    }),
    key!("controller.advertise", AtOnce, |c| {
        maybe(c.controller.as_ref().and_then(|one| match &one.connect {
            Connect::Announce { advertise } => advertise.as_ref(),
            Connect::Tunnel => None,
        }))
    }),
    key!("controller.tls", AtOnce, |c| {
        let tls = c.controller.as_ref().and_then(|one| one.tls.as_ref());
        maybe(tls.map(|tls| {
            let paths = [&tls.ca, &tls.certificate, &tls.key];
            paths.map(path).join(", ")
        }))
    }),
    key!("monitoring.address", Restart, |c| maybe(c.monitoring)),
    key!("launcher.socket", Restart, |c| maybe(
        c.launcher_socket.as_deref().map(path)
    )),
    key!("isolation.require", AtOnce, |c| {
        let names = c.isolation.require.iter().map(|measure| measure.name());
        all(&names.collect::<Vec<_>>())
    }),
    key!("output.head", AtOnce, |c| size::show(c.output.head_bytes)),
    key!("output.tail", AtOnce, |c| size::show(c.output.tail_bytes)),
    key!("payload.cache_directory", Restart, |c| path(
        c.cache_directory()
    )),
    key!("payload.cache_size", Restart, |c| size::show(
        c.payload.cache_bytes
    )),
    key!("payload.archive_size", Restart, |c| size::show(
        c.payload.archive_bytes
    )),
    key!("payload.unpacked_size", AtOnce, |c| size::show(
        c.payload.unpacked_bytes
    )),
    key!("payload.entries", AtOnce, |c| c.payload.entries.to_string()),
    key!("payload.ratio", AtOnce, |c| c.payload.ratio.to_string()),
    key!("payload.deadline", AtOnce, |c| time(c.payload.deadline)),
    key!("payload.allow_file_urls", Restart, |c| {
        c.payload.allow_file_urls.to_string()
    }),
    key!("artifacts.url", AtOnce, |c| maybe(c.artifacts.url.as_ref())),
    key_in_part!(
        "artifacts.options",
        AtOnce,
        |c| all(&c.artifacts.options.names().collect::<Vec<_>>()),
        |before, after| before.artifacts.options == after.artifacts.options
    ),
    key!("artifacts.file_size", AtOnce, |c| size::show(
        c.artifacts.file_bytes
    )),
    key!("artifacts.total_size", AtOnce, |c| size::show(
        c.artifacts.total_bytes
    )),
    key!("artifacts.files", AtOnce, |c| c.artifacts.files.to_string()),
    key!("artifacts.deadline", AtOnce, |c| time(c.artifacts.deadline)),
    key!("results.files", AtOnce, |c| c.results.files.to_string()),
    key!("results.file_size", AtOnce, |c| size::show(
        c.results.file_bytes
    )),
    key!("results.time", AtOnce, |c| time(c.results.time)),
    key!("labels", AtOnce, |c| {
        let labels = c.labels.iter().map(|label| match &label.value {
            Some(value) => format!("{} = {value}", label.name),
            None => label.name.to_string(),
        });
        all(&labels.collect::<Vec<_>>())
    }),
    // Their environments may hold secrets.
    key_in_part!(
        "probes",
        AtOnce,
        |c| all(&c
            .probes
            .iter()
            .map(|probe| &probe.capability)
            .collect::<Vec<_>>()),
        |before, after| debug(&before.probes) == debug(&after.probes)
    ),
    key_in_part!(
        "provisioners",
        AtOnce,
        |c| all(&c
            .provisioners
            .iter()
            .map(|one| &one.name)
            .collect::<Vec<_>>()),
        |before, after| debug(&before.provisioners) == debug(&after.provisioners)
    ),
    key!("requirement_files", AtOnce, |c| debug(&c.requirement_files)),
    key!("health", AtOnce, |c| debug(&c.health)),
    key!("pressure", AtOnce, |c| maybe(
        c.pressure.as_ref().map(debug)
    )),
    key!("retention.age", AtOnce, |c| time(c.retention.age)),
    key!("retention.size", AtOnce, |c| size::show(c.retention.bytes)),
    key!("shutdown.drain_timeout", AtOnce, |c| time(c.drain_timeout)),
    key_in_part!(
        "reboot.command",
        AtOnce,
        |c| maybe(
            c.reboot_command
                .as_ref()
                .map(|command| path(command.program()))
        ),
        |before, after| before.reboot_command == after.reboot_command
    ),
];

/// Every key whose value is another one, in the order of the example.
pub(crate) fn differences(before: &Config, after: &Config) -> Vec<Difference> {
    KEYS.iter()
        .filter(|key| !(key.is_same)(before, after))
        .map(|key| Difference {
            key: key.name,
            before: (key.show)(before),
            after: (key.show)(after),
            effect: key.effect,
        })
        .collect()
}

fn maybe(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn all(values: &[impl ToString]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("[{}]", values.join(", "))
}

fn path(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

fn time(value: Duration) -> String {
    duration::show(value)
}

fn debug(value: &impl Debug) -> String {
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use helix_settings::GivenSources;

    use super::super::tests::{EXAMPLE, example, parse_with, uncommented};
    use super::*;

    fn good(text: &str) -> Config {
        parse_with(text, &GivenSources::default()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn same_configuration_differs_in_nothing() {
        assert_eq!(differences(&example(), &example()), []);
        assert_eq!(differences(&good(EXAMPLE), &Config::default()), []);
        // Who writes a default down has changed nothing.
        assert_eq!(differences(&good("slots = 1\n"), &good("")), []);
    }

    #[test]
    fn every_key_of_the_example_is_one_that_is_compared() {
        let mut missing = Vec::new();
        let mut table = String::new();
        for line in uncommented().lines() {
            let line = line.trim_start_matches("# ");
            if let Some(name) = line.strip_prefix('[') {
                let name = name.trim_matches(|bracket| "[]".contains(bracket));
                table = format!("{name}.");
            } else if let Some((key, _)) = line.split_once(" = ")
                && key
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter == '_')
            {
                let full = format!("{table}{key}");
                // One address is a list of one; the word that opens the agent is of no effect later.
                let full = full.replace("controller.address", "controller.addresses");
                let is_known = full.ends_with("insecure_without_tls")
                    || KEYS.iter().any(|known| {
                        full.replace("addresseses", "addresses") == known.name
                            || full.starts_with(&format!("{}.", known.name))
                    });
                if !is_known {
                    missing.push(full);
                }
            }
        }
        assert_eq!(missing, [] as [String; 0]);
    }

    #[test]
    fn each_change_is_named_with_both_values() {
        let check = |before: &str, after: &str, expected: &[(&str, &str, &str, Effect)]| {
            let found = differences(&good(before), &good(after));
            let found: Vec<_> = found
                .iter()
                .map(|one| (one.key, one.before.as_str(), one.after.as_str(), one.effect))
                .collect();
            assert_eq!(found, expected);
        };
        use Effect::{AtOnce, Restart};
        check("", "slots = 3\n", &[("slots", "1", "3", AtOnce)]);
        check(
            "[labels]\ngpu = true\n",
            "[labels]\ngpu = true\nrack = \"b7\"\n",
            &[("labels", "[gpu]", "[gpu, rack = b7]", AtOnce)],
        );
        check(
            "work_directory = \"/a\"\n[monitoring]\naddress = \"\"\n",
            "work_directory = \"/b\"\n",
            &[
                ("work_directory", "/a", "/b", Restart),
                ("monitoring.address", "none", "127.0.0.1:7421", Restart),
            ],
        );
        check(
            "[retention]\nage = \"90m\"\n[pressure]\nenabled = false\n",
            "[pressure]\nenabled = false\n[shutdown]\ndrain_timeout = \"0s\"\n",
            &[
                ("retention.age", "1h 30m", "7d", AtOnce),
                ("shutdown.drain_timeout", "1m", "0s", AtOnce),
            ],
        );
    }

    #[test]
    fn what_may_be_secret_is_compared_and_not_shown() {
        let of = |word: &'static str| {
            let text = "[artifacts]\nurl = \"az://c/p\"\n[artifacts.options]\naccount_name = \"n\"\n\
                        account_key = { env = \"KEY\" }\n[[probes]]\ncapability = \"x\"\ncommand = [\"/x\"]\n";
            let text = format!("{text}environment = {{ TOKEN = \"{word}\" }}\n");
            let sources = GivenSources::default().with_variable("KEY", word);
            parse_with(&text, &sources).unwrap_or_else(|problems| panic!("{problems}"))
        };
        let found = differences(&of("c2VjcmV0MQ=="), &of("c2VjcmV0Mg=="));
        let keys: Vec<_> = found.iter().map(|difference| difference.key).collect();
        assert_eq!(keys, ["artifacts.options", "probes"]);
        assert!(!format!("{found:?}").contains("c2Vj"), "{found:?}");
    }
}
