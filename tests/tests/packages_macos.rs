//! The property lists of macOS, read by two readers that know the format, as no Mac is at hand. The
//! installation itself is tested beside its code, against stand-ins. What launchd and the directory
//! service make of it is not tested; `packaging/README.md` says so too.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use helix_tests::tools::skipped;

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
