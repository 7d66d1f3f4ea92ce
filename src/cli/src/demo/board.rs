//! How the demonstration looks while it runs: a line for every transition, and
//! on a terminal a moving line for every work item that runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::arguments::OutputFormat;
use crate::error::Error;
use crate::json::Notice;
use crate::render::{Palette, text};
use crate::screen::Screen;

const TICK: Duration = Duration::from_millis(120);
/// Of the last line of a work item's console.
const OUTPUT_CHARACTERS: usize = 60;

/// Where the demonstration is shown.
#[derive(Debug)]
pub(super) struct Board {
    screen: Arc<Screen>,
    names: Vec<String>,
    name_width: usize,
    since: Instant,
    bars: Bars,
}

#[derive(Debug)]
enum Bars {
    /// There is no terminal to draw on.
    Impossible,
    /// One for each item that runs.
    Moving {
        all: MultiProgress,
        running: HashMap<usize, ProgressBar>,
    },
}

impl Board {
    /// A board for items of these names.
    pub(super) fn new<'a>(screen: &Arc<Screen>, names: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<String> = names.map(str::to_owned).collect();
        let name_width = names
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0);
        let bars = if screen.has_status() {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            Bars::Moving {
                all,
                running: HashMap::new(),
            }
        } else {
            Bars::Impossible
        };
        Self {
            screen: Arc::clone(screen),
            names,
            name_width,
            since: Instant::now(),
            bars,
        }
    }

    /// The palette of the lines.
    pub(super) fn palette(&self) -> Palette {
        match self.format() {
            OutputFormat::Text => self.screen.out_palette(),
            OutputFormat::Json => Palette::Plain,
        }
    }

    /// Whether a program is looking.
    pub(super) fn format(&self) -> OutputFormat {
        self.screen.format()
    }

    /// Text that belongs to no item.
    pub(super) fn text(&self, text: &str) -> Result<(), Error> {
        if self.format() == OutputFormat::Json {
            return Ok(());
        }
        match &self.bars {
            Bars::Impossible => self.screen.data(text)?,
            Bars::Moving { all, .. } => all.suspend(|| self.screen.data(text))?,
        };
        Ok(())
    }

    /// Something happened to the item at `at`: `event` for programs, `line` for
    /// people.
    pub(super) fn happened(&self, at: usize, event: &str, line: &str) -> Result<(), Error> {
        let name = self.names.get(at).map_or("", String::as_str);
        if self.format() == OutputFormat::Json {
            // What a program needs of the line is in the events beside it.
            self.screen.json(&Notice::Queue {
                name,
                event,
                message: line,
            })?;
            return Ok(());
        }
        let clock = format!("{:>6.1}s", self.since.elapsed().as_secs_f64());
        let palette = self.palette();
        let name = format!("{name:<width$}", width = self.name_width);
        self.text(&format!(
            "{} {}  {line}\n",
            palette.dim(clock),
            palette.bold(name)
        ))
    }

    /// The item at `at` runs from now on.
    pub(super) fn begin(&mut self, at: usize) {
        let name = self.names.get(at).cloned().unwrap_or_default();
        if let Bars::Moving { all, running } = &mut self.bars {
            let bar = all.add(ProgressBar::new_spinner());
            let template = "        {spinner:.cyan} {prefix}  {elapsed:>4} {msg:.dim}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(name);
            bar.enable_steady_tick(TICK);
            running.insert(at, bar);
        }
    }

    /// What the item at `at` is doing, or has written last.
    pub(super) fn doing(&self, at: usize, what: &str) {
        if let Bars::Moving { running, .. } = &self.bars
            && let Some(bar) = running.get(&at)
        {
            bar.set_message(text::line(what, OUTPUT_CHARACTERS));
        }
    }

    /// The item at `at` does not run any more.
    pub(super) fn end(&mut self, at: usize) {
        if let Bars::Moving { running, .. } = &mut self.bars
            && let Some(bar) = running.remove(&at)
        {
            bar.finish_and_clear();
        }
    }
}
