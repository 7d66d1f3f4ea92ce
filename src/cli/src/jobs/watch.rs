//! `helix watch`: jobs until they have ended; a bar each on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use helix_api::client::Client;
use helix_api::{ItemState, Job, JobCounts, JobEvent, JobEventKind, JobState};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::results::head;
use super::show::{self, Line};
use super::{connect, failed};
use crate::arguments::{Common, OutputFormat, WatchArguments};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::{Palette, text};
use crate::screen::Screen;
use crate::signals::Interrupts;

const TICK: Duration = Duration::from_millis(200);

/// Watches the jobs that are named.
pub(crate) async fn execute(
    common: &Common,
    arguments: WatchArguments,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    let client = connect(common)?;
    watch(&client, &arguments.jobs, screen).await
}

/// Watches jobs to their ends.
pub(super) async fn watch(
    client: &Client,
    jobs: &[String],
    screen: &Screen,
) -> Result<Exit, Error> {
    let mut interrupts = Interrupts::listen(2)?;
    let board = Board::new(screen);
    let mut watches: FuturesUnordered<_> = jobs
        .iter()
        .map(|job| one(client, job, &board, screen))
        .collect();
    let mut exit = Exit::Success;
    loop {
        tokio::select! {
            ended = watches.next() => match ended {
                None => break,
                Some(Ok(JobState::Passed)) => {}
                Some(Ok(_)) => exit = Exit::Failed,
                Some(Err(error)) => return Err(error),
            },
            _ = interrupts.next() => {
                board.clear();
                let names = jobs.join(" ");
                screen.note(&format!("goes on without you; `helix watch {names}` comes back"))?;
                return Ok(Exit::Cancelled);
            }
        }
    }
    Ok(exit)
}

/// Watches one job; how it ended.
async fn one(
    client: &Client,
    job: &str,
    board: &Board,
    screen: &Screen,
) -> Result<JobState, Error> {
    let what = || format!("watch job `{job}`");
    let mut found = client.job(job).await.map_err(failed(what()))?;
    let bar = board.bar(&found);
    let mut events = client.follow_events(job, 0);
    let mut tally = Tally::new(&found.counts);
    while let Some(event) = events.next().await.map_err(failed(what()))? {
        tally.take(&event);
        bar.show(&tally);
        match screen.format() {
            OutputFormat::Json => drop(screen.json(&Line::Event { job, event: &event })?),
            OutputFormat::Text => {
                if let Some(line) = line(&event, bar.is_shown(), screen.out_palette()) {
                    bar.say(&line, screen)?;
                }
            }
        }
    }
    found = client.job(job).await.map_err(failed(what()))?;
    bar.end();
    match screen.format() {
        OutputFormat::Json => drop(screen.json(&Line::Job(&found))?),
        OutputFormat::Text => drop(screen.data(&head(&found, screen.out_palette()))?),
    }
    Ok(found.state)
}

/// What is counted of a job while its events come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    total: u64,
    running: u64,
    ended: u64,
    bad: u64,
    retried: u64,
}

impl Tally {
    fn new(counts: &JobCounts) -> Self {
        Self {
            total: counts.total,
            ..Self::default()
        }
    }

    fn take(&mut self, event: &JobEvent) {
        match event.kind {
            JobEventKind::AttemptStarted => self.running += 1,
            JobEventKind::ItemRetried => {
                self.running = self.running.saturating_sub(1);
                self.retried += 1;
            }
            JobEventKind::ItemReturned => self.running = self.running.saturating_sub(1),
            JobEventKind::ItemEnded => {
                self.ended += 1;
                // One that was cancelled while it waited had not been running.
                self.running = self
                    .running
                    .saturating_sub(1)
                    .min(self.total.saturating_sub(self.ended));
                if !event.state.is_none_or(ItemState::is_passed) {
                    self.bad += 1;
                }
            }
            JobEventKind::Submitted | JobEventKind::JobEnded | JobEventKind::Other => {}
        }
    }

    fn message(&self) -> String {
        let mut parts = vec![format!("{} running", self.running)];
        if self.retried > 0 {
            parts.push(format!("{} tried again", self.retried));
        }
        if self.bad > 0 {
            parts.push(format!("{} not passed", self.bad));
        }
        parts.join(", ")
    }
}

