//! From the arguments of `helix run` to work items of the contract.

use std::ffi::OsString;
use std::path::Path;

use helix_proto::agent::v1::{
    Argv, Command, Delivery, EnvironmentVariable, Limits, Network, OutputMode, Requirement,
    Resources, WorkItem, command,
};
use uuid::Uuid;

use crate::arguments::RunArguments;
use crate::arguments::values::Environment;
use crate::client::{Address, to_wire};
use crate::error::{Error, VariableError};
use crate::payloads::Payloads;
use crate::render::text;

/// A work item without the numbers that change from attempt to attempt.
#[derive(Debug)]
pub(crate) struct Template {
    work_item: WorkItem,
    /// Archives that must outlive the last attempt.
    _payloads: [Payloads; 2],
}

/// The shortest secret that the contract lets be masked.
const MIN_SECRET_BYTES: usize = 3;
const NAME_CHARACTERS: usize = 60;
const SLUG_CHARACTERS: usize = 24;

impl Template {
    /// Builds the work item; packs and hashes payloads, which can take long.
    /// `variables` are those of our own environment.
    pub(crate) fn build(
        arguments: &RunArguments,
        address: &Address,
        variables: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Error> {
        if !arguments.secret_env.is_empty() && !address.uses_tls() && !address.is_loopback() {
            return Err(Error::SecretsInTheClear {
                address: address.to_string(),
            });
        }
        let (environment, secrets) = environment(arguments, variables)?;
        let payloads = Payloads::prepare(&arguments.payload, address)?;
        let correlation = Payloads::prepare(&arguments.correlation, address)?;
        let name = name(arguments);
        let random = Uuid::new_v4().simple().to_string();
        let work_item = WorkItem {
            work_item_id: format!("{}-{}", slug(&name), &random[..12]),
            job_id: format!("run-{random}"),
            attempt_id: String::new(),
            friendly_name: name,
            queue: arguments.queue.clone(),
            command: Some(command(arguments)),
            environment,
            secrets,
            payloads: payloads.wire.clone(),
            correlation_payloads: correlation.wire.clone(),
            limits: Some(Limits {
                wall_timeout: Some(to_wire(arguments.timeout)),
                silence_timeout: arguments.silence_timeout.map(to_wire),
                kill_grace: arguments.kill_grace.map(to_wire),
                output_bytes: arguments.output_limit.unwrap_or(0),
            }),
            resources: Some(Resources {
                slots: arguments.slots.unwrap_or(0),
                cpu_millis: arguments.cpu.unwrap_or(0),
                memory_bytes: arguments.memory.unwrap_or(0),
                disk_bytes: arguments.disk.unwrap_or(0),
                processes: arguments.processes.unwrap_or(0),
            }),
            requirements: arguments
                .require
                .iter()
                .map(|requirement| Requirement {
                    name: requirement.name.clone(),
                    range: requirement.range.clone(),
                })
                .collect(),
            artifact_globs: arguments.artifact.clone(),
            delivery: Some(Delivery {
                number: 1,
                queue_max_delivery_count: arguments
                    .max_deliveries
                    .unwrap_or_else(|| arguments.retries.saturating_add(1)),
                retries_requested: arguments.retries,
                retries_used: None,
            }),
            network: if arguments.no_network {
                Network::None
            } else {
                Network::Unspecified
            }
            .into(),
        };
        Ok(Self {
            work_item,
            _payloads: [payloads, correlation],
        })
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        &self.work_item.friendly_name
    }

    /// The work item for one attempt.
    pub(crate) fn attempt(&self, numbers: Numbers) -> WorkItem {
        numbered(&self.work_item, numbers)
    }
}

/// The numbers that change from attempt to attempt of one work item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Attempts so far and this one; makes the attempt's id.
    pub(crate) attempt: u32,
    /// Which delivery it is.
    pub(crate) delivery: u32,
    /// Retries that earlier attempts used.
    pub(crate) retries_used: u32,
}

impl Numbers {
    /// Of the first attempt.
    pub(crate) fn first() -> Self {
        Self {
            attempt: 1,
            delivery: 1,
            retries_used: 0,
        }
    }
}

/// `work_item` with the numbers of one attempt, from which its id is made.
fn numbered(work_item: &WorkItem, numbers: Numbers) -> WorkItem {
    let mut work_item = work_item.clone();
    work_item.attempt_id = format!("{}.{}", work_item.work_item_id, numbers.attempt);
    if let Some(delivery) = &mut work_item.delivery {
        delivery.number = numbers.delivery;
        delivery.retries_used = Some(numbers.retries_used);
    }
    work_item
}

fn command(arguments: &RunArguments) -> Command {
    let kind = match &arguments.shell {
        Some(line) => command::Kind::Shell(line.clone()),
        None => command::Kind::Argv(Argv {
            arguments: arguments.command.clone(),
        }),
    };
    let output_mode = match arguments.merge_output {
        true => OutputMode::Merged,
        false => OutputMode::Separate,
    };
    Command {
        kind: Some(kind),
        output_mode: output_mode.into(),
    }
}

