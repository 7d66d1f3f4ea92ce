//! What is installed on macOS. No Mac is at hand: property lists are read by two readers that know
//! the format, and the scripts run against stand-ins for `dscl` and `launchctl` that keep what they
//! are told, in a directory instead of the root. What launchd and the directory service make of it
//! is not tested here; `packaging/README.md` says so too.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use helix_tests::tools::skipped;
use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A property list as JSON, by Python's reader, which raises on a bad one.
fn property_list(name: &str) -> serde_json::Value {
    let path = root().join("launchd").join(name);
    let line =
        "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let read = Command::new("python3")
        .args(["-c", line])
        .arg(&path)
        .output();
    let text = good(&read.expect("python3"));
    if let Ok(lint) = Command::new("xmllint")
        .args(["--noout", "--nonet"])
        .arg(&path)
        .output()
    {
        good(&lint);
    }
    serde_json::from_str(&text).expect("JSON")
}

/// Keys of launchd.plist(5) that ours use, and no other: launchd takes no notice of a word that it
/// does not know.
const KEYS: &[&str] = &[
    "AbandonProcessGroup",
    "ExitTimeOut",
    "GroupName",
    "InitGroups",
    "KeepAlive",
    "Label",
    "LimitLoadToSessionType",
    "ProcessType",
    "ProgramArguments",
    "RunAtLoad",
    "SoftResourceLimits",
    "StandardErrorPath",
    "ThrottleInterval",
    "Umask",
    "UserName",
    "WorkingDirectory",
];

#[test]
fn property_lists_are_read_and_say_what_the_daemons_need() {
    if Command::new("python3").arg("--version").output().is_err() {
        skipped("there is no `python3`");
        return;
    }
    let mut lists = BTreeMap::new();
    for entry in fs::read_dir(root().join("launchd")).expect("readable") {
        let name = entry.expect("readable").file_name();
        let name = name.to_str().expect("a text").to_owned();
        let list = property_list(&name);
        let label = list["Label"].as_str().expect("a label");
        assert_eq!(name, format!("{label}.plist"));
        for key in list.as_object().expect("a dictionary").keys() {
            assert!(KEYS.contains(&key.as_str()), "{name}: {key}");
        }
        // A daemon that launchd holds back would hold back the tests; and none may be without a log.
        assert_eq!(list["ProcessType"], "Interactive", "{name}");
        assert!(list["StandardErrorPath"].is_string(), "{name}");
        lists.insert(label.to_owned(), list);
    }
    let labels: Vec<_> = lists.keys().map(String::as_str).collect();
    assert_eq!(labels, ["helix.agent", "helix.agent.gui", "helix.launcher"]);
    let (agent, launcher) = (&lists["helix.agent"], &lists["helix.launcher"]);
    // Supervisors outlive the launcher; it is there always, and root's.
    assert_eq!(launcher["AbandonProcessGroup"], true);
    assert_eq!(launcher["KeepAlive"], true);
    assert!(launcher["UserName"].is_null());
    // The agent has no rights, drains before it ends, and comes back unless that was asked for.
    assert_eq!(agent["UserName"], "_helix");
    assert_eq!(agent["KeepAlive"]["SuccessfulExit"], false);
    assert!(agent["ExitTimeOut"].as_u64().expect("seconds") > 60);
    // The one with the screen is nobody's daemon.
    let gui = &lists["helix.agent.gui"];
    assert_eq!(gui["LimitLoadToSessionType"], "Aqua");
    assert!(gui["UserName"].is_null());
}

/// Where the scripts run: an archive as it is unpacked, programs that stand in for those of macOS,
/// and a directory that is the root.
struct Mac {
    directory: TempDir,
}

/// Keeps records as files: `dscl . -create|-read|-delete|-list PATH [KEY [VALUE]]`.
const DSCL: &str = r#"#!/bin/sh
db=$HELIX_MAC/db
[ "$1" = . ] || exit 2
case $2 in
-create) mkdir -p "$db$3"; if [ $# -ge 5 ]; then printf '%s' "$5" >"$db$3/$4"; fi ;;
-read) [ -e "$db$3/$4" ] || exit 56; echo "$4: $(cat "$db$3/$4")" ;;
-delete) if [ $# -ge 4 ]; then rm "$db$3/$4"; else [ -d "$db$3" ] || exit 56; rm -r "$db$3"; fi ;;
-list) for record in "$db$3"/*; do [ ! -e "$record/$4" ] || echo "${record##*/} $(cat "$record/$4")"; done ;;
*) exit 2 ;;
esac
"#;

