//! Manual pages of programs: one for each, and one for each of its commands, named
//! `program-command`, as git does it.

use std::path::Path;

use anyhow::Context as _;

/// Writes the pages of a program and of all its commands that are not hidden.
pub(crate) fn write(
    command: &clap::Command,
    section: &str,
    date: &str,
    directory: &Path,
) -> anyhow::Result<()> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    write_one(&command, command.get_name(), section, date, directory)?;
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        let name = format!("{}-{}", command.get_name(), below.get_name());
        write_one(below, &name, section, date, directory)?;
    }
    Ok(())
}

fn write_one(
    command: &clap::Command,
    name: &str,
    section: &str,
    date: &str,
    directory: &Path,
) -> anyhow::Result<()> {
    let path = directory.join(format!("{name}.{section}"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().display_name(name))
        .title(name)
        .section(section)
        .date(date)
        .source(format!("helix {}", env!("CARGO_PKG_VERSION")))
        .manual("Helix")
        .render(&mut page)
        .with_context(|| format!("make the page of `{name}`"))?;
    crate::write(&path, &page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_shown_has_a_page() {
        let directory = std::env::temp_dir().join(format!("helix-manual-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let command = clap::Command::new("tool")
            .subcommand(clap::Command::new("shown"))
            .subcommand(clap::Command::new("hidden").hide(true));
        write(&command, "8", "2026-01-31", &directory).unwrap();
        let mut pages: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        std::fs::remove_dir_all(&directory).unwrap();
        pages.sort();
        assert_eq!(pages, ["tool-shown.8", "tool.8"]);
    }
}
