//! Certificates: whether they can be used, and for how long.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, X509Certificate};

use super::finding::{Check, Finding, Verdict};
use crate::config::Config;
use crate::tls::{self, TlsError};

/// Time to renew a certificate before it is too late.
const SOON: Duration = Duration::from_secs(14 * DAY_SECONDS);
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// What clients are shown, and which are let in.
pub(super) fn listen(config: &Config, now: SystemTime) -> Finding {
    let check = Check::ListenCertificates;
    let Some(files) = &config.listen.tls else {
        let why = "`[listen.tls]` is not configured";
        return Finding::new(check, "certificates of the listener", Verdict::skipped(why));
    };
    let usable = tls::server_config(files).map(drop);
    let paths = [files.certificate.as_path(), files.client_ca.as_path()];
    finding(check, "certificates of the listener", usable, &paths, now)
}

/// What controllers are shown, and who is trusted as one.
pub(super) fn controller(config: &Config, now: SystemTime) -> Finding {
    let (check, what) = (
        Check::ControllerCertificates,
        "certificates for controllers",
    );
    let files = config.controller.as_ref().and_then(|one| one.tls.as_ref());
    let Some(files) = files else {
        let why = "no controller is called with TLS";
        return Finding::new(check, what, Verdict::skipped(why));
    };
    let usable = tls::client_config(files).map(drop);
    let paths = [files.certificate.as_path(), files.ca.as_path()];
    finding(check, what, usable, &paths, now)
}

fn finding(
    check: Check,
    what: &str,
    usable: Result<(), TlsError>,
    paths: &[&Path],
    now: SystemTime,
) -> Finding {
    if let Err(error) = usable {
        let remedy = match &error {
            TlsError::Mismatch { .. } => "put the key beside the certificate that was made from it",
            TlsError::File { .. } => "see whether the agent's user may read the file",
            TlsError::Content { .. }
            | TlsError::Authority { .. }
            | TlsError::Verifier { .. }
            | TlsError::Identity { .. } => "replace the file by a PEM file that has it",
        };
        return Finding::new(
            check,
            what,
            Verdict::failed(crate::error_chain(&error), remedy),
        );
    }
    let terms: Vec<Term> = paths.iter().flat_map(|path| terms(path)).collect();
    let Some(shortest) = terms.iter().min_by_key(|term| term.not_after) else {
        return Finding::new(check, what, Verdict::skipped("none can be read"));
    };
    let days = |time: u64| time.saturating_sub(seconds(now)) / DAY_SECONDS;
    let seen = format!(
        "{what}: the first to expire is in `{}`, in {} days",
        shortest.path,
        days(shortest.not_after)
    );
    let remedy = "renew it, and then `systemctl reload helix-agent`";
    let early = terms.iter().find(|term| term.not_before > seconds(now));
    let verdict = if shortest.not_after <= seconds(now) {
        let ago = (seconds(now) - shortest.not_after) / DAY_SECONDS;
        Verdict::barring(
            format!("`{}` expired {ago} days ago", shortest.path),
            remedy,
        )
    } else if let Some(early) = early {
        Verdict::barring(
            format!(
                "`{}` is not valid before {} days from now",
                early.path,
                days(early.not_before)
            ),
            "wait for it, or set the clock",
        )
    } else if shortest.not_after <= seconds(now + SOON) {
        Verdict::warning(
            format!(
                "`{}` expires in {} days",
                shortest.path,
                days(shortest.not_after)
            ),
            remedy,
        )
    } else {
        Verdict::Ok
    };
    Finding::new(check, seen, verdict)
}

/// For how long a certificate counts, in seconds since 1970.
#[derive(Debug)]
struct Term {
    path: String,
    not_before: u64,
    not_after: u64,
}

/// The terms of all certificates of a file. What cannot be read was complained about before.
fn terms(path: &Path) -> Vec<Term> {
    let certificates = tls::certificates(path).unwrap_or_default();
    let terms = certificates.iter().filter_map(|certificate| {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let validity = parsed.validity();
        Some(Term {
            path: path.display().to_string(),
            // Before 1970 is long enough ago.
            not_before: u64::try_from(validity.not_before.timestamp()).unwrap_or(0),
            not_after: u64::try_from(validity.not_after.timestamp()).unwrap_or(0),
        })
    });
    terms.collect()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
