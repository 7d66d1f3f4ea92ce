//! Links in archives: those that stay inside, and every trick to get out.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use helix_payload::{ArchiveProblem, EntryKind, NameProblem};

use crate::archives::{Scene, Tar};

#[test]
fn symlinks_inside_the_tree_are_made_whatever_their_order() {
    let scene = Scene::new();
    scene.unpack_fine(
        &Tar::default()
            .symlink("before", "d/f")
            .file("d/f", "content")
            .symlink("d/e/up", "../f")
            .symlink("d/e/top", "../..")
            .symlink("dangling", "nowhere/at/all")
            .symlink("d/self", ".")
            .end(),
    );
    for name in ["before", "d/e/up", "d/e/top/d/f", "d/self/f"] {
        assert_eq!(scene.read(name), "content", "{name}");
    }
}

#[test]
fn symlinks_that_could_lead_outside_are_refused() {
    for (name, target) in [
        ("l", "/etc/passwd"),
        ("l", "//etc/passwd"),
        ("l", "../precious"),
        ("l", ".."),
        ("d/l", "../../precious"),
        ("d/l", "./../../precious"),
        // Harmless by its text, were it not for what `d` may be by then.
        ("l", "d/../../precious"),
        ("d/e/l", "x/../../../precious"),
        ("l", ""),
    ] {
        let (entry, problem) = Scene::new().refused(&Tar::default().symlink(name, target).end());
        assert_eq!(entry.as_deref(), Some(name));
        assert!(
            matches!(problem, ArchiveProblem::LinkTarget { .. }),
            "{target:?}: {problem:?}"
        );
    }
}

#[test]
fn chain_of_symlinks_that_climbs_by_descending_first_is_refused() {
    // `a/b/c/top` is the root, so `a/b/c/top/../..` would be two above it, while its text stays
    // within bounds.
    let tar = Tar::default()
        .mode("a/b/c/", 0o755)
        .symlink("a/b/c/top", "../../..")
        .symlink("out", "a/b/c/top/../..")
        .file("out/precious", "overwritten")
        .end();
    let (entry, problem) = Scene::new().refused(&tar);
    assert_eq!(entry.as_deref(), Some("out"));
    assert!(matches!(problem, ArchiveProblem::LinkTarget { .. }));
}

#[test]
fn nothing_is_written_through_a_symlink_of_the_archive() {
    for tar in [
        Tar::default()
            .symlink("l", "d")
            .mode("d/", 0o755)
            .file("l/f", "x"),
        Tar::default()
            .mode("d/", 0o755)
            .symlink("l", "d")
            .mode("l/", 0o700),
        Tar::default()
            .mode("d/", 0o755)
            .symlink("l", "d")
            .symlink("l/m", "x"),
        Tar::default()
            .file("d/f", "")
            .symlink("l", "d")
            .hard_link("l/g", "d/f"),
    ] {
        let (_, problem) = Scene::new().refused(&tar.end());
        assert_eq!(
            problem,
            ArchiveProblem::NotADirectory {
                component: "l".to_owned(),
                found: EntryKind::Symlink
            }
        );
    }
}

#[test]
fn nothing_is_written_through_a_symlink_that_was_there_before() {
    for tar in [
        Tar::default().file("l/precious", "overwritten"),
        Tar::default().mode("l/", 0o777),
        Tar::default().symlink("l/x", "y"),
    ] {
        let scene = Scene::new();
        fs::create_dir(scene.destination()).unwrap();
        // Not what unpacking would ever make.
        fs::create_dir(scene.path("scratch")).unwrap();
        symlink(scene.path("scratch"), scene.destination().join("l")).unwrap();
        let path = scene.path("archive");
        fs::write(&path, tar.end()).unwrap();
        let result = helix_payload::unpack_blocking(
            &path,
            &scene.destination(),
            &scene.options,
            &tokio_util::sync::CancellationToken::new(),
        );
        assert!(result.is_err());
        assert_eq!(fs::read_dir(scene.path("scratch")).unwrap().count(), 0);
        fs::remove_file(scene.destination().join("l")).unwrap();
        scene.assert_nothing_escaped();
    }
}

