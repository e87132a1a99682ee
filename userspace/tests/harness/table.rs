//! Tab-separated tables whose first line (`#frame tcp_stream ...`) names the columns; `-` stands for nothing.

use std::path::Path;

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// One line of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    columns: &'a [String],
    cells: &'a [String],
}

impl Table {
    /// `None` when there is no such file.
    pub(crate) fn load(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let mut lines = text.lines();
        let columns =
            cells(lines.next().unwrap_or_else(|| panic!("{}: empty", path.display())).trim_start_matches('#'));
        let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(cells).collect();
        Some(Self { columns, rows })
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { columns: &self.columns, cells })
    }
}

impl<'a> Row<'a> {
    /// What stands in `column`; `None` for `-` and where the table has no such column.
    pub(crate) fn text(&self, column: &str) -> Option<&'a str> {
        let position = self.columns.iter().position(|name| name == column)?;
        self.cells.get(position).map(String::as_str).filter(|cell| *cell != "-")
    }

    pub(crate) fn number(&self, column: &str) -> Option<u64> {
        self.text(column).map(|cell| cell.parse().unwrap_or_else(|_| panic!("{column}: {cell} is no number")))
    }
}
