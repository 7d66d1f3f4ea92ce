//! Selection in directories that somebody hostile has written.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use helix_artifacts::{
    ArtifactName, Globs, Kind, LeftOut, Limits, Rule, Selection, Take, TakeError, select,
};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use crate::support::name;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    fs::write(path, text).expect("written");
}

fn everything(directory: &Path) -> Rule {
    Rule {
        directory: directory.to_owned(),
        kind: Kind::Upload,
        take: Take::Everything,
        beneath: None,
    }
}

fn matching(directory: &Path, globs: &[&str]) -> Rule {
    let take = Take::Matching(Globs::new(globs).expect("globs"));
    Rule {
        take,
        ..everything(directory)
    }
}

fn names(selection: &Selection) -> Vec<&str> {
    selection
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect()
}

fn problems(selection: &Selection) -> Vec<String> {
    selection.problems.iter().map(ToString::to_string).collect()
}

fn text(selection: &Selection, index: usize) -> String {
    let mut text = String::new();
    let mut file = selection.files[index].open().expect("opened");
    file.read_to_string(&mut text).expect("read");
    text
}

#[test]
fn everything_beneath_a_directory_is_taken_in_order() {
    let root = directory();
    for path in ["b.txt", "a/2.txt", "a/1.txt", "a/b/c/d.bin", ".hidden"] {
        write(root.path(), path, path);
    }
    let selection = select(&[everything(root.path())], &[], &Limits::default());
    assert_eq!(
        names(&selection),
        [".hidden", "a/1.txt", "a/2.txt", "a/b/c/d.bin", "b.txt"]
    );
    assert_eq!(text(&selection, 3), "a/b/c/d.bin");
    assert_eq!(selection.total_bytes, 7 + 7 + 7 + 11 + 5);
    assert_eq!(selection.problems, []);
}

#[test]
fn globs_take_what_matches_and_say_nothing_of_the_rest() {
    let root = directory();
    for path in ["out/a.binlog", "out/deep/b.binlog", "c.binlog", "out/a.txt"] {
        write(root.path(), path, path);
    }
    symlink("/etc/passwd", root.path().join("out/other.txt")).expect("a link");
    symlink("/etc/passwd", root.path().join("out/z.binlog")).expect("a link");
    let rule = matching(root.path(), &["out/**/*.binlog"]);
    let selection = select(&[rule], &[], &Limits::default());
    assert_eq!(names(&selection), ["out/a.binlog", "out/deep/b.binlog"]);
    assert_eq!(problems(&selection), ["`out/z.binlog` is a symbolic link"]);
}

#[test]
fn links_and_special_files_are_reported_and_never_followed() {
    let outside = directory();
    write(outside.path(), "secret.txt", "secret");
    let root = directory();
    symlink(
        outside.path().join("secret.txt"),
        root.path().join("link.txt"),
    )
    .expect("a link");
    symlink(outside.path(), root.path().join("linked")).expect("a link");
    symlink(".", root.path().join("loop")).expect("a link");
    mkfifo(&root.path().join("pipe"), Mode::S_IRWXU).expect("a fifo");
    let _socket =
        std::os::unix::net::UnixListener::bind(root.path().join("socket")).expect("a socket");
    write(root.path(), "real.txt", "real");
    let selection = select(&[everything(root.path())], &[], &Limits::default());
    assert_eq!(names(&selection), ["real.txt"]);
    assert_eq!(
        problems(&selection),
        [
            "`link.txt` is a symbolic link",
            "`linked` is a symbolic link",
            "`loop` is a symbolic link",
            "`pipe` is a fifo",
            "`socket` is a socket",
        ]
    );
}

#[test]
fn a_directory_that_is_a_link_is_refused_and_a_missing_one_is_empty() {
    let outside = directory();
    write(outside.path(), "secret.txt", "secret");
    let root = directory();
    let link = root.path().join("link");
    symlink(outside.path(), &link).expect("a link");
    let rules = [everything(&link), everything(&root.path().join("missing"))];
    let selection = select(&rules, &[], &Limits::default());
    assert!(selection.files.is_empty());
    assert_eq!(selection.problems.len(), 1);
    assert_eq!(selection.problems[0].reason, LeftOut::NotADirectory);
}

#[test]
fn a_file_reached_twice_is_taken_once() {
    let root = directory();
    write(root.path(), "a.txt", "one");
    fs::hard_link(root.path().join("a.txt"), root.path().join("b.txt")).expect("a hard link");
    let rules = [matching(root.path(), &["*.txt"]), everything(root.path())];
    let selection = select(&rules, &[], &Limits::default());
    assert_eq!(names(&selection), ["a.txt"]);
    assert_eq!(selection.problems, []);
}

