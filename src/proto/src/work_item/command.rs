//! What is run, and how its output is captured.

use helix_model::work_item::{Command, CommandError, OutputMode};

use super::reader::Reader;
use crate::agent::v1;

const PATH: &str = "work_item.command";

pub(super) fn command(
    reader: &mut Reader,
    message: Option<v1::Command>,
) -> Option<(Command, OutputMode)> {
    let message = message.unwrap_or_default();
    let output_mode = output_mode(reader, message.output_mode);
    let command = match message.kind {
        Some(v1::command::Kind::Argv(argv)) => self::argv(reader, argv.arguments),
        Some(v1::command::Kind::Shell(line)) => {
            let shell = Command::shell(line).map_err(|error| wording(&error));
            reader.check(&format!("{PATH}.shell"), shell)
        }
        None => {
            reader.say(PATH, "neither `argv` nor `shell` is given");
            None
        }
    };
    command.zip(output_mode)
}

fn output_mode(reader: &mut Reader, number: i32) -> Option<OutputMode> {
    match v1::OutputMode::try_from(number) {
        Ok(v1::OutputMode::Unspecified | v1::OutputMode::Separate) => Some(OutputMode::Separate),
        Ok(v1::OutputMode::Merged) => Some(OutputMode::Merged),
        Err(_) => {
            reader.say(
                format!("{PATH}.output_mode"),
                format!("{number} is none of its values"),
            );
            None
        }
    }
}

fn argv(reader: &mut Reader, arguments: Vec<String>) -> Option<Command> {
    let path = format!("{PATH}.argv.arguments");
    if arguments.is_empty() {
        reader.say(path, "it is empty, its first entry is the program");
        return None;
    }
    // The model stops at the first argument that is wrong; asked for each by itself, it tells all.
    for (index, argument) in arguments.iter().enumerate() {
        let asked = match index {
            0 => Command::argv([argument]),
            _ => Command::argv(["program", argument]),
        };
        if let Err(error) = asked {
            reader.say(format!("{path}[{index}]"), wording(&error));
        }
    }
    Command::argv(arguments).ok()
}

/// The error without the index of the argument, which the path says.
fn wording(error: &CommandError) -> String {
    match error {
        CommandError::Empty => "it is empty".to_owned(),
        CommandError::Nul { position, .. } => format!("it has a NUL character at byte {position}"),
        CommandError::TooLong { length, .. } => format!(
            "it has {length} bytes, the limit is {}",
            helix_model::work_item::MAX_ARGUMENT_BYTES
        ),
    }
}
