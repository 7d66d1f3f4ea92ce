//! From the request to a running command.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::hand_over::HandedOver;
use crate::identity::ProcessId;
use crate::launcher::{Ground, Place, Slot, SlotUser, owned_by};
use crate::os_text::OsText;
use crate::request::{LaunchRequest, Network, OutputStreams, ResourceLimits};
use crate::spool::Stream;
use crate::spool::status::StartStep;
use crate::sys::{self, Confinement, Namespaces, Start, StartFailure};

/// A command that runs, and the reading ends of its pipes, which do not block.
pub(super) struct Running {
    pub(super) pid: ProcessId,
    pub(super) pipes: Vec<(PipeReader, Stream)>,
}

/// What a command is held back by, besides its limits.
#[derive(Debug)]
pub(super) struct Bounds<'a> {
    pub(super) ground: &'a Ground,
    pub(super) slot: Option<&'a Slot<'a>>,
    pub(super) handed_over: Option<&'a HandedOver>,
    /// The smaller of what was asked for and what the launcher allows.
    pub(super) resources: ResourceLimits,
}

/// Starts the command of a request that was found valid.
pub(super) fn start(
    request: &LaunchRequest,
    work: &Place,
    bounds: &Bounds<'_>,
) -> Result<Running, StartFailure> {
    let at = |step| move |source| StartFailure { step, source };
    let user = bounds.slot.and_then(|slot| slot.user);
    let directory = work
        .open()
        .and_then(|directory| {
            // The way to it is not the user's own, so it may not be just any that is open to all.
            let client = bounds.ground.client.0;
            match user {
                Some(user) if owned_by(&directory, user.uid).is_ok() => Ok(directory),
                Some(_) => owned_by(&directory, client).map(|()| directory),
                None => Ok(directory),
            }
        })
        .map_err(at(StartStep::WorkingDirectory))?;
    let stdin = File::open("/dev/null").map_err(at(StartStep::StandardStreams))?;
    let (stdout_reader, stdout) = output_pipe().map_err(at(StartStep::Pipes))?;
    let mut pipes = vec![(stdout_reader, Stream::Stdout)];
    let stderr = match request.streams {
        OutputStreams::Merged => None,
        OutputStreams::Separate => {
            let (stderr_reader, stderr) = output_pipe().map_err(at(StartStep::Pipes))?;
            pipes.push((stderr_reader, Stream::Stderr));
            Some(stderr)
        }
    };
    let text = |bytes: &[u8]| {
        CString::new(bytes).map_err(|error| StartFailure {
            step: StartStep::Execute,
            source: error.into(),
        })
    };
    let arguments: Vec<_> = request
        .command
        .iter()
        .map(|part| text(part.as_bytes()))
        .collect::<Result<_, _>>()?;
    let environment: Vec<_> = request
        .environment
        .iter()
        .map(|(name, value)| {
            let value = match user {
                Some(user) if is_user_name(name) => user.name.as_slice(),
                _ => value.as_bytes(),
            };
            text(&[name.as_bytes(), b"=", value].concat())
        })
        .collect::<Result<_, _>>()?;
    let programs: Vec<_> = programs(request)
        .iter()
        .map(|path| text(path))
        .collect::<Result<_, _>>()?;
    let pid = sys::start(&Start {
        programs: &programs,
        arguments: &arguments,
        environment: &environment,
        directory: directory.as_fd(),
        streams: [
            stdin.as_fd(),
            stdout.as_fd(),
            stderr.as_ref().unwrap_or(&stdout).as_fd(),
        ],
        umask: request.umask,
        confinement: user.map(|user| bounds.confinement(user, request.network)),
        group: bounds.slot.and_then(|slot| slot.group.as_ref()),
    })?;
    Ok(Running { pid, pipes })
}

impl Bounds<'_> {
    fn confinement<'a>(&'a self, user: &'a SlotUser, network: Network) -> Confinement<'a> {
        let processes = self.resources.processes.filter(|_| self.ground.limits_user);
        Confinement {
            uid: user.uid,
            gid: user.gid,
            groups: &user.groups,
            namespaces: Namespaces {
                network: network == Network::Loopback,
                ..self.ground.namespaces
            },
            temporary: self.handed_over.and_then(HandedOver::temporary),
            writes_beneath: self.ground.binds_writes.then(|| {
                self.handed_over
                    .map(HandedOver::directories)
                    .unwrap_or_default()
            }),
            processes,
            out_of_memory_score: self.ground.out_of_memory_score,
        }
    }
}

/// Variables that name the user, which only the launcher knows.
fn is_user_name(name: &OsText) -> bool {
    matches!(name.as_bytes(), b"USER" | b"LOGNAME")
}

/// The paths to try for the command's program.
fn programs(request: &LaunchRequest) -> Vec<Vec<u8>> {
    let Some(program) = request.command.first().map(|program| program.as_bytes()) else {
        return Vec::new();
    };
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let path = request
        .environment
        .iter()
        .find(|(name, _)| name.as_os_str() == OsStr::new("PATH"));
    let Some((_, path)) = path else {
        return Vec::new();
    };
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| match directory {
            // An empty entry has always meant the current directory.
            b"" => [b"./", program].concat(),
            directory => [directory, b"/", program].concat(),
        })
        .collect()
}

fn output_pipe() -> io::Result<(PipeReader, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let writer = OwnedFd::from(writer);
    // The two ends have flags of their own: the command's end goes on blocking.
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(program: &str, path: Option<&str>, expected: &[&str]) {
        let request = LaunchRequest {
            command: vec![program.into()],
            environment: path
                .map(|path| ("PATH".into(), path.into()))
                .into_iter()
                .collect(),
            ..crate::request::tests::request()
        };
        let programs = programs(&request);
        let expected: Vec<_> = expected
            .iter()
            .map(|path| path.as_bytes().to_vec())
            .collect();
        assert_eq!(programs, expected, "{program} in {path:?}");
    }

    #[test]
    fn program_is_looked_for_in_the_path_of_the_request_only() {
        check("a", Some("/x:/y"), &["/x/a", "/y/a"]);
        check("a", Some(":/y:"), &["./a", "/y/a", "./a"]);
        check("./a", Some("/x"), &["./a"]);
        check("b/a", None, &["b/a"]);
        check("a", None, &[]);
    }
}
