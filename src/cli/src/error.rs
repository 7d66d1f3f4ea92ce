//! What can go wrong, in words for people: what, why, and what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use helix_agent::StartError;
use helix_api::client::{ClientError, SetupError};
use helix_api::{FieldError, ProblemKind};
use tonic::Code;

use crate::client::answer::{Answer, Broken, Refusal, reason};
use crate::client::{Address, AddressError};
use crate::demo::DemoError;
use crate::exit::Exit;
use crate::render::units;
use crate::results::ResultsError;

/// Why a command ended without doing what it was asked.
///
/// `Display` says what was being done; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No runtime: the machine is out of threads or descriptors.
    #[error("cannot start the program's runtime")]
    Runtime {
        #[source]
        source: io::Error,
    },
    /// `--agent` is no address.
    #[error("cannot use `{address}` as the address of an agent")]
    Address {
        address: String,
        #[source]
        source: AddressError,
    },
    /// The certificates or the key cannot be used.
    #[error("cannot set up the connection to `{address}`")]
    Tls {
        address: String,
        #[source]
        source: tonic::transport::Error,
    },
    /// TLS without anybody to trust.
    #[error("cannot check who answers at `{address}` without `--ca`")]
    NoAuthority { address: String },
    /// An option that would have no effect.
    #[error("cannot use `{option}` with `{address}`, which speaks no TLS")]
    TlsOptionWithoutTls {
        option: &'static str,
        address: String,
    },
    /// Nobody answers.
    #[error("cannot reach the agent at `{address}`")]
    Unreachable {
        address: String,
        #[source]
        source: tonic::transport::Error,
    },
    /// The connection broke and did not come back.
    #[error(
        "lost the agent at `{address}` and did not get back within {}",
        units::duration(*patience)
    )]
    Lost {
        address: Box<Address>,
        patience: Duration,
        attempt_id: String,
        console_offset: u64,
        cause: Broken,
    },
    /// The agent did not take a work item.
    #[error("the agent refused `{name}`")]
    Refused { name: String, refusal: Box<Refusal> },
    /// A call failed.
    #[error("cannot {what}")]
    Call { what: String, answer: Answer },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A payload cannot be made.
    #[error("cannot use the payload `{}`", path.display())]
    Payload {
        path: PathBuf,
        #[source]
        source: crate::payloads::PayloadError,
    },
    /// A variable to pass on is not there.
    #[error("cannot pass on the variable `{name}`")]
    Variable {
        name: String,
        #[source]
        source: VariableError,
    },
    /// A secret would travel for all to read.
    #[error("will not send secrets to `{address}` without TLS")]
    SecretsInTheClear { address: String },
    /// Standard output or standard error cannot be written.
    #[error("cannot write to {stream}")]
    Output {
        stream: &'static str,
        #[source]
        source: io::Error,
    },
    /// `--listen` is an address that others could reach.
    #[error("will not listen on `{address}`, which others could reach")]
    NotLoopback { address: SocketAddr },
    /// There is no place for the agent's files.
    #[error("cannot use `{}` as the agent's directory", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The agent of `helix up` does not start.
    #[error("cannot start the agent")]
    Agent {
        #[source]
        source: helix_agent::StartError,
    },
    /// The launcher of that agent cannot go on.
    #[error("cannot launch commands")]
    Launcher {
        /// In words, as its error cannot leave its thread.
        cause: String,
    },
    /// The demonstration cannot be given.
    #[error("cannot give the demonstration")]
    Demo {
        #[source]
        source: DemoError,
    },
    /// `helix results` cannot do what it was asked.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// The controller of `helix up` cannot start.
    #[error("cannot start a controller")]
    ControllerStart {
        #[source]
        source: helix_controller::StartError,
    },
    /// The controller cannot be talked to at all.
    #[error("cannot use `{url}` as a controller")]
    ControllerSetup {
        url: String,
        #[source]
        source: SetupError,
    },
    /// A call of the controller failed.
    #[error("cannot {what}")]
    Controller {
        what: String,
        #[source]
        source: ClientError,
    },
    /// The file with the token cannot be used.
    #[error("cannot use the token in `{}`", path.display())]
    TokenFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A job list is wrong.
    #[error("cannot submit the job list `{name}`")]
    JobList {
        name: String,
        errors: Vec<FieldError>,
    },
    /// Both an agent and a controller were named, and the command could mean either.
    #[error("cannot tell whether `{name}` is an agent's or a controller's")]
    Unclear { name: String },
    /// A job was named where a work item of it is needed.
    #[error("cannot read the log of a whole job")]
    WhichItem { job: String },
    /// An agent was named for something that only a controller knows.
    #[error("cannot ask an agent about a job's work item")]
    NotAtAnAgent,
    /// A work item that has not been started.
    #[error("cannot read a log of `{item}`, of which nothing has been started")]
    NotStarted { job: String, item: String },
    /// Signals cannot be caught.
    #[error("cannot listen for signals")]
    Signals {
        #[source]
        source: io::Error,
    },
}

