//! `[http]` and `[agents]`: where the controller answers, and to whom; whom it calls, and how.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;
use url::Url;

use super::section::{Complaint, Item, Section};
use super::sources::Sources;
use super::{
    AgentAddress, AgentsConfig, ClientTlsConfig, Config, HttpConfig, ServerIdentity, TlsConfig,
    value,
};

/// The key that does without TLS.
const INSECURE_KEY: &str = "insecure_without_tls";

/// What has to be written to let tokens and logs travel in the clear.
pub(super) const INSECURE_HTTP: &str = "i-understand-that-anyone-can-read-tokens";

/// What has to be written to let every machine pass for an agent.
pub(super) const INSECURE_AGENTS: &str = "i-understand-that-anyone-can-be-an-agent";

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn read_http(section: &Section<'_>, config: &mut HttpConfig, sources: &dyn Sources) {
    section.set("address", &mut config.address, value::address);
    let is_insecure = insecure(section, INSECURE_HTTP);
    let tls = section.section("tls");
    if tls.is_none() && is_insecure == Some(false) && !config.address.ip().is_loopback() {
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
    contradiction(section, "http", tls.is_some(), is_insecure);
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
    section.set("listen", &mut config.listen, value::address);
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
    let is_insecure = insecure(section, INSECURE_AGENTS);
    let tls = section.section("tls");
    if tls.is_none() && is_insecure == Some(false) && !config.listen.ip().is_loopback() {
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
    contradiction(section, "agents", tls.is_some(), is_insecure);
    if let Some(tls) = tls {
        let identity = read_identity(&tls, sources);
        let client_ca = tls.require("client_ca", |item| pem(item, "CERTIFICATE", sources));
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
        let ca = tls.require("ca", |item| pem(item, "CERTIFICATE", sources));
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
    config.allow_plain = is_insecure == Some(true);
    let without_tls = config.client_tls.is_none() && !section.has("tls");
    let addresses = value::list(|item| agent_address(item, without_tls, is_insecure == Some(true)));
    section.set("addresses", &mut config.configured, addresses);
    section.finish();
}

/// The address of an agent that is to be called.
fn agent_address(
    item: &Item<'_>,
    without_tls: bool,
    is_insecure: bool,
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
        "http" if !is_loopback && !is_insecure => Err(Complaint::new(format!(
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
        return Err(Complaint::new("must not have a user, a query or a fragment").hint(HINT));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn contradiction(section: &Section<'_>, name: &str, has_tls: bool, is_insecure: Option<bool>) {
    if has_tls && is_insecure == Some(true) {
        let message = format!("`{name}.{INSECURE_KEY}` and `{name}.tls` contradict each other");
        section.complain(section.span_of(INSECURE_KEY), message, None);
    }
}

/// Whether the word is there; none if another word is, which was complained about.
fn insecure(section: &Section<'_>, word: &'static str) -> Option<bool> {
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

fn read_identity(section: &Section<'_>, sources: &dyn Sources) -> Option<ServerIdentity> {
    let certificate = section.require("certificate", |item| pem(item, "CERTIFICATE", sources));
    let key = section.require("key", |item| {
        let path = pem(item, "PRIVATE KEY", sources)?;
        match sources.file(&path) {
            Ok(file) if file.is_public() => Err(Complaint::new(format!(
                "is the file `{}`, which everybody can read",
                path.display()
            ))
            .hint(format!("chmod 0640 {}", path.display()))),
            Ok(_) | Err(_) => Ok(path),
        }
    });
    Some(ServerIdentity {
        certificate: certificate?,
        key: key?,
    })
}

/// A PEM file with something of the kind in it. Whether it is any good shows when it is used.
fn pem(item: &Item<'_>, kind: &str, sources: &dyn Sources) -> Result<PathBuf, Complaint> {
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
