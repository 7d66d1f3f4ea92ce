//! `[artifacts]`: where artifacts go, and with which credentials. These never stand in the file
//! itself.

use std::path::Path;
use std::time::Duration;

use helix_artifacts::{Destination, Options};
use helix_settings::value::{self, whole};
use helix_settings::{Complaint, Section, Sources, secret};

use super::ArtifactsConfig;

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
            match secret::option(&entry, &PLAIN_OPTIONS, sources) {
                Ok(value) => {
                    config.options = std::mem::take(&mut config.options).with(entry.name(), value);
                }
                Err(complaint) => {
                    is_complete = false;
                    options.heed::<()>(entry.name(), entry.item().span(), Err(complaint));
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
    Destination::open(url, options).map(drop).map_err(|error| {
        // Errors of this kind never show a value.
        let complaint = Complaint::new(format!("cannot be used: {}", chain(&error))).hint(HINT);
        // A password or a signature.
        if url.contains(['@', '?']) {
            complaint.secret()
        } else {
            complaint
        }
    })
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
