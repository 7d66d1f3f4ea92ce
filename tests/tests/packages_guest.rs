//! The packages in a machine whose kernel has all controllers of control groups, and which can be
//! rebooted: limits that hold under the real units, and what becomes of work items when the machine
//! goes down under them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use helix_tests::guest::Guest;
use helix_tests::packages::{self, PACKAGES};

/// What the machine does. It is run from the beginning after each reboot; the file `phase` says how
/// far it is. Lines that begin with `ok:` are checked here, so that a check that never ran is no
/// success.
const SCRIPT: &str = r#"
fail() { echo "failed: $*"; journalctl -b -n 80 --no-pager; exit 1; }
ok() { echo "ok: $*" | tee -a /root/said; }
phase=$(cat /root/phase 2>/dev/null || echo install)
until_answered() {
    tries=0
    until helix ps >/dev/null 2>&1; do
        tries=$((tries + 1)); [ $tries -lt 240 ] || fail "the agent does not answer"; sleep 0.5
    done
}
begin() { # begin NAME: an item that runs until it is ended; its attempt is in /root/attempt
    helix run --json --name "$1" --timeout 1h --shell 'echo begun; sleep 3000' >/root/events 2>/root/errors &
    client=$!
    tries=0
    until grep -q '"type":"started"' /root/events; do
        tries=$((tries + 1)); [ $tries -lt 240 ] || fail "the item does not start: $(cat /root/errors)"; sleep 0.5
    done
    sed -n 's/.*"type":"started".*"attempt_id":"\([^"]*\)".*/\1/p' /root/events | head -n 1 >/root/attempt
    [ -s /root/attempt ] || fail "no attempt in $(cat /root/events)"
    # Asked to stop as the machine goes down, it would cancel the item.
    kill -KILL $client
}
interrupted() { # interrupted WHAT: the attempt in /root/attempt ended without blame on the item
    until_answered
    attempt=$(cat /root/attempt)
    timeout 120 helix attach "$attempt" >/root/output 2>/root/errors; code=$?
    [ $code = 70 ] || fail "$1: attach ended with $code: $(cat /root/errors)"
    grep -q begun /root/output || fail "$1: its output is lost"
    helix ps --all --json | grep "\"$attempt\"" >/root/row || fail "$1: the attempt is not listed"
    ok "$1: $(tail -n 1 /root/errors)"
}

case $phase in
install)
    dpkg -i @DEBS@ >/root/dpkg 2>&1 || fail "$(cat /root/dpkg)"
    cat >/etc/helix/agent.toml <<TOML
slots = 2
[launcher]
socket = "/run/helix/launcher.sock"
[isolation]
require = ["user", "tree", "memory", "processes", "cpu", "io", "private-tmp", "hidden-processes"]
[pressure]
enabled = false
[shutdown]
drain_timeout = "100ms"
TOML
    systemctl enable --now helix-agent.service || fail "it does not start"
    until_answered
    ok "installed and started"

    helix run --quiet --memory 64M --shell 'python3 -c "x = bytearray(300 << 20); print(len(x))"' >/root/output 2>&1
    code=$?
    [ $code = 137 ] || fail "too much memory: ended with $code: $(cat /root/output)"
    helix run --quiet --memory 512M --shell 'python3 -c "x = bytearray(200 << 20); print(len(x))"' >/root/output 2>&1 ||
        fail "enough memory: $(cat /root/output)"
    ok "memory"

    helix run --quiet --cpu 0.25 --shell 'python3 -c "
import time
began, used = time.monotonic(), time.process_time()
while time.monotonic() - began < 4: pass
print(int(100 * (time.process_time() - used) / (time.monotonic() - began)))"' >/root/output 2>&1 ||
        fail "CPU: $(cat /root/output)"
    percent=$(tail -n 1 /root/output)
    [ "$percent" -le 45 ] || fail "CPU: a quarter was allowed, $percent % were used"
    ok "CPU"

    helix run --quiet --processes 20 --shell 'python3 -c "
import os, time
made = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(30); os._exit(0)
        made += 1
except OSError as error:
    print(made, error.strerror)"' >/root/output 2>&1
    grep -q "temporarily unavailable" /root/output || fail "processes: $(cat /root/output)"
    ok "processes"
    systemctl is-active --quiet helix-agent.service helix-launcher.service || fail "a daemon is gone"

    begin clean
    echo rebooted >/root/phase; sync
    systemctl reboot; sleep 600 ;;
rebooted)
    interrupted "reboot"
    systemctl --failed --no-legend --plain | grep helix && fail "a unit failed"
    helix run --quiet --shell 'id -un' >/root/output 2>&1 || fail "after the reboot: $(cat /root/output)"
    begin hard
    echo reset >/root/phase; sync
    echo b >/proc/sysrq-trigger; sleep 600 ;;
reset)
    interrupted "reset"
    helix run --quiet --shell 'id -un' >/root/output 2>&1 || fail "after the reset: $(cat /root/output)"
    ok "all"
    cat /root/said ;;
esac
"#;

#[test]
fn limits_hold_and_a_reboot_is_no_item_s_fault_under_the_installed_units() {
    let Some(guest) = Guest::find() else { return };
    let packages = packages::current();
    let debs: Vec<PathBuf> = PACKAGES
        .iter()
        .map(|name| packages.directory().join(packages.deb(name)))
        .collect();
    let files: Vec<&Path> = debs.iter().map(AsRef::as_ref).collect();
    let named: Vec<_> = debs.iter().map(|deb| deb.display().to_string()).collect();
    let line = SCRIPT.replace("@DEBS@", &named.join(" "));
    let ran = guest.run_through_reboots(&files, &line);
    for line in ran.output.lines().filter(|line| line.starts_with("ok:")) {
        // Written past the harness, as it is of interest also when all is well.
        let _ = writeln!(std::io::stderr(), "in the machine: {line}");
    }
    assert_eq!(ran.exit_code, 0, "{}", ran.output);
    for expected in [
        "ok: installed and started",
        "ok: memory",
        "ok: CPU",
        "ok: processes",
        "ok: reboot: ",
        "ok: reset: ",
        "ok: all",
    ] {
        assert!(ran.output.contains(expected), "{expected}: {}", ran.output);
    }
}
