//! Addresses that a program listens at.

use std::net::SocketAddr;

use crate::complaint::Complaint;
use crate::item::Item;
use crate::section::Section;
use crate::value;

/// An IP address and a port, which may be 0; `usual_port` is the one in examples. Names are not
/// looked up.
pub fn socket(usual_port: u16) -> impl Fn(&Item<'_>) -> Result<SocketAddr, Complaint> {
    move |item| {
        let text = value::text(item)?;
        text.parse().map_err(|_| {
            let message = format!("must be an IP address and a port, not `{text}`");
            let hint = match text.strip_prefix("localhost:") {
                Some(port) => {
                    format!("names are not looked up; write `127.0.0.1:{port}` or `[::1]:{port}`")
                }
                None => format!(
                    "such as `127.0.0.1:{usual_port}` or `[::]:{usual_port}`; names are not looked up"
                ),
            };
            Complaint::new(message).hint(hint)
        })
    }
}

/// Complains if two servers would be at one port: of a key with two parts, such as `http.address`,
/// each, and its address. The table of the second is complained about, if it is there.
pub fn check_apart(root: &Section<'_>, one: Listener, other: Listener) {
    let ips = [one.address.ip(), other.address.ip()];
    let overlap = ips[0] == ips[1] || ips.iter().any(|ip| ip.is_unspecified());
    // Of port 0, the system gives each another one.
    if one.address.port() != other.address.port() || one.address.port() == 0 || !overlap {
        return;
    }
    let message = format!("{} and {} are the same", one.called(), other.called());
    let table = if root.has(other.table) {
        other.table
    } else {
        one.table
    };
    root.complain(root.span_of(table), message, None);
}

/// A server's address, and the key that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The table at the top.
    pub table: &'static str,
    /// The key in it.
    pub key: &'static str,
    /// Its value, or the default.
    pub address: SocketAddr,
}

impl Listener {
    fn called(self) -> String {
        format!("`{}.{}` `{}`", self.table, self.key, self.address)
    }
}
