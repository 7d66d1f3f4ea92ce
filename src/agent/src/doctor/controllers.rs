//! Controllers: whether their names are known, whether they answer, and whether their clocks agree
//! with this machine's.

use std::time::{Duration, SystemTime};

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::finding::{Check, Finding, Verdict};
use crate::config::{Config, ControllerAddress, ControllerConfig};
use crate::controller::{ConnectError, Connection};

const RESOLVES_WITHIN: Duration = Duration::from_secs(5);
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// The controller says whole seconds, and the way takes some time.
const SKEW: Duration = Duration::from_secs(5);
/// With more than this, certificates of an hour and waits of minutes go wrong.
const GREAT_SKEW: Duration = Duration::from_secs(300);

/// What is to be said of each controller.
pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    let Some(controller) = &config.controller else {
        let why = "`[controller]` is not configured";
        return [Check::Controller, Check::ClockSkew]
            .map(|check| Finding::new(check, "controllers", Verdict::skipped(why)))
            .into();
    };
    let mut findings = Vec::new();
    for address in &controller.addresses {
        let (reach, date) = reach(controller, address).await;
        findings.push(Finding::new(Check::Controller, address.to_string(), reach));
        findings.push(skew(address, date));
    }
    findings
}

/// Whether one answers, and the time by its clock, with the time by this one's.
async fn reach(config: &ControllerConfig, address: &ControllerAddress) -> (Verdict, Option<Times>) {
    let lookup = tokio::net::lookup_host((address.host(), address.port()));
    let resolved = match tokio::time::timeout(RESOLVES_WITHIN, lookup).await {
        Ok(Ok(addresses)) => addresses.count(),
        Ok(Err(error)) => return (unresolved(address, &error.to_string()), None),
        Err(_) => return (unresolved(address, "no answer"), None),
    };
    if resolved == 0 {
        return (unresolved(address, "it has no address"), None);
    }
    let tls = config.tls.as_ref().filter(|_| address.is_tls());
    let connection = match Connection::to(address, tls).await {
        Ok(connection) => connection,
        Err(error) => return (unreachable(&error), None),
    };
    let mut client = HealthClient::new(connection.channel.clone());
    let before = SystemTime::now();
    let asked = client.check(HealthCheckRequest::default());
    let answer = tokio::time::timeout(ANSWERS_WITHIN, asked).await;
    let took = before.elapsed().unwrap_or_default();
    let (metadata, verdict) = match answer {
        Err(_) => {
            let why = format!("it has not answered in {} s", ANSWERS_WITHIN.as_secs());
            return (Verdict::failed(why, "see the controller's log"), None);
        }
        Ok(Ok(answer)) => (answer.metadata().clone(), Verdict::Ok),
        // Whoever answers so is there; that it has no health service is its own affair.
        Ok(Err(status)) if matches!(status.code(), Code::Unimplemented | Code::NotFound) => {
            (status.metadata().clone(), Verdict::Ok)
        }
        Ok(Err(status)) => {
            let verdict = match connection.distrust() {
                Some(error) => unreachable(&error),
                None => Verdict::failed(
                    crate::controller::words(&status),
                    "see the controller's log",
                ),
            };
            (status.metadata().clone(), verdict)
        }
    };
    let date = metadata.get("date").and_then(|date| date.to_str().ok());
    let theirs = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let times = theirs.map(|theirs| Times {
        theirs,
        // Half of the way there, half of it back.
        ours: before + took / 2,
    });
    (verdict, times)
}

fn unresolved(address: &ControllerAddress, why: &str) -> Verdict {
    Verdict::failed(
        format!("its name `{}` is not resolved: {why}", address.host()),
        "see whether the name is right, and `/etc/resolv.conf`",
    )
}

fn unreachable(error: &ConnectError) -> Verdict {
    let remedy = match error {
        ConnectError::Tls(_) => "see the check `controller_certificates`",
        ConnectError::Distrust(_) => "exchange the certificates, or correct the address",
        ConnectError::Transport(_) => {
            "see whether the controller runs, and what between the two lets nobody through"
        }
    };
    Verdict::failed(crate::error_chain(error), remedy)
}

/// What two clocks said at the same time.
#[derive(Debug, Clone, Copy)]
struct Times {
    ours: SystemTime,
    theirs: SystemTime,
}

fn skew(address: &ControllerAddress, times: Option<Times>) -> Finding {
    let what = format!("clock, against that of {address}");
    let Some(Times { ours, theirs }) = times else {
        let verdict = Verdict::skipped("it has not said what time it is");
        return Finding::new(Check::ClockSkew, what, verdict);
    };
    let (skew, way) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead"),
        Err(error) => (error.duration(), "behind"),
    };
    let why = format!("this machine's clock is {} s {way}", skew.as_secs());
    let remedy = "set the clocks of both by the same source (NTP)";
    let verdict = if skew > GREAT_SKEW {
        Verdict::failed(why, remedy)
    } else if skew > SKEW {
        Verdict::warning(why, remedy)
    } else {
        Verdict::Ok
    };
    Finding::new(Check::ClockSkew, what, verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_seconds_not_by_minutes() {
        let ours = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |theirs: SystemTime, word: &str, why: &str| {
            let address = "http://localhost:1".parse().unwrap();
            let finding = skew(&address, Some(Times { ours, theirs }));
            assert_eq!(finding.verdict.word(), word);
            assert!(finding.to_string().contains(why), "{finding}");
        };
        let second = Duration::from_secs(1);
        check(ours, "ok", "");
        check(ours - 4 * second, "ok", "");
        check(ours - 60 * second, "warning", "60 s ahead");
        check(ours + 60 * second, "warning", "60 s behind");
        check(ours + 3600 * second, "failed", "3600 s behind");
    }
}
