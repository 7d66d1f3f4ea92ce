//! Commits checked out from repositories on this machine, friendly and not.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use helix_payload::{
    ArchiveProblem, Error, GitDirectory, GitOptions, GitProblem, GitSource, GitTransport, Kind,
    Limit, Source, Submodules, checkout,
};
use tokio_util::sync::CancellationToken;

use crate::caching::assert_no_secret;
use crate::server::{SECRET, Server, Step, status};

/// A directory with repositories in it.
struct Forge {
    directory: tempfile::TempDir,
    options: GitOptions,
}

impl Forge {
    fn new() -> Self {
        let options = GitOptions {
            transports: vec![GitTransport::File, GitTransport::Http],
            ..GitOptions::default()
        };
        Self {
            directory: tempfile::tempdir().unwrap(),
            options,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn destination(&self) -> PathBuf {
        self.path("destination")
    }

    fn git(&self, repository: &str, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.path(repository))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", self.directory.path())
            .args([
                "-c",
                "user.name=Somebody",
                "-c",
                "user.email=somebody@a.example",
            ])
            .args([
                "-c",
                "protocol.file.allow=always",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Makes a repository with these files; returns its commit.
    fn repository(&self, name: &str, files: &[(&str, &str)]) -> String {
        fs::create_dir(self.path(name)).unwrap();
        self.git(name, &["init", "--quiet"]);
        self.commit(name, files)
    }

    fn commit(&self, name: &str, files: &[(&str, &str)]) -> String {
        for (file, content) in files {
            let path = self.path(name).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        self.git(name, &["add", "--all"]);
        self.git(name, &["commit", "--quiet", "--allow-empty", "-m", "x"]);
        self.git(name, &["rev-parse", "HEAD"])
    }

    fn source(&self, name: &str, commit: &str) -> GitSource {
        let text = format!("git+file://{}#{commit}", self.path(name).display());
        let Ok(Source::Git(source)) = Source::parse(&text) else {
            panic!("{text}")
        };
        source
    }

    async fn checkout(&self, source: &GitSource) -> Result<(), Error> {
        let cancellation = CancellationToken::new();
        let result = checkout(source, &self.destination(), &self.options, &cancellation).await;
        if let Err(error) = &result {
            assert_no_secret(error);
        }
        result
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.destination().join(file)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.destination())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn git_problem(result: Result<(), Error>) -> GitProblem {
    match result {
        Err(Error::Git { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn commit_in_the_middle_of_history_is_checked_out_alone() {
    let forge = Forge::new();
    forge.repository("r", &[("a", "1")]);
    let second = forge.commit("r", &[("a", "2"), ("d/run.sh", "#!/bin/sh")]);
    forge.git("r", &["update-index", "--chmod=+x", "d/run.sh"]);
    let third = forge.commit("r", &[("b", "3")]);
    forge.commit("r", &[("a", "4")]);
    forge.checkout(&forge.source("r", &second)).await.unwrap();
    assert_eq!(forge.read("a"), "2");
    assert_eq!(forge.names(), ["a", "d"]);

    let mut forge = forge;
    fs::remove_dir_all(forge.destination()).unwrap();
    forge.options.git_directory = GitDirectory::Keep;
    forge.checkout(&forge.source("r", &third)).await.unwrap();
    assert_eq!(forge.names(), [".git", "a", "b", "d"]);
    let shallow = fs::read_to_string(forge.destination().join(".git/shallow")).unwrap();
    assert_eq!(shallow.trim(), third);
}

#[tokio::test]
async fn repository_with_longer_commit_names_is_checked_out() {
    let forge = Forge::new();
    fs::create_dir(forge.path("r")).unwrap();
    forge.git("r", &["init", "--quiet", "--object-format=sha256"]);
    let commit = forge.commit("r", &[("a", "1")]);
    assert_eq!(commit.len(), 64);
    forge.checkout(&forge.source("r", &commit)).await.unwrap();
    assert_eq!(forge.read("a"), "1");
}

#[tokio::test]
async fn submodules_come_along_only_when_asked_for() {
    let forge = Forge::new();
    forge.repository("inner", &[("i", "inner")]);
    forge.repository("middle", &[("m", "middle")]);
    let inner = forge.path("inner");
    forge.git(
        "middle",
        &["submodule", "--quiet", "add", inner.to_str().unwrap(), "in"],
    );
    forge.commit("middle", &[]);
    forge.repository("outer", &[("o", "outer")]);
    forge.git(
        "outer",
        &["submodule", "--quiet", "add", "../middle", "mid"],
    );
    let commit = forge.commit("outer", &[]);

    let mut source = forge.source("outer", &commit);
    forge.checkout(&source).await.unwrap();
    assert_eq!(forge.names(), [".gitmodules", "mid", "o"]);
    assert_eq!(
        fs::read_dir(forge.destination().join("mid"))
            .unwrap()
            .count(),
        0
    );

    fs::remove_dir_all(forge.destination()).unwrap();
    source.submodules = Submodules::Recurse;
    forge.checkout(&source).await.unwrap();
    assert_eq!(forge.read("mid/m"), "middle");
    assert_eq!(forge.read("mid/in/i"), "inner");
    for place in [".git", "mid/.git", "mid/in/.git"] {
        assert!(!forge.destination().join(place).exists(), "{place}");
    }
}

#[tokio::test]
async fn submodule_over_a_transport_that_is_not_allowed_is_refused() {
    let forge = Forge::new();
    forge.repository("outer", &[("o", "outer")]);
    // What a helper program would be started for.
    let marker = forge.path("started");
    let url = format!("ext::touch {}", marker.display());
    fs::write(
        forge.path("outer/.gitmodules"),
        format!("[submodule \"s\"]\n\tpath = s\n\turl = {url}\n"),
    )
    .unwrap();
    let head = forge.git("outer", &["rev-parse", "HEAD"]);
    forge.git(
        "outer",
        &[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{head},s"),
        ],
    );
    forge.git("outer", &["add", ".gitmodules"]);
    forge.git("outer", &["commit", "--quiet", "-m", "x"]);
    let commit = forge.git("outer", &["rev-parse", "HEAD"]);
    let source = GitSource {
        submodules: Submodules::Recurse,
        ..forge.source("outer", &commit)
    };
    let problem = git_problem(forge.checkout(&source).await);
    assert!(matches!(problem, GitProblem::Failed { .. }), "{problem:?}");
    assert!(!marker.exists());
}

#[tokio::test]
async fn hooks_are_not_run_and_configuration_of_a_home_is_not_read() {
    let mut forge = Forge::new();
    let commit = forge.repository(
        "r",
        &[("a.txt", "1"), (".gitattributes", "*.txt filter=evil\n")],
    );
    let marker = forge.path("started");
    let hook = forge.path("hook");
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let home = forge.path("home");
    fs::create_dir(&home).unwrap();
    let config = format!(
        "[filter \"evil\"]\n\tsmudge = touch {0}; cat\n",
        marker.display()
    );
    fs::write(home.join(".gitconfig"), config).unwrap();
    // The real program, with the worst of homes, and with a hook planted once there is a place.
    let script = format!(
        "export HOME={}\ngit \"$@\" || exit\n[ \"$1\" != init ] || {{ mkdir -p .git/hooks && cp {} .git/hooks/post-checkout; }}",
        home.display(),
        hook.display(),
    );
    stand_in(&mut forge, &script);
    forge.checkout(&forge.source("r", &commit)).await.unwrap();
    assert_eq!(forge.read("a.txt"), "1");
    assert!(!marker.exists());
}

#[tokio::test]
async fn tree_with_a_link_that_leads_outside_is_refused() {
    for (target, fine) in [
        ("a", true),
        ("/etc/passwd", false),
        ("../../precious", false),
    ] {
        let forge = Forge::new();
        forge.repository("r", &[("a", "1")]);
        symlink(target, forge.path("r/link")).unwrap();
        let commit = forge.commit("r", &[]);
        let result = forge.checkout(&forge.source("r", &commit)).await;
        assert_eq!(result.is_ok(), fine, "{target}: {result:?}");
        if let Err(error) = result {
            assert!(
                matches!(&error, Error::Tree { path, problem: ArchiveProblem::LinkTarget { .. } }
                    if path == Path::new("link")),
                "{error:?}"
            );
            assert_eq!(error.kind(), Kind::Permanent);
        }
    }
}

#[tokio::test]
async fn commit_that_does_not_exist_is_a_permanent_failure() {
    let forge = Forge::new();
    forge.repository("r", &[("a", "1")]);
    let missing = "0123456789abcdef0123456789abcdef01234567";
    let problem = git_problem(forge.checkout(&forge.source("r", missing)).await);
    let GitProblem::Failed {
        step: "fetch",
        message,
        transient: false,
        ..
    } = &problem
    else {
        panic!("{problem:?}")
    };
    assert!(message.contains("not our ref"), "{message}");

    let forge = Forge::new();
    let problem = git_problem(forge.checkout(&forge.source("nothing-here", missing)).await);
    assert_eq!(problem.kind(), Kind::Permanent, "{problem:?}");
}

#[tokio::test]
async fn object_that_is_no_commit_is_refused() {
    let forge = Forge::new();
    forge.repository("r", &[("a", "1")]);
    forge.git("r", &["tag", "-a", "-m", "x", "v1"]);
    forge.git("r", &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    for object in ["HEAD:a", "HEAD^{tree}", "v1"] {
        let id = forge.git("r", &["rev-parse", object]);
        let result = forge.checkout(&forge.source("r", &id)).await;
        assert!(
            matches!(result, Err(Error::Git { .. })),
            "{object}: {result:?}"
        );
        fs::remove_dir_all(forge.destination()).unwrap();
    }
}

#[tokio::test]
async fn transport_that_is_not_allowed_is_refused_before_anything_is_made() {
    let mut forge = Forge::new();
    let commit = forge.repository("r", &[("a", "1")]);
    forge.options.transports = GitOptions::default().transports;
    let problem = git_problem(forge.checkout(&forge.source("r", &commit)).await);
    assert!(matches!(problem, GitProblem::TransportRefused { scheme } if scheme == "file"));
    assert!(!forge.destination().exists());
}

#[tokio::test]
async fn destination_must_be_empty() {
    let forge = Forge::new();
    let commit = forge.repository("r", &[("a", "1")]);
    fs::create_dir(forge.destination()).unwrap();
    forge.checkout(&forge.source("r", &commit)).await.unwrap();
    let problem = git_problem(forge.checkout(&forge.source("r", &commit)).await);
    assert!(
        matches!(problem, GitProblem::DestinationNotEmpty { .. }),
        "{problem:?}"
    );
}

#[tokio::test]
async fn limits_on_bytes_and_entries_hold() {
    let mut forge = Forge::new();
    let files: Vec<_> = (0..20).map(|index| format!("f{index}")).collect();
    let files: Vec<_> = files
        .iter()
        .map(|name| (name.as_str(), "content"))
        .collect();
    let commit = forge.repository("r", &files);
    forge.options.limits.max_entries = 19;
    let problem = git_problem(forge.checkout(&forge.source("r", &commit)).await);
    assert!(
        matches!(problem, GitProblem::Limit(Limit::Entries { count: 19 })),
        "{problem:?}"
    );
    fs::remove_dir_all(forge.destination()).unwrap();
    forge.options.limits.max_entries = 20;
    forge.options.limits.max_bytes = 139;
    let problem = git_problem(forge.checkout(&forge.source("r", &commit)).await);
    assert!(
        matches!(problem, GitProblem::Limit(Limit::TotalBytes { bytes: 139 })),
        "{problem:?}"
    );
    fs::remove_dir_all(forge.destination()).unwrap();
    forge.options.limits.max_bytes = 140;
    forge.checkout(&forge.source("r", &commit)).await.unwrap();
}

/// A stand-in for git that starts a child and then takes its time, or does as `script` says.
fn stand_in(forge: &mut Forge, script: &str) {
    let path = forge.path("git-stand-in");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    forge.options.program = path;
}

fn is_alive(pid_file: &Path) -> bool {
    let pid = fs::read_to_string(pid_file).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // Dead and not yet waited for by whoever inherited it is dead enough.
    !state.is_empty() && !state.contains(") Z ")
}

#[tokio::test]
async fn cancelled_or_late_program_is_killed_with_all_its_children() {
    for late in [false, true] {
        let mut forge = Forge::new();
        let pid_file = forge.path("pid");
        stand_in(
            &mut forge,
            &format!(
                "sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait",
                pid_file.display()
            ),
        );
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let source = forge.source("r", commit);
        let cancellation = CancellationToken::new();
        if late {
            forge.options.deadline = Duration::from_millis(700);
        }
        let (pid, cancel) = (pid_file.clone(), cancellation.clone());
        let canceller = tokio::spawn(async move {
            while !pid.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if !late {
                cancel.cancel();
            }
        });
        let started = Instant::now();
        let result = checkout(&source, &forge.destination(), &forge.options, &cancellation).await;
        canceller.await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(60));
        match (late, result) {
            (false, Err(Error::Cancelled)) => {}
            (true, Err(error)) => {
                assert_eq!(error.kind(), Kind::Transient, "{error:?}");
                assert!(
                    error.chain().contains("took longer than"),
                    "{}",
                    error.chain()
                );
            }
            (_, other) => panic!("{other:?}"),
        }
        for _ in 0..400 {
            if !is_alive(&pid_file) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!is_alive(&pid_file));
    }
}

#[tokio::test]
async fn program_that_fills_the_disk_is_stopped() {
    let mut forge = Forge::new();
    stand_in(&mut forge, "head -c 3000000 /dev/zero > big; sleep 600");
    forge.options.limits.max_bytes = 1_000_000;
    let source = forge.source("r", "0123456789abcdef0123456789abcdef01234567");
    let problem = git_problem(forge.checkout(&source).await);
    assert!(
        matches!(problem, GitProblem::Limit(Limit::TotalBytes { .. })),
        "{problem:?}"
    );
}

#[tokio::test]
async fn program_that_talks_without_end_or_leaves_its_output_open_is_no_trouble() {
    let mut forge = Forge::new();
    let source = forge.source("r", "0123456789abcdef0123456789abcdef01234567");
    stand_in(
        &mut forge,
        "head -c 30000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 3",
    );
    let problem = git_problem(forge.checkout(&source).await);
    let GitProblem::Failed {
        outcome, message, ..
    } = problem
    else {
        panic!("{problem:?}")
    };
    assert_eq!(outcome, "exited with 3");
    assert!(message.len() < 1000, "{}", message.len());

    fs::remove_dir_all(forge.destination()).unwrap();
    stand_in(&mut forge, "sleep 30 & exit 4");
    let started = Instant::now();
    let problem = git_problem(forge.checkout(&source).await);
    let GitProblem::Failed { outcome, .. } = problem else {
        panic!("{problem:?}")
    };
    assert_eq!(outcome, "exited with 4");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn program_that_checks_out_something_else_is_caught() {
    let mut forge = Forge::new();
    stand_in(
        &mut forge,
        "[ \"$1\" = rev-parse ] && echo 1111111111111111111111111111111111111111; exit 0",
    );
    let source = forge.source("r", "0123456789abcdef0123456789abcdef01234567");
    let problem = git_problem(forge.checkout(&source).await);
    assert!(
        matches!(problem, GitProblem::WrongCommit { .. }),
        "{problem:?}"
    );
}

#[tokio::test]
async fn machine_without_git_says_so() {
    let mut forge = Forge::new();
    forge.options.program = forge.path("no-such-program");
    let source = forge.source("r", "0123456789abcdef0123456789abcdef01234567");
    let error = forge.checkout(&source).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Local);
    assert_eq!(error.hint(), Some("install git on this machine"));
}

#[tokio::test]
async fn password_reaches_the_server_and_nobody_else() {
    let forge = Forge::new();
    let server = Server::start(|_, _| status("403 Forbidden", &[])).await;
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let text = format!("git+{}#{commit}", server.url("r.git"));
    let Ok(Source::Git(source)) = Source::parse(&text) else {
        panic!("{text}")
    };
    let error = forge.checkout(&source).await.unwrap_err();
    let asked = server.asked();
    let authorization = asked[0].header("authorization").unwrap();
    assert!(
        authorization.starts_with("Basic dXNlcjpodW50ZXIy"),
        "{authorization}"
    );
    assert!(!error.chain().contains(SECRET), "{}", error.chain());
    // Nor does it stay in a file.
    let config = fs::read_to_string(forge.destination().join(".git/config")).unwrap();
    assert!(!config.contains(&format!("user:{SECRET}")), "{config}");
}

#[tokio::test]
async fn server_in_trouble_is_a_transient_failure() {
    let forge = Forge::new();
    let server = Server::start(|_, number| match number % 2 {
        0 => status("503 Service Unavailable", &[]),
        _ => vec![Step::Send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_vec(),
        )],
    })
    .await;
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let text = format!("git+{}#{commit}", server.url("r.git"));
    let Ok(Source::Git(source)) = Source::parse(&text) else {
        panic!("{text}")
    };
    let error = forge.checkout(&source).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{}", error.chain());
}
