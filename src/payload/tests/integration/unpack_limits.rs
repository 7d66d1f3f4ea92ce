//! Bombs, limits, cancellation, and names that chance made up.

use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use helix_payload::{ArchiveProblem, Error, Kind, Limit, Progress, UnpackOptions, unpack};
use proptest::prelude::*;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::archives::{Scene, Tar, ZipEntry, gzip, zip, zstd};

fn three_files() -> [Vec<u8>; 2] {
    [
        Tar::default()
            .file("a", "1234")
            .file("b", "1234")
            .file("c", "1234")
            .end(),
        zip(&["a", "b", "c"].map(|name| ZipEntry::deflated(name, "1234"))),
    ]
}

/// How a limit is tightened, what it then says, and of which entry.
type Case<'a> = (fn(&mut UnpackOptions), Limit, Option<&'a str>);

#[test]
fn each_limit_holds_exactly() {
    for archive in three_files() {
        let mut scene = Scene::new();
        scene.options.limits.max_entries = 3;
        scene.options.limits.max_file_bytes = 4;
        scene.options.limits.max_total_bytes = 12;
        scene.options.limits.max_depth = 1;
        scene.unpack_fine(&archive);
        assert_eq!(scene.names(), ["a", "b", "c"]);
        let cases: [Case<'_>; 3] = [
            (
                |options| options.limits.max_entries = 2,
                Limit::Entries { count: 2 },
                None,
            ),
            (
                |options| options.limits.max_file_bytes = 3,
                Limit::FileBytes { bytes: 3 },
                Some("a"),
            ),
            (
                |options| options.limits.max_total_bytes = 11,
                Limit::TotalBytes { bytes: 11 },
                Some("c"),
            ),
        ];
        for (tighten, limit, entry) in cases {
            let mut scene = Scene::new();
            tighten(&mut scene.options);
            let (found, problem) = scene.refused(&archive);
            assert_eq!(problem, ArchiveProblem::Limit(limit));
            assert_eq!(found.as_deref(), entry);
        }
    }
    let mut scene = Scene::new();
    scene.options.limits.max_depth = 2;
    scene.unpack_fine(&Tar::default().file("a/b", "").end());
    let (_, problem) = scene.refused(&Tar::default().file("a/b/c", "").end());
    assert_eq!(problem, ArchiveProblem::Limit(Limit::Depth { levels: 2 }));
}

/// With room for 4 MiB before the ratio counts, so that bombs can be small.
fn small_scene() -> Scene {
    let mut scene = Scene::new();
    scene.options.limits.ratio_free_bytes = 4 << 20;
    scene
}

#[test]
fn bomb_is_stopped_at_its_ratio() {
    let zeros = "\0".repeat(6 << 20);
    let tar = Tar::default().file("bomb", &zeros).end();
    for archive in [
        gzip(&tar),
        zstd(&tar),
        zip(&[ZipEntry::deflated("bomb", &zeros)]),
    ] {
        let scene = small_scene();
        let (entry, problem) = scene.refused(&archive);
        assert_eq!(entry.as_deref(), Some("bomb"));
        assert_eq!(problem, ArchiveProblem::Limit(Limit::Ratio { times: 200 }));
        let written = fs::metadata(scene.destination().join("bomb"))
            .unwrap()
            .len();
        assert!(written <= 5 << 20, "{written}");
    }
}

#[test]
fn bomb_of_entries_that_share_their_content_is_stopped_at_its_ratio() {
    // Many directory records for one piece of content: none is out of proportion by itself.
    let one = ZipEntry::deflated("x", "\0".repeat(400 << 10));
    let whole = zip(&[one]);
    let directory = whole
        .windows(4)
        .position(|window| window == b"PK\x01\x02")
        .unwrap();
    let end = whole.len() - 22;
    let record = &whole[directory..end];
    let mut archive = whole[..directory].to_vec();
    for number in 0..20_u8 {
        let mut record = record.to_vec();
        record[46] = b'a' + number;
        archive.extend(record);
    }
    let length = u32::try_from(20 * record.len()).unwrap();
    let mut tail = whole[end..].to_vec();
    tail[8..10].copy_from_slice(&20_u16.to_le_bytes());
    tail[10..12].copy_from_slice(&20_u16.to_le_bytes());
    tail[12..16].copy_from_slice(&length.to_le_bytes());
    archive.extend(tail);
    let (_, problem) = small_scene().refused(&archive);
    assert_eq!(problem, ArchiveProblem::Limit(Limit::Ratio { times: 200 }));
}

