//! Results as a person wants to see them: failures first, then flaky ones, the slowest, the counts.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::tally::{CaseBrief, Counts, Tally};
use crate::text::{printable, printable_line};

/// How much to show, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewOptions {
    /// Lines of a message shown. Default 20.
    pub message_lines: usize,
    /// Lines of a stack trace shown. Default 20.
    pub stack_lines: usize,
    /// Whether to mark words with colours of the terminal. Default never.
    pub colour: Colour,
    /// Where problems are told. Default in the view.
    pub problems: ProblemList,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            message_lines: 20,
            stack_lines: 20,
            colour: Colour::Never,
            problems: ProblemList::Shown,
        }
    }
}

/// Whether a view lists what was wrong with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemList {
    /// It does.
    Shown,
    /// The caller tells it elsewhere, see [`problem_lines`].
    Elsewhere,
}

/// Whether a view carries colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// Escape sequences that terminals understand.
    Always,
}

#[derive(Debug, Clone, Copy)]
enum Paint {
    Red,
    Yellow,
    Green,
    Dim,
}

/// Writes the view of a tally.
///
/// Whatever comes from the files is made printable first, so that it can neither steer a terminal nor give
/// commands to a build service.
///
/// # Errors
///
/// Only those of `out`.
pub fn write_view(tally: &Tally, options: &ViewOptions, out: &mut dyn Write) -> fmt::Result {
    let mut view = View { options, out };
    view.failures(tally)?;
    view.flaky(tally)?;
    view.slowest(tally)?;
    if options.problems == ProblemList::Shown {
        view.problems(tally)?;
    }
    view.counts(tally)
}

/// What was wrong with the files, a line each, safe to print: the file, line and column, and what was lost.
#[must_use]
pub fn problem_lines(tally: &Tally) -> Vec<String> {
    let problems = tally.problems().iter().map(ToString::to_string);
    let mut lines: Vec<String> = tally
        .unread()
        .iter()
        .cloned()
        .chain(problems)
        .map(|line| printable_line(&line, 1000))
        .collect();
    if tally.problems_dropped() > 0 {
        lines.push(format!("and {} more", tally.problems_dropped()));
    }
    lines
}

/// Writes only the last line of the view: how many tests ended in which way.
///
/// # Errors
///
/// Only those of `out`.
pub fn write_counts(tally: &Tally, options: &ViewOptions, out: &mut dyn Write) -> fmt::Result {
    View { options, out }.counts(tally)
}

struct View<'a> {
    options: &'a ViewOptions,
    out: &'a mut dyn Write,
}

