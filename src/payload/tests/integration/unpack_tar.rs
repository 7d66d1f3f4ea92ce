//! Tar archives: every dialect, every compression, and every way to be cut off.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::process::Command;

use helix_payload::{ArchiveProblem, EntryKind, Error, Format, Limit, NameProblem};

use crate::archives::{Scene, Tar, gzip, zstd};

#[test]
fn tar_in_every_compression_gives_the_same_tree() {
    let tar = || {
        Tar::default()
            .mode("d/", 0o755)
            .file("d/f", "content")
            .file("g", "")
            .end()
    };
    for (archive, format) in [
        (tar(), Format::Tar),
        (gzip(&tar()), Format::TarGzip),
        (zstd(&tar()), Format::TarZstd),
    ] {
        let scene = Scene::new();
        let unpacked = scene.unpack_fine(&archive);
        assert_eq!(
            (unpacked.format, unpacked.entries, unpacked.bytes),
            (format, 3, 7)
        );
        assert_eq!(scene.names(), ["d", "d/f", "g"]);
        assert_eq!(scene.read("d/f"), "content");
    }
}

#[test]
fn compressed_tar_in_several_members_or_frames_is_one_archive() {
    let tar = Tar::default()
        .file("a", &"x".repeat(3000))
        .file("b", "y")
        .end();
    let (front, back) = tar.split_at(700);
    for archive in [
        [gzip(front), gzip(back)].concat(),
        [zstd(front), zstd(back)].concat(),
    ] {
        let scene = Scene::new();
        scene.unpack_fine(&archive);
        assert_eq!(scene.read("a").len(), 3000);
        assert_eq!(scene.read("b"), "y");
    }
}

#[test]
fn tar_modes_are_masked_and_times_are_kept() {
    let scene = Scene::new();
    scene.unpack_fine(
        &Tar::default()
            .mode("run", 0o777)
            .mode("setuid", 0o6711)
            .mode("locked", 0)
            .mode("shut/", 0o1000)
            .file("shut/inside", "")
            .end(),
    );
    assert_eq!(scene.mode("run"), 0o755);
    assert_eq!(scene.mode("setuid"), 0o711);
    assert_eq!(scene.mode("locked"), 0o600);
    assert_eq!(scene.mode("shut"), 0o700);
    let modified = fs::metadata(scene.destination().join("run"))
        .unwrap()
        .mtime();
    assert_eq!(modified, 1_000_000_000);
}

#[test]
fn tar_names_longer_than_a_header_come_by_every_known_way() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(90));
    let nul_ended = format!("{long}\0");
    let mut ustar = tar::Header::new_ustar();
    ustar.set_path(&long).unwrap();
    ustar.set_size(4);
    for tar in [
        Tar::default()
            .entry(b'L', "././@LongLink", nul_ended.as_bytes())
            .file("cut", "text"),
        Tar::default()
            .entry(b'L', "././@LongLink", long.as_bytes())
            .file("cut", "text"),
        Tar::default().pax(&[("path", &long)]).file("cut", "text"),
        Tar::default().raw(ustar, b"text"),
    ] {
        let scene = Scene::new();
        scene.unpack_fine(&tar.end());
        assert_eq!(scene.read(&long), "text");
        assert_eq!(scene.names().len(), 2);
    }
}

#[test]
fn long_names_describe_one_entry_only() {
    let scene = Scene::new();
    let tar = Tar::default()
        .pax(&[("path", "long")])
        .file("a", "1")
        .file("b", "2")
        .end();
    scene.unpack_fine(&tar);
    assert_eq!(scene.names(), ["b", "long"]);
}

#[test]
fn pax_size_counts_instead_of_the_one_in_the_header() {
    let scene = Scene::new();
    let content = "c".repeat(1000);
    let header = Tar::header(b'0', b"f", 0);
    let tar = Tar::default()
        .pax(&[("size", "1000")])
        .raw(header, content.as_bytes())
        .file("g", "")
        .end();
    scene.unpack_fine(&tar);
    assert_eq!(scene.read("f"), content);
    assert_eq!(scene.names(), ["f", "g"]);
}