/// Why a variable cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VariableError {
    /// It is not set.
    #[error("it is not set in this environment")]
    Unset,
    /// The contract carries text.
    #[error("its value is not UTF-8")]
    NotText,
    /// Masking it would mask half of the log.
    #[error("its value has fewer than 3 bytes, which cannot be masked in a log")]
    TooShort,
}

impl Error {
    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Address { .. }
            | Self::NoAuthority { .. }
            | Self::TlsOptionWithoutTls { .. }
            | Self::Variable { .. }
            | Self::SecretsInTheClear { .. } => Exit::Usage,
            Self::Unreachable { .. } | Self::Lost { .. } => Exit::Unreachable,
            Self::ControllerSetup { .. }
            | Self::JobList { .. }
            | Self::Unclear { .. }
            | Self::WhichItem { .. }
            | Self::NotAtAnAgent => Exit::Usage,
            Self::NotStarted { .. } => Exit::NoInput,
            Self::TokenFile { .. } => Exit::NotPermitted,
            Self::Controller { source, .. } => controller_exit(source),
            Self::Tls { .. } => Exit::NotPermitted,
            Self::Refused { refusal, .. } => refusal_exit(refusal),
            Self::Call { answer, .. } => match answer {
                Answer::Refused(refusal) => refusal_exit(refusal),
                Answer::Broken(_) => Exit::Unreachable,
                Answer::Rejected { code, .. } => match code {
                    Code::Unauthenticated | Code::PermissionDenied => Exit::NotPermitted,
                    Code::OutOfRange | Code::InvalidArgument => Exit::Usage,
                    Code::NotFound => Exit::NoInput,
                    _ => Exit::Infrastructure,
                },
            },
            Self::Results(error) => error.exit(),
            Self::NotLoopback { .. } => Exit::Usage,
            Self::Directory { .. } => Exit::InputOutput,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NoInput,
            Self::Payload { source, .. } => source.exit(),
            Self::Read { .. } | Self::Output { .. } => Exit::InputOutput,
            Self::Runtime { .. }
            | Self::Signals { .. }
            | Self::Agent { .. }
            | Self::Launcher { .. }
            | Self::ControllerStart { .. }
            | Self::Demo { .. } => Exit::Infrastructure,
        }
    }

    /// The agent's own no, if that is what it was.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::Call {
                answer: Answer::Refused(refusal),
                ..
            } => Some(refusal),
            _ => None,
        }
    }

    /// Why, from the outside to the inside.
    pub(crate) fn causes(&self) -> Vec<String> {
        let own = match self {
            Self::Lost { cause, .. } => Some(cause.to_string()),
            Self::Refused { refusal, .. } => Some(refusal.to_string()),
            Self::Call { answer, .. } => Some(answer.to_string()),
            Self::Launcher { cause } => Some(cause.clone()),
            _ => None,
        };
        let mut causes = Vec::from_iter(own);
        if let Self::JobList { errors, .. } = self {
            causes.extend(errors.iter().map(field));
        }
        if let Self::Controller {
            source: ClientError::Problem(problem),
            ..
        } = self
            && problem.errors.len() > 1
        {
            causes.extend(problem.errors.iter().map(field));
            return causes;
        }
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let text = error.to_string();
            // Wrappers without a word of their own, and those who repeat theirs.
            if text != "transport error" && causes.last() != Some(&text) {
                causes.push(text);
            }
            source = error.source();
        }
        causes
    }

    /// What to do.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "`helix up` starts an agent on this machine; `--agent` or HELIX_AGENT names \
                 another one"
                    .to_owned(),
            ),
            Self::Lost {
                attempt_id,
                console_offset,
                ..
            } => Some(format!(
                "the attempt may still run; `helix attach {attempt_id} --from {console_offset}` \
                 continues here"
            )),
            Self::Refused { refusal, .. } => Some(refusal.hint()),
            Self::Call { answer, .. } => match answer {
                Answer::Refused(refusal) if refusal.reason == reason::UNKNOWN_ATTEMPT => {
                    Some(refusal.hint())
                }
                Answer::Refused(_) | Answer::Broken(_) => None,
                Answer::Rejected { code, .. } => match code {
                    Code::Unimplemented => {
                        Some("is this the address of a Helix agent of our version?".to_owned())
                    }
                    Code::Unauthenticated | Code::PermissionDenied => Some(
                        "`--cert` and `--key` say who we are; the agent's configuration says who \
                         may come"
                            .to_owned(),
                    ),
                    Code::OutOfRange => {
                        Some("`--from` lies beyond what the attempt has written".to_owned())
                    }
                    _ => None,
                },
            },
            Self::ControllerSetup { source, .. } => match source {
                SetupError::TokenInTheClear { .. } => {
                    Some("say `https://` in the address".to_owned())
                }
                SetupError::Address { .. } => {
                    Some("such as `https://helix.example` or `http://127.0.0.1:7410`".to_owned())
                }
                SetupError::Certificates { .. } => {
                    Some("`--ca` names a file with certificates in PEM".to_owned())
                }
                SetupError::Token | SetupError::Library(_) => None,
            },
            Self::Controller { source, .. } => controller_hint(source),
            Self::TokenFile { .. } => {
                Some("it should hold one line, and only its owner should read it: chmod 600".to_owned())
            }
            Self::JobList { .. } => {
                Some("`helix submit --help` shows a job list; the controller describes every field \
                      at `/api/v1/openapi.json`".to_owned())
            }
            Self::Unclear { .. } => Some(
                "say `--agent` or `--controller` on the command line, not both; or `--job` where it \
                 is a job"
                    .to_owned(),
            ),
            Self::WhichItem { job } => Some(format!(
                "name a work item: `helix logs {job} ITEM`; `helix results --job {job}` lists them"
            )),
            Self::NotAtAnAgent => {
                Some("leave out `--agent`; an agent's attempt has one name".to_owned())
            }
            Self::NotStarted { job, item } => Some(format!(
                "`helix explain {job} {item}` says why; `helix logs -f` waits"
            )),
            Self::NoAuthority { .. } => {
                Some("say `--ca FILE`, or `http://` if the line itself is safe".to_owned())
            }
            Self::TlsOptionWithoutTls { .. } => Some("say `https://` in the address".to_owned()),
            Self::Payload { source, .. } => source.hint(),
            Self::SecretsInTheClear { .. } => {
                Some("say `https://` in the address, with `--ca`".to_owned())
            }
            Self::Variable {
                name,
                source: VariableError::Unset,
            } => Some(format!("set it, or leave out `{name}`")),
            Self::NotLoopback { .. } => Some(
                "`helix up` is for one machine; `helix-agent` serves others, with certificates"
                    .to_owned(),
            ),
            Self::Agent {
                source: StartError::Listen { .. },
            } => Some(
                "does another agent run? `helix capacity` asks it; `--agent-listen 127.0.0.1:0` lets \
                 the system choose a port"
                    .to_owned(),
            ),
            Self::ControllerStart {
                source: helix_controller::StartError::Listen { .. },
            } => Some(
                "does another controller run? `helix jobs` asks it; `--listen 127.0.0.1:0` lets \
                 the system choose a port"
                    .to_owned(),
            ),
            Self::ControllerStart {
                source: helix_controller::StartError::AlreadyRunning { .. },
            } => {
                Some("`helix jobs` asks it; `--directory` keeps a second one apart".to_owned())
            }
            Self::Agent {
                source: StartError::AlreadyRunning { .. },
            } => {
                Some("`helix capacity` asks it; `--directory` keeps a second one apart".to_owned())
            }
            Self::Results(error) => error.hint(),
            Self::Demo { source } => source.hint(),
            Self::Agent { .. }
            | Self::ControllerStart { .. }
            | Self::Launcher { .. }
            | Self::Directory { .. }
            | Self::Runtime { .. }
            | Self::Address { .. }
            | Self::Tls { .. }
            | Self::Read { .. }
            | Self::Variable { .. }
            | Self::Output { .. }
            | Self::Signals { .. } => None,
        }
    }
}

