//! `helix explain`: why a work item does not run.

use helix_api::{Explanation, Prospect};

use super::show::{self, Line};
use super::{connect, failed};
use crate::arguments::{Common, ExplainArguments, OutputFormat};
use crate::error::Error;
use crate::exit::Exit;
use crate::render::table::{Cell, Style, Table};
use crate::render::{Palette, text, units};
use crate::screen::Screen;

/// Asks and says it in words.
pub(crate) async fn execute(
    common: &Common,
    arguments: ExplainArguments,
    screen: &Screen,
) -> Result<Exit, Error> {
    let ExplainArguments { job, item } = arguments;
    let explanation = connect(common)?.explain(&job, &item).await;
    let what = format!("explain work item `{item}` of job `{job}`");
    let explanation = explanation.map_err(failed(what))?;
    if screen.format() == OutputFormat::Json {
        screen.json(&Line::Explanation(&explanation))?;
    } else {
        screen.data(&page(&explanation, screen.out_palette()))?;
    }
    Ok(Exit::Success)
}

fn page(explanation: &Explanation, palette: Palette) -> String {
    let name = palette.bold(text::line(&explanation.name, 80));
    let mut page = format!("{name}: {}\n", text::line(&explanation.message, 500));
    for nearest in &explanation.nearest {
        page.push_str(&format!("  {}\n", text::line(nearest, 500)));
    }
    if !explanation.agents.is_empty() {
        let mut table = Table::new(["AGENT", "COULD", "WHY"]);
        for answer in &explanation.agents {
            let (could, style) = match answer.prospect {
                Prospect::Now => ("now", Style::Good),
                Prospect::Later => ("later", Style::Odd),
                Prospect::Never => ("never", Style::Bad),
                Prospect::Underway => ("underway", Style::Normal),
                Prospect::Ended => ("ended", Style::Normal),
            };
            table.push([
                show::cell(&answer.agent).into(),
                Cell::styled(could, style),
                text::line(&answer.message, 500).into(),
            ]);
        }
        page.push('\n');
        page.push_str(&table.render(palette));
    }
    if !explanation.refusals.is_empty() {
        let mut table = Table::new(["REFUSED BY", "TIMES", "LAST", "WHY"]);
        for refusal in &explanation.refusals {
            let message = text::line(&refusal.message, 500);
            table.push([
                show::cell(&refusal.agent).into(),
                units::count(refusal.times.into(), "time").into(),
                Cell::styled(format!("{} ago", show::age(refusal.at)), Style::Faint),
                format!("{}: {message}", text::line(&refusal.reason, 60)).into(),
            ]);
        }
        page.push('\n');
        page.push_str(&table.render(palette));
    }
    page
}

#[cfg(test)]
mod tests {
    use helix_api::AgentAnswer;

    use super::*;

    #[test]
    fn an_explanation_names_each_agent_and_the_nearest_miss() {
        let answer = |agent: &str, prospect, message: &str| AgentAnswer {
            agent: agent.to_owned(),
            prospect,
            reason: "MISSING_CAPABILITY".to_owned(),
            message: message.to_owned(),
        };
        let explanation = Explanation {
            item: "i".to_owned(),
            name: "parser".to_owned(),
            prospect: Prospect::Never,
            message: "not one of the agents that are known can run it as it is".to_owned(),
            nearest: vec!["`xcode >=17` is wanted; `mac-7` has 16.4".to_owned()],
            agents: vec![
                answer("build-7", Prospect::Never, "`xcode` is not there"),
                answer("mac-7", Prospect::Never, "`xcode` is 16.4\x1b[2J"),
            ],
            refusals: Vec::new(),
        };
        insta::assert_snapshot!(page(&explanation, Palette::Plain), @r"
        parser: not one of the agents that are known can run it as it is
          `xcode >=17` is wanted; `mac-7` has 16.4

        AGENT    COULD  WHY
        build-7  never  `xcode` is not there
        mac-7    never  `xcode` is 16.4\u{1b}[2J
        ");
    }
}
