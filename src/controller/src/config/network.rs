//! `[http]` and `[agents]`: where the controller answers, and to whom; whom it calls, and how.

use std::time::Duration;

use helix_settings::insecure::{Consent, KEY as INSECURE_KEY};
use helix_settings::{Complaint, Item, Section, Sources, address, pem, value};
use url::Url;

use super::{
    AgentAddress, AgentsConfig, ClientTlsConfig, Config, HttpConfig, ServerIdentity, TlsConfig,
};

/// The ports that are usual, for examples.
const HTTP_PORT: u16 = 7410;
const AGENTS_PORT: u16 = 7411;

/// What has to be written to let tokens and logs travel in the clear.
pub(super) const INSECURE_HTTP: &str = "i-understand-that-anyone-can-read-tokens";

/// What has to be written to let every machine pass for an agent.
pub(super) const INSECURE_AGENTS: &str = "i-understand-that-anyone-can-be-an-agent";

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn read_http(section: &Section<'_>, config: &mut HttpConfig, sources: &dyn Sources) {
    section.set("address", &mut config.address, address::socket(HTTP_PORT));
    let consent = Consent::read(section, INSECURE_HTTP);
    let tls = section.section("tls");
    if tls.is_none() && consent == Consent::Absent && !config.address.ip().is_loopback() {
        let message = format!(
            "`http.address` `{}` can be reached by other machines, and without TLS whoever listens \
             on the way learns the tokens",
            config.address
        );
        let hint = format!(
            "set `certificate` and `key` in `[http.tls]`; or, behind a proxy that does it, \
             `{INSECURE_KEY} = \"{INSECURE_HTTP}\"`"
        );
        section.complain(section.span_of("address"), message, Some(hint));
    }
    consent.check_against_tls(section, "without the former, nothing travels in the clear");
    if let Some(tls) = tls {
        config.tls = read_identity(&tls, sources);
        tls.finish();
    }
    section.finish();
}

/// Off loopback somebody must say who may come.
pub(super) fn check_http(root: &Section<'_>, config: &Config) {
    // Wrong ones were complained about, and are there all the same.
    if config.http.address.ip().is_loopback() || root.has("tokens") {
        return;
    }
    let message = format!(
        "`http.address` `{}` can be reached by other machines, and there are no `[[tokens]]`: whoever \
         reaches it could run commands on every agent",
        config.http.address
    );
    let hint = "add `[[tokens]]` with `name`, `sha256` and `scopes`";
    root.complain(root.span_of("http"), message, Some(hint.to_owned()));
}

pub(super) fn read_agents(section: &Section<'_>, config: &mut AgentsConfig, sources: &dyn Sources) {
    section.set("listen", &mut config.listen, address::socket(AGENTS_PORT));
    section.set(
        "silence",
        &mut config.silence,
        value::duration(SECOND..=HOUR),
    );
    section.set(
        "patience",
        &mut config.patience,
        value::duration(SECOND..=DAY),
    );
    if config.patience < config.silence {
        let message = "`agents.patience` is less than `silence`".to_owned();
        let hint = "an agent that is not even silent yet cannot be lost";
        section.complain(section.span_of("patience"), message, Some(hint.to_owned()));
    }
    let consent = Consent::read(section, INSECURE_AGENTS);
    let tls = section.section("tls");
    if tls.is_none() && consent == Consent::Absent && !config.listen.ip().is_loopback() {
        let message = format!(
            "`agents.listen` `{}` can be reached by other machines, and without TLS and client \
             certificates whoever reaches it can pass for an agent and be sent work, secrets \
             included",
            config.listen
        );
        let hint = format!(
            "set `certificate`, `key` and `client_ca` in `[agents.tls]`; or, in a network where \
             nobody is to be feared, `{INSECURE_KEY} = \"{INSECURE_AGENTS}\"`"
        );
        section.complain(section.span_of("listen"), message, Some(hint));
    }
    let hint = "without the former, only agents with a certificate are let in";
    consent.check_against_tls(section, hint);
    if let Some(tls) = tls {
        let identity = read_identity(&tls, sources);
        let client_ca = tls.require("client_ca", pem::certificate(sources));
        tls.finish();
        config.tls = identity
            .zip(client_ca)
            .map(|(identity, client_ca)| TlsConfig {
                identity,
                client_ca,
            });
    }
    if let Some(tls) = section.section("client_tls") {
        let identity = read_identity(&tls, sources);
        let ca = tls.require("ca", pem::certificate(sources));
        tls.finish();
        config.client_tls = identity
            .zip(ca)
            .map(|(identity, ca)| ClientTlsConfig { identity, ca });
    } else if let Some(TlsConfig {
        identity,
        client_ca,
    }) = &config.tls
    {
        config.client_tls = Some(ClientTlsConfig {
            identity: identity.clone(),
            ca: client_ca.clone(),
        });
    }
    config.allow_plain = consent == Consent::Given;
    let without_tls = config.client_tls.is_none() && !section.has("tls");
    let addresses = value::list(|item| agent_address(item, without_tls, consent));
    section.set("addresses", &mut config.configured, addresses);
    section.finish();
}

/// The address of an agent that is to be called.
fn agent_address(
    item: &Item<'_>,
    without_tls: bool,
    consent: Consent,
) -> Result<AgentAddress, Complaint> {
    const HINT: &str = "such as `https://agent-1.example:7420`";
    let text = http_url(item)?;
    let url = Url::parse(&text).map_err(|_| Complaint::new("is no URL").hint(HINT))?;
    if url.path() != "/"
        || url.port().is_none() && !text.ends_with(":80") && !text.ends_with(":443")
    {
        return Err(
            Complaint::new(format!("must have a port and no path, unlike `{text}`")).hint(HINT),
        );
    }
    let is_loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" if without_tls => Err(Complaint::new(format!(
            "has `{text}`, and there is no certificate to show there"
        ))
        .hint("set `certificate`, `key` and `ca` in `[agents.client_tls]`")),
        "http" if !is_loopback && consent != Consent::Given => Err(Complaint::new(format!(
            "has `{text}`, where work and secrets would travel in the clear"
        ))
        .hint(format!(
            "use `https://`; or `{INSECURE_KEY} = \"{INSECURE_AGENTS}\"`"
        ))),
        _ => Ok(AgentAddress(text)),
    }
}

/// An `http` or `https` URL without user, query and fragment; without a slash at its end.
pub(super) fn http_url(item: &Item<'_>) -> Result<String, Complaint> {
    const HINT: &str = "such as `https://helix.example`";
    let text = value::text(item)?;
    let url = Url::parse(&text)
        .map_err(|error| Complaint::new(format!("is no URL: {error}")).hint(HINT))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(
            Complaint::new("must begin with `http://` or `https://` and a host").hint(HINT),
        );
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        let complaint = Complaint::new("must not have a user, a query or a fragment");
        return Err(complaint.hint(HINT).secret());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn read_identity(section: &Section<'_>, sources: &dyn Sources) -> Option<ServerIdentity> {
    let certificate = section.require("certificate", pem::certificate(sources));
    let key = section.require("key", pem::private_key(sources));
    Some(ServerIdentity {
        certificate: certificate?,
        key: key?,
    })
}
