//! Whether a request makes sense, and whether the configuration allows it. Nothing is touched.

use super::config::{Config, Maxima};
use super::message::Refusal;
use super::place::Place;
use crate::os_text::OsText;
use crate::request::{LaunchRequest, Limits, MAX_NEEDLE_BYTES, MAX_NEEDLES};
use crate::spool::SpoolLimits;

/// Where a request that was found good wants to go.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) spool: Place,
    pub(super) work: Place,
}

/// Checks a request against sense and configuration.
pub(super) fn check(request: &LaunchRequest, config: &Config) -> Result<Places, Refusal> {
    check_command(request)?;
    check_environment(&request.environment)?;
    if request.umask > 0o777 {
        return Err(invalid("umask", "is more than 0777"));
    }
    check_needles(request)?;
    check_limits(&request.limits, &config.maxima)?;
    check_spool_limits(&request.spool_limits, &config.maxima)?;
    Ok(Places {
        spool: Place::new("spool", request.spool.as_path(), &config.spool_roots)?,
        work: Place::new(
            "working_directory",
            request.working_directory.as_path(),
            &config.work_roots,
        )?,
    })
}

fn check_command(request: &LaunchRequest) -> Result<(), Refusal> {
    match request.command.first() {
        None => return Err(invalid("command", "is empty")),
        Some(program) if program.as_bytes().is_empty() => {
            return Err(invalid("command[0]", "is empty"));
        }
        Some(_) => {}
    }
    for (place, argument) in request.command.iter().enumerate() {
        if argument.as_bytes().contains(&0) {
            return Err(invalid(format!("command[{place}]"), "contains a zero byte"));
        }
    }
    Ok(())
}

fn check_environment(environment: &[(OsText, OsText)]) -> Result<(), Refusal> {
    for (place, (name, value)) in environment.iter().enumerate() {
        let field = || format!("environment[{place}]");
        if name.as_bytes().is_empty() {
            return Err(invalid(field(), "has no name"));
        }
        if name.as_bytes().contains(&b'=') {
            return Err(invalid(field(), "has a name with `=` in it"));
        }
        if name.as_bytes().contains(&0) || value.as_bytes().contains(&0) {
            return Err(invalid(field(), "contains a zero byte"));
        }
    }
    Ok(())
}

fn check_needles(request: &LaunchRequest) -> Result<(), Refusal> {
    let needles = request.needles.as_slice();
    if needles.len() > MAX_NEEDLES {
        return Err(invalid("needles", format!("are more than {MAX_NEEDLES}")));
    }
    match needles
        .iter()
        .position(|needle| needle.len() > MAX_NEEDLE_BYTES)
    {
        Some(place) => Err(invalid(
            format!("needles[{place}]"),
            format!("is longer than {MAX_NEEDLE_BYTES} bytes"),
        )),
        None => Ok(()),
    }
}

fn check_limits(limits: &Limits, maxima: &Maxima) -> Result<(), Refusal> {
    for (field, limit) in [
        ("limits.wall", limits.wall),
        ("limits.silence", limits.silence),
    ] {
        if limit.is_some_and(|limit| limit.is_zero()) {
            return Err(invalid(field, "is zero"));
        }
    }
    match (limits.wall, maxima.wall) {
        (None, Some(most)) => {
            return Err(forbidden(
                "limits.wall",
                format!("has to be set, to {most:?} at most"),
            ));
        }
        (Some(wall), Some(most)) if wall > most => {
            return Err(forbidden("limits.wall", format!("is more than {most:?}")));
        }
        _ => {}
    }
    if limits.grace > maxima.grace {
        return Err(forbidden(
            "limits.grace",
            format!("is more than {:?}", maxima.grace),
        ));
    }
    Ok(())
}

