//! The machine: kernel, clock, journal, and the session of a macOS user.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::utsname::uname;
use tokio::process::Command;

use super::finding::{Check, Finding, Verdict};

/// `cgroup.kill`, which ends a tree at one blow; what came before it is done in more steps.
const LINUX: (u32, u32) = (5, 14);
const ASKS_WITHIN: Duration = Duration::from_secs(5);
const JOURNAL: &str = "/run/systemd/journal/socket";
const BOOTED_BY_SYSTEMD: &str = "/run/systemd/system";
const CONTROLLERS: &str = "/sys/fs/cgroup/cgroup.controllers";

/// What the kernel can do.
pub(super) fn kernel() -> Finding {
    let (name, release) = match uname() {
        Ok(names) => (
            names.sysname().to_string_lossy().into_owned(),
            names.release().to_string_lossy().into_owned(),
        ),
        Err(errno) => {
            let verdict = Verdict::skipped(format!("the system does not say: {errno}"));
            return Finding::new(Check::Kernel, "kernel", verdict);
        }
    };
    let verdict = match version(&release) {
        _ if !cfg!(target_os = "linux") => Verdict::Ok,
        None => Verdict::skipped("its version is not understood"),
        Some(found) if found < LINUX => Verdict::warning(
            format!(
                "it is older than {}.{}, and lacks calls by which work items are ended at one blow",
                LINUX.0, LINUX.1
            ),
            "use a later kernel",
        ),
        Some(_) if !Path::new(CONTROLLERS).exists() => Verdict::warning(
            "control groups of version 2 are not mounted at `/sys/fs/cgroup`, without which there \
             are no limits",
            "boot with `systemd.unified_cgroup_hierarchy=1`",
        ),
        Some(_) => Verdict::Ok,
    };
    Finding::new(Check::Kernel, format!("{name} {release}"), verdict)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether something keeps the clock right, as the kernel was told.
pub(super) async fn clock() -> Finding {
    let finding =
        |verdict| Finding::new(Check::ClockSynchronisation, "the machine's clock", verdict);
    if !cfg!(target_os = "linux") {
        let why = "the system tells that to administrators only (`sudo systemsetup -getusingnetworktime`)";
        return finding(Verdict::skipped(why));
    }
    let mut ask = Command::new("timedatectl");
    ask.args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let answer = tokio::time::timeout(ASKS_WITHIN, ask.output()).await;
    let text = match answer {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(Err(_)) | Err(_) => String::new(),
    };
    finding(match text.as_str() {
        "yes" => Verdict::Ok,
        "no" => Verdict::warning(
            "nothing keeps it right, and times in logs and of certificates go wrong with it",
            "timedatectl set-ntp true, or install chrony",
        ),
        _ => Verdict::skipped("`timedatectl` does not answer"),
    })
}

/// Whether the log has a place to go.
pub(super) fn journal() -> Finding {
    let finding = |verdict| Finding::new(Check::Journal, "journald", verdict);
    if !Path::new(BOOTED_BY_SYSTEMD).exists() {
        return finding(Verdict::skipped("this machine does not run systemd"));
    }
    let socket = std::os::unix::net::UnixDatagram::unbound();
    finding(match socket.and_then(|socket| socket.connect(JOURNAL)) {
        Ok(()) => Verdict::Ok,
        Err(error) => Verdict::failed(
            format!("`{JOURNAL}` cannot be reached: {error}"),
            "systemctl start systemd-journald.socket",
        ),
    })
}

/// Whether somebody is logged in at the screen, without whom tests with windows cannot run.
pub(super) fn macos_session() -> Finding {
    let finding = |verdict| Finding::new(Check::MacosSession, "a session with windows", verdict);
    if !cfg!(target_os = "macos") {
        return finding(Verdict::skipped("this is not macOS"));
    }
    // Whoever is logged in at the screen owns the console.
    let owner = std::fs::metadata("/dev/console");
    finding(
        match owner.map(|owner| std::os::unix::fs::MetadataExt::uid(&owner)) {
            Ok(0) => Verdict::warning(
                "nobody is logged in at the screen, and tests with windows will fail",
                "log a user in automatically, and run the agent as a launch agent of that user",
            ),
            Ok(_) => Verdict::Ok,
            Err(error) => Verdict::skipped(format!("`/dev/console` cannot be looked at: {error}")),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_what_kernels_are_called() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.14-rc3"), Some((5, 14)));
        assert_eq!(version("24.1.0"), Some((24, 1)));
        assert_eq!(version("unknown"), None);
        assert_eq!(version(""), None);
        assert!(version("5.4.0").unwrap() < LINUX && version("5.14.0").unwrap() >= LINUX);
    }
}
