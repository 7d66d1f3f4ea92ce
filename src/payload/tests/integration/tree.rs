//! Trees copied and removed: links not followed, deep trees, denied directories.

use std::fs::{self, File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use helix_payload::{
    ArchiveProblem, EntryKind, Error, Limit, Placed, TreeLimits, place_tree, remove_tree,
};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Uid, mkfifo};
use tokio_util::sync::CancellationToken;

fn write(path: &Path, content: &str, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

async fn place(from: &Path, to: &Path) -> Result<Placed, Error> {
    place_tree(from, to, &TreeLimits::default(), &CancellationToken::new()).await
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn placed_tree_is_the_same_in_content_modes_times_and_links() {
    let scene = tempfile::tempdir().unwrap();
    let from = scene.path().join("from");
    let to = scene.path().join("to/deep/down");
    fs::create_dir_all(from.join("d/e")).unwrap();
    write(&from.join("d/run"), "#!/bin/sh", 0o751);
    write(&from.join("d/setuid"), "x", 0o4755);
    write(&from.join("d/e/read-only"), "y", 0o444);
    fs::hard_link(from.join("d/run"), from.join("d/e/same")).unwrap();
    symlink("../run", from.join("d/e/link")).unwrap();
    symlink("/etc/passwd", from.join("away")).unwrap();
    symlink("missing", from.join("dangling")).unwrap();
    fs::set_permissions(from.join("d/e"), Permissions::from_mode(0o555)).unwrap();

    let placed = place(&from, &to).await.unwrap();
    assert_eq!(placed.entries, 9);
    assert_eq!(placed.bytes, 9 + 1 + 1);
    assert_eq!(fs::read_to_string(to.join("d/run")).unwrap(), "#!/bin/sh");
    assert_eq!(mode(&to.join("d/run")), 0o751);
    assert_eq!(mode(&to.join("d/setuid")), 0o755);
    assert_eq!(mode(&to.join("d/e/read-only")), 0o444);
    assert_eq!(mode(&to.join("d/e")), 0o555);
    assert_eq!(
        fs::read_link(to.join("d/e/link")).unwrap(),
        Path::new("../run")
    );
    assert_eq!(
        fs::read_link(to.join("away")).unwrap(),
        Path::new("/etc/passwd")
    );
    assert_eq!(
        fs::read_link(to.join("dangling")).unwrap(),
        Path::new("missing")
    );
    let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!(inode("d/run"), inode("d/e/same"));
    let modified = |root: &Path| {
        fs::metadata(root.join("d/run"))
            .unwrap()
            .modified()
            .unwrap()
    };
    assert_eq!(modified(&from), modified(&to));

    // The copy is a copy: writing to it leaves the original alone.
    fs::write(to.join("d/run"), "changed").unwrap();
    assert_eq!(fs::read_to_string(from.join("d/run")).unwrap(), "#!/bin/sh");
    remove_tree(&from).await.unwrap();
    remove_tree(&to).await.unwrap();
    assert!(!from.exists() && !to.exists());
}

#[tokio::test]
async fn placed_file_keeps_its_holes() {
    let scene = tempfile::tempdir().unwrap();
    let from = scene.path().join("from");
    fs::create_dir(&from).unwrap();
    let sparse = File::create(from.join("sparse")).unwrap();
    for place in [1 << 20, 5 << 20, (9 << 20) - 4] {
        sparse.write_all_at(b"data", place).unwrap();
    }
    sparse.set_len(12 << 20).unwrap();
    File::create(from.join("hole"))
        .unwrap()
        .set_len(3 << 20)
        .unwrap();
    fs::write(from.join("full"), vec![7; 3 << 20]).unwrap();
    let to = scene.path().join("to");
    place(&from, &to).await.unwrap();
    for name in ["sparse", "hole", "full"] {
        assert!(
            fs::read(from.join(name)).unwrap() == fs::read(to.join(name)).unwrap(),
            "{name}"
        );
    }
    let blocks = |root: &Path| fs::metadata(root.join("sparse")).unwrap().blocks();
    assert!(
        blocks(&to) <= blocks(&from) + 64,
        "{} and {}",
        blocks(&from),
        blocks(&to)
    );
}

#[tokio::test]
async fn placing_replaces_files_and_links_but_never_follows_them() {
    let scene = tempfile::tempdir().unwrap();
    let (from, to) = (scene.path().join("from"), scene.path().join("to"));
    fs::create_dir_all(from.join("d")).unwrap();
    write(&from.join("file"), "new", 0o644);
    write(&from.join("d/file"), "new", 0o644);
    fs::create_dir_all(to.join("d")).unwrap();
    let precious = scene.path().join("precious");
    write(&precious, "untouched", 0o600);
    symlink(&precious, to.join("file")).unwrap();
    fs::hard_link(&precious, to.join("d/file")).unwrap();
    write(&to.join("d/other"), "kept", 0o644);
    place(&from, &to).await.unwrap();
    assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "new");
    assert_eq!(fs::read_to_string(to.join("d/file")).unwrap(), "new");
    assert_eq!(fs::read_to_string(to.join("d/other")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "untouched");
    assert_eq!(mode(&precious), 0o600);

    // A link in place of a directory leads nowhere.
    let outside = scene.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir_all(to.join("d")).unwrap();
    symlink(&outside, to.join("d")).unwrap();
    assert!(place(&from, &to).await.is_err());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[tokio::test]
async fn placing_refuses_special_files_and_what_passes_a_limit() {
    let scene = tempfile::tempdir().unwrap();
    let (from, to) = (scene.path().join("from"), scene.path().join("to"));
    fs::create_dir_all(from.join("a/b/c")).unwrap();
    write(&from.join("a/f"), "12345", 0o644);
    let cases = [
        (
            TreeLimits {
                max_entries: 3,
                ..TreeLimits::default()
            },
            Limit::Entries { count: 3 },
        ),
        (
            TreeLimits {
                max_total_bytes: 4,
                ..TreeLimits::default()
            },
            Limit::TotalBytes { bytes: 4 },
        ),
        (
            TreeLimits {
                max_depth: 2,
                ..TreeLimits::default()
            },
            Limit::Depth { levels: 2 },
        ),
    ];
    for (limits, limit) in cases {
        let result = place_tree(&from, &to, &limits, &CancellationToken::new()).await;
        let Err(Error::Tree { problem, .. }) = result else {
            panic!("{result:?}")
        };
        assert_eq!(problem, ArchiveProblem::Limit(limit));
    }
    let exact = TreeLimits {
        max_entries: 4,
        max_total_bytes: 5,
        max_depth: 3,
    };
    place_tree(&from, &to, &exact, &CancellationToken::new())
        .await
        .unwrap();

    mkfifo(&from.join("a/pipe"), Mode::S_IRWXU).unwrap();
    let result = place(&from, &to).await;
    let Err(Error::Tree { path, problem }) = result else {
        panic!("{result:?}")
    };
    assert_eq!(path, Path::new("a/pipe"));
    assert_eq!(problem, ArchiveProblem::SpecialFile(EntryKind::Fifo));
}

#[tokio::test]
async fn placing_into_itself_is_refused_and_ends() {
    let scene = tempfile::tempdir().unwrap();
    let from = scene.path().join("from");
    fs::create_dir_all(from.join("d")).unwrap();
    assert!(place(&from, &from).await.is_err());
    assert!(place(&from, &from.join("d/e")).await.is_err());
}

#[tokio::test]
async fn placing_can_be_cancelled() {
    let scene = tempfile::tempdir().unwrap();
    let cancellation = CancellationToken::new();
    cancellation.cancel();
    let to = scene.path().join("to");
    let result = place_tree(scene.path(), &to, &TreeLimits::default(), &cancellation).await;
    assert!(matches!(result, Err(Error::Cancelled)));
    assert!(!to.exists());
}

#[tokio::test]
async fn removing_follows_no_link() {
    let scene = tempfile::tempdir().unwrap();
    let outside = scene.path().join("outside");
    fs::create_dir(&outside).unwrap();
    write(&outside.join("precious"), "untouched", 0o600);
    let tree = scene.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    symlink(&outside, tree.join("l")).unwrap();
    symlink(&outside, tree.join("a/b/l")).unwrap();
    symlink("..", tree.join("a/b/up")).unwrap();
    remove_tree(&tree).await.unwrap();
    assert!(!tree.exists());

    // A link itself goes, and what it leads to stays.
    symlink(&outside, &tree).unwrap();
    remove_tree(&tree).await.unwrap();
    assert!(fs::symlink_metadata(&tree).is_err());
    assert_eq!(
        fs::read_to_string(outside.join("precious")).unwrap(),
        "untouched"
    );

    remove_tree(&tree).await.unwrap();
    remove_tree(&tree.join("not/there")).await.unwrap();
    remove_tree(&outside.join("precious")).await.unwrap();
    assert!(!outside.join("precious").exists());
    assert!(remove_tree(Path::new("/")).await.is_err());
    assert!(remove_tree(&outside.join("..")).await.is_err());
}

#[tokio::test]
async fn removing_copes_with_any_depth_and_width() {
    let scene = tempfile::tempdir().unwrap();
    let tree = scene.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for index in 0..500 {
        write(&tree.join(format!("f{index}")), "", 0o600);
        fs::create_dir_all(tree.join(format!("w/d{index}/x/y"))).unwrap();
    }
    // Deeper than any path can name, and than there are descriptors.
    let mut deepest = OwnedFd::from(File::open(&tree).unwrap());
    for _ in 0..3000 {
        mkdirat(&deepest, "ddddddd", Mode::S_IRWXU).unwrap();
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        deepest = openat(&deepest, "ddddddd", flags, Mode::empty()).unwrap();
    }
    drop(deepest);
    write(&tree.join(".helix-removed-1"), "in the way", 0o600);
    fs::create_dir_all(tree.join(".helix-removed-2/full")).unwrap();
    remove_tree(&tree).await.unwrap();
    assert!(!tree.exists());
}

/// Runs the test `name` of this program again as an ordinary user, since root is denied nothing.
/// Returns whether this already is one.
fn as_ordinary_user(name: &str) -> bool {
    use std::os::unix::process::CommandExt as _;
    if !Uid::effective().is_root() {
        return true;
    }
    // The program may lie where that user cannot reach it.
    let copy = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempfile();
    let copy = copy.unwrap().into_temp_path();
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&copy)
        .args(["--exact", name, "--nocapture"])
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("1 passed"), "{text}");
    false
}

#[tokio::test]
async fn removing_opens_up_directories_that_deny_their_owner() {
    if !as_ordinary_user("tree::removing_opens_up_directories_that_deny_their_owner") {
        return;
    }
    let scene = tempfile::tempdir().unwrap();
    for mode in [0o000, 0o100, 0o400, 0o500, 0o600] {
        let tree = scene.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c/d")).unwrap();
        write(&tree.join("a/b/c/file"), "", 0o000);
        for path in ["a/b/c/d", "a/b/c", "a/b", "a", ""] {
            fs::set_permissions(tree.join(path), Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&tree).await.unwrap();
        assert!(fs::symlink_metadata(&tree).is_err());
    }
}

#[tokio::test]
async fn removing_what_cannot_go_removes_the_rest_and_says_what_is_left() {
    if !as_ordinary_user("tree::removing_what_cannot_go_removes_the_rest_and_says_what_is_left") {
        return;
    }
    let scene = tempfile::tempdir().unwrap();
    let denied: PathBuf = scene.path().join("denied");
    fs::create_dir_all(denied.join("tree")).unwrap();
    write(&denied.join("tree/file"), "", 0o600);
    fs::set_permissions(&denied, Permissions::from_mode(0o500)).unwrap();
    let error = remove_tree(&denied.join("tree")).await;
    assert!(matches!(error, Err(Error::Io { .. })), "{error:?}");
    assert!(!denied.join("tree/file").exists());
    fs::set_permissions(&denied, Permissions::from_mode(0o700)).unwrap();
}
