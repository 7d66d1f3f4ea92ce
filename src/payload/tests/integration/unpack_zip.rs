//! Zip archives: what real senders write, and what hostile ones do.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use helix_payload::{ArchiveProblem, EntryKind, Format, NameProblem, NotAnArchive};

use crate::archives::{Descriptor, Scene, Width, ZipEntry, zip};

const TEXT: &str = "the quick brown fox, the quick brown fox, the quick brown fox";

#[test]
fn zip_of_every_layout_gives_the_same_tree() {
    for descriptor in [Descriptor::None, Descriptor::Behind] {
        for width in [Width::Zip32, Width::Zip64] {
            let scene = Scene::new();
            let entries = [
                ZipEntry::stored("empty", ""),
                ZipEntry::stored("a/stored.txt", TEXT),
                ZipEntry::deflated("a/b/deflated.txt", TEXT),
                ZipEntry::stored("c/", ""),
            ]
            .map(|entry| ZipEntry {
                descriptor,
                width,
                ..entry
            });
            let unpacked = scene.unpack_fine(&zip(&entries));
            assert_eq!(unpacked.format, Format::Zip);
            assert_eq!(
                (unpacked.entries, unpacked.bytes),
                (4, 2 * TEXT.len() as u64)
            );
            assert_eq!(
                scene.names(),
                ["a", "a/b", "a/b/deflated.txt", "a/stored.txt", "c", "empty"]
            );
            assert_eq!(scene.read("a/stored.txt"), TEXT);
            assert_eq!(scene.read("a/b/deflated.txt"), TEXT);
        }
    }
}