/// An event as a line; under a bar, only what went wrong.
fn line(event: &JobEvent, has_bar: bool, palette: Palette) -> Option<String> {
    let name = event.name.as_deref().or(event.item.as_deref());
    let name = text::line(name.unwrap_or_default(), 100);
    let reason = match &event.reason {
        Some(reason) => format!(": {}", text::line(reason, 300)),
        None => String::new(),
    };
    match event.kind {
        JobEventKind::AttemptStarted if !has_bar => {
            let agent = text::line(event.agent.as_deref().unwrap_or_default(), 60);
            Some(format!("{:<9} {name} on {agent}", palette.dim("started")))
        }
        JobEventKind::ItemRetried => {
            Some(format!("{:<9} {name}{reason}", palette.yellow("retried")))
        }
        JobEventKind::ItemReturned => {
            Some(format!("{:<9} {name}{reason}", palette.yellow("returned")))
        }
        JobEventKind::ItemEnded => {
            let state = event.state?;
            let (word, _) = show::item_state(state);
            match state {
                ItemState::Passed | ItemState::PassedOnRetry if has_bar => None,
                ItemState::Passed | ItemState::PassedOnRetry => {
                    Some(format!("{:<9} {name}", palette.green(word)))
                }
                _ => Some(format!("{:<9} {name}{reason}", palette.red(word))),
            }
        }
        JobEventKind::AttemptStarted
        | JobEventKind::Submitted
        | JobEventKind::JobEnded
        | JobEventKind::Other => None,
    }
}

/// Where bars are drawn, if anywhere.
struct Board {
    bars: Option<MultiProgress>,
}

/// The bar of one job, or none.
struct Bar(Option<(MultiProgress, ProgressBar)>);

impl Board {
    fn new(screen: &Screen) -> Self {
        let moves = screen.has_status() && std::io::stderr().is_terminal();
        let target = ProgressDrawTarget::stderr();
        Self {
            bars: moves.then(|| MultiProgress::with_draw_target(target)),
        }
    }

    fn bar(&self, job: &Job) -> Bar {
        Bar(self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(job.counts.total));
            let template = "{spinner:.cyan} {prefix} [{wide_bar:.green}] {pos}/{len} {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(text::line(&job.name, 40));
            bar.enable_steady_tick(TICK);
            (bars.clone(), bar)
        }))
    }

    fn clear(&self) {
        if let Some(bars) = &self.bars {
            // What cannot be cleared has nobody who looks at it.
            let _ = bars.clear();
        }
    }
}

impl Bar {
    fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    fn show(&self, tally: &Tally) {
        if let Some((_, bar)) = &self.0 {
            bar.set_position(tally.ended);
            bar.set_message(tally.message());
        }
    }

    /// Says a line above the bars, or where lines go.
    fn say(&self, line: &str, screen: &Screen) -> Result<(), Error> {
        match &self.0 {
            // A terminal that cannot be written to shows no bars either.
            Some((bars, _)) => drop(bars.println(line)),
            None => drop(screen.data(&format!("{line}\n"))?),
        }
        Ok(())
    }

    fn end(&self) {
        if let Some((_, bar)) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: JobEventKind, state: Option<ItemState>) -> JobEvent {
        JobEvent {
            number: 1,
            at: jiff::Timestamp::UNIX_EPOCH,
            kind,
            item: Some("i".to_owned()),
            name: Some("par\x1bser".to_owned()),
            state,
            attempt: None,
            agent: Some("build-7".to_owned()),
            reason: Some("exit code 1".to_owned()),
        }
    }

    #[test]
    fn what_went_wrong_is_said_above_a_bar_and_all_elsewhere() {
        let said = |kind, state, has_bar| line(&event(kind, state), has_bar, Palette::Plain);
        for (kind, state, lines, above) in [
            (JobEventKind::AttemptStarted, None, true, false),
            (JobEventKind::ItemRetried, None, true, true),
            (
                JobEventKind::ItemEnded,
                Some(ItemState::Passed),
                true,
                false,
            ),
            (JobEventKind::ItemEnded, Some(ItemState::Failed), true, true),
            (JobEventKind::JobEnded, None, false, false),
        ] {
            assert_eq!(said(kind, state, false).is_some(), lines, "{kind:?}");
            assert_eq!(said(kind, state, true).is_some(), above, "{kind:?}");
        }
        assert_eq!(
            said(JobEventKind::ItemEnded, Some(ItemState::Failed), false).unwrap(),
            "failed    par\\u{1b}ser: exit code 1"
        );
    }

    #[test]
    fn running_never_exceeds_what_is_left() {
        let mut tally = Tally {
            total: 2,
            ..Tally::default()
        };
        for kind in [
            JobEventKind::Submitted,
            JobEventKind::AttemptStarted,
            JobEventKind::AttemptStarted,
            JobEventKind::ItemRetried,
            JobEventKind::AttemptStarted,
        ] {
            tally.take(&event(kind, None));
        }
        assert_eq!((tally.running, tally.retried), (2, 1));
        tally.take(&event(JobEventKind::ItemEnded, Some(ItemState::Failed)));
        tally.take(&event(JobEventKind::ItemEnded, Some(ItemState::Passed)));
        assert_eq!((tally.running, tally.ended, tally.bad), (0, 2, 1));
    }
}