impl View<'_> {
    fn failures(&mut self, tally: &Tally) -> fmt::Result {
        for case in tally.failures() {
            let word = case.outcome.as_str().to_uppercase();
            self.word(&word, Paint::Red)?;
            self.title(case)?;
            self.place(case)?;
            let shown = self.lines(&case.message, self.options.message_lines)?;
            // Many writers put the message in front of the stack once more.
            let stack = case.stack.trim_start();
            let rest = stack.strip_prefix(case.message.trim()).unwrap_or(stack);
            if shown == 0 || !rest.trim().is_empty() {
                self.lines(rest, self.options.stack_lines)?;
            }
            writeln!(self.out)?;
        }
        self.more(
            tally.failures().len(),
            tally.counts().failures(),
            "failed tests",
        )
    }

    fn flaky(&mut self, tally: &Tally) -> fmt::Result {
        for case in tally.flaky() {
            self.word("FLAKY", Paint::Yellow)?;
            self.title(case)?;
            self.place(case)?;
            if case.executions > 1 {
                writeln!(
                    self.out,
                    "    passed in attempt {}; before that:",
                    case.executions
                )?;
            }
            self.lines(&case.message, 3)?;
            writeln!(self.out)?;
        }
        self.more(tally.flaky().len(), tally.counts().flaky, "flaky tests")
    }

    fn slowest(&mut self, tally: &Tally) -> fmt::Result {
        // Below this nobody waits for a test.
        const WORTH_TELLING: Duration = Duration::from_millis(100);
        let slowest = tally.slowest();
        let mut slow = slowest
            .iter()
            .filter_map(|case| Some((case.duration?, case)))
            .filter(|(duration, _)| *duration >= WORTH_TELLING)
            .peekable();
        if slow.peek().is_none() {
            return Ok(());
        }
        self.word("SLOWEST", Paint::Dim)?;
        writeln!(self.out)?;
        for (duration, case) in slow {
            writeln!(
                self.out,
                "  {:>9}  {}",
                time(duration),
                printable_line(&case.name, 200)
            )?;
        }
        writeln!(self.out)
    }

    fn problems(&mut self, tally: &Tally) -> fmt::Result {
        let lines = problem_lines(tally);
        if lines.is_empty() {
            return Ok(());
        }
        self.word("PROBLEMS", Paint::Yellow)?;
        writeln!(self.out)?;
        for line in lines {
            writeln!(self.out, "  {line}")?;
        }
        writeln!(self.out)
    }

    fn counts(&mut self, tally: &Tally) -> fmt::Result {
        let counts = tally.counts();
        let paint = if tally.is_red() {
            Paint::Red
        } else {
            Paint::Green
        };
        self.word(&format!("{} tests", counts.total()), paint)?;
        for (separator, (count, word)) in [": "]
            .into_iter()
            .chain(std::iter::repeat(", "))
            .zip(told(&counts))
        {
            write!(self.out, "{separator}{count} {word}")?;
            if word == "passed" && counts.flaky > 0 {
                write!(self.out, " ({} flaky)", counts.flaky)?;
            }
        }
        write!(self.out, "; {}", files(tally.files_read()))?;
        if tally.files_cut_short() > 0 {
            write!(self.out, ", {} incomplete", tally.files_cut_short())?;
        }
        if tally.files_without_results() > 0 {
            write!(
                self.out,
                ", {} without results",
                tally.files_without_results()
            )?;
        }
        writeln!(self.out, "; {} in tests", time(tally.duration()))
    }

    fn title(&mut self, case: &CaseBrief) -> fmt::Result {
        write!(self.out, " {}", printable_line(&case.name, 500))?;
        if !case.suite.is_empty() && !case.name.starts_with(&*case.suite) {
            write!(self.out, " [{}]", printable_line(&case.suite, 200))?;
        }
        match case.duration {
            Some(duration) => writeln!(self.out, " {}", time(duration)),
            None => writeln!(self.out),
        }
    }

    fn place(&mut self, case: &CaseBrief) -> fmt::Result {
        let place = format!(
            "    at {}:{}",
            printable_line(&case.file, 500),
            case.position
        );
        self.word(&place, Paint::Dim)?;
        writeln!(self.out)
    }

    /// Writes at most `most` lines of a text; says how many lines it wrote.
    fn lines(&mut self, text: &str, most: usize) -> Result<usize, fmt::Error> {
        let text = printable(text);
        let mut lines = text.lines().skip_while(|line| line.trim().is_empty());
        let mut shown = 0;
        for line in lines.by_ref().take(most) {
            writeln!(self.out, "    {}", line.trim_end())?;
            shown += 1;
        }
        let left = lines.count();
        if left > 0 {
            writeln!(self.out, "    ... {left} more lines")?;
        }
        Ok(shown)
    }

    fn more(&mut self, shown: usize, all: u64, what: &str) -> fmt::Result {
        let left = all.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
        if left > 0 {
            writeln!(self.out, "... and {left} more {what}\n")?;
        }
        Ok(())
    }

    fn word(&mut self, word: &str, paint: Paint) -> fmt::Result {
        let code = match paint {
            Paint::Red => 31,
            Paint::Yellow => 33,
            Paint::Green => 32,
            Paint::Dim => 2,
        };
        match self.options.colour {
            Colour::Always => write!(self.out, "\u{1b}[{code}m{word}\u{1b}[0m"),
            Colour::Never => self.out.write_str(word),
        }
    }
}

/// The counts worth a word.
fn told(counts: &Counts) -> impl Iterator<Item = (u64, &'static str)> {
    let all = [
        (counts.failed, "failed"),
        (counts.errored, "errored"),
        (counts.timed_out, "timed out"),
        (counts.unknown, "without a known outcome"),
        (counts.passed, "passed"),
        (counts.skipped, "skipped"),
        (counts.not_run, "not run"),
        (counts.inconclusive, "inconclusive"),
    ];
    all.into_iter().filter(|(count, _)| *count > 0)
}

fn files(count: u64) -> String {
    if count == 1 {
        "1 file".to_owned()
    } else {
        format!("{count} files")
    }
}

fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 60 {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{}.{:03}s", seconds, duration.subsec_millis())
    }
}
