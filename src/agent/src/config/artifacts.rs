//! `[artifacts]`: where artifacts go, and with which credentials. These never stand in the file
//! itself.

use std::path::Path;
use std::time::Duration;

use helix_artifacts::{Destination, Options};
use toml::de::DeValue;

use super::ArtifactsConfig;
use super::section::{Complaint, Entry, Item, Section};
use super::sources::{Sources, VariableError};
use super::value::{self, whole};

/// Options whose values are no secrets and may stand in the file.
const PLAIN_OPTIONS: [&str; 14] = [
    "access_key_id",
    "account_name",
    "allow_http",
    "authority_host",
    "authority_id",
    "bucket",
    "client_id",
    "container_name",
    "endpoint",
    "region",
    "skip_signature",
    "tenant_id",
    "use_emulator",
    "virtual_hosted_style_request",
];

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a value can come from, for hints.
const FROM_OUTSIDE: &str =
    "write { env = \"NAME\" } for an environment variable or { file = \"/path\" } for a file";

pub(super) fn read(section: Section<'_>, config: &mut ArtifactsConfig, sources: &dyn Sources) {
    section.set("file_size", &mut config.file_bytes, value::size(1));
    section.set("total_size", &mut config.total_bytes, value::size(1));
    section.set("files", &mut config.files, whole(1..=1_000_000));
    section.set(
        "deadline",
        &mut config.deadline,
        value::duration(SECOND..=DAY),
    );
    let url = section.get("url", value::text);
    let mut is_complete = true;
    if let Some(options) = section.section("options") {
        for entry in options.entries() {
            match option(&entry, sources) {
                Ok(value) => {
                    config.options = std::mem::take(&mut config.options).with(entry.name(), value);
                }
                Err(complaint) => {
                    is_complete = false;
                    options.heed::<()>(entry.name(), entry.item.span(), Err(complaint));
                }
            }
        }
    }
    if let Some(url) = url {
        // With an option left out, anything else would be said about that.
        let checked = if is_complete {
            check(&url, &config.options)
        } else {
            Ok(())
        };
        let span = section.span_of("url");
        config.url = section.heed("url", span, checked.map(|()| url));
    } else if section.has("options") && !section.has("url") {
        let message = "`artifacts.options` are for a store, and there is no `artifacts.url`";
        section.complain(section.span_of("options"), message.to_owned(), None);
    }
    section.finish();
}

/// Whether the store can be used. Nothing is sent and nothing is made on disk.
fn check(url: &str, options: &Options) -> Result<(), Complaint> {
    const HINT: &str = "such as `file:///var/lib/helix/artifacts`, `az://container/prefix` or `s3://bucket/prefix`";
    if let Some(path) = url.strip_prefix("file://") {
        return match options.names().next() {
            _ if !Path::new(path).is_absolute() => {
                Err(Complaint::new(format!("has no absolute path: `{url}`")).hint(HINT))
            }
            Some(name) => Err(Complaint::new(format!(
                "is a folder, which has no option `{name}`"
            ))),
            None => Ok(()),
        };
    }
    // Errors of this kind never show a value.
    Destination::open(url, options)
        .map(drop)
        .map_err(|error| Complaint::new(format!("cannot be used: {}", chain(&error))).hint(HINT))
}

/// The value of an option.
fn option(entry: &Entry<'_>, sources: &dyn Sources) -> Result<String, Complaint> {
    let is_plain = PLAIN_OPTIONS.contains(&entry.name().to_ascii_lowercase().as_str());
    match entry.item.value() {
        DeValue::Table(_) => from_outside(&entry.item, sources),
        // Not even a wrong one is repeated: it would be a secret in a log.
        DeValue::String(_) | DeValue::Integer(_) if !is_plain => Err(Complaint::new(
            "may be a secret and must not stand in the configuration",
        )
        .hint(FROM_OUTSIDE)),
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        _ => Err(Complaint::expected("a string or a truth value", &entry.item).hint(FROM_OUTSIDE)),
    }
}

fn from_outside(item: &Item<'_>, sources: &dyn Sources) -> Result<String, Complaint> {
    let DeValue::Table(table) = item.value() else {
        return Err(Complaint::expected("a table", item).hint(FROM_OUTSIDE));
    };
    let mut entries = table.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        return Err(Complaint::new("must name one place to take the value from").hint(FROM_OUTSIDE));
    };
    let DeValue::String(name) = value.get_ref() else {
        return Err(Complaint::new("must name its place with a string").hint(FROM_OUTSIDE));
    };
    match &**key.get_ref() {
        "env" => sources.variable(name).map_err(|error| match error {
            VariableError::Unset => Complaint::new(format!(
                "needs the environment variable `{name}`, which is not set"
            ))
            .hint("set it for the service, for instance with `EnvironmentFile=`"),
            VariableError::NotText => Complaint::new(format!(
                "needs the environment variable `{name}`, which is no text"
            )),
        }),
        "file" => secret_file(Path::new(&**name), sources),
        other => Err(Complaint::new(format!("cannot come from `{other}`")).hint(FROM_OUTSIDE)),
    }
}

fn secret_file(path: &Path, sources: &dyn Sources) -> Result<String, Complaint> {
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

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
