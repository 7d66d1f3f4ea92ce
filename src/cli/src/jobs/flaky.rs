//! `helix flaky`: tests that passed only on a retry.

use helix_api::FlakyQuery;

use super::show::{self, Line};
use super::{connect, failed};
use crate::arguments::{Common, FlakyArguments, OutputFormat};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::table::{Cell, Style, Table};
use crate::render::text;
use crate::screen::{Reader, Screen};

/// Lists them.
pub(crate) async fn execute(
    common: &Common,
    arguments: FlakyArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let query = FlakyQuery {
        queue: arguments.queue,
        days: Some(arguments.days),
        limit: Some(arguments.limit),
    };
    let found = connect(common)?.flaky(&query).await;
    let found = found.map_err(failed("list flaky tests"))?;
    if screen.format() == OutputFormat::Json {
        for test in &found.tests {
            if screen.json(&Line::FlakyTest(test))? == Reader::Left {
                break;
            }
        }
        return Ok(Exit::Success);
    }
    if found.tests.is_empty() {
        screen.note("no test passed only on a retry")?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["TIMES", "TEST", "ITEM", "QUEUE", "LAST", "JOB"]);
    for test in &found.tests {
        table.push([
            test.times.to_string().into(),
            text::line(&test.name, 100).into(),
            show::cell(&test.item_name).into(),
            show::cell(&test.queue).into(),
            Cell::styled(format!("{} ago", show::age(test.last)), Style::Faint),
            show::cell(&test.last_job).into(),
        ]);
    }
    screen.data(&table.render(screen.out_palette()))?;
    Ok(Exit::Success)
}
