//! Manual pages and shell completions, made from the programs' own definitions of their command
//! lines, and from the example configurations. The packages hold what it writes; nothing depends on
//! it, and it knows nothing else of the programs.

mod configuration;
mod manual;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};
use clap_complete::Shell;

/// Writes the manual pages and shell completions of the programs.
#[derive(Debug, Parser)]
#[command(name = "helix-xtask")]
struct Arguments {
    /// Where the example configurations are.
    #[arg(long, value_name = "DIR", default_value = "packaging")]
    examples: PathBuf,
    /// Where `man` and `completions` are made.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// The date that the pages bear, such as 2026-01-31.
    #[arg(long, value_name = "DATE")]
    date: String,
}

/// A program, and the section of the manual that it belongs in.
struct Program {
    section: &'static str,
    command: clap::Command,
}

fn programs() -> [Program; 3] {
    [
        Program {
            section: "8",
            command: helix_agent::command_line(),
        },
        Program {
            section: "8",
            command: helix_controller::command_line(),
        },
        Program {
            section: "1",
            command: helix_cli::command_line(),
        },
    ]
}

/// An example configuration, and what its manual page is called.
struct Example {
    file: &'static str,
    about: &'static str,
    see_also: &'static [&'static str],
}

const EXAMPLES: [Example; 2] = [
    Example {
        file: "agent.toml",
        about: "configuration of the Helix worker agent",
        see_also: &["helix-agent(8)", "helix-launcher(8)"],
    },
    Example {
        file: "controller.toml",
        about: "configuration of the Helix controller",
        see_also: &["helix-controller(8)"],
    },
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let manual = arguments.output.join("man");
    let completions = arguments.output.join("completions");
    for directory in [&manual, &completions] {
        fs::create_dir_all(directory)
            .with_context(|| format!("make the directory `{}`", directory.display()))?;
    }
    for program in programs() {
        manual::write(&program.command, program.section, &arguments.date, &manual)?;
        complete(program.command, &completions)?;
    }
    for example in &EXAMPLES {
        let path = arguments.examples.join(example.file);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("read the example `{}`", path.display()))?;
        let page = configuration::page(example, &arguments.date, &text);
        write(
            &manual.join(format!("helix-{}.5", example.file)),
            page.as_bytes(),
        )?;
    }
    Ok(())
}

/// Completions of a program for bash, zsh and fish, under the names that these look for.
fn complete(mut command: clap::Command, directory: &Path) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    for shell in Shell::value_variants() {
        let file = match shell {
            Shell::Bash => name.clone(),
            Shell::Zsh => format!("_{name}"),
            Shell::Fish => format!("{name}.fish"),
            _ => continue,
        };
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut command, &name, &mut script);
        write(&directory.join(file), &script)?;
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("write `{}`", path.display()))
}
