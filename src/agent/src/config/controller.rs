//! `[controller]`: the controllers that the agent reports to, and how they reach it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use helix_settings::insecure::{Consent, KEY as INSECURE_KEY};
use helix_settings::{Complaint, Item, Section, Sources, pem, value};
use http::Uri;
use http::uri::{Authority, Scheme};

use super::ListenConfig;
use super::network::INSECURE_LISTEN;

/// More controllers than this are a slip of the hand.
const MAX_CONTROLLERS: usize = 16;
/// The longest `host:port`, in bytes.
const MAX_AUTHORITY_BYTES: usize = 262;

const ADDRESS_HINT: &str = "such as `https://controller.example:7411`";

/// The controllers that the agent reports to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerConfig {
    /// Where they are; at least one, each once. The agent connects to every one.
    pub addresses: Vec<ControllerAddress>,
    /// How they reach the agent.
    pub connect: Connect,
    /// Who is trusted, and who the agent is; there if an address is `https`.
    pub tls: Option<ControllerTls>,
}

/// How a controller reaches the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connect {
    /// Through a connection that the agent opens and keeps open.
    Tunnel,
    /// By a connection of its own to the agent's address, which the agent tells it.
    Announce {
        /// The address that is told; absent: the one where the agent listens.
        advertise: Option<Advertised>,
    },
}

/// `http://host:port` or `https://host:port`, the port being optional.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerAddress {
    uri: Uri,
}

/// `host:port`, both given, the host being a name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised(String);

/// The files of a connection with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerTls {
    /// PEM file with the authorities whose controllers are trusted.
    pub ca: PathBuf,
    /// PEM file with the agent's certificate for clients and its chain.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

impl ControllerAddress {
    /// Whether it is to be called with TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Its host: a name, or an IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        let default = if self.is_tls() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(default)
    }

    /// The same for a client.
    pub(crate) fn uri(&self) -> Uri {
        self.uri.clone()
    }

    /// The same without TLS, for a client that is given a connection which has it.
    pub(crate) fn plain_uri(&self) -> Uri {
        let mut parts = self.uri.clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        Uri::from_parts(parts).unwrap_or_default()
    }

    fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }
}

impl fmt::Display for ControllerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", Authority::as_str);
        write!(formatter, "{scheme}://{authority}")
    }
}

impl FromStr for ControllerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| "it is no address")?;
        let authority = match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) => authority,
            _ => return Err("it must begin with `http://` or `https://`"),
        };
        check_authority(authority)?;
        let port = authority.as_str().strip_prefix(authority.host());
        if port != Some("") && authority.port_u16().is_none_or(|port| port == 0) {
            return Err("its port must be from 1 to 65535");
        }
        let has_path = uri.path_and_query().is_some_and(|path| path != "/");
        if has_path || text.contains('#') {
            return Err("nothing may follow the port");
        }
        Ok(Self { uri })
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Advertised {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let authority: Authority = text.parse().map_err(|_| "it is no `host:port`")?;
        check_authority(&authority)?;
        match authority.port_u16() {
            None | Some(0) => Err("it must end with a port from 1 to 65535"),
            Some(_) => Ok(Self(text.to_owned())),
        }
    }
}

/// Whether it is a host and perhaps a port, and no more.
fn check_authority(authority: &Authority) -> Result<(), &'static str> {
    if authority.as_str().contains('@') {
        return Err("a user's name or password has no place in it");
    }
    if authority.as_str().len() > MAX_AUTHORITY_BYTES {
        return Err("it is too long");
    }
    let host = authority.host();
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    match ip.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Err("its host is no machine's address"),
        Ok(_) => Ok(()),
        Err(_) if host.is_empty() || host.starts_with('[') => Err("it has no host"),
        Err(_) => Ok(()),
    }
}