#[test]
fn global_header_and_volume_label_are_passed_over() {
    let scene = Scene::new();
    let tar = Tar::default()
        .entry(
            b'g',
            "pax_global_header",
            b"52 comment=0123456789012345678901234567890123456789\n",
        )
        .entry(b'V', "label", b"")
        .file("f", "x")
        .end();
    scene.unpack_fine(&tar);
    assert_eq!(scene.names(), ["f"]);
}

#[test]
fn old_tar_directory_is_a_file_with_a_slash() {
    let scene = Scene::new();
    let mut header = tar::Header::new_old();
    header.as_old_mut().name[..2].copy_from_slice(b"d/");
    header.set_mode(0o750);
    header.set_size(0);
    scene.unpack_fine(&Tar::default().raw(header, b"").end());
    assert_eq!(scene.mode("d"), 0o750);
    assert!(scene.destination().join("d").is_dir());
}

#[test]
fn tar_names_that_lead_outside_are_refused_by_name() {
    for (name, problem) in [
        ("../precious", NameProblem::ParentDirectory),
        ("d/../../precious", NameProblem::ParentDirectory),
        ("/tmp/helix-escaped", NameProblem::Absolute),
        ("C:/x", NameProblem::DriveLetter),
    ] {
        for tar in [
            Tar::default().file(name, "overwritten"),
            Tar::default()
                .pax(&[("path", name)])
                .file("x", "overwritten"),
            Tar::default()
                .entry(b'L', "L", name.as_bytes())
                .file("x", "overwritten"),
            Tar::default().mode(&format!("{name}/"), 0o777),
            Tar::default().symlink(name, "x"),
        ] {
            let (entry, found) = Scene::new().refused(&tar.end());
            assert_eq!(found, ArchiveProblem::Name(problem), "{name:?}");
            assert!(entry.unwrap().starts_with(name));
        }
    }
    let tar = Tar::default().pax(&[("path", "a\0b")]).file("x", "").end();
    assert_eq!(
        Scene::new().refused(&tar).1,
        ArchiveProblem::Name(NameProblem::Nul)
    );
}

#[test]
fn tar_special_files_are_refused() {
    for (kind, expected) in [
        (b'3', EntryKind::CharacterDevice),
        (b'4', EntryKind::BlockDevice),
        (b'6', EntryKind::Fifo),
    ] {
        let (entry, problem) = Scene::new().refused(&Tar::default().entry(kind, "x", b"").end());
        assert_eq!(
            (entry.as_deref(), problem),
            (Some("x"), ArchiveProblem::SpecialFile(expected))
        );
    }
    let (_, problem) = Scene::new().refused(&Tar::default().entry(b'M', "x", b"").end());
    assert!(matches!(problem, ArchiveProblem::Unsupported { .. }));
}

#[test]
fn tar_cut_off_anywhere_names_the_entry_it_was_in() {
    let tar = Tar::default()
        .file("first", &"1".repeat(600))
        .file("second", "2")
        .end();
    for (length, entry) in [
        (513, Some("first")),
        (1100, Some("first")),
        (1200, Some("first")),
        (1536, Some("first")),
        (1536 + 100, Some("first")),
        (1536 + 512, Some("second")),
        (1536 + 513, Some("second")),
        (1536 + 1024, Some("second")),
    ] {
        let (found, problem) = Scene::new().refused(&tar[..length]);
        assert_eq!(
            (found.as_deref(), problem),
            (entry, ArchiveProblem::Truncated),
            "{length}"
        );
    }
    // Half the end mark is enough.
    Scene::new().unpack_fine(&tar[..1536 + 1024 + 512]);
}

#[test]
fn compressed_tar_cut_off_anywhere_is_an_error_and_never_a_panic() {
    let tar = Tar::default()
        .file("f", &"abc".repeat(4000))
        .file("g", "2")
        .end();
    for whole in [gzip(&tar), zstd(&tar)] {
        for length in 5..whole.len() {
            let (_, problem) = Scene::new().refused(&whole[..length]);
            assert!(
                matches!(
                    problem,
                    ArchiveProblem::Truncated | ArchiveProblem::NotAnArchive
                ),
                "{length} of {}: {problem:?}",
                whole.len()
            );
        }
    }
}

