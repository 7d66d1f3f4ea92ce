//! Values that must not stand in the configuration: they come from an environment variable or from
//! a file that not everybody can read, and no message and no report repeats them.

use std::path::Path;

use crate::complaint::Complaint;
use crate::item::{Entry, Item, Value};
use crate::sources::{Sources, VariableError};

/// What a value can come from, for hints.
pub const FROM_OUTSIDE: &str =
    "write { env = \"NAME\" } for an environment variable or { file = \"/path\" } for a file";

/// A value that is taken from where `{ env = "NAME" }` or `{ file = "/path" }` says. Ends of line at
/// the end of a file are dropped.
pub fn from_outside(sources: &dyn Sources) -> impl Fn(&Item<'_>) -> Result<String, Complaint> {
    move |item| {
        let mut entries = item.entries().ok_or_else(|| {
            Complaint::expected("a table", item)
                .hint(FROM_OUTSIDE)
                .secret()
        })?;
        let (Some(entry), None) = (entries.next(), entries.next()) else {
            let complaint = Complaint::new("must name one place to take the value from");
            return Err(complaint.hint(FROM_OUTSIDE).secret());
        };
        let Value::String(place) = entry.item().value() else {
            let complaint = Complaint::new("must name its place with a string");
            return Err(complaint.hint(FROM_OUTSIDE).secret());
        };
        match entry.name() {
            "env" => variable(place, sources),
            "file" => file(Path::new(place), sources),
            // The value may be the secret itself.
            other => {
                let complaint = Complaint::new(format!("cannot come from `{other}`"));
                Err(complaint.hint(FROM_OUTSIDE).secret())
            }
        }
    }
}

/// The value of one of the options of an object store, as [`Section::entries`] has them: a string or
/// a truth value. It must come from outside if its name, in lower case, is none of `plain`.
///
/// # Errors
///
/// What is wrong with it.
///
/// [`Section::entries`]: crate::Section::entries
pub fn option(
    entry: &Entry<'_>,
    plain: &[&str],
    sources: &dyn Sources,
) -> Result<String, Complaint> {
    let item = entry.item();
    let is_plain = plain.contains(&entry.name().to_ascii_lowercase().as_str());
    match item.value() {
        Value::Table => from_outside(sources)(&item),
        // Not even a wrong one is repeated: it would be a secret in a log.
        Value::String(_) | Value::Integer(_) if !is_plain => {
            let complaint =
                Complaint::new("may be a secret and must not stand in the configuration");
            Err(complaint.hint(FROM_OUTSIDE).secret())
        }
        Value::String(text) => Ok(text.to_owned()),
        Value::Boolean(value) => Ok(value.to_string()),
        _ => {
            let complaint = Complaint::expected("a string or a truth value", &item);
            let complaint = complaint.hint(FROM_OUTSIDE);
            Err(if is_plain {
                complaint
            } else {
                complaint.secret()
            })
        }
    }
}

fn variable(name: &str, sources: &dyn Sources) -> Result<String, Complaint> {
    sources.variable(name).map_err(|error| match error {
        VariableError::Unset => Complaint::new(format!(
            "needs the environment variable `{name}`, which is not set"
        ))
        .hint("set it for the service, for instance with `EnvironmentFile=`"),
        VariableError::NotText => Complaint::new(format!(
            "needs the environment variable `{name}`, which is no text"
        )),
    })
}

fn file(path: &Path, sources: &dyn Sources) -> Result<String, Complaint> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(Complaint::new(format!(
            "needs a file with an absolute path, not `{shown}`"
        )));
    }
    let file = sources
        .file(path)
        .map_err(|error| Complaint::new(format!("needs the file `{shown}`: {error}")))?;
    if file.is_public() {
        return Err(Complaint::new(format!(
            "is in the file `{shown}`, which everybody can read"
        ))
        .hint(format!("chmod 0640 {shown}")));
    }
    let text = file.text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Complaint::new(format!(
            "is in the file `{shown}`, which is empty"
        )));
    }
    Ok(text.to_owned())
}
