//! Bounded commands, with real processes.

use std::fs;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{End, Head, Order, StartError, failure, last_words, run};
use crate::command::{CommandLine, Environment};
use crate::testing::{assert_gone, pid_in, until_exists};

const LONG: Duration = Duration::from_secs(60);

fn shell(script: &str) -> CommandLine {
    CommandLine::new(["/bin/sh", "-c", script].map(str::to_owned)).expect("it is a command line")
}

async fn run_for(script: &str, time_limit: Duration, grace: Duration) -> (End, String) {
    let mut head = Head::new(1024);
    let order = Order {
        command: &shell(script),
        environment: &Environment::default(),
        time_limit,
        grace,
        stop: None,
    };
    let end = run(order, &mut head).await.expect("a shell can be started");
    (end, head.text())
}

async fn run_long(script: &str) -> (End, String) {
    run_for(script, LONG, Duration::ZERO).await
}

#[tokio::test]
async fn output_of_both_streams_and_the_exit_code_are_had() {
    let (end, output) = run_long("echo out; echo err >&2; exit 3").await;
    assert!(
        matches!(end, End::Exited(status) if status.code() == Some(3)),
        "{end:?}"
    );
    assert_eq!(output, "out\nerr\n");
}

#[tokio::test]
async fn output_is_kept_up_to_the_limit_and_the_rest_is_read_away() {
    let (end, output) =
        run_long("i=0; while [ $i -lt 3000 ]; do echo 0123456789; i=$((i+1)); done").await;
    assert!(
        matches!(end, End::Exited(status) if status.success()),
        "{end:?}"
    );
    assert_eq!(output.len(), 1024);
}

#[tokio::test]
async fn standard_input_is_empty_and_the_directory_is_the_root() {
    let (_, output) = run_long("cat; pwd").await;
    assert_eq!(output, "/\n");
}

#[tokio::test]
async fn environment_is_the_small_base_and_nothing_of_ours() {
    // Cargo sets this for tests, and a shell would pass it on.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let (_, output) = run_long("echo ${CARGO_MANIFEST_DIR-absent} ${PATH:+path} $LC_ALL").await;
    assert!(output.starts_with("absent path "), "{output:?}");
    assert!(output.trim_end().ends_with(".UTF-8"), "{output:?}");
}

#[tokio::test]
async fn absent_program_is_told_from_one_that_cannot_be_run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("plain"), "echo").expect("it can be written");
    fs::write(path("script"), "#!/nonexistent/interpreter\n").expect("it can be written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path("script"), mode).expect("it can be changed");
    for (program, is_absent) in [
        (path("absent"), true),
        ("helix-no-such-program".to_owned(), true),
        (path("plain"), false),
        (path("script"), false),
        (directory.path().display().to_string(), false),
    ] {
        let order = Order {
            command: &CommandLine::new([program.clone()]).expect("it is a command line"),
            environment: &Environment::default(),
            time_limit: LONG,
            grace: Duration::ZERO,
            stop: None,
        };
        match run(order, &mut Head::new(0)).await {
            Err(StartError::NotFound) => assert!(is_absent, "{program}"),
            Err(StartError::Failed(error)) => assert!(!is_absent, "{program}: {error}"),
            Ok(end) => panic!("{program}: {end:?}"),
        }
    }
}

#[tokio::test]
async fn program_is_looked_for_in_the_path_of_the_configuration() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("helix-tool");
    // A link, not a script written here: a file that was open for writing when another test forked
    // could not be run.
    std::os::unix::fs::symlink("/bin/sh", path).expect("it can be made");
    let mut environment = Environment::default();
    let directory = directory.path().to_str().expect("it is text");
    environment.set("PATH", directory).expect("it can be held");
    let words = ["helix-tool", "-c", "echo here"].map(str::to_owned);
    let order = Order {
        command: &CommandLine::new(words).expect("it is a command line"),
        environment: &environment,
        time_limit: LONG,
        grace: Duration::ZERO,
        stop: None,
    };
    let mut head = Head::new(100);
    run(order, &mut head).await.expect("it is found");
    assert_eq!(head.text(), "here\n");
}

