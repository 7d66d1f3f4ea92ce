//! The address of an agent.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use tonic::transport::Uri;

/// The port of agents.
const DEFAULT_PORT: u16 = 7420;

/// Where an agent listens, and whether TLS is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    scheme: Scheme,
    host: String,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    /// It cannot be taken apart.
    #[error("expected `host:port` or a URL such as `https://build-7.example:7420`")]
    Shape,
    /// Another protocol.
    #[error("the scheme `{0}` is neither `http` nor `https`")]
    Scheme(String),
}

impl Address {
    /// Reads `host`, `host:port` or a URL.
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        // Without a scheme, a URI of authority form would be read, and `host`
        // alone as a path; with one given first, both read alike.
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some((other, _)) => return Err(AddressError::Scheme(other.to_owned())),
            None => (None, text),
        };
        let uri: Uri = format!("http://{rest}")
            .parse()
            .map_err(|_| AddressError::Shape)?;
        let authority = uri.authority().ok_or(AddressError::Shape)?;
        let plain = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
        let host = authority.host().to_owned();
        // `host:` and `host:99999` have no port that can be read.
        let port_is_wrong = authority.port().is_none() && authority.as_str() != host;
        if !plain || host.is_empty() || port_is_wrong {
            return Err(AddressError::Shape);
        }
        let port = authority.port_u16().unwrap_or(DEFAULT_PORT);
        let loopback = is_loopback(&host);
        let scheme = scheme.unwrap_or(if loopback {
            Scheme::Http
        } else {
            Scheme::Https
        });
        Ok(Self { scheme, host, port })
    }

    /// The host, without brackets if it is an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether TLS is spoken there.
    pub(crate) fn uses_tls(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Whether the agent shares this machine, and so its files.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl From<SocketAddr> for Address {
    /// Without TLS.
    fn from(socket: SocketAddr) -> Self {
        let host = match socket.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        Self {
            scheme: Scheme::Http,
            host,
            port: socket.port(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(formatter, "{scheme}://{}:{}", self.host, self.port)
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(
            Address::parse(text).map(|address| address.to_string()),
            Ok(expected.to_owned())
        );
    }

    #[test]
    fn plain_text_is_the_default_on_this_machine_only() {
        check("127.0.0.1:7421", "http://127.0.0.1:7421");
        check("localhost", "http://localhost:7420");
        check("[::1]:1", "http://[::1]:1");
        check("build-7", "https://build-7:7420");
        check("10.0.0.1:80", "https://10.0.0.1:80");
        check("http://build-7", "http://build-7:7420");
        check("https://build-7:443/", "https://build-7:443");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "a b",
            "host:",
            "host:99999",
            "http://",
            "http://h/path",
            "u@h",
            "h?q",
        ] {
            assert_eq!(Address::parse(text), Err(AddressError::Shape), "{text}");
        }
        assert_eq!(
            Address::parse("unix:///x"),
            Err(AddressError::Scheme("unix".to_owned()))
        );
    }

    #[test]
    fn the_host_of_a_certificate_has_no_brackets() {
        assert_eq!(Address::parse("[::1]").unwrap().host(), "::1");
    }
}
