//! Tables that may be longer than their place: a stretch of each, and which one it is.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Row, Table};

use super::Lag;
use crate::interval::{Interval, per_second};
use crate::output::grouped;
use crate::stats::{QUANTILES, operation, stage};

/// Frame and heading.
const LINES_AROUND: usize = 3;
/// From here on columns of figures are wide.
const WIDE_COLUMNS: u16 = 100;

/// Where a table stands, and whether the keys are for it.
pub(super) struct Sheet {
    pub(super) area: Rect,
    pub(super) is_looked_at: bool,
}

impl Sheet {
    /// Rows to be shown of `count`, with `above` of them above; and the frame that says which.
    fn stretch(&self, title: &str, count: usize, above: &mut usize) -> (usize, Block<'static>) {
        let room = usize::from(self.area.height).saturating_sub(LINES_AROUND);
        *above = (*above).min(count.saturating_sub(room));
        let shown = room.min(count - *above);
        let title = if shown < count && shown > 0 {
            format!("{title} ({}-{} of {count})", *above + 1, *above + shown)
        } else {
            title.to_owned()
        };
        let block = Block::bordered().title(title);
        let lit = Style::new().fg(Color::Cyan);
        (shown, if self.is_looked_at { block.border_style(lit) } else { block })
    }

    fn draw<'a>(
        &self,
        frame: &mut Frame<'_>,
        block: Block<'static>,
        heading: Row<'a>,
        rows: impl Iterator<Item = Row<'a>>,
        widths: &[Constraint],
    ) {
        let table = Table::new(rows, widths.iter().copied()).header(heading.dim()).block(block);
        frame.render_widget(table, self.area);
    }
}

/// Words to the left, figures to the right; the first two are words.
fn row<'a>(cells: impl IntoIterator<Item = String>) -> Row<'a> {
    Row::new(cells.into_iter().enumerate().map(|(at, text)| match at {
        0 | 1 => Cell::from(text),
        _ => Cell::from(Line::from(text).right_aligned()),
    }))
}

/// Times by operation and stage.
pub(super) fn latencies(
    frame: &mut Frame<'_>,
    sheet: &Sheet,
    interval: Option<&Interval>,
    above: &mut usize,
) {
    let measured: Vec<_> = (interval.iter())
        .flat_map(|interval| interval.histograms.iter().map(|measured| (measured, interval.length)))
        .filter(|(measured, _)| !measured.histogram.is_empty())
        .collect();
    let (shown, block) = sheet.stretch("time on the node, in microseconds", measured.len(), above);
    let rows = measured.iter().skip(*above).take(shown).map(|(measured, length)| {
        let rate = per_second(measured.histogram.len(), *length);
        let mut cells =
            vec![operation(measured).to_owned(), stage(measured).to_owned(), grouped(rate as u64)];
        let at = |(quantile, _)| micros(measured.histogram.value_at_quantile(quantile));
        cells.extend(QUANTILES.map(at));
        cells.push(micros(measured.histogram.max()));
        let row = row(cells);
        if stage(measured) == "total" { row.bold() } else { row }
    });
    let mut heading = vec!["operation", "stage", "a second"];
    heading.extend(QUANTILES.map(|(_, name)| name));
    heading.push("max");
    let columns = if sheet.area.width >= WIDE_COLUMNS { 10 } else { 8 };
    let widths: Vec<_> = [9, 10, 10]
        .into_iter()
        .chain(std::iter::repeat_n(columns, QUANTILES.len() + 1))
        .map(Constraint::Length)
        .collect();
    sheet.draw(frame, block, row(heading.into_iter().map(str::to_owned)), rows, &widths);
}

/// Eight columns, whatever a request may take.
fn micros(nanos: u64) -> String {
    let decimals = if nanos < 100_000_000 { 1 } else { 0 };
    format!("{:.decimals$}", nanos as f64 / 1e3)
}

/// Groups and how far they are behind.
pub(super) fn lags(frame: &mut Frame<'_>, sheet: &Sheet, lags: &[Lag], above: &mut usize) {
    let (shown, block) = sheet.stretch("groups, the furthest behind first", lags.len(), above);
    let rows = lags.iter().skip(*above).take(shown).map(|lag| {
        let offset = lag.offset.map_or_else(|| "-".to_owned(), grouped);
        let place = format!("{}/{}", lag.topic, lag.queue);
        row([lag.group.clone(), place, grouped(lag.lag), offset, grouped(lag.visible)])
    });
    let heading = row(["group", "queue", "lag", "at", "of"].map(str::to_owned));
    let number = Constraint::Length(14);
    let widths = [Constraint::Fill(1), Constraint::Fill(1), number, number, number];
    sheet.draw(frame, block, heading, rows, &widths);
}
