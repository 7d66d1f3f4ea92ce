//! Certificates on both sides.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::agent::{FakeAgent, Manners, Part, send};
use crate::events::History;
use crate::program::{Output, run};

/// A certificate authority that lives as long as a test.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// A certificate and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }
}

fn write(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

async fn check(arguments: impl FnOnce(&Path) -> Vec<String>) -> Output {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("agent.test");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(authority.pem()));
    let part = Part::Take(send(History::started().passed()));
    let agent = FakeAgent::start_with([part], Manners::Good, Some(tls)).await;
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.issue("client.test");
    write(directory.path(), "ca.pem", &authority.pem());
    write(directory.path(), "other.pem", &Authority::new().pem());
    write(directory.path(), "cert.pem", &certificate);
    write(directory.path(), "key.pem", &key);
    let mut all = vec!["--agent".to_owned(), format!("https://{}", agent.address)];
    all.extend(arguments(directory.path()));
    all.extend(["run", "--", "true"].map(str::to_owned));
    run(
        agent.address,
        &all.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await
}

fn options(directory: &Path, ca: &str, rest: &[&str]) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut options = vec!["--ca".to_owned(), file(ca)];
    for option in rest {
        match *option {
            "--cert" => options.extend(["--cert".to_owned(), file("cert.pem")]),
            "--key" => options.extend(["--key".to_owned(), file("key.pem")]),
            other => options.push(other.to_owned()),
        }
    }
    options
}

#[tokio::test]
async fn both_sides_know_each_other() {
    let all = ["--cert", "--key", "--server-name", "agent.test"];
    let output = check(|directory| options(directory, "ca.pem", &all)).await;
    assert_eq!(output.code(), Some(0), "{}", output.stderr);
}

#[tokio::test]
async fn an_agent_of_another_name_or_authority_is_not_spoken_to() {
    let all = ["--cert", "--key", "--server-name", "other.test"];
    let output = check(|directory| options(directory, "ca.pem", &all)).await;
    assert_eq!(output.code(), Some(69), "{}", output.stderr);
    assert!(output.stderr.contains("certificate"), "{}", output.stderr);
    let all = ["--cert", "--key", "--server-name", "agent.test"];
    let output = check(|directory| options(directory, "other.pem", &all)).await;
    assert_eq!(output.code(), Some(69), "{}", output.stderr);
}

#[tokio::test]
async fn without_a_certificate_of_our_own_the_agent_hangs_up() {
    let all = ["--patience", "0s", "--server-name", "agent.test"];
    let output = check(|directory| options(directory, "ca.pem", &all)).await;
    assert_eq!(output.code(), Some(69), "{}", output.stderr);
}

#[tokio::test]
async fn without_an_authority_nobody_is_trusted() {
    let output = check(|_| Vec::new()).await;
    assert_eq!(output.code(), Some(64), "{}", output.stderr);
    assert!(
        output.stderr.contains("hint: say `--ca FILE`"),
        "{}",
        output.stderr
    );
}