#[test]
fn hard_links_to_files_of_others_are_left_out() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let root = directory();
    write(root.path(), "mine.txt", "mine");
    write(root.path(), "theirs.txt", "theirs");
    let theirs = root.path().join("theirs.txt");
    std::os::unix::fs::chown(&theirs, Some(54321), None).expect("given away");
    // One link to it: it was written here, by another user, which is fine.
    let selection = select(&[everything(root.path())], &[], &Limits::default());
    assert_eq!(names(&selection), ["mine.txt", "theirs.txt"]);
    fs::hard_link(&theirs, root.path().join("again.txt")).expect("a hard link");
    let selection = select(&[everything(root.path())], &[], &Limits::default());
    assert_eq!(names(&selection), ["mine.txt"]);
    assert_eq!(selection.problems[0].reason, LeftOut::ForeignHardLink);
}

#[test]
fn names_of_any_bytes_come_back() {
    let root = directory();
    let bytes: [&[u8]; 4] = [
        b"caf\xe9.txt",
        b"a\\..\\b",
        b"new\nline",
        "Prüfung.txt".as_bytes(),
    ];
    for name in bytes {
        File::create(root.path().join(std::ffi::OsStr::from_bytes(name))).expect("created");
    }
    let selection = select(&[everything(root.path())], &[], &Limits::default());
    assert_eq!(
        names(&selection),
        ["Prüfung.txt", "a%5C..%5Cb", "caf%E9.txt", "new%0Aline"]
    );
    for file in &selection.files {
        assert!(bytes.contains(&file.name.to_path().as_os_str().as_bytes()));
        file.open().expect("opened by its real name");
    }
}

#[test]
fn different_files_of_one_name_are_both_taken() {
    let (uploads, work) = (directory(), directory());
    write(uploads.path(), "console.0a1b.log", "forged");
    write(uploads.path(), "log.txt", "uploaded");
    write(work.path(), "log.txt", "in the work item's root");
    let dumps = directory();
    write(dumps.path(), "core.7", "dump");
    let rules = [
        everything(uploads.path()),
        matching(work.path(), &["*.txt"]),
        Rule {
            kind: Kind::Dump,
            beneath: Some(name("dumps")),
            ..everything(dumps.path())
        },
    ];
    let selection = select(&rules, &[name("console.0a1b.log")], &Limits::default());
    assert_eq!(
        names(&selection),
        [
            "console.0a1b (2).log",
            "log.txt",
            "log (2).txt",
            "dumps/core.7"
        ]
    );
    assert_eq!(text(&selection, 2), "in the work item's root");
    assert_eq!(selection.files[3].kind, Kind::Dump);
}

#[test]
fn no_name_is_a_directory_of_another() {
    let (uploads, work) = (directory(), directory());
    write(uploads.path(), "a", "a file");
    write(uploads.path(), "b/c.txt", "in a directory");
    write(work.path(), "a/x.txt", "in a directory");
    write(work.path(), "a/y.txt", "in the same");
    write(work.path(), "b", "a file");
    write(work.path(), "logs", "a file");
    let rules = [everything(uploads.path()), everything(work.path())];
    let selection = select(&rules, &[name("logs/console.log")], &Limits::default());
    assert_eq!(
        names(&selection),
        [
            "a",
            "b/c.txt",
            "a (2)/x.txt",
            "a (2)/y.txt",
            "b (2)",
            "logs (2)"
        ]
    );
}

#[test]
fn limits_say_what_they_leave_out() {
    let root = directory();
    for path in ["1/2/3/deep.txt", "a.txt", "b.txt", "large.bin", "z.txt"] {
        write(root.path(), path, "12345");
    }
    write(root.path(), "large.bin", &"x".repeat(1000));
    let limited = |limits: Limits| {
        let selection = select(&[everything(root.path())], &[], &limits);
        (names(&selection).join(" "), problems(&selection).join("; "))
    };
    assert_eq!(
        limited(Limits {
            depth: 2,
            ..Limits::default()
        }),
        (
            "a.txt b.txt large.bin z.txt".to_owned(),
            "`1/2/3` lies more than 2 directories deep".to_owned()
        )
    );
    assert_eq!(
        limited(Limits {
            total_bytes: 20,
            ..Limits::default()
        }),
        (
            "1/2/3/deep.txt a.txt b.txt z.txt".to_owned(),
            "`large.bin` of 1000 bytes is beyond the limit of 20 bytes in all files".to_owned()
        )
    );
    assert_eq!(
        limited(Limits {
            files: 2,
            problems: 0,
            ..Limits::default()
        }),
        (
            "1/2/3/deep.txt a.txt".to_owned(),
            "3 files from `b.txt` on are beyond the limit of 2 files".to_owned()
        )
    );
    let (taken, problem) = limited(Limits {
        entries: 6,
        ..Limits::default()
    });
    assert_eq!(taken, "");
    assert_eq!(
        problem,
        "`1/2` and what follows is beyond the limit of 6 directory entries"
    );
}

