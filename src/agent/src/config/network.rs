//! `[listen]` and `[monitoring]`: where the agent answers, and to whom.

use std::net::SocketAddr;

use helix_settings::insecure::{Consent, KEY as INSECURE_KEY};
use helix_settings::{Section, Sources, Value, address, pem};

use super::{ListenConfig, TlsConfig};

/// The ports that are usual, for examples.
const LISTEN_PORT: u16 = 7420;
const MONITORING_PORT: u16 = 7421;

/// What has to be written to let everybody run commands.
pub(super) const INSECURE_LISTEN: &str = "i-understand-that-anyone-can-run-commands";

/// What has to be written to let everybody read metrics.
pub(super) const INSECURE_MONITORING: &str = "i-understand-that-anyone-can-read-this";

pub(super) fn read_listen(section: Section<'_>, config: &mut ListenConfig, sources: &dyn Sources) {
    section.set("address", &mut config.address, address::socket(LISTEN_PORT));
    let consent = Consent::read(&section, INSECURE_LISTEN);
    let hint = "without the former, only clients with a certificate are let in";
    consent.check_against_tls(&section, hint);
    let tls = section.section("tls");
    if tls.is_none() && consent == Consent::Absent && !config.address.ip().is_loopback() {
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
    if let Some(tls) = tls {
        config.tls = read_tls(tls, sources);
    }
    section.finish();
}

/// Reads where metrics are served; an empty address turns that off.
pub(super) fn read_monitoring(section: Section<'_>, config: &mut Option<SocketAddr>) {
    section.set("address", config, |item| match item.value() {
        Value::String("") => Ok(None),
        _ => address::socket(MONITORING_PORT)(item).map(Some),
    });
    let consent = Consent::read(&section, INSECURE_MONITORING);
    if let (Some(address), Consent::Absent) = (&config, consent)
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

fn read_tls(section: Section<'_>, sources: &dyn Sources) -> Option<TlsConfig> {
    let certificate = section.require("certificate", pem::certificate(sources));
    let key = section.require("key", pem::private_key(sources));
    let client_ca = section.require("client_ca", pem::certificate(sources));
    section.finish();
    Some(TlsConfig {
        certificate: certificate?,
        key: key?,
        client_ca: client_ca?,
    })
}
