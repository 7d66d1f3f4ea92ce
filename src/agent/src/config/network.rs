//! `[listen]` and `[monitoring]`: where the agent answers, and to whom.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use super::section::{Complaint, Item, Section};
use super::sources::Sources;
use super::{ListenConfig, TlsConfig, value};

/// The key that lets everybody in.
pub(super) const INSECURE_KEY: &str = "insecure_without_tls";

/// What has to be written to let everybody run commands.
pub(super) const INSECURE_LISTEN: &str = "i-understand-that-anyone-can-run-commands";

/// What has to be written to let everybody read metrics.
pub(super) const INSECURE_MONITORING: &str = "i-understand-that-anyone-can-read-this";

pub(super) fn read_listen(section: Section<'_>, config: &mut ListenConfig, sources: &dyn Sources) {
    section.set("address", &mut config.address, value::address);
    let is_insecure = insecure(&section, INSECURE_LISTEN);
    let tls = section.section("tls");
    match (&tls, is_insecure) {
        (Some(_), Some(true)) => {
            let message = format!("`listen.{INSECURE_KEY}` and `listen.tls` contradict each other");
            let hint = "without the former, only clients with a certificate are let in";
            section.complain(
                section.span_of(INSECURE_KEY),
                message,
                Some(hint.to_owned()),
            );
        }
        (None, Some(false)) if !config.address.ip().is_loopback() => {
            let message = format!(
                "`listen.address` `{}` can be reached by other machines, and without TLS and client \
                 certificates whoever reaches it can run commands here",
                config.address
            );
            let hint = format!(
                "set `certificate`, `key` and `client_ca` in `[listen.tls]`; or, in a network where \
                 nobody is to be feared, `{INSECURE_KEY} = \"{INSECURE_LISTEN}\"`"
            );
            section.complain(section.span_of("address"), message, Some(hint));
        }
        (Some(_) | None, _) => {}
    }
    if let Some(tls) = tls {
        config.tls = read_tls(tls, sources);
    }
    section.finish();
}

/// Reads where metrics are served; an empty address turns that off.
pub(super) fn read_monitoring(section: Section<'_>, config: &mut Option<SocketAddr>) {
    section.set("address", config, |item| match item.value() {
        DeValue::String(text) if text.is_empty() => Ok(None),
        _ => value::address(item).map(Some),
    });
    let is_insecure = insecure(&section, INSECURE_MONITORING);
    if let (Some(address), Some(false)) = (&config, is_insecure)
        && !address.ip().is_loopback()
    {
        let message = format!(
            "`monitoring.address` `{address}` can be reached by other machines, and everybody who \
             reaches it can read what this one does"
        );
        let hint = format!("if that is well, set `{INSECURE_KEY} = \"{INSECURE_MONITORING}\"`");
        section.complain(section.span_of("address"), message, Some(hint));
    }
    section.finish();
}

/// Whether the word is there; none if another word is, which was complained about.
pub(super) fn insecure(section: &Section<'_>, word: &'static str) -> Option<bool> {
    if !section.has(INSECURE_KEY) {
        return Some(false);
    }
    section.get(INSECURE_KEY, |item| match item.value() {
        DeValue::String(text) if *text == word => Ok(true),
        _ => Err(
            Complaint::new("takes only the one word that cannot be written by mistake")
                .hint(format!("`{INSECURE_KEY} = \"{word}\"`, or leave it out")),
        ),
    })
}

fn read_tls(section: Section<'_>, sources: &dyn Sources) -> Option<TlsConfig> {
    let certificate = section.require("certificate", |item| pem(item, "CERTIFICATE", sources));
    let key = section.require("key", |item| key_file(item, sources));
    let client_ca = section.require("client_ca", |item| pem(item, "CERTIFICATE", sources));
    section.finish();
    Some(TlsConfig {
        certificate: certificate?,
        key: key?,
        client_ca: client_ca?,
    })
}

/// A PEM file with a private key that not everybody can read.
pub(super) fn key_file(item: &Item<'_>, sources: &dyn Sources) -> Result<PathBuf, Complaint> {
    let path = pem(item, "PRIVATE KEY", sources)?;
    match sources.file(&path) {
        Ok(file) if file.is_public() => Err(Complaint::new(format!(
            "is the file `{}`, which everybody can read",
            path.display()
        ))
        .hint(format!("chmod 0640 {}", path.display()))),
        Ok(_) | Err(_) => Ok(path),
    }
}

/// A PEM file with something of the kind in it. Whether it is any good shows when it is used.
pub(super) fn pem(
    item: &Item<'_>,
    kind: &str,
    sources: &dyn Sources,
) -> Result<PathBuf, Complaint> {
    let path = value::path(item)?;
    let shown = path.display();
    let file = sources
        .file(&path)
        .map_err(|error| Complaint::new(format!("cannot be read from `{shown}`: {error}")))?;
    let begins =
        |line: &str| line.starts_with("-----BEGIN ") && line.ends_with(&format!("{kind}-----"));
    if file.text.lines().any(|line| begins(line.trim())) {
        return Ok(path);
    }
    Err(
        Complaint::new(format!("is in `{shown}`, which has no `{kind}` in it"))
            .hint("it must be a PEM file; `openssl` turns other formats into one"),
    )
}
