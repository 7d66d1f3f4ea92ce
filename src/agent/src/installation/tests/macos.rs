//! macOS, of which none is at hand: the plan is carried out against stand-ins for `dscl`, `launchctl`
//! and `pkill` that keep what they are told.

use super::*;

/// What an installation on a Mac does, beside directories of the system.
const STEPS: &str = "\
make the hidden user `_helix` and its group
make the hidden user `_helix0` and its group
make the hidden user `_helix1` and its group
make the hidden user `_helix2` and its group
make the hidden user `_helix3` and its group
make the hidden user `_helix4` and its group
make the hidden user `_helix5` and its group
make the hidden user `_helix6` and its group
make the hidden user `_helix7` and its group
make the directory `/Library` (0755)
make the directory `/Library/Helix` (0755)
make the directory `/Library/Helix/bin` (0755)
make the directory `/Library/LaunchDaemons` (0755)
make the directory `/private` (0755)
make the directory `/private/etc` (0755)
make the directory `/private/etc/helix` (0755)
make the directory `/private/var` (0755)
make the directory `/private/var/db` (0755)
make the directory `/private/var/db/helix` (0755)
make the directory `/private/var/log` (0755)
make the directory `/private/var/log/helix` (0755)
make the directory `/usr` (0755)
make the directory `/usr/local` (0755)
make the directory `/usr/local/bin` (0755)
make the directory `/private/var/db/helix/agent` (0700, of `_helix`)
make the directory `/private/var/db/helix/work` (0711, of `_helix`)
copy `PROGRAMS/helix-agent` to `/Library/Helix/bin/helix-agent` (0755)
copy `PROGRAMS/helix-launcher` to `/Library/Helix/bin/helix-launcher` (0755)
copy `PROGRAMS/helix` to `/Library/Helix/bin/helix` (0755)
write `/private/etc/helix/launcher.json` (0644)
write `/private/etc/helix/agent.toml` (0644)
write `/private/etc/helix/agent.toml.example` (0644)
write `/Library/LaunchDaemons/helix.launcher.plist` (0644)
write `/Library/LaunchDaemons/helix.agent.plist` (0644)
write `/private/var/log/helix/agent.log` (0640, of `_helix`)
write `/private/var/log/helix/launcher.log` (0640)
link `/usr/local/bin/helix` to `/Library/Helix/bin/helix`
link `/usr/local/bin/helix-agent` to `/Library/Helix/bin/helix-agent`
restart `helix.launcher` if it runs, any file changed and `/Library/Helix/bin/helix-launcher --config /etc/helix/launcher.json --check` succeeds
restart `helix.agent` if it runs, any file changed and `/Library/Helix/bin/helix-agent validate --config /etc/helix/agent.toml` succeeds
";

const START: &str = "\
run `/Library/Helix/bin/helix-launcher --config /etc/helix/launcher.json --check`
run `/Library/Helix/bin/helix-agent validate --config /etc/helix/agent.toml`
start `helix.launcher` from `/Library/LaunchDaemons/helix.launcher.plist`
start `helix.agent` from `/Library/LaunchDaemons/helix.agent.plist`
";

/// Keeps records as files: `dscl . -create|-read|-delete|-list PATH [KEY [VALUE]]`.
const DSCL: &str = r#"#!/bin/sh
db=$(dirname "$0")/../db
[ "$1" = . ] || exit 2
case $2 in
-create) mkdir -p "$db$3"; if [ $# -ge 5 ]; then printf '%s' "$5" >"$db$3/$4"; fi ;;
-read) [ -e "$db$3/$4" ] || exit 56; echo "$4: $(cat "$db$3/$4")" ;;
-delete) if [ $# -ge 4 ]; then rm "$db$3/$4"; else [ -d "$db$3" ] || exit 56; rm -r "$db$3"; fi ;;
-list) for record in "$db$3"/*; do [ ! -e "$record/$4" ] || echo "${record##*/} $(cat "$record/$4")"; done ;;
*) exit 2 ;;
esac
"#;

