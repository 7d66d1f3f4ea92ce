//! What configuration files are taken, and what is said of the others.

use std::time::Duration;

use helix_settings::GivenSources;

use super::{Config, Scope};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";
const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn given() -> GivenSources {
    GivenSources::default()
        .with_variable("STORE", "postgres://helix:secret@db/helix")
        .with_file("/pki/cert.pem", CERTIFICATE, 0o644)
        .with_file("/pki/key.pem", KEY, 0o640)
        .with_file("/pki/open.pem", KEY, 0o644)
}

#[track_caller]
fn good(text: &str) -> Config {
    match Config::parse_with(text, "controller.toml", &given()) {
        Ok(config) => config,
        Err(problems) => panic!("{problems}"),
    }
}

#[track_caller]
fn wrong(text: &str, expected: &[&str]) -> String {
    let problems = Config::parse_with(text, "controller.toml", &given());
    let problems = problems.expect_err("it is wrong");
    let messages: Vec<&str> = problems.problems().iter().map(|it| it.message()).collect();
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.contains(expected), "{message} has no {expected}");
    }
    problems.to_string()
}

#[test]
fn empty_file_is_a_controller_on_loopback() {
    let config = good("");
    assert!(config.http.address.ip().is_loopback());
    assert!(config.agents.listen.ip().is_loopback());
    assert_eq!(config.agents.patience, Duration::from_secs(120));
    assert_eq!(
        config.store_url(),
        "sqlite:///var/lib/helix/controller/helix.db"
    );
}

#[test]
fn every_key_is_read() {
    let config = good(&format!(
        r#"
        name = "one"
        state_directory = "/srv/helix"
        external_url = "https://helix.example/"
        [store]
        url = {{ env = "STORE" }}
        [storage]
        url = "s3://bucket/prefix"
        [storage.options]
        region = "eu"
        [http]
        address = "0.0.0.0:443"
        tls = {{ certificate = "/pki/cert.pem", key = "/pki/key.pem" }}
        [[tokens]]
        name = "ci"
        sha256 = "{DIGEST}"
        scopes = ["read", "submit-internal"]
        [agents]
        listen = "0.0.0.0:7411"
        silence = "10s"
        patience = "1m"
        addresses = ["https://agent-1.example:7420"]
        [agents.tls]
        certificate = "/pki/cert.pem"
        key = "/pki/key.pem"
        client_ca = "/pki/cert.pem"
        [[queues]]
        name = "ubuntu"
        max_delivery_count = 5
        visibility = "internal"
        estimated_removal = 2027-01-01
        "#
    ));
    assert_eq!(
        config.external_url.as_deref(),
        Some("https://helix.example")
    );
    assert_eq!(config.store_url(), "postgres://helix:secret@db/helix");
    assert!(!format!("{config:?}").contains("secret"));
    assert_eq!(
        config.tokens[0].scopes,
        [Scope::Read, Scope::SubmitInternal]
    );
    assert_eq!(config.tokens[0].sha256[0], 0xe3);
    assert!(config.agents.client_tls.is_some(), "as at its own listener");
    assert_eq!(config.queues[0].max_delivery_count.get(), 5);
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_place() {
    let report = wrong(
        "nmae = \"x\"\n[agents]\nsilence = \"10m\"\npatience = \"5m\"\n[[queues]]\nmax_delivery_count = 0\n",
        &[
            "unknown key `nmae`",
            "less than `silence`",
            "`queues.name` is missing",
            "must be from 1 to 1000",
        ],
    );
    assert!(
        report.contains("controller.toml:1:1: unknown key `nmae`"),
        "{report}"
    );
    assert!(report.contains("did you mean `name`?"), "{report}");
}

#[test]
fn off_loopback_somebody_must_say_who_may_come() {
    wrong(
        "[http]\naddress = \"0.0.0.0:80\"\n",
        &["no `[[tokens]]`", "learns the tokens"],
    );
    wrong("[agents]\nlisten = \"0.0.0.0:1\"\n", &["pass for an agent"]);
    wrong(
        "[agents]\nlisten = \"0.0.0.0:1\"\ninsecure_without_tls = \"yes\"\n",
        &["only the one word"],
    );
    wrong(
        "[agents]\naddresses = [\"http://agent.example:7420\"]\n",
        &["in the clear"],
    );
    wrong(
        "[agents]\naddresses = [\"https://agent.example:7420\"]\n",
        &["no certificate to show"],
    );
    let word = super::network::INSECURE_AGENTS;
    let config = good(&format!(
        "[agents]\nlisten = \"0.0.0.0:1\"\ninsecure_without_tls = \"{word}\"\naddresses = [\"http://a.example:1\"]\n"
    ));
    assert!(config.agents.allow_plain);
}

#[test]
fn secrets_do_not_stand_in_the_file_and_are_not_repeated() {
    for (text, secret) in [
        (
            "[store]\nurl = \"postgres//helix:hush@db/helix\"\n",
            "hush@",
        ),
        ("[storage]\nurl = \"s3://me:hush@b\"\n", "hush@"),
        ("external_url = \"https://me:hush@b\"\n", "hush@"),
        (
            "[store]\nurl = \"postgres://helix:hush@db/helix\"\n",
            "hush@",
        ),
        (
            "[storage]\nurl = \"s3://b\"\noptions = { secret_access_key = \"hush\" }\n",
            "`hush",
        ),
        (
            "[[tokens]]\nname = \"a\"\nsha256 = \"hush\"\nscopes = []\n",
            "`hush",
        ),
    ] {
        let problems = Config::parse_with(text, "c", &given()).expect_err("it is wrong");
        for problem in problems.problems() {
            assert!(!problem.message().contains(secret), "{}", problem.message());
        }
        // Nor does the line that is shown.
        let report = problems.to_string();
        assert!(!report.contains("hush"), "{report}");
    }
    wrong(
        "[http.tls]\ncertificate = \"/pki/cert.pem\"\nkey = \"/pki/open.pem\"\n",
        &["everybody can read"],
    );
}
