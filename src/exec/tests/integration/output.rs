//! Output of every kind, through the spool to its readers.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use helix_exec::control::{Notice, StopReason};
use helix_exec::frame::{self, MAX_CONTROL_FRAME};
use helix_exec::spool::status::Ending;
use helix_exec::spool::{Piece, SpoolLimits, Stream};
use helix_exec::{Needles, OutputStreams, SpoolReader, SpoolWriter};

use crate::support::{Launcher, PATIENCE, until};

#[test]
fn streams_are_told_apart_with_offsets_and_times() {
    let mut launcher = Launcher::start();
    let started = SystemTime::now();
    let line = "echo one; while read -r line; do echo $line >&2; break; done < two; echo three";
    std::fs::write(launcher.work().join("two"), "two\n").unwrap();
    // The readers of two pipes cannot know which was first: let each be seen before the next.
    let line = line
        .replace("; ", "; sleep 0.1; ")
        .replace("do sleep 0.1; ", "do ");
    let request = launcher.shell(&line);
    let attempt = launcher.launch(request);
    attempt.wait();
    let expected: [(Stream, &[u8]); 4] = [
        (Stream::Agent, b"first line\n"),
        (Stream::Stdout, b"one\n"),
        (Stream::Stderr, b"two\n"),
        (Stream::Stdout, b"three\n"),
    ];
    let pieces = attempt.pieces();
    assert_eq!(
        pieces
            .iter()
            .map(|(s, b)| (*s, b.as_slice()))
            .collect::<Vec<_>>(),
        expected
    );
    let Piece::Chunk(chunk) = attempt.reader().read_at(15, 1).unwrap() else {
        panic!("no chunk")
    };
    assert_eq!(
        (chunk.stream, chunk.bytes.as_slice()),
        (Stream::Stderr, b"t".as_slice())
    );
    let time = SystemTime::from(chunk.time);
    assert!(
        time >= started - Duration::from_secs(1) && time <= SystemTime::now(),
        "{time:?}"
    );
}

#[test]
fn merged_streams_keep_their_exact_order() {
    let mut launcher = Launcher::start();
    let mut request = launcher.shell("for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done");
    request.streams = OutputStreams::Merged;
    let attempt = launcher.launch(request);
    attempt.wait();
    let all = "o1\ne1\no2\ne2\no3\ne3\no4\ne4\no5\ne5\n";
    assert_eq!(attempt.pieces()[1], (Stream::Stdout, all.into()));
}

#[test]
fn line_of_ten_megabytes_and_bytes_that_are_no_text_arrive_unchanged() {
    let mut launcher = Launcher::start();
    let mut bytes: Vec<u8> = (0..10_000_000_u32)
        .map(|n| (n % 251).to_le_bytes()[0])
        .collect();
    bytes.retain(|byte| *byte != b'\n');
    bytes.extend([0xff, 0xfe, 0xc3, 0x28, 0]);
    std::fs::write(launcher.work().join("bytes"), &bytes).unwrap();
    let request = launcher.shell("exec cat bytes");
    let attempt = launcher.launch(request);
    let ended = attempt.wait();
    assert_eq!(ended.ending, Ending::Exited { code: 0 });
    assert!(attempt.raw_log().strip_prefix(b"first line\n").unwrap() == bytes);
    assert_eq!(ended.output.raw_bytes, bytes.len() as u64);
}

const SMALL: SpoolLimits = SpoolLimits {
    head_bytes: 100_000,
    tail_bytes: 200_000,
    segment_bytes: 50_000,
};