#[test]
fn zip_of_a_windows_sender_has_its_backslashes_turned() {
    let scene = Scene::new();
    scene.unpack_fine(&zip(&[
        ZipEntry::stored(r"dir\", ""),
        ZipEntry::stored(r"dir\sub\a.txt", "a"),
        ZipEntry::stored(r"dir/sub\b.txt", "b"),
    ]));
    assert_eq!(
        scene.names(),
        ["dir", "dir/sub", "dir/sub/a.txt", "dir/sub/b.txt"]
    );
}

#[test]
fn zip_without_modes_gives_readable_files_and_searchable_directories() {
    let scene = Scene::new();
    scene.unpack_fine(&zip(&[
        ZipEntry::stored("d/f", ""),
        ZipEntry::stored("e/", ""),
    ]));
    assert_eq!(scene.mode("d/f"), 0o644);
    assert_eq!(scene.mode("d"), 0o755);
    assert_eq!(scene.mode("e"), 0o755);
}

#[test]
fn zip_with_modes_keeps_them_without_the_dangerous_bits() {
    let scene = Scene::new();
    scene.unpack_fine(&zip(&[
        ZipEntry::stored("run.sh", "").mode(0o100_755),
        ZipEntry::stored("setuid", "").mode(0o106_777),
        ZipEntry::stored("sticky/", "").mode(0o041_777),
        ZipEntry::stored("locked", "").mode(0o100_000),
        ZipEntry::stored("no-kind", "").mode(0o700),
        ZipEntry {
            external: 0o100_750 << 16,
            ..ZipEntry::stored("dos-with-mode", "")
        },
    ]));
    assert_eq!(scene.mode("run.sh"), 0o755);
    assert_eq!(scene.mode("setuid"), 0o755);
    assert_eq!(scene.mode("sticky"), 0o755);
    assert_eq!(scene.mode("locked"), 0o600);
    assert_eq!(scene.mode("no-kind"), 0o700);
    assert_eq!(scene.mode("dos-with-mode"), 0o750);
}

#[test]
fn zip_names_that_lead_outside_are_refused_by_name() {
    for (name, problem) in [
        ("../precious", NameProblem::ParentDirectory),
        (r"..\precious", NameProblem::ParentDirectory),
        ("a/../../precious", NameProblem::ParentDirectory),
        ("/tmp/helix-escaped", NameProblem::Absolute),
        (r"\tmp\helix-escaped", NameProblem::Absolute),
        (r"C:\helix", NameProblem::DriveLetter),
        ("C:helix", NameProblem::DriveLetter),
        ("a\0b", NameProblem::Nul),
    ] {
        let scene = Scene::new();
        let (entry, found) = scene.refused(&zip(&[ZipEntry::stored(name, "overwritten")]));
        assert_eq!(found, ArchiveProblem::Name(problem), "{name:?}");
        assert_eq!(entry.unwrap(), name.escape_debug().to_string());
    }
    let scene = Scene::new();
    let (_, found) = scene.refused(&zip(&[ZipEntry::stored("n".repeat(300), "")]));
    assert_eq!(found, ArchiveProblem::Name(NameProblem::ComponentTooLong));
}

#[test]
fn zip_names_of_old_code_pages_become_utf8() {
    let scene = Scene::new();
    scene.unpack_fine(&zip(&[
        ZipEntry::stored(b"gr\x81n", "1"),
        ZipEntry::stored("grün-utf8", "2"),
        ZipEntry {
            flags: 0x800,
            ..ZipEntry::stored("grün-flagged", "3")
        },
    ]));
    assert_eq!(scene.names(), ["grün", "grün-flagged", "grün-utf8"]);
}

#[test]
fn encrypted_zip_is_refused_with_a_hint() {
    let scene = Scene::new();
    let entry = ZipEntry {
        flags: 1,
        ..ZipEntry::stored("secret.txt", "0123456789abcdef")
    };
    let error = scene.unpack(&zip(&[entry])).unwrap_err();
    assert_eq!(
        error.chain(),
        "unpack entry `secret.txt`: the entry is encrypted"
    );
    assert_eq!(error.hint(), Some("send the archive without a password"));
}

#[test]
fn zip_method_that_is_not_read_is_named() {
    let scene = Scene::new();
    let entry = ZipEntry {
        method: 97,
        ..ZipEntry::stored("wave", "x")
    };
    let (entry, problem) = scene.refused(&zip(&[entry]));
    assert_eq!(entry.as_deref(), Some("wave"));
    assert!(matches!(problem, ArchiveProblem::Unsupported { feature } if feature.contains("97")));
}

#[test]
fn zip_content_that_is_not_what_it_says_is_corrupt() {
    let long = "x".repeat(100_000);
    let cases = [
        (
            "wrong checksum",
            ZipEntry {
                crc: 1,
                ..ZipEntry::stored("f", TEXT)
            },
        ),
        (
            "wrong checksum",
            ZipEntry {
                crc: 1,
                ..ZipEntry::deflated("f", TEXT)
            },
        ),
        (
            "more than announced",
            ZipEntry {
                size: 10,
                ..ZipEntry::deflated("f", &long)
            },
        ),
        (
            "no deflate",
            ZipEntry {
                stored: vec![0xff; 64],
                ..ZipEntry::deflated("f", TEXT)
            },
        ),
    ];
    for (what, entry) in cases {
        let scene = Scene::new();
        let (name, problem) = scene.refused(&zip(&[entry]));
        assert_eq!(name.as_deref(), Some("f"), "{what}");
        assert!(
            matches!(problem, ArchiveProblem::Corrupt { .. }),
            "{what}: {problem:?}"
        );
    }
}

#[test]
fn zip_cut_off_anywhere_is_an_error_and_never_a_panic() {
    let whole = zip(&[
        ZipEntry::stored("a", TEXT),
        ZipEntry {
            descriptor: Descriptor::Behind,
            ..ZipEntry::deflated("b", TEXT)
        },
        ZipEntry {
            width: Width::Zip64,
            ..ZipEntry::stored("c", TEXT)
        },
    ]);
    for length in 4..whole.len() {
        let scene = Scene::new();
        let (_, problem) = scene.refused(&whole[..length]);
        assert!(
            matches!(
                problem,
                ArchiveProblem::Truncated | ArchiveProblem::Corrupt { .. }
            ),
            "{length}: {problem:?}"
        );
    }
    let scene = Scene::new();
    let directory = whole
        .windows(4)
        .position(|window| window == b"PK\x01\x02")
        .unwrap();
    assert_eq!(
        scene.refused(&whole[..directory]),
        (None, ArchiveProblem::Truncated)
    );
}

#[test]
fn zip_entry_shorter_than_announced_is_named() {
    let scene = Scene::new();
    let entry = ZipEntry::stored("f", TEXT);
    let short = ZipEntry {
        size: entry.size + 1,
        ..entry
    };
    let (name, problem) = scene.refused(&zip(&[short]));
    assert_eq!(name.as_deref(), Some("f"));
    assert!(matches!(
        problem,
        ArchiveProblem::Truncated | ArchiveProblem::Corrupt { .. }
    ));
}

#[test]
fn zip_with_any_byte_flipped_never_escapes_or_panics() {
    let whole = zip(&[
        ZipEntry::stored("d/a", "one"),
        ZipEntry::deflated("d/b", TEXT),
        ZipEntry::stored("l", "d/a").mode(0o120_777),
    ]);
    for index in 0..whole.len() {
        for flip in [0x01, 0x2e, 0x80] {
            let mut bytes = whole.clone();
            bytes[index] ^= flip;
            drop(Scene::new().unpack(&bytes));
        }
    }
}

#[test]
fn zip_symlink_inside_the_tree_is_made() {
    let scene = Scene::new();
    scene.unpack_fine(&zip(&[
        ZipEntry::stored("lib/real.so", "code"),
        ZipEntry::stored("lib/link.so", "real.so").mode(0o120_777),
        ZipEntry::deflated("bin/up", "../lib/real.so").mode(0o120_777),
    ]));
    assert_eq!(scene.read("lib/link.so"), "code");
    assert_eq!(scene.read("bin/up"), "code");
}

#[test]
fn zip_special_files_are_refused() {
    for (mode, kind) in [
        (0o020_666, EntryKind::CharacterDevice),
        (0o060_666, EntryKind::BlockDevice),
        (0o010_666, EntryKind::Fifo),
        (0o140_666, EntryKind::Socket),
    ] {
        let (name, problem) = Scene::new().refused(&zip(&[ZipEntry::stored("x", "").mode(mode)]));
        assert_eq!(name.as_deref(), Some("x"));
        assert_eq!(problem, ArchiveProblem::SpecialFile(kind));
    }
}

#[test]
fn empty_zip_gives_an_empty_directory() {
    let scene = Scene::new();
    assert_eq!(scene.unpack_fine(&zip(&[])).entries, 0);
    assert!(scene.destination().is_dir());
}

#[test]
fn later_entry_of_a_name_wins() {
    let scene = Scene::new();
    scene.unpack_fine(&zip(&[
        ZipEntry::stored("f", "first, and much longer"),
        ZipEntry::stored("d/", ""),
        ZipEntry::stored("d/", "").mode(0o040_700),
        ZipEntry::stored("f", "second"),
    ]));
    assert_eq!(scene.read("f"), "second");
    assert_eq!(scene.mode("d"), 0o700);
}

#[test]
fn names_that_differ_in_case_are_different_files() {
    let scene = Scene::new();
    scene.unpack_fine(&zip(&[
        ZipEntry::stored("a", "small"),
        ZipEntry::stored("A", "large"),
    ]));
    if cfg!(target_os = "linux") {
        assert_eq!(
            (scene.read("a").as_str(), scene.read("A").as_str()),
            ("small", "large")
        );
    }
}

#[test]
fn file_that_is_no_archive_is_refused_or_placed_as_the_caller_says() {
    let mut scene = Scene::new();
    let (_, problem) = scene.refused(b"#!/bin/sh\necho hello\n");
    assert_eq!(problem, ArchiveProblem::NotAnArchive);
    let (_, problem) = scene.refused(b"");
    assert_eq!(problem, ArchiveProblem::NotAnArchive);

    scene.options.not_an_archive = NotAnArchive::Place("run.sh".to_owned());
    let unpacked = scene.unpack_fine(b"#!/bin/sh\n");
    assert_eq!(
        (unpacked.format, unpacked.entries, unpacked.bytes),
        (Format::Bare, 1, 10)
    );
    assert_eq!(scene.read("run.sh"), "#!/bin/sh\n");

    for name in ["../precious", "a/b", "", "."] {
        scene.options.not_an_archive = NotAnArchive::Place(name.to_owned());
        assert!(scene.unpack(b"text").is_err(), "{name:?}");
    }
}

#[test]
fn unpacking_into_a_tree_that_is_there_leaves_the_rest_of_it() {
    let scene = Scene::new();
    fs::create_dir(scene.destination()).unwrap();
    fs::write(scene.destination().join("old"), "kept").unwrap();
    let inode = fs::metadata(scene.destination()).unwrap().ino();
    scene.unpack_fine(&zip(&[ZipEntry::stored("new", "added")]));
    assert_eq!(scene.names(), ["new", "old"]);
    assert_eq!(fs::metadata(scene.destination()).unwrap().ino(), inode);
}
