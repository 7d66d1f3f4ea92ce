//! Finding and reading the result files that a command left behind.
//!
//! Runs on a blocking thread, after the whole process tree is gone, within a
//! time limit: what is not read by then is said to be missing, never silently
//! left out.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use helix_model::outcome::TestTally;
use helix_proto::agent::v1::{ResultsRead, TestCounts, TestFailure};
use helix_results::{DiscoverLimits, Found, Limits, Tally, TallyLimits, discover};
use sha2::{Digest, Sha256};

/// How much is listed in the event, beside the counts.
const MAX_LISTED: usize = 100;
/// How much of one text is listed.
const MAX_TEXT_BYTES: usize = 4 << 10;
/// What Helix's inline reporter writes; read like a result file, but its name is
/// its own and it carries a token, so that it is never shipped.
const HELIX_REPORT: &str = "__test_report_v2.json";

/// Bounds on finding and reading.
#[derive(Debug, Clone)]
pub(crate) struct ReadLimits {
    /// Most time for all files together.
    pub(crate) time: Duration,
    /// Most files.
    pub(crate) files: usize,
    /// Largest file, bytes.
    pub(crate) file_bytes: u64,
}

/// What the result files said.
#[derive(Debug, Default)]
pub(crate) struct ReadResults {
    /// For the verdict.
    pub(crate) tally: TestTally,
    /// For the wire; absent when no result file was found.
    pub(crate) event: Option<ResultsRead>,
    /// The files, to be shipped with the artifacts.
    pub(crate) files: Vec<Found>,
}

impl ReadResults {
    /// The counts, when any file was found.
    pub(crate) fn counts(&self) -> Option<TestCounts> {
        self.event.as_ref().and_then(|event| event.counts)
    }
}

/// Reads what lies below `roots`, the first root being the one that the Helix
/// report is looked for in. Missing roots are passed over.
pub(crate) fn read_results(roots: &[&Path], limits: &ReadLimits) -> ReadResults {
    let began = Instant::now();
    let stop = || began.elapsed() > limits.time;
    let mut problems = Vec::new();
    let mut tally = Tally::new(TallyLimits {
        failures: MAX_LISTED,
        problems: MAX_LISTED,
        text_bytes: MAX_TEXT_BYTES,
        flaky: 0,
        slowest: 0,
    });
    let mut bounds = DiscoverLimits::default();
    bounds.files = limits.files;
    bounds.file_bytes = limits.file_bytes;

    let mut read = Vec::new();
    let mut contents = HashSet::new();
    let mut files = Vec::new();
    for root in roots.iter().filter(|root| root.is_dir()) {
        match discover(&[root], &bounds) {
            Ok(found) => {
                problems.extend(found.passed_over);
                files.extend(found.files);
            }
            Err(error) => problems.push(crate::error_chain(&error)),
        }
    }
    let mut reading = Limits::default();
    reading.file_bytes = limits.file_bytes;
    for found in &files {
        let name = found.relative.display().to_string();
        if stop() {
            problems.push(format!(
                "{name}: not read, the time for reading results was over"
            ));
            continue;
        }
        match found
            .open()
            .and_then(|file| same_content(file, &mut contents))
        {
            // A copy in the upload root of what lies in the work item's root.
            Ok(None) => {}
            Ok(Some(mut file)) => {
                // What could not be read is kept in the tally.
                if tally.add_file(&mut file, &name, &reading, &stop).is_ok() {
                    read.push(name);
                }
            }
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    if let Some(root) = roots.first()
        && let Ok(mut report) = open_plain(&root.join(HELIX_REPORT))
        && tally
            .add_file(&mut report, HELIX_REPORT, &reading, &stop)
            .is_ok()
    {
        read.push(HELIX_REPORT.to_owned());
    }

    problems.extend(tally.problems().iter().map(ToString::to_string));
    problems.extend(tally.unread().iter().cloned());
    summarise(&tally, read, problems, files)
}

fn summarise(
    tally: &Tally,
    read: Vec<String>,
    mut problems: Vec<String>,
    files: Vec<Found>,
) -> ReadResults {
    let counts = tally.counts();
    let inconclusive = counts.inconclusive + counts.unknown;
    let model = TestTally {
        passed: counts.passed,
        failed: counts.failures(),
        skipped: counts.skipped + counts.not_run,
        flaky: counts.flaky,
        problems: problems.len() as u64 + tally.problems_dropped(),
    };
    if read.is_empty() && problems.is_empty() {
        return ReadResults {
            files,
            ..ReadResults::default()
        };
    }
    let listed = |brief: &helix_results::CaseBrief| TestFailure {
        name: brief.name.clone(),
        message: brief.message.clone(),
        stack: brief.stack.clone(),
        file: brief.file.to_string(),
    };
    problems.truncate(MAX_LISTED);
    let event = ResultsRead {
        counts: Some(helix_proto::outcome::test_counts(&model, inconclusive)),
        failures: tally.failures().iter().map(listed).collect(),
        files: read,
        problems,
    };
    ReadResults {
        tally: model,
        event: Some(event),
        files,
    }
}

/// The file, rewound, unless the same bytes were seen before.
fn same_content(mut file: File, seen: &mut HashSet<[u8; 32]>) -> io::Result<Option<File>> {
    use std::io::Seek;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    file.rewind()?;
    Ok(seen.insert(digest.finalize().into()).then_some(file))
}

/// Opens a regular file that is no link.
fn open_plain(path: &Path) -> io::Result<impl Read> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}
