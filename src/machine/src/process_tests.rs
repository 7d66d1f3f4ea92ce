use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

use super::{End, Head, Order, StartError, failure, last_words, run};
use crate::command::{CommandLine, Environment};

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
    };
    let end = run(order, &mut head).await.expect("a shell can be started");
    (end, head.text())
}

async fn run_long(script: &str) -> (End, String) {
    run_for(script, LONG, Duration::ZERO).await
}

/// Waits until a process is gone; a zombie counts as gone where that can be told.
async fn assert_gone(pid: i32) {
    let pid = Pid::from_raw(pid).expect("it is a process");
    let is_zombie = || {
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| {
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" Z"))
        })
    };
    for _ in 0..2000 {
        if test_kill_process(pid).is_err() || is_zombie() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("process {pid:?} is still there");
}

fn pid_in(path: &Path) -> i32 {
    let text = fs::read_to_string(path).expect("the script wrote it");
    text.trim().parse().expect("it is a number")
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
    // A link, not a script written here: a file that was open for writing when another test forked could not
    // be run.
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
    for _ in 0..2000 {
        if pid_file.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