#[tokio::test]
async fn timed_out_command_dies_with_its_children() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pid_file = directory.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
    let (end, _) = run_for(&script, Duration::from_millis(300), Duration::ZERO).await;
    assert!(matches!(end, End::TimedOut), "{end:?}");
    assert_gone(pid_in(&pid_file)).await;
}

#[tokio::test]
async fn command_that_is_asked_to_stop_may_say_its_last_words() {
    let script = "trap 'echo stopping; exit 0' TERM; echo started; while :; do sleep 0.05; done";
    let (end, output) = run_for(script, Duration::from_millis(500), LONG).await;
    assert!(matches!(end, End::TimedOut), "{end:?}");
    assert!(output.ends_with("stopping\n"), "{output:?}");
}

#[tokio::test]
async fn command_that_ignores_the_request_to_stop_is_killed() {
    let script = "trap '' TERM; while :; do sleep 0.05; done";
    let (end, _) = run_for(
        script,
        Duration::from_millis(100),
        Duration::from_millis(100),
    )
    .await;
    assert!(matches!(end, End::TimedOut), "{end:?}");
}

#[tokio::test]
async fn command_that_is_stopped_early_says_so() {
    let stop = CancellationToken::new();
    stop.cancel();
    let order = Order {
        command: &shell("sleep 1000"),
        environment: &Environment::default(),
        time_limit: Duration::MAX,
        grace: LONG,
        stop: Some(&stop),
    };
    let end = run(order, &mut Head::new(0))
        .await
        .expect("a shell can be started");
    assert!(matches!(end, End::Stopped), "{end:?}");
}

#[tokio::test]
async fn child_that_holds_the_output_open_does_not_hold_up_the_end() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pid_file = directory.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; echo done", pid_file.display());
    let (end, output) = run_long(&script).await;
    assert!(
        matches!(end, End::Exited(status) if status.success()),
        "{end:?}"
    );
    assert_eq!(output, "done\n");
    assert_gone(pid_in(&pid_file)).await;
}

#[tokio::test]
async fn dropped_run_kills_the_group() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pid_file = directory.path().join("pid");
    let script = format!(
        "sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait",
        pid_file.display()
    );
    let task = tokio::spawn(async move { run_for(&script, LONG, Duration::ZERO).await });
    until_exists(&pid_file).await;
    let pid = pid_in(&pid_file);
    task.abort();
    assert!(task.await.is_err_and(|error| error.is_cancelled()));
    assert_gone(pid).await;
}

#[tokio::test]
async fn many_at_once_each_get_their_own_end() {
    let mut tasks = tokio::task::JoinSet::new();
    for code in 0..40 {
        tasks.spawn(async move { (code, run_long(&format!("echo {code}; exit {code}")).await) });
    }
    while let Some(result) = tasks.join_next().await {
        let (code, (end, output)) = result.expect("no task panics");
        assert!(
            matches!(end, End::Exited(status) if status.code() == Some(code)),
            "{end:?}"
        );
        assert_eq!(output, format!("{code}\n"));
    }
}

#[tokio::test]
async fn death_by_signal_is_a_failure_with_its_number() {
    let (end, _) = run_long("kill -9 $$").await;
    let End::Exited(status) = end else {
        panic!("{end:?}")
    };
    assert_eq!(failure(status).as_deref(), Some("killed by signal 9"));
}

#[test]
fn last_words_are_one_clean_line() {
    assert_eq!(last_words(""), None);
    assert_eq!(last_words(" \n\n"), None);
    assert_eq!(last_words("a\nb\x1b[1m \n \n").as_deref(), Some("b[1m"));
    let long = last_words(&"x".repeat(500)).expect("there is a line");
    assert_eq!(long.chars().count(), 201);
}
