//! `helix jobs`: jobs, newest first.

use helix_api::{Job, JobQuery};

use super::show::{self, Line};
use super::{connect, failed};
use crate::arguments::{Common, JobsArguments, OutputFormat};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::table::{Cell, Style, Table};
use crate::screen::{Reader, Screen};

/// The largest page that a controller gives.
const PAGE: u32 = 1000;

/// Lists over as many pages as it takes.
pub(crate) async fn execute(
    common: &Common,
    arguments: JobsArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let client = connect(common)?;
    let mut query = JobQuery {
        queue: arguments.queue,
        creator: arguments.creator,
        source: arguments.source,
        property: arguments.property,
        open: arguments.open,
        ..JobQuery::default()
    };
    let mut left = arguments.limit;
    let mut jobs = Vec::new();
    while left > 0 {
        query.limit = Some(left.min(PAGE));
        let page = client.jobs(&query).await.map_err(failed("list the jobs"))?;
        left = left.saturating_sub(u32::try_from(page.jobs.len()).unwrap_or(u32::MAX));
        if screen.format() == OutputFormat::Json {
            for job in &page.jobs {
                if screen.json(&Line::Job(job))? == Reader::Left {
                    return Ok(Exit::Success);
                }
            }
        } else {
            jobs.extend(page.jobs);
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    if screen.format() == OutputFormat::Json {
        return Ok(Exit::Success);
    }
    if jobs.is_empty() {
        screen.note("no such jobs")?;
        return Ok(Exit::Success);
    }
    screen.data(&table(&jobs).render(screen.out_palette()))?;
    Ok(Exit::Success)
}

fn table(jobs: &[Job]) -> Table<7> {
    let mut table = Table::new(["JOB", "NAME", "QUEUE", "STATE", "PASSED", "FAILED", "AGE"]);
    for job in jobs {
        let (state, style) = show::job_state(job.state);
        let counts = &job.counts;
        let failed = counts.failed + counts.timed_out + counts.dead;
        let failed = match failed {
            0 => Cell::default(),
            some => Cell::styled(some.to_string(), Style::Bad),
        };
        let name = match job.name == job.id {
            true => String::new(),
            false => show::cell(&job.name),
        };
        table.push([
            show::cell(&job.id).into(),
            name.into(),
            show::cell(&job.queue).into(),
            Cell::styled(state, style),
            format!("{}/{}", counts.passed, counts.total).into(),
            failed,
            Cell::styled(show::age(job.created), Style::Faint),
        ]);
    }
    table
}