#[test]
fn compressed_tar_with_a_wrong_checksum_at_the_end_is_corrupt() {
    let mut archive = gzip(&Tar::default().file("f", "content").end());
    let checksum = archive.len() - 8;
    archive[checksum] ^= 1;
    let (_, problem) = Scene::new().refused(&archive);
    assert!(
        matches!(problem, ArchiveProblem::Corrupt { .. }),
        "{problem:?}"
    );
}

#[test]
fn tar_with_a_wrong_header_is_corrupt() {
    let mut tar = Tar::default().file("a", "").file("b", "").end();
    tar[512 + 20] ^= 1;
    let (entry, problem) = Scene::new().refused(&tar);
    assert_eq!(entry.as_deref(), Some("a"));
    assert!(matches!(problem, ArchiveProblem::Corrupt { .. }));
}

#[test]
fn descriptions_without_end_are_refused_before_they_fill_the_memory() {
    let two_mib = vec![b'n'; 2 << 20];
    for kind in *b"LKxg" {
        let tar = Tar::default()
            .entry(kind, "long", &two_mib)
            .file("f", "")
            .end();
        let (_, problem) = Scene::new().refused(&tar);
        assert_eq!(
            problem,
            ArchiveProblem::Limit(Limit::HeaderBytes { bytes: 1 << 20 })
        );
    }
    // A size that would be read into memory at once, without the bytes to back it.
    let header = Tar::header(b'L', b"long", 1 << 40);
    let (_, problem) = Scene::new().refused(&Tar::default().raw(header, b"").end());
    assert_eq!(
        problem,
        ArchiveProblem::Limit(Limit::HeaderBytes { bytes: 1 << 20 })
    );
}

/// A 1 MiB file with two bytes of content in it, as each generation of GNU tar writes it.
fn sparse_archives() -> Vec<(&'static str, Vec<u8>)> {
    let size = "1048576";
    let mut gnu = tar::Header::new_gnu();
    gnu.set_path("sparse").unwrap();
    gnu.set_entry_type(tar::EntryType::GNUSparse);
    gnu.set_mode(0o644);
    gnu.set_size(2);
    let fields = gnu.as_gnu_mut().unwrap();
    fields.set_real_size(1 << 20);
    fields.sparse[0].offset.copy_from_slice(b"00001750000\0");
    fields.sparse[0].numbytes.copy_from_slice(b"00000000002\0");
    let map_in_front = format!("{:\0<512}hi", "1\n512000\n2\n");
    let v1 = Tar::default()
        .pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "sparse"),
            ("GNU.sparse.realsize", size),
        ])
        .file("GNUSparseFile.1/sparse", &map_in_front);
    vec![
        (
            "old GNU",
            Tar::default().raw(gnu, b"hi").file("after", "x").end(),
        ),
        (
            "0.0",
            Tar::default()
                .pax(&[
                    ("GNU.sparse.size", size),
                    ("GNU.sparse.numblocks", "1"),
                    ("GNU.sparse.offset", "512000"),
                    ("GNU.sparse.numbytes", "2"),
                ])
                .file("sparse", "hi")
                .file("after", "x")
                .end(),
        ),
        (
            "0.1",
            Tar::default()
                .pax(&[
                    ("GNU.sparse.name", "sparse"),
                    ("GNU.sparse.size", size),
                    ("GNU.sparse.map", "512000,2"),
                ])
                .file("GNUSparseFile.1/sparse", "hi")
                .file("after", "x")
                .end(),
        ),
        ("1.0", v1.file("after", "x").end()),
    ]
}

#[test]
fn sparse_file_of_every_generation_has_its_content_in_its_place() {
    for (generation, archive) in sparse_archives() {
        let scene = Scene::new();
        let unpacked = scene.unpack_fine(&archive);
        assert_eq!(unpacked.bytes, (1 << 20) + 1, "{generation}");
        assert_eq!(scene.names(), ["after", "sparse"], "{generation}");
        let file = fs::File::open(scene.destination().join("sparse")).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1 << 20, "{generation}");
        let mut around = [9; 4];
        file.read_exact_at(&mut around, 511_999).unwrap();
        assert_eq!(&around, b"\0hi\0", "{generation}");
        assert!(
            file.metadata().unwrap().blocks() < 512,
            "{generation} filled its holes"
        );
    }
}

