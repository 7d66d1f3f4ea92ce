//! `helix results --job`: what became of a job.

use futures::StreamExt as _;
use helix_api::client::Client;
use helix_api::{Attempt, Item, ItemDetail, ItemQuery, ItemState, Job, JobState};

use super::show::{self, ItemLine, Line};
use super::{connect, failed};
use crate::arguments::{Common, OutputFormat};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::table::Style;
use crate::render::{Palette, text};
use crate::results::arguments::ResultsArguments;
use crate::screen::{Reader, Screen};

/// Work items that are asked for at one time.
const AT_ONCE: usize = 8;
/// Lines that are shown of a failed test's message and stack.
const FAILURE_LINES: usize = 12;

/// Shows a job, or one work item of it.
pub(crate) async fn execute(
    common: &Common,
    job: &str,
    arguments: &ResultsArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let client = connect(common)?;
    if let Some(item) = &arguments.item {
        let what = format!("look at work item `{item}` of job `{job}`");
        let detail = client.item(job, item).await.map_err(failed(what))?;
        match screen.format() {
            OutputFormat::Json => drop(json(&detail, screen)?),
            OutputFormat::Text => {
                let most = usize::from(arguments.failures);
                screen.data(&item_text(&detail, most, screen.out_palette()))?;
            }
        }
        return Ok(match detail.item.state {
            state if state.is_passed() => Exit::Success,
            state if state.is_ended() => Exit::Failed,
            _ => Exit::NoResults,
        });
    }
    let what = || format!("look at job `{job}`");
    let found = client.job(job).await.map_err(failed(what()))?;
    match screen.format() {
        OutputFormat::Json => all(&client, &found, screen).await?,
        OutputFormat::Text => {
            let most = usize::from(arguments.failures);
            interesting(&client, &found, most, screen).await?;
        }
    }
    Ok(exit(&found))
}

fn exit(job: &Job) -> Exit {
    let counts = &job.counts;
    match job.state {
        JobState::Passed => Exit::Success,
        JobState::Failed | JobState::Cancelled => Exit::Failed,
        JobState::Waiting | JobState::Running if counts.ended() > counts.passed => Exit::Failed,
        JobState::Waiting | JobState::Running => Exit::NoResults,
    }
}

