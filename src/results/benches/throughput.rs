//! How fast result files are read, as a ratio to merely cutting the same bytes into XML events.
//!
//! `cargo bench -p helix-results` writes an xUnit and a JUnit file of `HELIX_BENCH_MEGABYTES` (100 by default) into
//! the temporary directory, reads each with `quick-xml` (events only, nothing kept) and with this crate (every case
//! built and counted), in turn so that both see the same machine, and prints medians and their ratio. Then Python
//! reads the same files with `xml.etree`, `lxml` and `junitparser`, if `HELIX_TEST_PYTHON` names a Python that has
//! them. At last this crate reads a generated document of `HELIX_BENCH_STREAM_MEGABYTES` (1,000 by default) that
//! exists nowhere as a file, and prints by how much the memory of the process grew at its peak.
//!
//! `HELIX_BENCH_QUICK=1` takes a tenth of everything: enough to see that it works, too little to trust.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use helix_results::{Limits, Tally, TallyLimits};
use quick_xml::events::Event;

const ROUNDS: usize = 7;

/// What is asked for: this part of the speed of the tokeniser, and no more memory than this.
const LEAST_RATIO: f64 = 0.6;
const MOST_KILOBYTES: i64 = 16 << 10;

/// The two layouts that are measured.
#[derive(Debug, Clone, Copy)]
enum Layout {
    XUnit,
    JUnit,
}

impl Layout {
    fn head(self) -> &'static str {
        match self {
            Self::XUnit => {
                "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<assemblies timestamp=\"01/02/2026 03:04:05\">\n  \
                 <assembly name=\"/root/helix/work/Contoso.Sample.Tests.dll\" run-date=\"2026-01-02\" \
                 run-time=\"03:04:05\" time=\"12.345\">\n    <collection name=\"Samples\">\n"
            }
            Self::JUnit => {
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"contoso.samples\" \
                 timestamp=\"2026-01-02T03:04:05\" hostname=\"bench\" time=\"12.345\">\n"
            }
        }
    }

    fn tail(self) -> &'static str {
        match self {
            Self::XUnit => "    </collection>\n  </assembly>\n</assemblies>\n",
            Self::JUnit => "  </testsuite>\n</testsuites>\n",
        }
    }

    /// One case; of a hundred one fails with a stack and output, of fifty one is skipped.
    fn case(self, number: u64, text: &mut String) {
        let class = format!(
            "Contoso.Samples.Area{}.Widget{}Tests",
            number / 25 % 37,
            number / 25 % 411
        );
        let method = format!("Does_the_right_thing_for_input_{}", number % 5003);
        let time = format!("0.{:07}", number.wrapping_mul(7919) % 10_000_000);
        let failed = number % 100 == 7;
        let skipped = number % 50 == 11;
        let result = match self {
            Self::XUnit => {
                let word = if failed {
                    "Fail"
                } else if skipped {
                    "Skip"
                } else {
                    "Pass"
                };
                write!(
                    text,
                    "      <test name=\"{class}.{method}(value: {number}, text: &quot;a&amp;b&quot;)\" type=\"{class}\" \
                     method=\"{method}\" time=\"{time}\" result=\"{word}\""
                )
            }
            Self::JUnit => write!(
                text,
                "    <testcase classname=\"{class}\" name=\"{method}[{number}-a&amp;b]\" time=\"{time}\""
            ),
        };
        result.expect("strings take text");
        if failed {
            text.push_str(">\n");
            self.failure(number, text);
        } else if skipped {
            text.push_str(match self {
                Self::XUnit => "><reason><![CDATA[not on this system]]></reason></test>\n",
                Self::JUnit => "><skipped message=\"not on this system\"/></testcase>\n",
            });
        } else {
            text.push_str(match self {
                Self::XUnit => {
                    "><traits><trait name=\"category\" value=\"fast\" /></traits></test>\n"
                }
                Self::JUnit => "/>\n",
            });
        }
    }

    fn failure(self, number: u64, text: &mut String) {
        let stack =
            "   at Contoso.Samples.Widget.Turn(Int32 value) in /src/Widget.cs:line 42\n".repeat(40);
        let output = "a line of what the test printed &lt;while it ran&gt;\n".repeat(60);
        let result = match self {
            Self::XUnit => write!(
                text,
                "        <failure exception-type=\"Xunit.Sdk.EqualException\"><message><![CDATA[expected {number}]]>\
                 </message><stack-trace><![CDATA[{stack}]]></stack-trace></failure><output>{output}</output>\n      \
                 </test>\n"
            ),
            Self::JUnit => write!(
                text,
                "      <failure message=\"expected {number}\" type=\"AssertionError\">{stack}</failure>\n      \
                 <system-out>{output}</system-out>\n    </testcase>\n"
            ),
        };
        result.expect("strings take text");
    }
}

/// A document that is made while it is read.
struct Generated {
    layout: Layout,
    number: u64,
    left: u64,
    pending: String,
    given: usize,
    state: GeneratedState,
}

#[derive(PartialEq, Eq)]
enum GeneratedState {
    Cases,
    Tail,
}

