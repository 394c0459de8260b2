//! What `top` draws: rates with their history, latencies by operation and stage, groups and their
//! lag. Nothing here asks or waits.
//!
//! Reading order: [`draw`] (who gets which lines) -> `rates` -> `tables`.
//! Invariant: everything can be seen on a terminal of 80 columns and 24 lines: what does not fit
//! goes on in the next line, or is scrolled to.

mod rates;
mod tables;

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Sparkline};

use self::tables::Sheet;
use super::sample::Lag;
use crate::interval::Interval;
use crate::output::grouped;

/// Below this there is no room for a graph, and the table that is not looked at gives way.
const TALL_LINES: u16 = 35;
/// Lines of the graph, its frame included.
const GRAPH_LINES: u16 = 5;
/// Lines of a table that always has some, with heading and frame.
const TABLE_LINES: u16 = 6;
/// The same on a terminal of few lines: two rows.
const TABLE_LINES_MIN: u16 = 5;

/// Which table the arrow keys move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Focus {
    /// Times by operation and stage.
    #[default]
    Latencies,
    /// Groups and how far they are behind.
    Lags,
}

/// How the table that is looked at moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scroll {
    /// So many rows towards the first.
    Up(usize),
    /// So many rows towards the last.
    Down(usize),
}

/// What is known about a node.
#[derive(Default)]
pub(super) struct View {
    pub(super) title: String,
    /// Between the last two looks.
    pub(super) interval: Option<Interval>,
    pub(super) lags: Vec<Lag>,
    /// Messages produced per second, the newest last.
    pub(super) history: VecDeque<u64>,
    /// Why the last look failed, if it did.
    pub(super) trouble: Option<String>,
    focus: Focus,
    /// Rows above what is shown of each table.
    latencies_above: usize,
    lags_above: usize,
}

impl View {
    /// Nothing yet.
    pub(super) fn new(title: String) -> Self {
        Self { title, ..Self::default() }
    }

    /// Takes in what happened.
    pub(super) fn show(&mut self, interval: Interval, history_max: usize) {
        self.history.push_back(interval.rate("produced_records") as u64);
        while self.history.len() > history_max {
            self.history.pop_front();
        }
        self.interval = Some(interval);
    }

    /// Looks at the other table.
    pub(super) fn turn(&mut self) {
        self.focus = match self.focus {
            Focus::Latencies => Focus::Lags,
            Focus::Lags => Focus::Latencies,
        };
    }

    /// Moves in the table that is looked at; drawing it stops at its ends.
    pub(super) fn scroll(&mut self, scroll: Scroll) {
        let above = match self.focus {
            Focus::Latencies => &mut self.latencies_above,
            Focus::Lags => &mut self.lags_above,
        };
        *above = match scroll {
            Scroll::Up(rows) => above.saturating_sub(rows),
            Scroll::Down(rows) => above.saturating_add(rows),
        };
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let whole = frame.area();
    let lines = rates::lines(view.interval.as_ref(), whole.width.saturating_sub(2));
    let rates_lines = lines.len() as u16 + 2;
    let graph_lines = if whole.height < TALL_LINES { 0 } else { GRAPH_LINES };
    let [latencies_lines, lags_lines] = match view.focus {
        _ if whole.height >= TALL_LINES => [Constraint::Fill(2), Constraint::Min(TABLE_LINES)],
        Focus::Latencies => [Constraint::Fill(1), Constraint::Length(TABLE_LINES_MIN)],
        Focus::Lags => [Constraint::Length(TABLE_LINES_MIN), Constraint::Fill(1)],
    };
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(rates_lines),
        Constraint::Length(graph_lines),
        latencies_lines,
        lags_lines,
    ]);
    let [title, rates, graph, latencies, lags] = areas.areas(whole);
    frame.render_widget(headline(view), title);
    rates::draw(frame, rates, lines);
    if graph_lines > 0 {
        draw_graph(frame, graph, view);
    }
    let sheet = Sheet { area: latencies, is_looked_at: view.focus == Focus::Latencies };
    tables::latencies(frame, &sheet, view.interval.as_ref(), &mut view.latencies_above);
    let sheet = Sheet { area: lags, is_looked_at: view.focus == Focus::Lags };
    tables::lags(frame, &sheet, &view.lags, &mut view.lags_above);
}

fn headline(view: &View) -> Line<'_> {
    let state = match &view.trouble {
        Some(trouble) => Span::styled(format!("  {trouble}"), Style::new().fg(Color::Red)),
        None if view.interval.is_none() => "  looking ...".into(),
        None => Span::styled("  up", Style::new().fg(Color::Green)),
    };
    let keys = "  (q quits; Tab, arrows: scroll)".dim();
    Line::from(vec![view.title.as_str().bold(), state, keys])
}

fn draw_graph(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let most = view.history.iter().max().copied().unwrap_or(0);
    let title = format!("messages/s in, at most {}", grouped(most));
    let block = Block::bordered().title(title);
    // One column a look, the newest to the right.
    let columns = usize::from(area.width.saturating_sub(2));
    let shown = view.history.iter().skip(view.history.len().saturating_sub(columns)).copied();
    let data: Vec<u64> = shown.collect();
    frame.render_widget(Sparkline::default().block(block).data(data), area);
}

#[cfg(test)]
mod tests;