fn is_loopback(host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// Reads the section. `listen` was read before; `has_listen_tls` says whether it has a table of
/// certificates, right or wrong.
pub(super) fn read(
    section: Section<'_>,
    listen: &ListenConfig,
    has_listen_tls: bool,
    sources: &dyn Sources,
) -> Option<ControllerConfig> {
    let addresses = addresses(&section);
    let connect = connect(&section);
    let advertise = section.get("advertise", value::parsed::<Advertised>);
    let consent = Consent::read(&section, INSECURE_LISTEN);
    let own_tls = section.section("tls");
    if !section.has("address") && !section.has("addresses") {
        // Says that it is missing.
        section.require("address", value::parsed::<ControllerAddress>);
    }
    section.finish();

    let open = addresses
        .iter()
        .find(|address| !address.is_tls() && !address.is_loopback());
    if let (Some(address), Consent::Absent) = (open, consent) {
        let message = format!(
            "`controller.address` `{address}` is called over the network without TLS, and whoever \
             is on the way can run commands here"
        );
        let hint = format!(
            "write `https://` and set `[controller.tls]`; or, in a network where nobody is to be \
             feared, `{INSECURE_KEY} = \"{INSECURE_LISTEN}\"`"
        );
        section.complain(span_of_addresses(&section), message, Some(hint));
    }
    let wants_tls = addresses.iter().any(ControllerAddress::is_tls);
    let own_tls = own_tls.map(|tls| OwnTls::read(tls, sources));
    let tls = if wants_tls {
        let tls = own_tls.unwrap_or_default().or_those_of(listen);
        if tls.is_none() && !section.has("tls") && !has_listen_tls {
            let message = "`controller` is called with TLS, for which certificates are missing";
            let hint = "set `ca`, `certificate` and `key` in `[controller.tls]`, or `[listen.tls]`, whose \
                        files are taken where there are no others";
            let span = span_of_addresses(&section);
            section.complain(span, message.to_owned(), Some(hint.to_owned()));
        }
        tls
    } else {
        None
    };
    let connect = match connect? {
        Way::Announce => {
            check_advertised(&section, listen.address, advertise.as_ref(), &addresses);
            Connect::Announce { advertise }
        }
        Way::Tunnel => {
            if section.has("advertise") {
                let message = "`controller.advertise` is without effect in a tunnel";
                let hint = "set `connect = \"announce\"`, or leave it out";
                let span = section.span_of("advertise");
                section.complain(span, message.to_owned(), Some(hint.to_owned()));
            }
            Connect::Tunnel
        }
    };
    Some(ControllerConfig {
        addresses,
        connect,
        tls,
    })
}

fn addresses(section: &Section<'_>) -> Vec<ControllerAddress> {
    let parsed = |item: &Item<'_>| {
        value::parsed(item).map_err(|complaint| complaint.hint(ADDRESS_HINT.to_owned()))
    };
    if section.has("address") && section.has("addresses") {
        let message = "`controller.address` and `controller.addresses` are both there";
        let hint = "write all of them into `addresses`";
        let span = section.span_of("address");
        section.complain(span, message.to_owned(), Some(hint.to_owned()));
    }
    if let Some(address) = section.get("address", parsed) {
        return vec![address];
    }
    let listed = section.get("addresses", |item| {
        let addresses: Vec<ControllerAddress> = value::list(parsed)(item)?;
        if !(1..=MAX_CONTROLLERS).contains(&addresses.len()) {
            return Err(Complaint::new(format!(
                "must have 1 to {MAX_CONTROLLERS} addresses"
            )));
        }
        for (place, address) in addresses.iter().enumerate() {
            if addresses[..place].contains(address) {
                return Err(Complaint::new(format!("has `{address}` twice")));
            }
        }
        Ok(addresses)
    });
    listed.unwrap_or_default()
}

/// How controllers are to reach the agent, without the address that it announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Tunnel,
    Announce,
}

fn connect(section: &Section<'_>) -> Option<Way> {
    if !section.has("connect") {
        return Some(Way::Tunnel);
    }
    let words = [("tunnel", Way::Tunnel), ("announce", Way::Announce)];
    section.get("connect", value::one_of(&words))
}

/// Whether the address that is told to a controller is one that it can call.
fn check_advertised(
    section: &Section<'_>,
    listen: SocketAddr,
    advertise: Option<&Advertised>,
    addresses: &[ControllerAddress],
) {
    if section.has("advertise") && advertise.is_none() {
        return;
    }
    let complain = |message: String| {
        let hint = "set `advertise` to the `host:port` by which controllers reach this machine, or \
                    `connect = \"tunnel\"`";
        section.complain(section.span_of("connect"), message, Some(hint.to_owned()));
    };
    if advertise.is_none() && listen.ip().is_unspecified() {
        complain(format!(
            "`controller.advertise` is missing: `listen.address` `{listen}` is no address to be called at"
        ));
        return;
    }
    let far = addresses.iter().find(|address| !address.is_loopback());
    if let (None, true, Some(far)) = (advertise, listen.ip().is_loopback(), far) {
        complain(format!(
            "`listen.address` `{listen}` is announced, which `{far}` on another machine cannot call"
        ));
    }
}

fn span_of_addresses(section: &Section<'_>) -> std::ops::Range<usize> {
    if section.has("address") {
        section.span_of("address")
    } else {
        section.span_of("addresses")
    }
}

/// What `[controller.tls]` has.
#[derive(Debug, Default)]
struct OwnTls {
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl OwnTls {
    fn read(section: Section<'_>, sources: &dyn Sources) -> Self {
        let ca = section.get("ca", pem::certificate(sources));
        // One without the other is of no use, whoever's the other would be.
        let identity = if section.has("certificate") || section.has("key") {
            let certificate = section.require("certificate", pem::certificate(sources));
            let key = section.require("key", pem::private_key(sources));
            certificate.zip(key)
        } else {
            None
        };
        section.finish();
        Self { ca, identity }
    }

    /// With what is missing taken from the listener's; none if it is not there either.
    fn or_those_of(self, listen: &ListenConfig) -> Option<ControllerTls> {
        let listen = listen.tls.as_ref();
        let ca = self
            .ca
            .or_else(|| listen.map(|tls| tls.client_ca.clone()))?;
        let (certificate, key) = self
            .identity
            .or_else(|| listen.map(|tls| (tls.certificate.clone(), tls.key.clone())))?;
        Some(ControllerTls {
            ca,
            certificate,
            key,
        })
    }
}
