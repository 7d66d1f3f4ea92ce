//! One run of the `git` program: its environment, its limits, its end.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, GitProblem, show_bytes};
use crate::progress::Progress;
use crate::source::GitUrl;

use super::options::GitOptions;
use super::weigh;

/// Bytes of output that are kept: the first of what it returns, the last of what it complains of.
const KEPT_BYTES: usize = 8 << 10;

/// Time between two looks at how much is on disk.
const WEIGH_INTERVAL: Duration = Duration::from_secs(1);

/// How long the output of a program that has ended may stay open, held by a child of its own.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// Variables of our own environment that are passed on: where to find programs, the network's
/// proxies and authorities, and the keys for SSH.
const PASSED_ON: [&str; 13] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "SSH_AUTH_SOCK",
    "TMPDIR",
];

/// What a network or server in trouble makes git say.
const SIGNS_OF_TROUBLE: [&str; 16] = [
    "could not resolve host",
    "couldn't resolve host",
    "temporary failure in name resolution",
    "failed to connect",
    "couldn't connect",
    "connection refused",
    "connection reset",
    "connection timed out",
    "operation timed out",
    "timed out",
    "network is unreachable",
    "early eof",
    "the remote end hung up unexpectedly",
    "returned error: 429",
    "returned error: 5",
    "unexpected disconnect",
];

/// One checkout under way.
pub(super) struct Git<'a> {
    pub(super) url: &'a GitUrl,
    pub(super) destination: &'a Path,
    pub(super) options: &'a GitOptions,
    pub(super) cancellation: &'a CancellationToken,
    pub(super) deadline: Instant,
}

/// Why a run ended before the program did.
enum Stop {
    Cancelled,
    Failed(GitProblem),
}

