//! What `[controller]` accepts, what it refuses, and how it says so.

use helix_settings::GivenSources;

use super::{check_with, parse_with, tls_files};
use crate::config::{Config, Connect, ControllerConfig};

const TLS: &str = "[listen.tls]\n\
                   certificate = \"/etc/helix/tls/agent.crt\"\n\
                   key = \"/etc/helix/tls/agent.key\"\n\
                   client_ca = \"/etc/helix/tls/clients.crt\"\n";

fn files() -> GivenSources {
    let certificate = "-----BEGIN CERTIFICATE-----\n";
    tls_files()
        .with_file("/c/ca.crt", certificate, 0o644)
        .with_file("/c/me.crt", certificate, 0o644)
        .with_file("/c/me.key", "-----BEGIN PRIVATE KEY-----\n", 0o640)
        .with_file("/c/open.key", "-----BEGIN PRIVATE KEY-----\n", 0o644)
}

fn good(text: &str) -> Config {
    parse_with(text, &files()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn controller(text: &str) -> ControllerConfig {
    good(text).controller.expect("there is one")
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_with(text, &files(), expected);
}

#[test]
fn without_the_section_there_is_no_controller() {
    assert_eq!(good("").controller, None);
}

#[test]
fn address_alone_means_a_tunnel() {
    let one = controller("[controller]\naddress = \"http://127.0.0.1:7430\"\n");
    assert_eq!(one.connect, Connect::Tunnel);
    assert_eq!(one.tls, None);
    let shown: Vec<String> = one.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["http://127.0.0.1:7430"]);
    let several = "[controller]\naddresses = [\"http://localhost:1\", \"http://[::1]:2\"]\n";
    let several = controller(several);
    let parts: Vec<(&str, u16)> = several
        .addresses
        .iter()
        .map(|address| (address.host(), address.port()))
        .collect();
    assert_eq!(parts, [("localhost", 1), ("::1", 2)]);
    let default = controller(&format!(
        "{TLS}[controller]\naddress = \"https://a.example/\"\n"
    ));
    assert_eq!(default.addresses[0].port(), 443);
}

#[test]
fn certificates_come_from_the_listener_where_there_are_no_others() {
    let check = |tables: &str, expected: [&str; 3]| {
        let text = format!("[controller]\naddress = \"https://a.example:1\"\n{tables}");
        let tls = controller(&text).tls.expect("it is called with TLS");
        let paths = [tls.ca, tls.certificate, tls.key];
        assert_eq!(paths.map(|path| path.display().to_string()), expected);
    };
    let agents = ["/etc/helix/tls/agent.crt", "/etc/helix/tls/agent.key"];
    check(TLS, ["/etc/helix/tls/clients.crt", agents[0], agents[1]]);
    check(
        &format!("{TLS}[controller.tls]\nca = \"/c/ca.crt\"\n"),
        ["/c/ca.crt", agents[0], agents[1]],
    );
    let own =
        "[controller.tls]\nca = \"/c/ca.crt\"\ncertificate = \"/c/me.crt\"\nkey = \"/c/me.key\"\n";
    check(own, ["/c/ca.crt", "/c/me.crt", "/c/me.key"]);
    check(
        &format!("{TLS}{own}"),
        ["/c/ca.crt", "/c/me.crt", "/c/me.key"],
    );
}

#[test]
fn certificates_that_are_missing_or_open_are_refused() {
    check(
        "[controller]\naddress = \"https://a.example:1\"\n",
        &["`controller` is called with TLS, for which certificates are missing"],
    );
    check(
        &format!(
            "{TLS}[controller]\naddress = \"https://a:1\"\n[controller.tls]\ncertificate = \"/c/me.crt\"\n"
        ),
        &["`controller.tls.key` is missing"],
    );
    check(
        "[controller]\naddress = \"https://a:1\"\n[controller.tls]\nca = \"/c/no.crt\"\n\
         certificate = \"/c/me.key\"\nkey = \"/c/open.key\"\n",
        &[
            "`controller.tls.ca` cannot be read from `/c/no.crt`: entity not found",
            "`controller.tls.certificate` is in `/c/me.key`, which has no `CERTIFICATE` in it",
            "`controller.tls.key` is the file `/c/open.key`, which everybody can read",
        ],
    );
}

#[test]
fn plain_text_over_the_network_needs_the_word() {
    let text = "[controller]\naddress = \"http://a.example:1\"\n";
    check(
        text,
        &[
            "`controller.address` `http://a.example:1` is called over the network without TLS, and \
           whoever is on the way can run commands here",
        ],
    );
    check(
        &format!("{text}insecure_without_tls = \"yes\"\n"),
        &[
            "`controller.insecure_without_tls` takes only the one word that cannot be written by mistake",
        ],
    );
    let word = "insecure_without_tls = \"i-understand-that-anyone-can-run-commands\"\n";
    assert_eq!(controller(&format!("{text}{word}")).tls, None);
}

#[test]
fn address_that_is_none_is_refused() {
    let one = |address: &str, why: &str| {
        check(
            &format!("[controller]\naddress = \"{address}\"\n"),
            &[&format!(
                "`controller.address` cannot be `{address}`: {why}"
            )],
        );
    };
    one("a.example:1", "it must begin with `http://` or `https://`");
    one("ftp://a:1", "it must begin with `http://` or `https://`");
    one("http://a:1/path", "nothing may follow the port");
    one("http://a:1?x=y", "nothing may follow the port");
    one("http://a:1/#x", "nothing may follow the port");
    one(
        "http://me:word@a:1",
        "a user's name or password has no place in it",
    );
    one("http://0.0.0.0:1", "its host is no machine's address");
    one("http://[::]:1", "its host is no machine's address");
    one("http://a:0", "its port must be from 1 to 65535");
    one("http://a:99999", "its port must be from 1 to 65535");
    one("http://a b:1", "it is no address");
    check("[controller]\n", &["`controller.address` is missing"]);
    check(
        "[controller]\naddresses = []\n",
        &["`controller.addresses` must have 1 to 16 addresses"],
    );
    check(
        "[controller]\naddresses = [\"http://[::1]:1\", \"http://[::1]:1\"]\n",
        &["`controller.addresses` has `http://[::1]:1` twice"],
    );
    check(
        "[controller]\naddress = \"http://[::1]:1\"\naddresses = [\"http://[::1]:2\"]\n",
        &["`controller.address` and `controller.addresses` are both there"],
    );
    check(
        "[controller]\naddress = \"http://[::1]:1\"\nconnekt = \"tunnel\"\n",
        &["unknown key `controller.connekt`"],
    );
}

#[test]
fn announced_address_is_one_that_can_be_called() {
    let announce = "[controller]\naddress = \"https://a.example:1\"\nconnect = \"announce\"\n";
    check(
        &format!("{announce}{TLS}"),
        &[
            "`listen.address` `127.0.0.1:7420` is announced, which `https://a.example:1` on another \
           machine cannot call",
        ],
    );
    let open = TLS.replace(
        "[listen.tls]",
        "[listen]\naddress = \"0.0.0.0:7420\"\n[listen.tls]",
    );
    check(
        &format!("{announce}{open}"),
        &[
            "`controller.advertise` is missing: `listen.address` `0.0.0.0:7420` is no address to be \
           called at",
        ],
    );
    let told = format!("{announce}advertise = \"linux-07.example:7420\"\n{open}");
    let Connect::Announce { advertise } = controller(&told).connect else {
        panic!("it announces");
    };
    assert_eq!(advertise.unwrap().to_string(), "linux-07.example:7420");
    for (wrong, why) in [
        ("linux-07", "it must end with a port from 1 to 65535"),
        ("linux-07:0", "it must end with a port from 1 to 65535"),
        ("0.0.0.0:1", "its host is no machine's address"),
        (":1", "it has no host"),
    ] {
        check(
            &format!("{announce}advertise = \"{wrong}\"\n{open}"),
            &[&format!(
                "`controller.advertise` cannot be `{wrong}`: {why}"
            )],
        );
    }
    check(
        "[controller]\naddress = \"http://[::1]:1\"\nadvertise = \"a:1\"\n",
        &["`controller.advertise` is without effect in a tunnel"],
    );
    check(
        "[controller]\naddress = \"http://[::1]:1\"\nconnect = \"telepathy\"\n",
        &["`controller.connect` cannot be `telepathy`"],
    );
    let local = "[controller]\naddress = \"http://[::1]:1\"\nconnect = \"announce\"\n";
    assert_eq!(
        controller(local).connect,
        Connect::Announce { advertise: None }
    );
}
