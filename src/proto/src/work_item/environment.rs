//! The variables that a work item asks for.

use std::collections::HashSet;

use helix_model::work_item::{Environment, EnvironmentProblem, MAX_ARGUMENT_BYTES};

use super::reader::Reader;
use crate::agent::v1;

/// The most variables of one work item.
pub const MAX_VARIABLES: usize = 4096;
/// The longest name of a variable, in bytes.
pub const MAX_VARIABLE_NAME_BYTES: usize = 256;
/// The longest variable, in bytes, name and value together. With the `=` between them it is the
/// longest text that the system passes to a program.
pub const MAX_VARIABLE_BYTES: usize = MAX_ARGUMENT_BYTES - 1;

/// Variables whose names begin so belong to the agent.
const RESERVED_PREFIX: &str = "HELIX_";

pub(super) fn environment(
    reader: &mut Reader,
    messages: Vec<v1::EnvironmentVariable>,
) -> Option<Environment> {
    const PATH: &str = "work_item.environment";
    let messages = reader.bounded(PATH, messages, MAX_VARIABLES);
    let mut seen = HashSet::with_capacity(messages.len());
    for (index, variable) in messages.iter().enumerate() {
        let path = format!("{PATH}[{index}]");
        check(reader, &path, variable);
        if !seen.insert(variable.name.as_str()) {
            reader.say(format!("{path}.name"), "the name is given twice");
        }
    }
    let pairs = messages
        .into_iter()
        .map(|variable| (variable.name, variable.value));
    // What is wrong was said above, all of it and not only the first.
    Environment::new(pairs.collect()).ok()
}

fn check(reader: &mut Reader, path: &str, variable: &v1::EnvironmentVariable) {
    let v1::EnvironmentVariable { name, value } = variable;
    if name.len() > MAX_VARIABLE_NAME_BYTES {
        let message = format!(
            "it has {} bytes, the limit is {MAX_VARIABLE_NAME_BYTES}",
            name.len()
        );
        reader.say(format!("{path}.name"), message);
    } else if name.len() + value.len() > MAX_VARIABLE_BYTES {
        let message = format!(
            "with its name it has {} bytes, the limit is {MAX_VARIABLE_BYTES}",
            name.len() + value.len()
        );
        reader.say(format!("{path}.value"), message);
    }
    if name.starts_with(RESERVED_PREFIX) {
        let message = format!("names that begin with `{RESERVED_PREFIX}` are the agent's");
        reader.say(format!("{path}.name"), message);
    }
    if let Err(error) = Environment::new(vec![(name.clone(), String::new())]) {
        reader.say(format!("{path}.name"), wording(&error.problem));
    }
    if value.contains('\0') {
        reader.say(format!("{path}.value"), "it has a NUL character");
    }
}

/// The problem of a name as a sentence about it.
fn wording(problem: &EnvironmentProblem) -> String {
    match problem {
        EnvironmentProblem::EmptyName => "it is empty".to_owned(),
        EnvironmentProblem::BadName { character } => format!("it has the character {character:?}"),
        EnvironmentProblem::NulInValue { .. } | EnvironmentProblem::Duplicate { .. } => {
            problem.to_string()
        }
    }
}