#[test]
fn long_output_keeps_head_and_tail_on_a_bounded_disk() {
    let mut launcher = Launcher::start();
    let mut request = launcher.shell("exec seq 1 1000000");
    request.spool_limits = SMALL;
    let attempt = launcher.launch(request);
    let ended = attempt.wait();
    let whole: String = (1..=1_000_000).map(|n| format!("{n}\n")).collect();
    let whole = format!("first line\n{whole}");
    assert_eq!(ended.output.console_bytes, whole.len() as u64);
    let log = attempt.log();
    let (head, rest) = log.split_once("\n[... ").unwrap();
    let (dropped, tail) = rest.split_once(" bytes dropped ...]\n").unwrap();
    assert!(whole.starts_with(head) && whole.ends_with(tail));
    assert!(
        head.len() > 90_000 && head.len() <= 100_000,
        "{}",
        head.len()
    );
    assert!(
        tail.len() >= 190_000 && tail.len() <= 300_000,
        "{}",
        tail.len()
    );
    let dropped: usize = dropped.replace(',', "").parse().unwrap();
    assert_eq!(head.len() + dropped + tail.len(), whole.len());
    assert_eq!(ended.output.dropped_bytes, dropped as u64);
    let on_disk: u64 = std::fs::read_dir(&attempt.spool)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(
        on_disk < 100_000 + 200_000 + 2 * 50_000 + 10_000,
        "{on_disk}"
    );
    // The same seen piece by piece.
    let mut reader = attempt.reader();
    let mut offset = 0;
    loop {
        match reader.read_at(offset, 7_777).unwrap() {
            Piece::End => break,
            Piece::Gap(gap) => {
                assert_eq!((gap.offset, gap.bytes), (head.len() as u64, dropped as u64));
                offset += gap.bytes;
            }
            Piece::Chunk(chunk) => {
                let at = usize::try_from(offset).unwrap();
                assert!(
                    whole.as_bytes()[at..].starts_with(&chunk.bytes),
                    "at {offset}"
                );
                offset += chunk.bytes.len() as u64;
            }
        }
    }
    assert_eq!(offset, whole.len() as u64);
    assert_eq!(reader.size().unwrap(), offset);
}

#[test]
fn reader_that_keeps_pace_sees_what_is_dropped_later() {
    let mut launcher = Launcher::start();
    // The command goes on only when the test has read what there was.
    let line = "n=0; while read -r go; do seq $n $((n+9999)); n=$((n+10000)); done < fifo";
    nix::unistd::mkfifo(&launcher.work().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut request = launcher.shell(line);
    request.spool_limits = SMALL;
    let fifo = launcher.work().join("fifo");
    let attempt = launcher.launch(request);
    let mut go = std::fs::File::options().write(true).open(fifo).unwrap();
    let mut reader = attempt.reader();
    let mut seen = Vec::new();
    for round in 0..15 {
        std::io::Write::write_all(&mut go, b"go\n").unwrap();
        let last = format!("{}\n", round * 10_000 + 9_999);
        until("a round of output has come", || {
            loop {
                match reader.read_at(seen.len() as u64, 30_000).unwrap() {
                    Piece::Chunk(chunk) => seen.extend(chunk.bytes),
                    Piece::Gap(gap) => panic!("kept pace and missed {gap:?}"),
                    Piece::End => return seen.ends_with(last.as_bytes()).then_some(()),
                }
            }
        });
    }
    drop(go);
    let ended = attempt.wait();
    assert!(ended.output.dropped_bytes > 100_000, "{:?}", ended.output);
    let whole: String = (0..150_000).map(|n| format!("{n}\n")).collect();
    assert!(seen == format!("first line\n{whole}").as_bytes());
    // One that comes late is told what it cannot have.
    let mut late = attempt.reader();
    let mut offset = 0;
    let gap = loop {
        match late.read_at(offset, 100_000).unwrap() {
            Piece::Chunk(chunk) => offset += chunk.bytes.len() as u64,
            Piece::Gap(gap) => break gap,
            Piece::End => panic!("no gap"),
        }
    };
    assert_eq!(gap.bytes, ended.output.dropped_bytes);
}

#[test]
fn secrets_are_masked_across_writes_and_reads() {
    let mut launcher = Launcher::start();
    let line = "printf 'a hunt'; sleep 0.1; printf 'er2 b'; printf 'hun' >&2; sleep 0.1; \
                printf 'ter2 and hunt' >&2; for i in 1 2 3; do printf 'hunter2hunter22'; done";
    let mut request = launcher.shell(line);
    request.needles = Needles::new([b"hunter2".to_vec(), b"hunter22".to_vec()]);
    let attempt = launcher.launch(request);
    let ended = attempt.wait();
    let of = |wanted| -> String {
        let pieces = attempt.pieces();
        let of = pieces.iter().filter(|(stream, _)| *stream == wanted);
        of.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    };
    assert_eq!(
        of(Stream::Stdout),
        "a *** b******".to_owned() + &"******".repeat(2)
    );
    assert_eq!(of(Stream::Stderr), "*** and hunt");
    assert!(ended.output.raw_bytes > ended.output.console_bytes);
    for entry in std::fs::read_dir(&attempt.spool).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(7).any(|window| window == b"hunter2");
        assert!(!found, "a secret in {}", path.display());
    }
}

