//! What is refused, before anything is touched.

use helix_model::ids::QueueName;

use super::*;
use crate::installation::Mode;
use crate::installation::refusal;

/// The refusal, and that nothing was touched.
fn refused(ground: &Ground, wanted: &Installation) -> String {
    let before = ground.tree();
    let error = ground
        .plan(&ground.image(System::Systemd), wanted)
        .expect_err("it is refused");
    assert_eq!(ground.tree(), before);
    assert!(!error.hint().is_empty());
    error.to_string()
}

#[test]
fn what_a_package_has_in_its_care_is_left_to_it() {
    let ground = Ground::new();
    ground.put("usr/lib/systemd/system/helix-agent.service", "[Service]\n");
    assert_eq!(
        refused(&ground, &wanted(System::Systemd)),
        "`/usr/lib/systemd/system/helix-agent.service` belongs to a package"
    );
    let place = ground.image(System::Systemd);
    assert!(matches!(
        removal::plan(&place, false),
        Err(Refusal::Packaged { .. })
    ));
}

#[test]
fn files_of_somebody_elses_are_named_and_stay() {
    let ground = Ground::new();
    ground.put("etc/systemd/system/helix.slice", "[Slice]\n");
    ground.put("etc/sysusers.d/helix-agent.conf", "u helix-agent 7\n");
    // What has the same in it is in nobody's way.
    let same = fs::read_to_string(ground.path("programs/helix")).unwrap();
    ground.put("usr/local/bin/helix", &same);
    for directory in ["usr", "usr/local", "usr/local/bin"] {
        close(&ground, directory);
    }
    if !is_root() {
        return;
    }
    assert_eq!(
        refused(&ground, &wanted(System::Systemd)),
        "these files are there, and no installation put them there: \
         `/etc/systemd/system/helix.slice`, `/etc/sysusers.d/helix-agent.conf`"
    );
}

fn close(ground: &Ground, path: &str) {
    let path = ground.root().join(path);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn prefix_that_others_may_write_to_is_no_place_for_what_root_runs() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let opt = ground.root().join("opt");
    fs::create_dir(&opt).unwrap();
    let wanted = Installation {
        prefix: prefix("/opt/helix"),
        ..wanted(System::Systemd)
    };
    let expected = "others than root may write to `/opt`, and root runs programs from beneath it";
    for mode in [0o775, 0o757] {
        fs::set_permissions(&opt, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(refused(&ground, &wanted), expected);
    }
    close(&ground, "opt");
    std::os::unix::fs::chown(&opt, Some(1), None).unwrap();
    assert_eq!(refused(&ground, &wanted), expected);
}

#[test]
fn configuration_that_is_there_is_never_made_to_say_something_else() {
    let ground = Ground::new();
    let place = ground.image(System::Systemd);
    let mut wanted = wanted(System::Systemd);
    // Wrong, but nothing of it is asked for.
    ground.put("etc/helix/agent.toml", "slots = 0\n");
    assert!(ground.plan(&place, &wanted).is_ok());
    wanted.queues = vec![QueueName::new("gpu").unwrap()];
    let expected =
        "`/etc/helix/agent.toml` is there, and is not what `--queue` and `--name` ask for";
    assert_eq!(refused(&ground, &wanted), expected);
    ground.put("etc/helix/agent.toml", "queues = [\"cpu\"]\n");
    assert_eq!(refused(&ground, &wanted), expected);
    // It says so already.
    ground.put("etc/helix/agent.toml", "slots = 2\nqueues = [\"gpu\"]\n");
    assert!(ground.plan(&place, &wanted).is_ok());
    wanted.machine_name = Some("a".repeat(10_000));
    fs::remove_file(ground.root().join("etc/helix/agent.toml")).unwrap();
    let refusal = refused(&ground, &wanted);
    assert!(
        refusal.starts_with("the configuration would be wrong"),
        "{refusal}"
    );
}

#[test]
fn machine_without_systemd_and_directory_without_image_are_refused() {
    let ground = Ground::new();
    let nowhere = Place::new(System::Systemd, Some(ground.path("nowhere")));
    let refusal = refusal::machine(&nowhere, Mode::DryRun).unwrap_err();
    assert!(matches!(refusal, Refusal::NoImage(_)), "{refusal}");
    if cfg!(target_os = "linux") {
        let live = Place::new(System::Launchd, None);
        let refusal = refusal::machine(&live, Mode::DryRun).unwrap_err();
        assert!(
            matches!(refusal, Refusal::NoServiceManager { .. }),
            "{refusal}"
        );
    }
    if !Uid::effective().is_root() {
        let refusal = refusal::machine(&nowhere, Mode::Run).unwrap_err();
        assert!(matches!(refusal, Refusal::NotRoot), "{refusal}");
    }
}
