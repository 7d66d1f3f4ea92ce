//! Linux.

use super::*;
use crate::installation::manifest::Manifest;

/// What an installation on a machine with systemd does, to the last step.
const STEPS: &str = "\
make the directory `/etc` (0755)
make the directory `/etc/helix` (0755)
make the directory `/etc/helix/root.d` (0755)
make the directory `/etc/polkit-1` (0755)
make the directory `/etc/polkit-1/rules.d` (0755)
make the directory `/etc/systemd` (0755)
make the directory `/etc/systemd/system` (0755)
make the directory `/etc/sysusers.d` (0755)
make the directory `/etc/tmpfiles.d` (0755)
make the directory `/usr` (0755)
make the directory `/usr/local` (0755)
make the directory `/usr/local/bin` (0755)
make the directory `/usr/local/libexec` (0755)
make the directory `/usr/local/libexec/helix` (0755)
make the directory `/usr/local/share` (0755)
make the directory `/usr/local/share/doc` (0755)
make the directory `/usr/local/share/doc/helix-agent` (0755)
make the directory `/usr/local/share/doc/helix-agent/examples` (0755)
make the directory `/usr/local/share/doc/helix-agent/examples/root.d` (0755)
make the directory `/var` (0755)
make the directory `/var/lib` (0755)
make the directory `/var/lib/helix` (0755)
copy `PROGRAMS/helix-agent` to `/usr/local/bin/helix-agent` (0755)
copy `PROGRAMS/helix-launcher` to `/usr/local/bin/helix-launcher` (0755)
copy `PROGRAMS/helix` to `/usr/local/bin/helix` (0755)
write `/etc/helix/launcher.json` (0644)
write `/etc/helix/agent.toml` (0644)
write `/etc/helix/agent.toml.example` (0644)
write `/usr/local/libexec/helix/root-task` (0755)
write `/usr/local/libexec/helix/restart-agent` (0755)
write `/usr/local/share/doc/helix-agent/README.md` (0644)
write `/usr/local/share/doc/helix-agent/examples/root.d/reboot` (0755)
write `/etc/systemd/system/helix-agent.service` (0644)
write `/etc/systemd/system/helix-launcher.service` (0644)
write `/etc/systemd/system/helix-launcher.socket` (0644)
write `/etc/systemd/system/helix-items.service` (0644)
write `/etc/systemd/system/helix.slice` (0644)
write `/etc/systemd/system/helix-root@.service` (0644)
write `/etc/sysusers.d/helix-agent.conf` (0644)
write `/etc/tmpfiles.d/helix-agent.conf` (0644)
write `/etc/polkit-1/rules.d/helix-agent.rules` (0644)
run `systemd-sysusers helix-agent.conf`
run `systemd-tmpfiles --create helix-agent.conf`
run `systemctl daemon-reload`
run `/usr/local/libexec/helix/restart-agent systemctl` if any file changed
";

/// What follows where the daemons are to be started.
const START: &str = "\
run `/usr/local/bin/helix-launcher --config /etc/helix/launcher.json --check`
run `setpriv --reuid helix-agent --regid helix-agent --init-groups /usr/local/bin/helix-agent validate --config /etc/helix/agent.toml`
run `systemctl enable --now helix-agent.service`
";

#[test]
fn plan_is_what_packages_do_and_starts_only_what_is_asked_for() {
    let ground = Ground::new();
    let live = Place::live_in(System::Systemd, ground.root());
    let mut wanted = wanted(System::Systemd);
    let steps = words(&ground, &ground.plan(&live, &wanted).unwrap());
    let (record, steps) = steps.split_first().unwrap();
    assert!(
        record.starts_with("record 17 files, 22 directories"),
        "{record}"
    );
    assert_eq!(steps, STEPS.lines().collect::<Vec<_>>());
    wanted.start = true;
    let steps = words(&ground, &ground.plan(&live, &wanted).unwrap());
    let expected = STEPS.lines().chain(START.lines());
    assert_eq!(steps[1..], expected.collect::<Vec<_>>());
    // Nothing runs in an image.
    let steps = words(
        &ground,
        &ground
            .plan(&ground.image(System::Systemd), &wanted)
            .unwrap(),
    );
    assert_eq!(
        steps[0],
        "record 17 files, 22 directories and 9 users as put here"
    );
    let expected = STEPS.lines().filter(|line| !line.starts_with("run"));
    assert_eq!(steps[1..], expected.collect::<Vec<_>>());
    // To look is to touch nothing.
    assert_eq!(ground.tree().len(), 0);
}