#[test]
fn secrets_are_masked_in_what_a_status_tells() {
    let mut launcher = Launcher::start();
    let mut request = launcher.command(&["/tmp/hunter2/program"]);
    request.needles = Needles::new([b"hunter2".to_vec()]);
    let (ended, _) = launcher.run(request);
    match &ended.ending {
        Ending::CouldNotStart { message, .. } => {
            assert!(message.contains("/tmp/***/"), "{message}")
        }
        ending => panic!("{ending:?}"),
    }
    let work = launcher.work();
    std::fs::copy("/bin/sleep", work.join("hunter2")).unwrap();
    let mut request = launcher.shell("./hunter2 1000 & exit 0");
    request.needles = Needles::new([b"hunter2".to_vec()]);
    let (ended, _) = launcher.run(request);
    assert_eq!(ended.leftovers[0].name, "***");
}

#[test]
fn notices_tell_of_growth_and_end_and_never_wait_for_a_client() {
    let mut launcher = Launcher::start();
    let line = "echo ready; read -r go < fifo; head -c 20000000 /dev/zero; echo last";
    nix::unistd::mkfifo(&launcher.work().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fifo = launcher.work().join("fifo");
    let request = launcher.shell(line);
    let attempt = launcher.launch(request);
    attempt.wait_for_log("ready");
    let deaf: Vec<UnixStream> = (0..10).map(|_| attempt.connect()).collect();
    let mut stream = attempt.connect();
    let next = |stream: &mut UnixStream| {
        frame::read::<Notice>(stream, MAX_CONTROL_FRAME)
            .unwrap()
            .expect("closed without an end")
    };
    assert_eq!(next(&mut stream), Notice::Progress { console_bytes: 17 });
    std::fs::write(fifo, "go\n").unwrap();
    let mut last = 17;
    while let Notice::Progress { console_bytes } = next(&mut stream) {
        assert!(console_bytes > last, "a notice without news");
        last = console_bytes;
    }
    // The status is there before the notice.
    let ended = attempt.reader().status().unwrap();
    assert!(
        matches!(ended, Some(helix_exec::spool::status::Status::Ended(_))),
        "{ended:?}"
    );
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    // Those who did not read meanwhile are told as well.
    for mut stream in deaf {
        while next(&mut stream) != Notice::Ended {}
    }
}

#[test]
fn client_that_talks_nonsense_loses_its_connection_and_nothing_else_happens() {
    let mut launcher = Launcher::start();
    let request = launcher.shell("echo ready; exec sleep 1000");
    let attempt = launcher.launch(request);
    attempt.wait_for_log("ready");
    for nonsense in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"\0\0\0\x03abc"] {
        let mut stream = attempt.connect();
        std::io::Write::write_all(&mut stream, nonsense).unwrap();
        let mut rest = Vec::new();
        // Whether as an end or as a reset, it is over.
        let _ = stream.read_to_end(&mut rest);
    }
    attempt.stop(StopReason::Cancel, PATIENCE);
    assert_eq!(attempt.wait().ending, Ending::Cancelled);
}

#[test]
fn last_lines_are_added_after_the_end() {
    let mut launcher = Launcher::start();
    let mut request = launcher.shell("exec seq 1 100000");
    request.spool_limits = SMALL;
    let attempt = launcher.launch(request);
    let ended = attempt.wait();
    let mut writer = SpoolWriter::resume(&attempt.spool, SMALL).unwrap();
    assert_eq!(writer.position(), ended.output.console_bytes);
    writer.append(Stream::Agent, b"last line\n");
    let size = writer.position();
    drop(writer);
    assert!(attempt.log().ends_with("99999\n100000\nlast line\n"));
    let mut reader = SpoolReader::open(&attempt.spool).unwrap();
    assert_eq!(reader.size().unwrap(), size);
    let Piece::Chunk(chunk) = reader.read_at(size - 10, 100).unwrap() else {
        panic!("no chunk")
    };
    assert_eq!(
        (chunk.stream, chunk.bytes.as_slice()),
        (Stream::Agent, &b"last line\n"[..])
    );
    assert_eq!(reader.read_at(size, 100).unwrap(), Piece::End);
}