#[test]
fn sparse_file_counts_with_its_holes() {
    for (generation, archive) in sparse_archives() {
        let mut scene = Scene::new();
        scene.options.limits.max_file_bytes = 1_000_000;
        let (entry, problem) = scene.refused(&archive);
        assert_eq!(entry.as_deref(), Some("sparse"), "{generation}");
        assert_eq!(
            problem,
            ArchiveProblem::Limit(Limit::FileBytes { bytes: 1_000_000 })
        );
        let mut scene = Scene::new();
        scene.options.limits.max_total_bytes = 1_000_000;
        let (_, problem) = scene.refused(&archive);
        assert_eq!(
            problem,
            ArchiveProblem::Limit(Limit::TotalBytes { bytes: 1_000_000 })
        );
    }
}

#[test]
fn sparse_map_that_contradicts_itself_is_corrupt() {
    for map in [
        "0,1",
        "0,3",
        "5,1,0,1",
        "1048575,2",
        "x",
        "1",
        "18446744073709551615,2",
    ] {
        let tar = Tar::default()
            .pax(&[("GNU.sparse.size", "1048576"), ("GNU.sparse.map", map)])
            .file("sparse", "hi")
            .end();
        let (_, problem) = Scene::new().refused(&tar);
        assert!(
            matches!(problem, ArchiveProblem::Corrupt { .. }),
            "{map}: {problem:?}"
        );
    }
}

#[test]
fn tar_made_by_the_systems_own_program_is_unpacked() {
    for flags in [
        &["--format=gnu"][..],
        &["--format=posix"],
        &["--format=posix", "-S"],
        &["-S"],
    ] {
        let scene = Scene::new();
        let scratch = scene.path("scratch");
        fs::create_dir(&scratch).unwrap();
        let long = format!("{}/{}", "d".repeat(100), "f".repeat(100));
        fs::create_dir(scratch.join("d".repeat(100))).unwrap();
        fs::write(scratch.join(&long), "long").unwrap();
        fs::hard_link(scratch.join(&long), scratch.join("hard")).unwrap();
        std::os::unix::fs::symlink(&long, scratch.join("soft")).unwrap();
        let sparse = fs::File::create(scratch.join("sparse")).unwrap();
        for place in [0, 1 << 20, 2 << 20, 5 << 20, 6 << 20, 7 << 20] {
            sparse.write_all_at(b"data", place).unwrap();
        }
        sparse.set_len(8 << 20).unwrap();
        let tar = Command::new("tar")
            .args(flags)
            .arg("-C")
            .arg(&scratch)
            .args(["-cf", "-", "."])
            .output();
        let Ok(tar) = tar else {
            eprintln!("skipped: there is no tar program");
            return;
        };
        if !tar.status.success() {
            eprintln!("skipped: tar does not know {flags:?}");
            continue;
        }
        scene.unpack_fine(&tar.stdout);
        let destination = scene.destination();
        assert_eq!(scene.read(&long), "long", "{flags:?}");
        assert_eq!(scene.read("soft"), "long");
        let inode = |name: &str| fs::metadata(destination.join(name)).unwrap().ino();
        assert_eq!(inode("hard"), inode(&long));
        assert_eq!(
            fs::read(destination.join("sparse")).unwrap(),
            fs::read(scratch.join("sparse")).unwrap(),
            "{flags:?}"
        );
    }
}

#[test]
fn archive_that_cannot_be_read_is_an_error_of_this_machine() {
    let scene = Scene::new();
    let missing = helix_payload::unpack_blocking(
        &scene.path("missing"),
        &scene.destination(),
        &scene.options,
        &tokio_util::sync::CancellationToken::new(),
    );
    assert!(matches!(missing, Err(Error::Io { .. })), "{missing:?}");
}
