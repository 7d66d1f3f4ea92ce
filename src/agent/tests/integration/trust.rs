//! Certificates between agents and controllers.

use tempfile::TempDir;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::agent::Agent;
use crate::certificates::Authority;
use crate::controller::Controller;

/// A controller with a certificate for `names`, that wants one of `agents`' authority.
async fn controller(own: &Authority, names: &[&str], agents: &Authority) -> Controller {
    let (certificate, key) = own.issue(names);
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(agents.pem()));
    Controller::start_at("127.0.0.1:0".parse().unwrap(), Some(tls)).await
}

/// The configuration of an agent with its files in `directory`.
fn config(controller: &Controller, scheme: &str, directory: &TempDir) -> String {
    let at = |name: &str| directory.path().join(name).display().to_string();
    format!(
        "[controller]\naddress = \"{scheme}://{}\"\n[controller.tls]\nca = {:?}\n\
         certificate = {:?}\nkey = {:?}\n",
        controller.address,
        at("controllers.ca"),
        at("agent.crt"),
        at("agent.key"),
    )
}

/// Starts an agent that trusts `trusted` and has a certificate of `own`.
async fn agent(
    controller: &Controller,
    scheme: &str,
    trusted: &Authority,
    own: &Authority,
) -> Agent {
    let directory = TempDir::with_prefix("helix-").unwrap();
    trusted.write(directory.path(), "controllers", &["unused"]);
    own.write(directory.path(), "agent", &["agent.test"]);
    let tables = config(controller, scheme, &directory);
    Agent::start_in(directory, "", &tables).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_certificates() {
    let (controllers, agents) = (Authority::new(), Authority::new());
    let mut controller = controller(&controllers, &["127.0.0.1"], &agents).await;
    let _agent = agent(&controller, "https", &controllers, &agents).await;
    controller.tunnel().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_that_is_wrong_is_told_as_what_is_wrong() {
    let (controllers, agents, others) = (Authority::new(), Authority::new(), Authority::new());
    let good = controller(&controllers, &["127.0.0.1"], &agents).await;
    let check = async |controller: &Controller, scheme, trusted, own, expected: &str| {
        let agent = agent(controller, scheme, trusted, own).await;
        agent.logs("controller cannot be reached").await;
        assert!(agent.log().contains(expected), "{expected}");
    };
    let words = "its certificate does not come from an authority in `ca`";
    check(&good, "https", &others, &agents, words).await;
    let words = "it does not take the agent's certificate";
    check(&good, "https", &controllers, &others, words).await;
    let named = controller(&controllers, &["elsewhere.example"], &agents).await;
    let words = "its certificate is for another name";
    check(&named, "https", &controllers, &agents, words).await;
    let plain = Controller::start().await;
    check(
        &plain,
        "https",
        &controllers,
        &agents,
        "it does not speak TLS",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_certificate_is_taken_with_the_next_call() {
    let (controllers, agents, others) = (Authority::new(), Authority::new(), Authority::new());
    let mut controller = controller(&controllers, &["127.0.0.1"], &agents).await;
    let agent = agent(&controller, "https", &controllers, &others).await;
    agent.logs("it does not take the agent's certificate").await;
    agents.write(agent.directory.path(), "agent", &["agent.test"]);
    controller.tunnel().await;
}