#[test]
fn bomb_behind_the_end_of_a_tar_is_stopped() {
    let mut tar = Tar::default().file("f", "").end();
    tar.resize(6 << 20, 0);
    let (_, problem) = small_scene().refused(&gzip(&tar));
    assert_eq!(problem, ArchiveProblem::Limit(Limit::Ratio { times: 200 }));
}

#[test]
fn zip_that_promises_more_entries_than_allowed_is_refused_unread() {
    let mut scene = Scene::new();
    scene.options.limits.max_entries = 2;
    let (_, problem) = scene.refused(&three_files()[1]);
    assert_eq!(problem, ArchiveProblem::Limit(Limit::Entries { count: 2 }));
    assert_eq!(scene.names(), Vec::<String>::new());
}

#[tokio::test]
async fn cancelled_unpacking_stops_and_says_so() {
    let scene = Scene::new();
    let archive = scene.path("archive");
    fs::write(&archive, Tar::default().file("f", "").end()).unwrap();
    let cancellation = CancellationToken::new();
    cancellation.cancel();
    let options = UnpackOptions::default();
    let result = unpack(&archive, &scene.destination(), &options, &cancellation).await;
    assert!(matches!(result, Err(Error::Cancelled)));
    assert!(!scene.destination().exists());
}

#[tokio::test]
async fn unpacking_stops_in_the_middle_when_its_future_is_dropped() {
    let scene = Scene::new();
    let archive = scene.path("archive");
    // A named pipe would be no regular file; a large archive is slow enough to be caught.
    let mut tar = Tar::default();
    for index in 0..20_000 {
        tar = tar.file(&format!("d{}/f{index}", index % 97), "x");
    }
    fs::write(&archive, tar.end()).unwrap();
    let (progress, mut watcher) = watch::channel(Progress::Waiting);
    let options = UnpackOptions {
        progress: Some(progress),
        ..UnpackOptions::default()
    };
    let cancellation = CancellationToken::new();
    let destination = scene.destination();
    {
        let unpacking = unpack(&archive, &destination, &options, &cancellation);
        tokio::pin!(unpacking);
        tokio::select! {
            result = &mut unpacking => panic!("{result:?}"),
            changed = watcher.changed() => changed.unwrap(),
        }
    }
    // The blocking thread ends by itself, far from the end of the archive: its options, and with
    // them the last sender but ours, are dropped.
    drop(options);
    let started = Instant::now();
    while watcher.has_changed().is_ok() {
        watcher.mark_unchanged();
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "still unpacking"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(scene.names().len() < 20_000);
}

#[test]
fn progress_is_told_and_ends_with_all_of_it() {
    let mut scene = Scene::new();
    let (progress, watcher) = watch::channel(Progress::Waiting);
    scene.options.progress = Some(progress);
    scene.unpack_fine(&three_files()[0]);
    assert_eq!(
        *watcher.borrow(),
        Progress::Unpacking {
            entries: 3,
            bytes: 12
        }
    );
}

#[test]
fn errors_of_the_archive_are_permanent() {
    let error = Scene::new().unpack(b"no archive").unwrap_err();
    assert_eq!(error.kind(), Kind::Permanent);
    assert_eq!(
        error.chain(),
        "unpack the archive: the file is no archive: neither zip nor tar, tar.gz or tar.zst"
    );
}

#[test]
fn memory_stays_flat_over_an_archive_of_many_entries() {
    // One thread that samples, one that unpacks.
    let scene = Scene::new();
    let entries: Vec<_> = (0..40_000)
        .map(|index| ZipEntry::stored(format!("d/{index:0>200}"), ""))
        .collect();
    let archive = zip(&entries);
    drop(entries);
    let (done, watch) = mpsc::channel();
    let before = resident_bytes();
    let sampler = std::thread::spawn(move || {
        let mut most = 0;
        while watch.recv_timeout(Duration::from_millis(2)).is_err() {
            most = most.max(resident_bytes());
        }
        most
    });
    scene.unpack_fine(&archive);
    done.send(()).unwrap();
    let grown = sampler.join().unwrap().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
}

fn resident_bytes() -> u64 {
    let Ok(status) = fs::read_to_string("/proc/self/statm") else {
        return 0;
    };
    status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4096
}

/// Names and targets that are likely to be trouble.
fn nasty_path() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        4 => Just("..".to_owned()),
        2 => Just(".".to_owned()),
        2 => Just(String::new()),
        6 => "[abl]",
        1 => Just("precious".to_owned()),
        1 => Just("C:".to_owned()),
        1 => "\\PC{1,3}",
    ];
    (
        proptest::collection::vec(component, 1..6),
        prop_oneof![3 => Just("/"), 1 => Just("\\")],
    )
        .prop_map(|(components, separator)| components.join(separator))
        .prop_filter("fits a header", |path| path.len() < 100)
}