/// Keeps a file for each job that is loaded, and a line for each word that changed something.
const LAUNCHCTL: &str = r#"#!/bin/sh
jobs=$(dirname "$0")/../jobs
mkdir -p "$jobs"
label=${2#system/}
case $1 in
print) [ -e "$jobs/$label" ] || exit 113; exit 0 ;;
bootstrap) label=${3##*/}; label=${label%.plist}; touch "$jobs/$label" ;;
bootout) rm "$jobs/$label" || exit 3 ;;
kickstart) label=${3#system/} ;;
enable) ;;
*) exit 2 ;;
esac
echo "$1 $label" >>"$jobs.log"
"#;

/// A Mac in a directory.
struct Mac {
    ground: Ground,
}

impl Mac {
    fn new() -> Self {
        let ground = Ground::new();
        fs::create_dir(ground.path("bin")).unwrap();
        for (name, text) in [
            ("dscl", DSCL),
            ("launchctl", LAUNCHCTL),
            ("pkill", "#!/bin/sh\nexit 1\n"),
        ] {
            let path = ground.path("bin").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // Numbers that are taken, one by a user and one by a group.
        for (record, key, number) in [
            ("Users/root", "UniqueID", "0"),
            ("Users/taken", "UniqueID", "300"),
            ("Groups/taken2", "PrimaryGroupID", "301"),
        ] {
            let record = ground.path("db").join(record);
            fs::create_dir_all(&record).unwrap();
            fs::write(record.join(key), number).unwrap();
        }
        Self { ground }
    }

    fn place(&self) -> Place {
        Place::live_in(System::Launchd, self.ground.root())
    }

    fn carry_out(&self, plan: &Plan) -> Vec<String> {
        let mut path = self.ground.path("bin").into_os_string();
        path.push(":/usr/bin:/bin");
        let tools = Tools {
            search_path: Some(path),
        };
        carry_out(&self.place(), plan, tools)
    }

    /// Installs with programs where this machine can run them.
    fn install(&self, start: bool) -> Vec<String> {
        let wanted = Installation {
            start,
            ..wanted(System::Launchd)
        };
        let mut plan = self.ground.plan(&self.place(), &wanted).unwrap();
        for step in &mut plan.steps {
            use crate::installation::step::Step;
            let words = match step {
                Step::Command(command) => &mut command.words,
                Step::RestartJob { check, .. } => check,
                _ => continue,
            };
            words[0] = format!("{}{}", self.ground.root().display(), words[0]);
        }
        self.carry_out(&plan)
    }

    fn record(&self, record: &str, key: &str) -> String {
        fs::read_to_string(self.ground.path("db").join(record).join(key)).unwrap()
    }

    /// What launchctl was told since the last time.
    fn told(&self) -> Vec<String> {
        let log = self.ground.path("jobs.log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn plan_makes_users_and_closed_directories_and_starts_only_what_is_asked_for() {
    let ground = Ground::new();
    let live = Place::live_in(System::Launchd, ground.root());
    let mut wanted = wanted(System::Launchd);
    let steps = words(&ground, &ground.plan(&live, &wanted).unwrap());
    assert_eq!(steps[1..], STEPS.lines().collect::<Vec<_>>());
    wanted.start = true;
    let steps = words(&ground, &ground.plan(&live, &wanted).unwrap());
    let expected = STEPS.lines().chain(START.lines());
    assert_eq!(steps[1..], expected.collect::<Vec<_>>());
    // An image has no users yet, and nothing runs in it.
    let plan = ground
        .plan(&ground.image(System::Launchd), &wanted)
        .unwrap();
    for step in words(&ground, &plan) {
        let is_file = ["make the directory", "copy", "write", "link", "record"];
        assert!(is_file.iter().any(|word| step.starts_with(word)), "{step}");
        assert!(!step.contains("of `_helix`"), "{step}");
    }
}

#[test]
fn installation_makes_hidden_users_and_can_be_repeated() {
    if !is_root() {
        return;
    }
    let mac = Mac::new();
    mac.install(false);
    let agent = mac.record("Users/_helix", "UniqueID");
    // 300 and 301 are taken.
    assert_eq!(agent, "302");
    let mut numbers = vec![agent.clone()];
    numbers.extend((0..8).map(|slot| mac.record(&format!("Users/_helix{slot}"), "UniqueID")));
    let distinct: std::collections::BTreeSet<_> = numbers.iter().collect();
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
    let tree = mac.ground.tree();
    for (path, expected) in [
        ("Library/Helix/bin/helix-launcher", "0 755 "),
        ("Library/LaunchDaemons/helix.agent.plist", "0 644 "),
        ("private/etc/helix/launcher.json", "0 644 "),
        ("private/var/db/helix/agent", "302 700 "),
        ("private/var/db/helix/work", "302 711 "),
        ("private/var/log/helix/agent.log", "302 640 "),
        ("private/var/log/helix/launcher.log", "0 640 "),
        (
            "usr/local/bin/helix-agent",
            "/Library/Helix/bin/helix-agent",
        ),
    ] {
        assert!(tree[path].contains(expected), "{path}: {}", tree[path]);
    }
    // What the launcher is told of is what was made.
    let launcher = fs::read(mac.ground.root().join("private/etc/helix/launcher.json")).unwrap();
    let launcher: serde_json::Value = serde_json::from_slice(&launcher).unwrap();
    for user in launcher["users"]["pool"]["named"].as_array().unwrap() {
        mac.record(&format!("Users/{}", user.as_str().unwrap()), "UniqueID");
    }
    // Again, with a configuration of somebody's own and a log that has been written to.
    mac.ground
        .put("private/etc/helix/agent.toml", "slots = 4\n");
    mac.ground.put("private/var/log/helix/agent.log", "said\n");
    let tree = mac.ground.tree();
    assert_eq!(mac.install(false), Vec::<String>::new());
    assert_eq!(mac.ground.tree(), tree);
    assert_eq!(mac.record("Users/_helix", "UniqueID"), agent);
    assert_eq!(mac.told(), Vec::<String>::new());
}

#[test]
fn daemons_are_started_when_asked_for_and_restarted_when_newer() {
    if !is_root() {
        return;
    }
    let mac = Mac::new();
    mac.install(true);
    let started = [
        "enable helix.launcher",
        "bootstrap helix.launcher",
        "enable helix.agent",
        "bootstrap helix.agent",
    ];
    assert_eq!(mac.told(), started);
    mac.install(true);
    assert_eq!(mac.told(), Vec::<String>::new());
    mac.ground
        .put_program("helix-launcher", "#!/bin/sh\nexit 0 # newer\n");
    mac.install(false);
    assert_eq!(
        mac.told(),
        ["kickstart helix.launcher", "kickstart helix.agent"]
    );
    // One that does not accept the configuration is not restarted.
    let refusing = "#!/bin/sh\necho line 1 is wrong >&2; exit 78\n";
    mac.ground.put_program("helix-agent", refusing);
    let said = mac.install(false).join("\n");
    assert!(said.contains("line 1 is wrong"), "{said}");
    assert_eq!(mac.told(), ["kickstart helix.launcher"]);
}

#[test]
fn removal_keeps_the_state_and_purge_keeps_nothing() {
    if !is_root() {
        return;
    }
    let mac = Mac::new();
    mac.install(true);
    mac.told();
    mac.carry_out(&removal(&mac.place(), false));
    // The agent first: it needs the launcher while it drains.
    assert_eq!(
        mac.told(),
        ["bootout helix.agent", "bootout helix.launcher"]
    );
    let root = mac.ground.root();
    assert!(!root.join("Library/Helix").exists());
    assert!(!root.join("Library/LaunchDaemons").exists());
    assert!(
        root.join("usr/local/bin/helix-agent")
            .symlink_metadata()
            .is_err()
    );
    assert!(root.join("private/var/db/helix/agent").exists());
    assert!(root.join("private/etc/helix/agent.toml").exists());
    assert_eq!(mac.record("Users/_helix", "UniqueID"), "302");
    mac.install(false);
    mac.carry_out(&removal(&mac.place(), true));
    assert_eq!(
        mac.ground.tree().into_keys().collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    assert!(!mac.ground.path("db/Users/_helix").exists());
    assert!(!mac.ground.path("db/Groups/_helix7").exists());
    // Nobody else was touched.
    assert_eq!(mac.record("Users/taken", "UniqueID"), "300");
}
