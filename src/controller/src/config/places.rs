//! `[store]` and `[storage]`: where everything is kept. Passwords and keys never stand in the file
//! itself.

use std::path::Path;

use toml::de::DeValue;
use url::Url;

use super::section::{Complaint, Entry, Item, Section};
use super::sources::{Sources, VariableError};
use super::{StorageConfig, StoreConfig, value};

/// Options whose values are no secrets and may stand in the file.
const PLAIN_OPTIONS: [&str; 13] = [
    "access_key_id",
    "account_name",
    "allow_http",
    "authority_host",
    "authority_id",
    "client_id",
    "endpoint",
    "region",
    "skip_signature",
    "tenant_id",
    "timeout",
    "use_emulator",
    "virtual_hosted_style_request",
];

/// What a value can come from, for hints.
const FROM_OUTSIDE: &str =
    "write { env = \"NAME\" } for an environment variable or { file = \"/path\" } for a file";

pub(super) fn read_store(section: &Section<'_>, config: &mut StoreConfig, sources: &dyn Sources) {
    section.set_some("url", &mut config.url, |item| {
        let url = match item.value() {
            DeValue::Table(_) => from_outside(item, sources)?,
            _ => {
                let url = value::text(item)?;
                let has_password = Url::parse(&url).is_ok_and(|url| url.password().is_some());
                if has_password {
                    let complaint =
                        Complaint::new("has a password, which must not stand in the configuration");
                    return Err(complaint.hint(FROM_OUTSIDE));
                }
                url
            }
        };
        match url.split_once(':') {
            Some(("sqlite" | "postgres" | "postgresql", _)) => Ok(url),
            // It may be a secret that came from outside, so that it is not repeated.
            _ => Err(
                Complaint::new("must begin with `sqlite://` or `postgres://`")
                    .hint("such as `sqlite:///var/lib/helix/controller/helix.db`"),
            ),
        }
    });
    section.finish();
}

pub(super) fn read_storage(
    section: &Section<'_>,
    config: &mut StorageConfig,
    sources: &dyn Sources,
) {
    section.set_some("url", &mut config.url, |item| {
        const HINT: &str =
            "such as `file:///var/lib/helix/objects`, `az://container/prefix` or `s3://bucket/prefix`";
        let text = value::text(item)?;
        let url = Url::parse(&text)
            .map_err(|error| Complaint::new(format!("is no URL: {error}")).hint(HINT))?;
        if url.password().is_some() || url.query().is_some() {
            return Err(Complaint::new("must not have a password or a query").hint(HINT));
        }
        match url.scheme() {
            "file" if url.to_file_path().is_err() => {
                Err(Complaint::new("has no absolute path").hint(HINT))
            }
            "file" | "az" | "s3" => Ok(text),
            other => Err(Complaint::new(format!("has the scheme `{other}`")).hint(HINT)),
        }
    });
    if let Some(options) = section.section("options") {
        for entry in options.entries() {
            let read = option(&entry, sources);
            if let Some(value) = options.heed(entry.name(), entry.item.span(), read) {
                config.options.insert(entry.name().to_owned(), value);
            }
        }
        let is_folder = config
            .url
            .as_deref()
            .is_none_or(|url| url.starts_with("file:"));
        if is_folder {
            let message = "`storage.options` are for `az://` and `s3://`".to_owned();
            section.complain(section.span_of("options"), message, None);
        }
    }
    section.finish();
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

/// A value from an environment variable or a file that not everybody can read.
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
