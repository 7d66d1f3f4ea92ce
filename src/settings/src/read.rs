//! From a file or a text to what a program makes of it, or to everything that is wrong with it.

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::{DeTable, Error};

use crate::lines::Lines;
use crate::problem::{ConfigProblems, Found, Problem};
use crate::section::Section;
use crate::sources::Sources;

/// Reads a configuration from a file of at most 1 MiB, as [`read()`] does from a text.
///
/// The file is taken from `sources`, and called by its path in the report. That the path can be
/// given with `--config` is told where the file cannot be read.
///
/// # Errors
///
/// Everything that is wrong, in the order of the file; that it cannot be read is one problem.
pub fn load<T>(
    path: &Path,
    sources: &dyn Sources,
    walk: impl FnOnce(&Section<'_>) -> T,
) -> Result<T, ConfigProblems> {
    let name = path.display().to_string();
    match sources.file(path) {
        Ok(file) => read(&file.text, &name, walk),
        Err(error) => {
            let message = format!("the configuration cannot be read: {error}");
            let hint = "name another file with `--config`; an empty one is a valid configuration";
            let problem = Problem::of_file(message, Some(hint.to_owned()));
            Err(ConfigProblems::new(&name, "", vec![problem]))
        }
    }
}

/// Reads a configuration from a text that people call `name`, such as its path.
///
/// `walk` is given the table at the top, and makes something of it whatever is wrong: defaults take
/// the place of what cannot be used. It is called for a text with mistakes of syntax too, with as
/// much as can be made out. It need not [finish](Section::finish) the table at the top.
///
/// # Errors
///
/// Everything that is wrong, in the order of the text. What was made of it is then dropped.
pub fn read<T>(
    text: &str,
    name: &str,
    walk: impl FnOnce(&Section<'_>) -> T,
) -> Result<T, ConfigProblems> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let found = Found::default();
    let root = Section::root(&found, &document);
    let made = walk(&root);
    root.finish();
    let (mut problems, secrets) = found.into_parts();
    if !errors.is_empty() {
        let syntax: Vec<Problem> = errors.iter().map(of_syntax).collect();
        drop_consequences(text, &syntax, &mut problems);
        problems.extend(syntax);
    }
    if problems.is_empty() {
        Ok(made)
    } else {
        Err(ConfigProblems::new(name, text, problems).without(secrets))
    }
}

fn of_syntax(error: &Error) -> Problem {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    match error.span() {
        Some(span) => Problem::at(span, message, None),
        None => Problem::of_file(message, None),
    }
}

/// A line that cannot be read leaves holes and stumps, about which no more need be said.
fn drop_consequences(text: &str, syntax: &[Problem], problems: &mut Vec<Problem>) {
    let lines = Lines::of(text);
    let line = |problem: &Problem| problem.start().map(|start| lines.number_at(start));
    let broken: BTreeSet<usize> = syntax.iter().filter_map(line).collect();
    problems.retain(|problem| {
        !problem.is_absence() && line(problem).is_none_or(|line| !broken.contains(&line))
    });
}