#[test]
fn problems_beyond_the_list_are_counted() {
    let root = directory();
    for number in 0..10 {
        symlink("nowhere", root.path().join(number.to_string())).expect("a link");
    }
    let limits = Limits {
        problems: 4,
        ..Limits::default()
    };
    let selection = select(&[everything(root.path())], &[], &limits);
    assert_eq!(
        (selection.problems.len(), selection.unlisted_problems),
        (4, 6)
    );
}

#[test]
fn a_tree_deeper_than_any_path_is_walked_to_the_limit() {
    let root = directory();
    // Each level has the longest name, so that the tree has no usable path beyond the 16th.
    let part = "d".repeat(255);
    let mut parent = nix::fcntl::open(root.path(), nix::fcntl::OFlag::O_DIRECTORY, Mode::empty())
        .expect("opened");
    for _ in 0..100 {
        nix::sys::stat::mkdirat(&parent, part.as_str(), Mode::S_IRWXU).expect("made");
        parent = nix::fcntl::openat(
            &parent,
            part.as_str(),
            nix::fcntl::OFlag::O_DIRECTORY,
            Mode::empty(),
        )
        .expect("opened");
    }
    let selection = select(&[everything(root.path())], &[], &Limits::default());
    assert_eq!(selection.problems.len(), 1);
    assert_eq!(selection.problems[0].reason, LeftOut::TooDeep { limit: 64 });
}

#[test]
fn other_file_systems_are_not_entered() {
    use std::os::unix::fs::MetadataExt;
    let device = |path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    if device("/dev/shm").is_none() || device("/dev") == device("/dev/shm") {
        eprintln!("skipped: /dev/shm is no file system of its own");
        return;
    }
    let rule = matching(Path::new("/dev"), &["shm/**"]);
    let selection = select(&[rule], &[], &Limits::default());
    assert!(selection.files.is_empty());
    assert_eq!(problems(&selection), ["`shm` is on another file system"]);
}

#[test]
fn a_file_that_was_replaced_is_not_opened() {
    let outside = directory();
    write(outside.path(), "secret.txt", "secret");
    let root = directory();
    for path in ["by-link", "by-file", "by-fifo", "dir/by-link"] {
        write(root.path(), path, path);
    }
    let selection = select(&[everything(root.path())], &[], &Limits::default());
    assert_eq!(selection.files.len(), 4);
    let path = |path: &str| root.path().join(path);
    fs::remove_file(path("by-link")).expect("removed");
    symlink(outside.path().join("secret.txt"), path("by-link")).expect("a link");
    fs::copy(outside.path().join("secret.txt"), path("other")).expect("copied");
    fs::rename(path("other"), path("by-file")).expect("renamed");
    fs::remove_file(path("by-fifo")).expect("removed");
    mkfifo(&path("by-fifo"), Mode::S_IRWXU).expect("a fifo");
    fs::rename(path("dir"), path("moved")).expect("renamed");
    fs::create_dir(outside.path().join("dir")).expect("made");
    write(outside.path(), "dir/by-link", "secret");
    symlink(outside.path().join("dir"), path("dir")).expect("a link");
    for file in &selection.files {
        assert!(
            matches!(file.open(), Err(TakeError::Replaced { .. })),
            "{} was opened",
            file.name
        );
    }
}

#[test]
fn a_race_of_swaps_never_yields_a_file_from_outside() {
    let outside = directory();
    write(outside.path(), "x/file.txt", "secret");
    let root = directory();
    write(root.path(), "x/file.txt", "harmless");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (stop, root, outside) = (&stop, root.path(), outside.path());
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(root.join("x"), root.join("parked")).expect("parked");
                symlink(outside.join("x"), root.join("x")).expect("a link");
                fs::remove_file(root.join("x")).expect("removed");
                fs::rename(root.join("parked"), root.join("x")).expect("back");
            }
        });
        let mut read = 0;
        for _ in 0..3000 {
            let selection = select(&[everything(root)], &[], &Limits::default());
            for file in &selection.files {
                let mut text = String::new();
                if let Ok(mut file) = file.open() {
                    file.read_to_string(&mut text).expect("read");
                    assert_eq!(text, "harmless");
                    read += 1;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(read > 0, "the walk never met the file");
    });
}

#[test]
fn unreadable_directories_are_said() {
    if nix::unistd::geteuid().is_root() {
        eprintln!("skipped: root can read everything");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let root = directory();
    write(root.path(), "closed/file.txt", "x");
    let closed = root.path().join("closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("closed");
    let selection = select(&[everything(root.path())], &[], &Limits::default());
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("opened");
    assert_eq!(
        problems(&selection),
        ["cannot open directory `closed`: Permission denied"]
    );
}

#[test]
fn a_name_is_what_a_prefix_and_a_path_make() {
    assert_eq!(
        ArtifactName::from_path("a//./b").expect("a name").as_str(),
        "a/b"
    );
}