fn environment(
    arguments: &RunArguments,
    variables: impl Fn(&str) -> Option<OsString>,
) -> Result<(Vec<EnvironmentVariable>, Vec<String>), Error> {
    let inherit = |name: &str| {
        let failed = |source| Error::Variable {
            name: name.to_owned(),
            source,
        };
        let value = variables(name).ok_or_else(|| failed(VariableError::Unset))?;
        value
            .into_string()
            .map_err(|_| failed(VariableError::NotText))
    };
    let mut environment = Vec::new();
    for variable in &arguments.env {
        let (name, value) = match variable {
            Environment::Set { name, value } => (name, value.clone()),
            Environment::Inherit { name } => (name, inherit(name)?),
        };
        environment.push(EnvironmentVariable {
            name: name.clone(),
            value,
        });
    }
    let mut secrets = Vec::new();
    for name in &arguments.secret_env {
        let value = inherit(name)?;
        if value.trim().len() < MIN_SECRET_BYTES {
            return Err(Error::Variable {
                name: name.clone(),
                source: VariableError::TooShort,
            });
        }
        secrets.push(value.clone());
        environment.push(EnvironmentVariable {
            name: name.clone(),
            value,
        });
    }
    Ok((environment, secrets))
}

/// The name given, or the command as far as it fits.
fn name(arguments: &RunArguments) -> String {
    let text = match (
        &arguments.name,
        &arguments.shell,
        arguments.command.split_first(),
    ) {
        (Some(name), _, _) => return name.clone(),
        (None, Some(line), _) => line.clone(),
        (None, None, Some((program, rest))) => {
            let program = Path::new(program).file_name().map_or_else(
                || program.clone(),
                |name| name.to_string_lossy().into_owned(),
            );
            std::iter::once(program)
                .chain(rest.iter().cloned())
                .collect::<Vec<_>>()
                .join(" ")
        }
        (None, None, None) => String::new(),
    };
    match text::line(&text, NAME_CHARACTERS) {
        empty if empty.is_empty() => "command".to_owned(),
        name => name,
    }
}

/// The beginning of an id that people recognize.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in name.chars() {
        if slug.len() == SLUG_CHARACTERS {
            break;
        }
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        "item".to_owned()
    } else {
        slug.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command as Subcommand};

    fn build(address: &str, arguments: &[&str]) -> Result<Template, Error> {
        let all = ["helix", "run"].iter().chain(arguments);
        let Subcommand::Run(run) = Arguments::try_parse_from(all).unwrap().command else {
            panic!("not `run`");
        };
        let variables = |name: &str| match name {
            "TOKEN" => Some(OsString::from("s3cret")),
            "SHORT" => Some(OsString::from("ab")),
            _ => None,
        };
        Template::build(&run, &Address::parse(address).unwrap(), variables)
    }

    #[test]
    fn a_secret_is_both_a_variable_and_a_mask() {
        let template = build("127.0.0.1", &["--secret-env", "TOKEN", "--", "x"]).unwrap();
        let variable = &template.work_item.environment[0];
        assert_eq!(
            (variable.name.as_str(), variable.value.as_str()),
            ("TOKEN", "s3cret")
        );
        assert_eq!(template.work_item.secrets, ["s3cret"]);
    }

    #[test]
    fn a_secret_that_cannot_be_masked_or_hidden_on_the_way_is_not_sent() {
        let error = build("127.0.0.1", &["--secret-env", "SHORT", "--", "x"]).unwrap_err();
        assert!(matches!(
            error,
            Error::Variable {
                source: VariableError::TooShort,
                ..
            }
        ));
        let error = build("127.0.0.1", &["--secret-env", "NONE", "--", "x"]).unwrap_err();
        assert!(matches!(
            error,
            Error::Variable {
                source: VariableError::Unset,
                ..
            }
        ));
        let error = build("http://far", &["--secret-env", "TOKEN", "--", "x"]).unwrap_err();
        assert!(matches!(error, Error::SecretsInTheClear { .. }));
        assert!(build("https://far", &["--secret-env", "TOKEN", "--", "x"]).is_ok());
    }

    #[test]
    fn network_is_the_machines_unless_it_is_not_wanted() {
        let network = |arguments: &[&str]| {
            let template = build("127.0.0.1", arguments).unwrap();
            template.work_item.network()
        };
        assert_eq!(network(&["--", "x"]), Network::Unspecified);
        assert_eq!(network(&["--no-network", "--", "x"]), Network::None);
    }

    #[test]
    fn each_attempt_has_an_id_of_its_own_and_its_numbers() {
        let template = build(
            "127.0.0.1",
            &["--retries", "2", "--", "/usr/bin/My Tests", "-v"],
        );
        let template = template.unwrap();
        assert_eq!(template.name(), "My Tests -v");
        let numbers = Numbers {
            attempt: 3,
            delivery: 2,
            retries_used: 1,
        };
        let item = template.attempt(numbers);
        assert!(
            item.work_item_id.starts_with("my-tests-v-"),
            "{}",
            item.work_item_id
        );
        assert_eq!(item.attempt_id, format!("{}.3", item.work_item_id));
        let delivery = item.delivery.unwrap();
        assert_eq!(delivery.number, 2);
        assert_eq!(delivery.retries_used, Some(1));
        assert_eq!(
            (
                delivery.retries_requested,
                delivery.queue_max_delivery_count
            ),
            (2, 3)
        );
    }

    #[test]
    fn names_and_ids_keep_the_form_of_the_contract() {
        for (name, expected) in [
            ("", "item"),
            ("--", "item"),
            ("Ünit tests!", "nit-tests"),
            ("a/b/c", "a-b-c"),
            ("abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwx"),
        ] {
            assert_eq!(slug(name), expected, "{name}");
        }
        let template = build("127.0.0.1", &["--shell", "a \x1b[2J\n b"]).unwrap();
        assert_eq!(template.name(), "a \\u{1b}[2J b");
    }
}
