//! `[store]` and `[storage]`: where everything is kept. Passwords and keys never stand in the file
//! itself.

use helix_settings::{Complaint, Section, Sources, Value, secret, value};
use url::Url;

use super::{StorageConfig, StoreConfig};

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

pub(super) fn read_store(section: &Section<'_>, config: &mut StoreConfig, sources: &dyn Sources) {
    section.set_some("url", &mut config.url, |item| {
        let url = match item.value() {
            Value::Table => secret::from_outside(sources)(item)?,
            _ => {
                let url = value::text(item)?;
                let has_password = Url::parse(&url).is_ok_and(|url| url.password().is_some());
                if has_password {
                    let complaint =
                        Complaint::new("has a password, which must not stand in the configuration");
                    return Err(complaint.hint(secret::FROM_OUTSIDE).secret());
                }
                url
            }
        };
        match url.split_once(':') {
            Some(("sqlite" | "postgres" | "postgresql", _)) => Ok(url),
            _ => {
                let complaint = Complaint::new("must begin with `sqlite://` or `postgres://`")
                    .hint("such as `sqlite:///var/lib/helix/controller/helix.db`");
                // It may be a secret, so that it is not repeated.
                Err(match item.value() {
                    Value::Table => complaint,
                    _ => complaint.secret(),
                })
            }
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
            return Err(Complaint::new("must not have a password or a query")
                .hint(HINT)
                .secret());
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
            let read = secret::option(&entry, &PLAIN_OPTIONS, sources);
            if let Some(value) = options.heed(entry.name(), entry.item().span(), read) {
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