/// Every work item with its attempts, a line each, then the job.
async fn all(client: &Client, job: &Job, screen: &Screen) -> Result<(), Error> {
    let mut after = None;
    loop {
        let (items, next) = page(client, &job.id, after).await?;
        let mut details = futures::stream::iter(items)
            .map(|item| detail(client, item))
            .buffered(AT_ONCE);
        while let Some(detail) = details.next().await {
            if json(&detail?, screen)? == Reader::Left {
                return Ok(());
            }
        }
        drop(details);
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    screen.json(&Line::Job(job))?;
    Ok(())
}

/// The job in a line, then what did not pass, then what passed only on a retry.
async fn interesting(
    client: &Client,
    job: &Job,
    most: usize,
    screen: &Screen,
) -> Result<(), Error> {
    let palette = screen.out_palette();
    let mut bad = Vec::new();
    let mut retried = Vec::new();
    let mut after = None;
    loop {
        let (items, next) = page(client, &job.id, after).await?;
        for item in items {
            match item.state {
                ItemState::Passed
                | ItemState::Waiting
                | ItemState::Offered
                | ItemState::Running => {}
                ItemState::PassedOnRetry => retried.push(item),
                ItemState::Failed
                | ItemState::TimedOut
                | ItemState::Cancelled
                | ItemState::Dead => bad.push(item),
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let (total, shown) = (bad.len() + retried.len(), most);
    let wanted = bad.into_iter().chain(retried).take(shown);
    let mut details = futures::stream::iter(wanted)
        .map(|item| detail(client, item))
        .buffered(AT_ONCE);
    while let Some(detail) = details.next().await {
        if screen.data(&item_text(&detail?, most, palette))? == Reader::Left {
            return Ok(());
        }
    }
    if total > shown {
        screen.data(&format!(
            "… {} more; `--failures` shows more\n",
            total - shown
        ))?;
    }
    screen.data(&head(job, palette))?;
    Ok(())
}

async fn page(
    client: &Client,
    job: &str,
    after: Option<String>,
) -> Result<(Vec<Item>, Option<String>), Error> {
    let query = ItemQuery {
        after,
        limit: Some(1000),
    };
    let page = client.items(job, &query).await;
    let page = page.map_err(failed(format!("list the work items of job `{job}`")))?;
    Ok((page.items, page.next))
}

async fn detail(client: &Client, item: Item) -> Result<ItemDetail, Error> {
    let what = format!("look at work item `{}`", item.name);
    client.item(&item.job, &item.id).await.map_err(failed(what))
}

fn json(detail: &ItemDetail, screen: &Screen) -> Result<Reader, Error> {
    screen.json(&Line::Item(ItemLine {
        item: &detail.item,
        command: &detail.command,
        runs: &detail.attempts,
        refusals: &detail.refusals,
    }))
}

/// `job 019a… nightly failed: 200 items: …`.
pub(super) fn head(job: &Job, palette: Palette) -> String {
    let (state, style) = show::job_state(job.state);
    let name = match job.name == job.id {
        true => String::new(),
        false => format!(" `{}`", text::line(&job.name, 80)),
    };
    format!(
        "job {}{name} {}, {}\n",
        text::line(&job.id, 130),
        paint(state, style, palette),
        show::counts(&job.counts)
    )
}

/// A work item and its attempts, several lines.
fn item_text(detail: &ItemDetail, most: usize, palette: Palette) -> String {
    let item = &detail.item;
    let (state, style) = show::item_state(item.state);
    let mut lines = format!(
        "{} {}\n",
        palette.bold(text::line(&item.name, 100)),
        paint(state, style, palette)
    );
    let passed = item.state.is_passed();
    if let Some(message) = item.message.as_ref().filter(|_| !passed) {
        lines.push_str(&format!("  {}\n", text::line(message, 500)));
    }
    if item.retries.granted < item.retries.requested {
        lines.push_str(&format!(
            "  {} of {} retries granted, {} used\n",
            item.retries.granted, item.retries.requested, item.retries.used
        ));
    }
    for attempt in &detail.attempts {
        lines.push_str(&attempt_text(attempt, most, palette));
    }
    lines
}

fn attempt_text(attempt: &Attempt, most: usize, palette: Palette) -> String {
    let mut parts = vec![format!(
        "attempt {} on {}: {}",
        attempt.number,
        text::line(&attempt.agent, 60),
        show::attempt_state(attempt.state)
    )];
    let took = show::seconds(attempt.elapsed_seconds);
    if !took.is_empty() {
        parts.push(format!("in {took}"));
    }
    if let Some(counts) = &attempt.counts {
        parts.push(format!(
            "{} tests, {} failed, {} skipped",
            counts.total, counts.failed, counts.skipped
        ));
    }
    let mut lines = format!("  {}\n", parts.join(", "));
    if let Some(message) = &attempt.message {
        lines.push_str(&format!("    {}\n", text::line(message, 500)));
    }
    for failure in attempt.failures.iter().take(most) {
        let name = palette.red(text::line(&failure.name, 200));
        lines.push_str(&format!("    {name}\n"));
        for part in [&failure.message, &failure.stack] {
            if !part.trim().is_empty() {
                lines.push_str(&text::indented(part, "      ", FAILURE_LINES));
                lines.push('\n');
            }
        }
    }
    for warning in &attempt.warnings {
        lines.push_str(&format!("    warning: {}\n", text::line(warning, 500)));
    }
    for file in &attempt.files {
        lines.push_str(&format!(
            "    {} {}\n",
            palette.dim("file:"),
            text::line(&file.name, 300)
        ));
    }
    lines
}

fn paint(word: &str, style: Style, palette: Palette) -> String {
    match style {
        Style::Good => palette.green(word).to_string(),
        Style::Bad => palette.red(word).to_string(),
        Style::Odd => palette.yellow(word).to_string(),
        Style::Faint => palette.dim(word).to_string(),
        Style::Normal => word.to_owned(),
    }
}