fn check_spool_limits(limits: &SpoolLimits, maxima: &Maxima) -> Result<(), Refusal> {
    let sizes = SpoolLimits::MIN_SEGMENT_BYTES..=SpoolLimits::MAX_SEGMENT_BYTES;
    if !sizes.contains(&limits.segment_bytes) {
        let problem = format!("is not {} to {}", sizes.start(), sizes.end());
        return Err(invalid("spool_limits.segment_bytes", problem));
    }
    let kept = [
        ("spool_limits.head_bytes", limits.head_bytes),
        ("spool_limits.tail_bytes", limits.tail_bytes),
    ];
    for (field, bytes) in kept {
        if bytes > maxima.kept_bytes {
            return Err(forbidden(
                field,
                format!("is more than {}", maxima.kept_bytes),
            ));
        }
    }
    Ok(())
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Refusal {
    Refusal::Invalid {
        field: field.into(),
        problem: problem.into(),
    }
}

fn forbidden(field: impl Into<String>, problem: impl Into<String>) -> Refusal {
    Refusal::Forbidden {
        field: field.into(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::launcher::config::Roots;
    use crate::request::tests::request;

    fn config() -> Config {
        Config {
            client_uid: 0,
            spool_roots: Roots::Beneath(vec!["/spools".into()]),
            work_roots: Roots::Beneath(vec!["/work".into()]),
            maxima: Maxima {
                wall: Some(Duration::from_secs(100)),
                grace: Duration::from_secs(10),
                kept_bytes: 1 << 30,
                supervisors: 1,
            },
        }
    }

    fn good() -> LaunchRequest {
        LaunchRequest {
            command: vec!["/bin/true".into()],
            environment: vec![("A".into(), "".into()), ("B".into(), "=".into())],
            working_directory: "/work/1".into(),
            spool: "/spools/1".into(),
            limits: Limits {
                wall: Some(Duration::from_secs(100)),
                silence: None,
                grace: Duration::from_secs(10),
                output_bytes: None,
            },
            ..request()
        }
    }

    fn check_refused(change: impl FnOnce(&mut LaunchRequest), expected: &str) {
        let mut request = good();
        change(&mut request);
        assert_eq!(
            check(&request, &config()).unwrap_err().to_string(),
            expected
        );
    }

    #[test]
    fn good_request_is_allowed() {
        check(&good(), &config()).unwrap();
    }

    #[test]
    fn senseless_requests_are_refused_with_the_field() {
        check_refused(|r| r.command.clear(), "`command` is empty");
        check_refused(|r| r.command[0] = "".into(), "`command[0]` is empty");
        check_refused(
            |r| r.command.push("\0".into()),
            "`command[1]` contains a zero byte",
        );
        check_refused(
            |r| r.environment[1].0 = "".into(),
            "`environment[1]` has no name",
        );
        check_refused(
            |r| r.environment[0].0 = "A=B".into(),
            "`environment[0]` has a name with `=` in it",
        );
        check_refused(
            |r| r.environment[0].1 = "\0".into(),
            "`environment[0]` contains a zero byte",
        );
        check_refused(|r| r.umask = 0o1000, "`umask` is more than 0777");
        check_refused(
            |r| r.limits.wall = Some(Duration::ZERO),
            "`limits.wall` is zero",
        );
        check_refused(
            |r| r.limits.silence = Some(Duration::ZERO),
            "`limits.silence` is zero",
        );
        check_refused(
            |r| r.needles = crate::Needles::new([vec![1; MAX_NEEDLE_BYTES + 1]]),
            "`needles[0]` is longer than 16384 bytes",
        );
        check_refused(
            |r| r.spool_limits.segment_bytes = 1,
            "`spool_limits.segment_bytes` is not 4096 to 1073741824",
        );
        check_refused(|r| r.spool = "1".into(), "`spool` is not an absolute path");
    }

    #[test]
    fn requests_beyond_the_configuration_are_refused_with_the_field() {
        check_refused(
            |r| r.limits.wall = None,
            "`limits.wall` has to be set, to 100s at most",
        );
        check_refused(
            |r| r.limits.wall = Some(Duration::from_secs(101)),
            "`limits.wall` is more than 100s",
        );
        check_refused(
            |r| r.limits.grace = Duration::from_secs(11),
            "`limits.grace` is more than 10s",
        );
        check_refused(
            |r| r.spool_limits.tail_bytes = (1 << 30) + 1,
            "`spool_limits.tail_bytes` is more than 1073741824",
        );
        check_refused(
            |r| r.working_directory = "/spools/1".into(),
            "`working_directory` is not beneath any of the roots allowed for it",
        );
        check_refused(
            |r| r.spool = "/spools/../etc".into(),
            "`spool` is not beneath any of the roots allowed for it",
        );
    }
}