#[test]
fn image_is_installed_to_twice_and_left_as_it_was() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    ground.put(
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\nhelix-7:x:999:999::/:/bin/sh\n",
    );
    ground.put("usr/local/bin/other", "somebody's own");
    let before = ground.tree();
    let place = ground.image(System::Systemd);
    let wanted = Installation {
        prefix: prefix("/opt/helix"),
        ..wanted(System::Systemd)
    };
    carry_out(
        &place,
        &ground.plan(&place, &wanted).unwrap(),
        Tools::default(),
    );
    let tree = ground.tree();
    let unit = &tree["etc/systemd/system/helix-launcher.service"];
    assert!(unit.starts_with("0 644 "), "{unit}");
    assert!(
        unit.contains("ExecStart=/opt/helix/bin/helix-launcher "),
        "{unit}"
    );
    assert_eq!(
        tree["opt/helix/bin/helix-agent"],
        "0 755 #!/bin/sh\nexit 0\n"
    );
    assert!(tree["opt/helix/libexec/helix/restart-agent"].contains("/opt/helix/bin/helix-agent"));
    let manifest = Manifest::load(&place).unwrap().unwrap();
    // One of them was there.
    assert_eq!(manifest.accounts.len(), 8);
    assert!(!manifest.accounts.contains("helix-7"));
    // A second time there is nothing to do.
    let said = carry_out(
        &place,
        &ground.plan(&place, &wanted).unwrap(),
        Tools::default(),
    );
    assert_eq!(said, Vec::<String>::new());
    assert_eq!(ground.tree(), tree);
    // What is the administrator's stays, and what was put here goes, but for what lasts.
    ground.put("etc/helix/agent.toml", "slots = 4\n");
    carry_out(
        &place,
        &ground.plan(&place, &wanted).unwrap(),
        Tools::default(),
    );
    let left = |purge| {
        let mut plan = removal(&place, purge);
        // There may be no systemctl where this is tested.
        plan.steps
            .retain(|step| !step.to_string().starts_with("run"));
        carry_out(&place, &plan, Tools::default());
        let tree = ground.tree();
        let new = tree.iter().filter(|(path, _)| !before.contains_key(*path));
        new.map(|(path, _)| path.clone()).collect::<Vec<_>>()
    };
    let kept = [
        "etc/helix",
        "etc/helix/agent.toml",
        "etc/helix/launcher.json",
        "var",
        "var/lib",
        "var/lib/helix",
        "var/lib/helix/installation.json",
    ];
    assert_eq!(left(false), kept);
    assert_eq!(left(false), kept);
    assert_eq!(left(true), Vec::<String>::new());
    assert_eq!(ground.tree(), before);
    assert!(matches!(
        removal::plan(&place, true),
        Err(Refusal::NotInstalled { .. })
    ));
}

#[test]
fn newer_programs_replace_older_ones_and_another_prefix_leaves_none_behind() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let place = ground.image(System::Systemd);
    let mut wanted = wanted(System::Systemd);
    carry_out(
        &place,
        &ground.plan(&place, &wanted).unwrap(),
        Tools::default(),
    );
    ground.put_program("helix-launcher", "newer");
    let said = carry_out(
        &place,
        &ground.plan(&place, &wanted).unwrap(),
        Tools::default(),
    );
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(ground.tree()["usr/local/bin/helix-launcher"].ends_with("newer"));
    wanted.prefix = prefix("/opt");
    carry_out(
        &place,
        &ground.plan(&place, &wanted).unwrap(),
        Tools::default(),
    );
    let tree = ground.tree();
    assert!(tree.contains_key("opt/bin/helix-launcher"));
    let old = tree.keys().filter(|path| path.starts_with("usr/local/"));
    let files = old.filter(|path| ground.root().join(path).is_file());
    assert_eq!(files.count(), 0);
    let manifest = Manifest::load(&place).unwrap().unwrap();
    assert!(
        manifest
            .files
            .iter()
            .all(|path| !path.starts_with("/usr/local"))
    );
}

#[test]
fn file_that_was_changed_by_hand_is_put_right() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let place = ground.image(System::Systemd);
    let wanted = wanted(System::Systemd);
    carry_out(
        &place,
        &ground.plan(&place, &wanted).unwrap(),
        Tools::default(),
    );
    let tree = ground.tree();
    ground.put("etc/systemd/system/helix.slice", "[Slice]\n");
    let agent = ground.root().join("usr/local/bin/helix-agent");
    fs::set_permissions(agent, fs::Permissions::from_mode(0o4777)).unwrap();
    let said = carry_out(
        &place,
        &ground.plan(&place, &wanted).unwrap(),
        Tools::default(),
    );
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(ground.tree(), tree);
}