impl Git<'_> {
    /// The address as git is told it: without a password, and over HTTP without a user as well.
    pub(super) fn address(&self) -> String {
        let mut url = self.url.expose().clone();
        url.set_fragment(None);
        // These fail for addresses that cannot have either, which then have neither.
        let _ = url.set_password(None);
        if matches!(url.scheme(), "http" | "https") {
            let _ = url.set_username("");
        }
        url.into()
    }

    /// Runs `git` with `arguments` in the destination; returns what it wrote.
    pub(super) async fn run(
        &self,
        step: &'static str,
        arguments: &[&str],
    ) -> Result<Vec<u8>, Error> {
        let mut command = Command::new(&self.options.program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment())
            .current_dir(self.destination)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| {
            let program = self.options.program.clone();
            self.failed(GitProblem::Start {
                program,
                source: Arc::new(error),
            })
        })?;
        let mut running = Running { child };
        let stdout = running.child.stdout.take();
        let stderr = running.child.stderr.take();
        let mut output = Vec::new();
        let mut complaints = Vec::new();
        let reading = async {
            tokio::join!(
                read(stdout, &mut output, Keep::First),
                read(stderr, &mut complaints, Keep::Last),
            );
        };
        let ended = async {
            tokio::pin!(reading);
            tokio::select! {
                status = running.child.wait() => {
                    // A helper that stays behind may hold the output open for as long as it likes.
                    let _ = timeout(OUTPUT_GRACE, &mut reading).await;
                    status
                }
                () = &mut reading => running.child.wait().await,
            }
        };
        let stop = tokio::select! {
            biased;
            stop = self.stop() => Err(stop),
            status = ended => Ok(status),
        };
        let status = match stop {
            Ok(status) => status
                .map_err(|error| Error::io("wait for the program", &self.options.program, error))?,
            Err(stop) => {
                running.kill().await;
                return Err(match stop {
                    Stop::Cancelled => Error::Cancelled,
                    Stop::Failed(problem) => self.failed(problem),
                });
            }
        };
        if status.success() {
            return Ok(output);
        }
        let message = self.message(&complaints);
        let lower = message.to_lowercase();
        let transient = SIGNS_OF_TROUBLE.iter().any(|sign| lower.contains(sign));
        let outcome = outcome(status);
        Err(self.failed(GitProblem::Failed {
            step,
            outcome,
            message,
            transient,
        }))
    }

    pub(super) fn failed(&self, problem: GitProblem) -> Error {
        Error::Git {
            url: self.url.clone(),
            problem,
        }
    }

    /// Waits for a reason to stop.
    async fn stop(&self) -> Stop {
        let too_large = async {
            let mut pause = WEIGH_INTERVAL;
            loop {
                sleep(pause).await;
                let started = Instant::now();
                match weigh(self.destination, self.options.limits, self.cancellation).await {
                    Ok(bytes) => {
                        if let Some(progress) = &self.options.progress {
                            progress.send_replace(Progress::CheckingOut { bytes });
                        }
                    }
                    Err(limit) => return limit,
                }
                // A large tree takes long to weigh, and is not weighed all the time.
                pause = WEIGH_INTERVAL.max(started.elapsed() * 10);
            }
        };
        tokio::select! {
            biased;
            () = self.cancellation.cancelled() => Stop::Cancelled,
            () = sleep_until(self.deadline) => {
                Stop::Failed(GitProblem::Deadline { allowed: self.options.deadline })
            }
            limit = too_large => Stop::Failed(GitProblem::Limit(limit)),
        }
    }

    /// The whole environment of the program.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut environment: Vec<(OsString, OsString)> = PASSED_ON
            .iter()
            .filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)))
            .collect();
        let allowed: Vec<_> = self
            .options
            .transports
            .iter()
            .map(|transport| transport.scheme())
            .collect();
        let mut fixed: Vec<(String, String)> = [
            ("LC_ALL", "C"),
            // There is nothing in it, and nothing can be put there.
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "/bin/false"),
            ("SSH_ASKPASS", "/bin/false"),
            ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=30"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        fixed.push(("GIT_ALLOW_PROTOCOL".to_owned(), allowed.join(":")));
        if let Some(parent) = self.destination.parent() {
            // No repository further up is ever taken for ours.
            environment.push(("GIT_CEILING_DIRECTORIES".into(), parent.into()));
        }
        let settings = self.settings();
        fixed.push(("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string()));
        for (index, (key, value)) in settings.into_iter().enumerate() {
            fixed.push((format!("GIT_CONFIG_KEY_{index}"), key));
            fixed.push((format!("GIT_CONFIG_VALUE_{index}"), value));
        }
        environment.extend(
            fixed
                .into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        environment
    }

    /// Settings that hold over those of the repository.
    fn settings(&self) -> Vec<(String, String)> {
        let mut settings: Vec<(String, String)> = [
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("core.protectHFS", "true"),
            ("core.protectNTFS", "true"),
            ("core.autocrlf", "false"),
            ("credential.helper", ""),
            ("protocol.version", "2"),
            ("http.followRedirects", "initial"),
            // Fewer bytes a second than this, for so many seconds, is a server that has stalled.
            ("http.lowSpeedLimit", "1000"),
            ("http.lowSpeedTime", "60"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("submodule.recurse", "false"),
            ("advice.detachedHead", "false"),
            // Objects are checked as they come, but for old and harmless untidiness.
            ("fetch.fsckObjects", "true"),
            ("fetch.fsck.zeroPaddedFilemode", "ignore"),
            ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
            ("fetch.fsck.badTimezone", "ignore"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        settings.extend(self.authorization());
        settings
    }

    /// User and password of an HTTP address, as a header for that server alone.
    fn authorization(&self) -> Option<(String, String)> {
        let url = self.url.expose();
        if !matches!(url.scheme(), "http" | "https")
            || (url.username().is_empty() && url.password().is_none())
        {
            return None;
        }
        let mut credentials = percent_decoded(url.username());
        credentials.push(b':');
        credentials.extend(percent_decoded(url.password().unwrap_or_default()));
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let host = url.host_str().unwrap_or_default();
        Some((
            format!("http.{}://{host}{port}/.extraHeader", url.scheme()),
            format!("Authorization: Basic {}", STANDARD.encode(credentials)),
        ))
    }

    /// The end of what git complained of, without secrets.
    fn message(&self, complaints: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(complaints).into_owned();
        let url = self.url.expose();
        // Neither is in the address that git is told; but what a server says, it says.
        let secrets = [url.query(), url.password()];
        for secret in secrets
            .into_iter()
            .flatten()
            .filter(|secret| !secret.is_empty())
        {
            text = text.replace(secret, "…");
        }
        let lines: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let last = lines.len().saturating_sub(3);
        show_bytes(lines[last..].join("; ").as_bytes())
    }
}

/// A program under way; dropped, it and all of its group are killed.
struct Running {
    child: Child,
}

impl Running {
    async fn kill(&mut self) {
        self.kill_group();
        // Killed, it ends; what is left of the group is no child of ours to wait for.
        let _ = self.child.wait().await;
    }

    fn kill_group(&self) {
        // There is an id as long as it has not been waited for, so it is still that group's.
        let group = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        if let Some(group) = group {
            // It can only fail because nobody is left.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Which part of an output is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    First,
    Last,
}

/// Reads `from` to its end into `kept`, which never grows beyond its bound.
async fn read(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, keep: Keep) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; KEPT_BYTES];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                kept.extend_from_slice(&buffer[..length]);
                let excess = kept.len().saturating_sub(KEPT_BYTES);
                match keep {
                    Keep::First => kept.truncate(KEPT_BYTES),
                    Keep::Last => drop(kept.drain(..excess)),
                }
            }
        }
    }
}

fn outcome(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// `text` with `%41` and the like made into bytes.
fn percent_decoded(text: &str) -> Vec<u8> {
    let hex = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if let (b'%', [high, low, after @ ..]) = (first, behind)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_git<T>(url: &str, check: impl FnOnce(&Git<'_>) -> T) -> T {
        let url: GitUrl = url.parse().unwrap();
        let options = GitOptions::default();
        let cancellation = CancellationToken::new();
        check(&Git {
            url: &url,
            destination: Path::new("/srv/destination"),
            options: &options,
            cancellation: &cancellation,
            deadline: Instant::now(),
        })
    }

    #[test]
    fn address_holds_no_secret_and_the_header_is_for_its_server_alone() {
        with_git("https://us%65r:p%40ss@a.example:8443/r.git", |git| {
            assert_eq!(git.address(), "https://a.example:8443/r.git");
            let (key, value) = git.authorization().unwrap();
            assert_eq!(key, "http.https://a.example:8443/.extraHeader");
            assert_eq!(
                value,
                format!("Authorization: Basic {}", STANDARD.encode("user:p@ss"))
            );
        });
        with_git("https://token@a.example/r.git", |git| {
            assert_eq!(git.address(), "https://a.example/r.git");
            let (_, value) = git.authorization().unwrap();
            assert_eq!(
                value,
                format!("Authorization: Basic {}", STANDARD.encode("token:"))
            );
        });
        with_git("ssh://git:pass@a.example/r.git", |git| {
            assert_eq!(git.address(), "ssh://git@a.example/r.git");
            assert_eq!(git.authorization(), None);
        });
        with_git("https://a.example/r.git", |git| {
            assert_eq!(git.authorization(), None)
        });
    }

    #[test]
    fn environment_is_built_from_nothing() {
        with_git("https://a.example/r.git", |git| {
            for (name, _) in git.environment() {
                let name = name.into_string().unwrap();
                let known = PASSED_ON.contains(&name.as_str())
                    || name.starts_with("GIT_")
                    || ["LC_ALL", "HOME", "SSH_ASKPASS"].contains(&name.as_str());
                assert!(known, "{name}");
            }
            let environment = git.environment();
            let allowed = environment
                .iter()
                .find(|(name, _)| name == "GIT_ALLOW_PROTOCOL")
                .unwrap();
            assert_eq!(allowed.1, "https:ssh");
        });
    }

    #[test]
    fn message_is_the_end_of_it_without_secrets_and_without_control_characters() {
        with_git("https://u:hunter2@a.example/r.git?sig=swordfish", |git| {
            let message = git.message(b"one\ntwo\nthree\n\x1b[31mhunter2 sig=swordfish\n\n");
            assert_eq!(message, "two; three; \\u{1b}[31m… …");
        });
    }
}
