//! Whether a request makes sense, and whether the configuration allows it. Nothing is touched.

use serde::{Deserialize, Serialize};

use super::config::{Config, Maxima};
use super::ground::Ground;
use super::isolation::Measure;
use super::message::Refusal;
use super::place::Place;
use super::stay::Stay;
use crate::os_text::OsText;
use crate::request::{
    Directories, LaunchRequest, Limits, MAX_NEEDLE_BYTES, MAX_NEEDLES, Network, ResourceLimits,
};
use crate::spool::SpoolLimits;

/// Where a request that was found good wants to go; all of it still to be opened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Places {
    pub(crate) spool: Place,
    pub(crate) work: Place,
    /// The directories that change hands.
    pub(crate) stay: Option<Stay>,
}

/// Checks a request against sense, configuration, and what the machine offers.
pub(super) fn check(
    request: &LaunchRequest,
    config: &Config,
    ground: &Ground,
) -> Result<Places, Refusal> {
    check_command(request)?;
    check_environment(&request.environment)?;
    if request.umask > 0o777 {
        return Err(invalid("umask", "is more than 0777"));
    }
    check_needles(request)?;
    check_limits(&request.limits, &config.maxima)?;
    check_spool_limits(&request.spool_limits, &config.maxima)?;
    check_resources(&request.resources)?;
    if request.network == Network::Loopback && !ground.isolation.has(Measure::NoNetwork) {
        return Err(forbidden(
            "network",
            "cannot be kept away from a command here",
        ));
    }
    let stay = match &request.directories {
        None => None,
        Some(directories) => Some(Stay {
            parent: check_directories(directories, config)?,
            names: directories.names.clone(),
        }),
    };
    Ok(Places {
        stay,
        spool: Place::new("spool", request.spool.as_path(), &config.spool_roots)?,
        work: Place::new(
            "working_directory",
            request.working_directory.as_path(),
            &config.work_roots,
        )?,
    })
}

/// Checks directories that change hands; the place of their parent.
pub(super) fn check_directories(
    directories: &Directories,
    config: &Config,
) -> Result<Place, Refusal> {
    for (place, name) in directories.names.iter().enumerate() {
        if !is_plain_name(name.as_bytes()) {
            return Err(invalid(
                format!("directories.names[{place}]"),
                "is not the plain name of a directory",
            ));
        }
    }
    if let Some(temporary) = &directories.temporary
        && !directories.names.contains(temporary)
    {
        return Err(invalid("directories.temporary", "is not one of the names"));
    }
    Place::new(
        "directories.parent",
        directories.parent.as_path(),
        &config.work_roots,
    )
}

fn is_plain_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

fn check_resources(resources: &ResourceLimits) -> Result<(), Refusal> {
    let too_little = [
        ("resources.memory_bytes", resources.memory_bytes, 1 << 20),
        ("resources.cpu_millis", resources.cpu_millis, 10),
        ("resources.processes", resources.processes.map(u64::from), 1),
    ];
    for (field, limit, least) in too_little {
        if limit.is_some_and(|limit| limit < least) {
            return Err(invalid(field, format!("is less than {least}")));
        }
    }
    Ok(())
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
            spool_roots: Roots::Beneath(vec!["/spools".into()]),
            work_roots: Roots::Beneath(vec!["/work".into()]),
            maxima: Maxima {
                wall: Some(Duration::from_secs(100)),
                grace: Duration::from_secs(10),
                kept_bytes: 1 << 30,
                supervisors: 1,
                resources: ResourceLimits::default(),
            },
            ..Config::unprivileged(0)
        }
    }

    fn check(request: &LaunchRequest) -> Result<Places, Refusal> {
        let config = config();
        super::check(request, &config, &Ground::prepare(&config).unwrap())
    }

    fn directories() -> Directories {
        Directories {
            parent: "/work/1".into(),
            names: vec!["e".into(), "t".into()],
            temporary: Some("t".into()),
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
        assert_eq!(check(&request).unwrap_err().to_string(), expected);
    }

    #[test]
    fn good_request_is_allowed() {
        check(&good()).unwrap();
        let mut request = good();
        request.directories = Some(directories());
        assert!(check(&request).unwrap().stay.is_some());
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
        check_refused(
            |r| r.resources.memory_bytes = Some(1),
            "`resources.memory_bytes` is less than 1048576",
        );
        check_refused(
            |r| r.resources.processes = Some(0),
            "`resources.processes` is less than 1",
        );
        for name in ["", "..", "a/b", "/", "a\0"] {
            let mut directories = directories();
            directories.names.push(name.into());
            check_refused(
                |r| r.directories = Some(directories),
                "`directories.names[2]` is not the plain name of a directory",
            );
        }
        let unnamed = Directories {
            temporary: Some("x".into()),
            ..directories()
        };
        check_refused(
            |r| r.directories = Some(unnamed),
            "`directories.temporary` is not one of the names",
        );
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
        let outside = Directories {
            parent: "/etc".into(),
            ..directories()
        };
        check_refused(
            |r| r.directories = Some(outside),
            "`directories.parent` is not beneath any of the roots allowed for it",
        );
        check_refused(
            |r| r.network = Network::Loopback,
            "`network` cannot be kept away from a command here",
        );
        check_refused(
            |r| r.spool = "/spools/../etc".into(),
            "`spool` is not beneath any of the roots allowed for it",
        );
    }
}