impl Mac {
    /// `None`, said as skipped, for who cannot give files away.
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skipped("only root can give files away");
            return None;
        }
        let directory = TempDir::new().expect("a directory");
        let mac = Self { directory };
        for (path, content) in [
            ("bin/dscl", DSCL),
            ("bin/uname", "#!/bin/sh\necho Darwin\n"),
            ("bin/launchctl", "#!/bin/sh\nexit 1\n"),
            ("archive/usr/bin/helix", "helix"),
            ("archive/usr/bin/helix-agent", "agent"),
            ("archive/usr/bin/helix-launcher", "launcher"),
            ("archive/etc/helix/agent.toml", "# every key\n"),
        ] {
            let path = mac.path(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(&path, content).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        for (from, to) in [("launchd", "launchd"), ("packaging/macos", "macos")] {
            let to = mac.path("archive").join(to);
            fs::create_dir_all(&to).expect("made");
            for entry in fs::read_dir(root().join(from)).expect("readable") {
                let entry = entry.expect("readable");
                fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
            }
        }
        // Numbers that are taken, one by a user and one by a group.
        for (record, key, number) in [
            ("Users/root", "UniqueID", "0"),
            ("Users/taken", "UniqueID", "300"),
            ("Groups/taken2", "PrimaryGroupID", "301"),
        ] {
            let record = mac.path("db").join(record);
            fs::create_dir_all(&record).expect("made");
            fs::write(record.join(key), number).expect("written");
        }
        Some(mac)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn record(&self, record: &str, key: &str) -> String {
        fs::read_to_string(self.path("db").join(record).join(key)).expect("it is there")
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Output {
        let path = std::env::var("PATH").expect("a path");
        Command::new(self.path(script))
            .args(arguments)
            .arg("--root")
            .arg(self.path("root"))
            .env("HELIX_MAC", self.directory.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .output()
            .expect("the script starts")
    }

    /// Paths beneath the root, with owners and modes.
    fn tree(&self) -> Vec<String> {
        fn walk(base: &Path, path: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(path).expect("readable") {
                let path = entry.expect("readable").path();
                let metadata = path.symlink_metadata().expect("there");
                found.push(format!(
                    "{} {} {:o}",
                    path.strip_prefix(base).expect("beneath").display(),
                    metadata.uid(),
                    metadata.mode() & 0o7777
                ));
                if metadata.is_dir() {
                    walk(base, &path, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("root"), &self.path("root"), &mut found);
        found.sort();
        found
    }
}

#[test]
fn installation_makes_hidden_users_and_closed_directories_and_can_be_repeated() {
    let Some(mac) = Mac::new() else { return };
    good(&mac.run("archive/macos/install", &[]));
    let agent = mac.record("Users/_helix", "UniqueID");
    // 300 and 301 are taken.
    assert_eq!(agent, "302");
    let mut numbers = vec![agent.clone()];
    for slot in 0..8 {
        numbers.push(mac.record(&format!("Users/_helix{slot}"), "UniqueID"));
    }
    let mut distinct = numbers.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 9, "{numbers:?}");
    for user in ["_helix", "_helix0", "_helix7"] {
        let of_user = |key| mac.record(&format!("Users/{user}"), key);
        assert_eq!(of_user("IsHidden"), "1");
        assert_eq!(of_user("UserShell"), "/usr/bin/false");
        assert_eq!(of_user("NFSHomeDirectory"), "/var/empty");
        assert_eq!(of_user("Password"), "*");
        let group = mac.record(&format!("Groups/{user}"), "PrimaryGroupID");
        assert_eq!(of_user("PrimaryGroupID"), group);
    }
    let tree = mac.tree();
    for expected in [
        "Library/Helix/bin/helix-launcher 0 755".to_owned(),
        "Library/LaunchDaemons/helix.agent.plist 0 644".to_owned(),
        "private/etc/helix/launcher.json 0 644".to_owned(),
        format!("private/var/db/helix/agent {agent} 700"),
        format!("private/var/db/helix/work {agent} 711"),
        format!("private/var/log/helix/agent.log {agent} 640"),
        "private/var/log/helix/launcher.log 0 640".to_owned(),
    ] {
        assert!(tree.contains(&expected), "{expected}: {tree:#?}");
    }
    // What the launcher is told of is what was made.
    let launcher = fs::read_to_string(mac.path("root/private/etc/helix/launcher.json"));
    let launcher: serde_json::Value = serde_json::from_str(&launcher.expect("text")).expect("JSON");
    for user in launcher["users"]["pool"]["named"]
        .as_array()
        .expect("names")
    {
        mac.record(
            &format!("Users/{}", user.as_str().expect("a name")),
            "UniqueID",
        );
    }
    // Again, with a configuration of somebody's own and a new program.
    let own = mac.path("root/private/etc/helix/agent.toml");
    fs::write(&own, "slots = 4\n").expect("written");
    fs::write(mac.path("archive/usr/bin/helix-agent"), "newer").expect("written");
    good(&mac.run("archive/macos/install", &[]));
    assert_eq!(fs::read_to_string(&own).expect("text"), "slots = 4\n");
    assert_eq!(mac.record("Users/_helix", "UniqueID"), agent);
    let program = fs::read_to_string(mac.path("root/Library/Helix/bin/helix-agent"));
    assert_eq!(program.expect("text"), "newer");
    assert_eq!(mac.tree(), tree);
}

#[test]
fn removal_leaves_the_state_and_purge_leaves_nothing() {
    let Some(mac) = Mac::new() else { return };
    good(&mac.run("archive/macos/install", &[]));
    good(&mac.run("root/Library/Helix/uninstall", &[]));
    assert!(!mac.path("root/Library/Helix").exists());
    assert!(!mac.path("db/Users/_helix").exists() && !mac.path("db/Groups/_helix7").exists());
    assert!(mac.path("root/private/var/db/helix/agent").exists());
    assert!(mac.path("root/private/etc/helix/agent.toml").exists());
    good(&mac.run("archive/macos/install", &[]));
    good(&mac.run("archive/macos/uninstall", &["--purge"]));
    let left: Vec<_> = mac
        .tree()
        .into_iter()
        .filter(|line| line.contains("elix"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    // Nobody else was touched, and a second time is no mistake.
    assert_eq!(mac.record("Users/taken", "UniqueID"), "300");
    good(&mac.run("archive/macos/uninstall", &["--purge"]));
}

#[test]
fn scripts_for_macos_refuse_any_other_system() {
    for script in ["install", "uninstall"] {
        let run = Command::new(root().join("packaging/macos").join(script)).output();
        let run = run.expect("the script starts");
        if cfg!(not(target_os = "macos")) {
            assert_eq!(run.status.code(), Some(1), "{run:?}");
            assert!(String::from_utf8_lossy(&run.stderr).contains("not macOS"));
        }
    }
}
