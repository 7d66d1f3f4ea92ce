//! `[listen]` and `[monitoring]`.

use std::path::Path;

use helix_settings::GivenSources;

use super::{check, check_with, good, problems, tls_files};
use crate::config::Config;

#[test]
fn address_off_loopback_needs_tls_or_the_word() {
    let open = "[listen]\naddress = \"[::]:7420\"\n";
    assert_eq!(problems(open).problems().len(), 1);
    let word = "insecure_without_tls = \"i-understand-that-anyone-can-run-commands\"\n";
    assert!(good(&format!("{open}{word}")).listen.tls.is_none());
    check(
        &format!("{open}insecure_without_tls = true\n"),
        &[
            "`listen.insecure_without_tls` takes only the one word that cannot be written by mistake",
        ],
    );
    let tls = "[listen.tls]\ncertificate = \"/etc/helix/tls/agent.crt\"\nkey = \"/etc/helix/tls/agent.key\"\nclient_ca = \"/etc/helix/tls/clients.crt\"\n";
    let sources = tls_files();
    let config = Config::parse_with(&format!("{open}{tls}"), "c", &sources).expect("it is secure");
    let tls_config = config.listen.tls.expect("it was given");
    assert_eq!(tls_config.key, Path::new("/etc/helix/tls/agent.key"));
    check_with(
        &format!("{open}{word}{tls}"),
        &sources,
        &["`listen.insecure_without_tls` and `listen.tls` contradict each other"],
    );
}

#[test]
fn tls_needs_all_three_files_in_good_order() {
    let sources = GivenSources::default()
        .with_file("/c", "-----BEGIN PRIVATE KEY-----\n", 0o600)
        .with_file("/k", "-----BEGIN PRIVATE KEY-----\n", 0o644);
    check_with(
        "[listen.tls]\ncertificate = \"/c\"\nkey = \"/k\"\n",
        &sources,
        &[
            "`listen.tls.client_ca` is missing",
            "`listen.tls.certificate` is in `/c`, which has no `CERTIFICATE` in it",
            "`listen.tls.key` is the file `/k`, which everybody can read",
        ],
    );
    check_with(
        "[listen.tls]\ncertificate = \"/x\"\nkey = \"k\"\nclient_ca = \"\"\n",
        &sources,
        &[
            "`listen.tls.certificate` cannot be read from `/x`: entity not found",
            "`listen.tls.key` must be an absolute path, not `k`",
            "`listen.tls.client_ca` must not be empty",
        ],
    );
}

#[test]
fn monitoring_can_be_off_and_needs_a_word_off_loopback() {
    assert_eq!(good("[monitoring]\naddress = \"\"\n").monitoring, None);
    let open = "[monitoring]\naddress = \"10.0.0.7:7421\"\n";
    assert_eq!(problems(open).problems().len(), 1);
    let config = good(&format!(
        "{open}insecure_without_tls = \"i-understand-that-anyone-can-read-this\"\n"
    ));
    assert_eq!(config.monitoring.map(|address| address.port()), Some(7421));
}

#[test]
fn addresses_are_no_names_and_do_not_clash() {
    check(
        "[listen]\naddress = \"localhost:7420\"\n",
        &["`listen.address` must be an IP address and a port, not `localhost:7420`"],
    );
    check(
        "[monitoring]\naddress = \"127.0.0.1:7420\"\n",
        &[
            "`listen.address` `127.0.0.1:7420` and `monitoring.address` `127.0.0.1:7420` are the same",
        ],
    );
    good("[listen]\naddress = \"127.0.0.1:0\"\n[monitoring]\naddress = \"127.0.0.1:0\"\n");
}