#[derive(Clone, Debug)]
enum Nasty {
    File(String),
    Directory(String),
    Symlink(String, String),
    HardLink(String, String),
}

fn nasty_entry() -> impl Strategy<Value = Nasty> {
    prop_oneof![
        nasty_path().prop_map(Nasty::File),
        nasty_path().prop_map(Nasty::Directory),
        (nasty_path(), nasty_path()).prop_map(|(name, target)| Nasty::Symlink(name, target)),
        (nasty_path(), nasty_path()).prop_map(|(name, target)| Nasty::HardLink(name, target)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// The scene itself checks that nothing was made or changed outside the destination, and that
    /// every link in it stays inside. Entries are unpacked one archive each into the same
    /// destination, since a refusal ends an archive.
    #[test]
    fn no_tree_of_random_entries_escapes(entries in proptest::collection::vec(nasty_entry(), 1..12)) {
        let scene = Scene::new();
        for entry in &entries {
            let tar = match entry {
                Nasty::File(name) => Tar::default().file(name, "overwritten"),
                Nasty::Directory(name) => Tar::default().entry(b'5', name, b""),
                Nasty::Symlink(name, target) => Tar::default().symlink(name, target),
                Nasty::HardLink(name, target) => Tar::default().hard_link(name, target),
            };
            drop(scene.unpack(&tar.end()));
            let zip = match entry {
                Nasty::File(name) => zip(&[ZipEntry::stored(name, "overwritten")]),
                Nasty::Directory(name) => zip(&[ZipEntry::stored(name, "").mode(0o040_777)]),
                Nasty::Symlink(name, target) | Nasty::HardLink(name, target) => {
                    zip(&[ZipEntry::stored(name, target).mode(0o120_777)])
                }
            };
            drop(scene.unpack(&zip));
        }
    }

    #[test]
    fn no_random_bytes_behind_a_signature_panic(
        signature in proptest::sample::select(vec![
            &b"PK\x03\x04"[..],
            b"PK\x05\x06",
            b"\x1f\x8b\x08",
            b"\x28\xb5\x2f\xfd",
        ]),
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        drop(Scene::new().unpack(&[signature, &bytes].concat()));
    }

    #[test]
    fn no_tar_with_flipped_bytes_escapes_or_panics(flips in proptest::collection::vec((0..6000_usize, any::<u8>()), 1..6)) {
        let mut tar = Tar::default()
            .file("a/f", "content")
            .symlink("a/l", "f")
            .hard_link("b/h", "a/f")
            .pax(&[("path", "long/name"), ("size", "3")])
            .entry(b'0', "x", b"abc")
            .end();
        for (place, value) in flips {
            let place = place % tar.len();
            tar[place] = value;
            // Make the header around it valid again, so that the change is looked at.
            let start = place / 512 * 512;
            let block = &mut tar[start..start + 512];
            let sum: u32 = block.iter().enumerate()
                .map(|(index, byte)| if (148..156).contains(&index) { 32 } else { u32::from(*byte) })
                .sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        drop(Scene::new().unpack(&tar));
    }
}