impl Generated {
    fn new(layout: Layout, bytes: u64) -> Self {
        let pending = layout.head().to_owned();
        Self {
            layout,
            number: 0,
            left: bytes,
            pending,
            given: 0,
            state: GeneratedState::Cases,
        }
    }
}

impl Read for Generated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.given == self.pending.len() {
            self.given = 0;
            self.pending.clear();
            if self.left > 0 {
                while self.pending.len() < 64 << 10 {
                    self.layout.case(self.number, &mut self.pending);
                    self.number += 1;
                }
                self.left = self.left.saturating_sub(self.pending.len() as u64);
            } else if self.state == GeneratedState::Cases {
                self.state = GeneratedState::Tail;
                self.pending.push_str(self.layout.tail());
            }
        }
        let rest = &self.pending.as_bytes()[self.given..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

fn main() {
    let quick = std::env::var_os("HELIX_BENCH_QUICK").is_some_and(|value| value == "1");
    let part = if quick { 10 } else { 1 };
    let size = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
            .unwrap_or(default / part)
            * 1_000_000
    };
    let bytes = size("HELIX_BENCH_MEGABYTES", 100);
    let directory = tempfile::tempdir().expect("temporary directory");
    for layout in [Layout::XUnit, Layout::JUnit] {
        let path = directory.path().join("bench.xml");
        std::io::copy(
            &mut Generated::new(layout, bytes),
            &mut File::create(&path).expect("file"),
        )
        .expect("copy");
        compare(layout, &path);
    }
    let before = peak_kilobytes();
    let bytes = size("HELIX_BENCH_STREAM_MEGABYTES", 1_000);
    let tally = read_all(&mut Generated::new(Layout::JUnit, bytes));
    println!(
        "stream: {} MB, {} cases; peak memory {} kB of {MOST_KILOBYTES} kB, {} kB more than before",
        bytes / 1_000_000,
        tally.counts().total(),
        peak_kilobytes(),
        peak_kilobytes() - before
    );
}

fn compare(layout: Layout, path: &Path) {
    let megabytes = std::fs::metadata(path).expect("metadata").len() as f64 / 1e6;
    let (mut tokenised, mut read) = (Vec::new(), Vec::new());
    let (mut events, mut cases) = (0, 0);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        events = tokenise(path);
        tokenised.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        cases = read_all(&mut File::open(path).expect("file"))
            .counts()
            .total();
        read.push(started.elapsed().as_secs_f64());
    }
    let (tokenised, read) = (median(&mut tokenised), median(&mut read));
    println!(
        "{layout:?}: {megabytes:.0} MB, {cases} cases, {events} events; quick-xml events {:.0} MB/s, \
         helix-results cases {:.0} MB/s, ratio {:.2} of {LEAST_RATIO}",
        megabytes / tokenised,
        megabytes / read,
        tokenised / read
    );
    for peer in ["xml.etree", "lxml", "junitparser"] {
        if peer == "junitparser" && matches!(layout, Layout::XUnit) {
            continue;
        }
        match read_with_python(peer, layout, path) {
            Ok((count, seconds, kilobytes)) => {
                assert_eq!(count, cases, "{peer} found other cases");
                println!(
                    "  {peer}: {:.0} MB/s, {kilobytes} kB; helix-results is {:.1} times as fast",
                    megabytes / seconds,
                    seconds / read
                );
            }
            Err(why) => println!("  {peer}: skipped, {why}"),
        }
    }
    std::io::stdout().flush().expect("standard output");
}

/// Cases, seconds and peak of memory of one of Python's readers.
fn read_with_python(
    peer: &str,
    layout: Layout,
    path: &Path,
) -> Result<(u64, f64, u64), &'static str> {
    let python = std::env::var_os("HELIX_TEST_PYTHON").ok_or("HELIX_TEST_PYTHON is not set")?;
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers.py"))
        .args([peer, &format!("{layout:?}").to_lowercase()])
        .arg(path)
        .output()
        .map_err(|_| "Python does not start")?;
    match output.status.code() {
        Some(0) => {}
        Some(3) => return Err("this Python does not have it"),
        _ => return Err("it failed"),
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace();
    let mut word = || words.next().ok_or("it printed too little");
    Ok((
        word()?.parse().map_err(|_| "it printed no number")?,
        word()?.parse().map_err(|_| "it printed no number")?,
        word()?.parse().map_err(|_| "it printed no number")?,
    ))
}

fn tokenise(path: &Path) -> u64 {
    let file = BufReader::with_capacity(256 << 10, File::open(path).expect("file"));
    let mut reader = quick_xml::Reader::from_reader(file);
    let mut buffer = Vec::new();
    let mut events = 0;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).expect("well-formed") {
            Event::Eof => return events,
            event => {
                std::hint::black_box(&event);
                events += 1;
            }
        }
    }
}

fn read_all(input: &mut dyn Read) -> Tally {
    let mut tally = Tally::new(TallyLimits::default());
    let mut limits = Limits::default();
    limits.cases = u64::MAX;
    let report = tally
        .add_file(input, "bench.xml", &limits, &|| false)
        .expect("readable");
    assert!(report.problems == 0, "{:?}", tally.problems());
    tally
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// The most memory this process has had, where the system tells.
fn peak_kilobytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
