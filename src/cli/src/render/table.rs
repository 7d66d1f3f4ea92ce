//! Rows in aligned columns.

use super::Palette;

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table<const COLUMNS: usize> {
    head: [&'static str; COLUMNS],
    rows: Vec<[Cell; COLUMNS]>,
}

/// One field of a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

/// How a cell looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    /// As it is.
    #[default]
    Normal,
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// It is odd.
    Odd,
    /// It matters less.
    Faint,
}

impl Cell {
    /// A cell with a style of its own.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::Normal)
    }
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// A table with a head line.
    pub(crate) fn new(head: [&'static str; COLUMNS]) -> Self {
        Self {
            head,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: [Cell; COLUMNS]) {
        self.rows.push(row);
    }

    /// The lines, each ended, without blanks at their ends.
    pub(crate) fn render(&self, palette: Palette) -> String {
        let mut widths = self.head.map(width);
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(&cell.text));
            }
        }
        let head = self.head.map(|title| Cell::styled(title, Style::Faint));
        let mut lines = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            // What pads the last filled cell would end the line with blanks.
            let filled = row
                .iter()
                .rposition(|cell| !cell.text.is_empty())
                .map_or(0, |at| at + 1);
            for (at, (cell, &widest)) in row.iter().zip(&widths).enumerate().take(filled) {
                if at > 0 {
                    lines.push_str("  ");
                }
                lines.push_str(&paint(cell, palette));
                if at + 1 < filled {
                    lines.extend(std::iter::repeat_n(' ', widest - width(&cell.text)));
                }
            }
            lines.push('\n');
        }
        lines
    }
}

fn paint(cell: &Cell, palette: Palette) -> String {
    let text = cell.text.as_str();
    match cell.style {
        Style::Normal => text.to_owned(),
        Style::Good => palette.green(text).to_string(),
        Style::Bad => palette.red(text).to_string(),
        Style::Odd => palette.yellow(text).to_string(),
        Style::Faint => palette.dim(text).to_string(),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_where_their_text_ends() {
        let mut table = Table::new(["NAME", "STATE", "NOTE"]);
        table.push(["a".into(), Cell::styled("passed", Style::Good), "".into()]);
        table.push(["äöüäöü".into(), "x".into(), "why".into()]);
        insta::assert_snapshot!(table.render(Palette::Plain), @r"
        NAME    STATE   NOTE
        a       passed
        äöüäöü  x       why
        ");
    }
}