fn field(error: &FieldError) -> String {
    format!("`{}`: {}", error.path, error.message)
}

fn controller_exit(error: &ClientError) -> Exit {
    match error {
        ClientError::Unreachable { .. } | ClientError::Silent { .. } => Exit::Unreachable,
        ClientError::Content(_) => Exit::InputOutput,
        ClientError::Foreign { .. } | ClientError::Answer(_) | ClientError::Request(_) => {
            Exit::Infrastructure
        }
        ClientError::Problem(problem) => match problem.kind {
            ProblemKind::InvalidRequest
            | ProblemKind::MethodNotAllowed
            | ProblemKind::TooLarge
            | ProblemKind::UnsupportedMediaType
            | ProblemKind::RangeNotSatisfiable => Exit::Usage,
            ProblemKind::Unauthenticated | ProblemKind::Forbidden => Exit::NotPermitted,
            ProblemKind::NotFound => Exit::NoInput,
            ProblemKind::Conflict => Exit::Refused,
            ProblemKind::TooManyRequests | ProblemKind::Timeout | ProblemKind::Unavailable => {
                Exit::Unreachable
            }
            ProblemKind::Internal | ProblemKind::Other => Exit::Infrastructure,
        },
    }
}

fn controller_hint(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Unreachable { .. } => Some(
            "`helix up` starts a controller on this machine; `--controller` or HELIX_CONTROLLER \
             names another one"
                .to_owned(),
        ),
        ClientError::Problem(problem) => match problem.kind {
            ProblemKind::Unauthenticated => Some(
                "put the token into HELIX_TOKEN, or into a file that `--token-file` names"
                    .to_owned(),
            ),
            ProblemKind::Forbidden => {
                Some("the controller's configuration says what a token may do".to_owned())
            }
            ProblemKind::Internal if !problem.request_id.is_empty() => Some(format!(
                "the controller's log says more under the request {}",
                problem.request_id
            )),
            _ => None,
        },
        ClientError::Foreign { .. } => {
            Some("is this the address of a Helix controller of our version?".to_owned())
        }
        ClientError::Silent { .. }
        | ClientError::Answer(_)
        | ClientError::Request(_)
        | ClientError::Content(_) => None,
    }
}

fn refusal_exit(refusal: &Refusal) -> Exit {
    match refusal.code {
        Code::InvalidArgument => Exit::Usage,
        Code::NotFound => Exit::NoInput,
        _ => Exit::Refused,
    }
}