#[test]
fn file_in_place_of_a_symlink_replaces_the_link_and_not_its_target() {
    let scene = Scene::new();
    let tar = Tar::default()
        .file("target", "kept")
        .symlink("l", "target")
        .file("l", "new")
        .end();
    scene.unpack_fine(&tar);
    assert_eq!(scene.read("target"), "kept");
    assert_eq!(scene.read("l"), "new");
    assert!(
        fs::symlink_metadata(scene.destination().join("l"))
            .unwrap()
            .is_file()
    );

    let scene = Scene::new();
    fs::create_dir(scene.destination()).unwrap();
    symlink(scene.path("precious"), scene.destination().join("l")).unwrap();
    scene.unpack_fine(&Tar::default().file("l", "new").end());
    assert_eq!(scene.read("l"), "new");
}

#[test]
fn file_in_place_of_a_hard_link_leaves_the_other_name_alone() {
    let scene = Scene::new();
    let tar = Tar::default()
        .file("a", "kept")
        .hard_link("b", "a")
        .file("b", "new")
        .end();
    scene.unpack_fine(&tar);
    assert_eq!(scene.read("a"), "kept");
    assert_eq!(scene.read("b"), "new");
}

#[test]
fn hard_link_to_a_file_of_the_archive_is_made() {
    let scene = Scene::new();
    let tar = Tar::default()
        .file("d/a", "content")
        .hard_link("e/b", "d/a")
        .hard_link("d/a", "./d/a")
        .end();
    scene.unpack_fine(&tar);
    let inode = |name: &str| fs::metadata(scene.destination().join(name)).unwrap().ino();
    assert_eq!(inode("d/a"), inode("e/b"));
    assert_eq!(scene.read("d/a"), "content");
}

#[test]
fn hard_links_to_anything_else_are_refused() {
    for (target, tar) in [
        ("missing", Tar::default()),
        ("d", Tar::default().mode("d/", 0o755)),
        ("l", Tar::default().file("f", "").symlink("l", "f")),
        ("l/f", Tar::default().file("d/f", "").symlink("l", "d")),
        ("f/x", Tar::default().file("f", "")),
        (".", Tar::default()),
    ] {
        let (entry, problem) = Scene::new().refused(&tar.hard_link("h", target).end());
        assert_eq!(entry.as_deref(), Some("h"));
        assert!(
            matches!(problem, ArchiveProblem::HardLinkTarget { .. }),
            "{target}: {problem:?}"
        );
    }
    for (target, expected) in [
        ("../precious", NameProblem::ParentDirectory),
        ("/etc/passwd", NameProblem::Absolute),
        ("", NameProblem::Empty),
    ] {
        let (_, problem) = Scene::new().refused(&Tar::default().hard_link("h", target).end());
        assert_eq!(problem, ArchiveProblem::Name(expected), "{target}");
    }
}

#[test]
fn hard_link_through_a_symlink_that_was_there_before_is_refused() {
    let scene = Scene::new();
    fs::create_dir(scene.destination()).unwrap();
    symlink("..", scene.destination().join("l")).unwrap();
    fs::write(
        scene.path("archive"),
        Tar::default().hard_link("h", "l/precious").end(),
    )
    .unwrap();
    let result = helix_payload::unpack_blocking(
        &scene.path("archive"),
        &scene.destination(),
        &scene.options,
        &tokio_util::sync::CancellationToken::new(),
    );
    assert!(result.is_err());
    assert_eq!(fs::metadata(scene.path("precious")).unwrap().nlink(), 1);
}

#[test]
fn directory_and_file_never_take_each_others_place() {
    let (_, problem) =
        Scene::new().refused(&Tar::default().mode("x/", 0o755).file("x", "file").end());
    assert_eq!(problem, ArchiveProblem::DirectoryInTheWay);
    let (_, problem) =
        Scene::new().refused(&Tar::default().file("x", "file").file("x/y", "").end());
    assert!(matches!(
        problem,
        ArchiveProblem::NotADirectory {
            found: EntryKind::File,
            ..
        }
    ));
    let (_, problem) = Scene::new().refused(&Tar::default().entry(b'0', "./", b"x").end());
    assert!(
        matches!(problem, ArchiveProblem::DirectoryInTheWay) || Scene::new().names().is_empty()
    );
}
