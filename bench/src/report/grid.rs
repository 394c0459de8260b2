//! A grid of cells as aligned text or as Markdown, and how numbers are written in it.
//!
//! Columns in which no row has a value are left out, so a table shows only what was measured.
//! Deliberately absent: colour. Pipes, logs and README files show the same as a terminal.

use std::fmt::Write;

/// A cell without a value.
pub const EMPTY: &str = "-";
const GAP: &str = "  ";

/// On which side a column is flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under a header.
#[derive(Clone, Debug)]
pub struct Grid {
    header: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// An empty grid with these columns.
    #[must_use]
    pub fn new(header: &[(&'static str, Align)]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty, cells too many are dropped.
    pub fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.header.len(), EMPTY.to_owned());
        self.rows.push(cells);
    }

    /// Aligned text, each line indented by one space.
    #[must_use]
    pub fn text(&self) -> String {
        let columns = self.columns();
        let header = |c: usize| self.header[c].0;
        let mut text = self.line(&columns, header);
        let widths: Vec<usize> = columns.iter().map(|c| self.width(*c)).collect();
        let rule = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
        let _ = writeln!(text, " {}", "-".repeat(rule));
        for row in &self.rows {
            text += &self.line(&columns, |c| &row[c]);
        }
        text
    }

    /// A Markdown table.
    #[must_use]
    pub fn markdown(&self) -> String {
        let columns = self.columns();
        let mut text = String::new();
        let titles: Vec<&str> = columns.iter().map(|c| self.header[*c].0).collect();
        let _ = writeln!(text, "| {} |", titles.join(" | "));
        let rules: Vec<&str> = columns
            .iter()
            .map(|c| if self.header[*c].1 == Align::Left { "---" } else { "---:" })
            .collect();
        let _ = writeln!(text, "|{}|", rules.join("|"));
        for row in &self.rows {
            let cells: Vec<String> = columns.iter().map(|c| row[*c].replace('|', "\\|")).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text
    }

    /// An HTML table; `escape` keeps cells from being markup.
    #[must_use]
    pub fn html(&self, escape: fn(&str) -> String) -> String {
        let columns = self.columns();
        let mut text = String::from("<table><tr>");
        let class = |c: usize| if self.header[c].1 == Align::Right { " class=r" } else { "" };
        for c in &columns {
            let _ = write!(text, "<th{}>{}</th>", class(*c), escape(self.header[*c].0));
        }
        for row in &self.rows {
            text += "</tr>\n<tr>";
            for c in &columns {
                let _ = write!(text, "<td{}>{}</td>", class(*c), escape(&row[*c]));
            }
        }
        text + "</tr></table>\n"
    }

    fn line<'a>(&'a self, columns: &[usize], cell: impl Fn(usize) -> &'a str) -> String {
        let mut line = String::from(" ");
        for (n, column) in columns.iter().enumerate() {
            let (text, width) = (cell(*column), self.width(*column));
            let gap = if n == 0 { "" } else { GAP };
            let _ = match self.header[*column].1 {
                Align::Left => write!(line, "{gap}{text:<width$}"),
                Align::Right => write!(line, "{gap}{text:>width$}"),
            };
        }
        let mut line = line.trim_end().to_owned();
        line.push('\n');
        line
    }

    /// The columns that have a value in some row.
    fn columns(&self) -> Vec<usize> {
        (0..self.header.len()).filter(|c| self.rows.iter().any(|row| row[*c] != EMPTY)).collect()
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells.chain([self.header[column].0.chars().count()]).max().unwrap_or(0)
    }
}

/// Three significant digits at least, thousands separated: `5.83`, `58.3`, `583`, `5,830`.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return EMPTY.to_owned();
    }
    match value.abs() {
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

/// A number that may not have been measured.
#[must_use]
pub fn number_or_empty(value: Option<f64>) -> String {
    value.map_or_else(|| EMPTY.to_owned(), number)
}

/// A count: `950`, `1,234,567`.
#[must_use]
pub fn count(value: u64) -> String {
    separated(&value.to_string())
}

/// `1 topic`, `2,000 topics`.
#[must_use]
pub fn counted(value: u64, what: &str) -> String {
    format!("{} {what}{}", count(value), if value == 1 { "" } else { "s" })
}

/// A rate: `950`, `12,300`, `4.56 M`.
#[must_use]
pub fn rate(value: f64) -> String {
    if value >= 999_950.0 && value.is_finite() {
        return format!("{} M", number(value / 1e6));
    }
    number(value)
}

/// `100 B`, `1 KiB`, `1.5 KiB`, `24 GiB`.
#[must_use]
pub fn bytes(value: u64) -> String {
    let (unit, size) = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        .into_iter()
        .find(|(_, size)| value >= *size)
        .unwrap_or(("B", 1));
    let scaled = value as f64 / size as f64;
    if value.is_multiple_of(size) {
        format!("{} {unit}", value / size)
    } else {
        format!("{scaled:.1} {unit}")
    }
}

fn thousands(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", separated(&format!("{:.0}", value.abs())))
}

fn separated(digits: &str) -> String {
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let written = [0.0, 0.614, 9.994, 9.996, 58.33, 99.96, 583.4, 5_830.0, 1_234_567.0];
        let expected = ["0.00", "0.61", "9.99", "10.0", "58.3", "100", "583", "5,830", "1,234,567"];
        assert_eq!(written.map(number), expected);
        assert_eq!(number(f64::NAN), EMPTY);
        assert_eq!([1, 2_000].map(|n| counted(n, "topic")), ["1 topic", "2,000 topics"]);
        assert_eq!([9, 50_000].map(count), ["9", "50,000"]);
        assert_eq!(
            [950.0, 12_300.0, 999_960.0, 4.561e6].map(rate),
            ["950", "12,300", "1.00 M", "4.56 M"]
        );
        assert_eq!(
            [0, 100, 1024, 1536, 24 << 30].map(bytes),
            ["0 B", "100 B", "1 KiB", "1.5 KiB", "24 GiB"]
        );
    }

    #[test]
    fn columns_align_and_empty_ones_vanish() {
        let mut grid =
            Grid::new(&[("name", Align::Left), ("nothing", Align::Right), ("us", Align::Right)]);
        grid.row(vec!["a|b".into(), EMPTY.into(), "5".into()]);
        grid.row(vec!["longer".into()]);
        assert_eq!(grid.text(), " name    us\n ----------\n a|b      5\n longer   -\n");
        assert_eq!(grid.markdown(), "| name | us |\n|---|---:|\n| a\\|b | 5 |\n| longer | - |\n");
    }
}
