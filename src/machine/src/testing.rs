//! Waiting for what happens in other processes: polls a condition, with a limit far beyond what it
//! takes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

const POLLS: u32 = 6000;
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until a file exists.
pub(crate) async fn until_exists(path: &Path) {
    for _ in 0..POLLS {
        if path.exists() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("`{}` did not appear", path.display());
}

/// The process id in a file.
pub(crate) fn pid_in(path: &Path) -> i32 {
    let text = fs::read_to_string(path).expect("the script wrote it");
    text.trim().parse().expect("it is a number")
}

/// Waits until a process is gone; a zombie counts as gone where that can be told.
pub(crate) async fn assert_gone(pid: i32) {
    let pid = Pid::from_raw(pid).expect("it is a process");
    let is_zombie = || {
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| {
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" Z"))
        })
    };
    for _ in 0..POLLS {
        if test_kill_process(pid).is_err() || is_zombie() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("process {pid:?} is still there");
}
