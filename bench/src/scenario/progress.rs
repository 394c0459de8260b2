//! Progress: a bar on a terminal, plain lines elsewhere, nothing when machines listen.
//!
//! Drawn by a thread that ticks four times a second: a redraw costs far less than it would disturb.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const TICK: Duration = Duration::from_millis(250);

/// What the user sees while waiting.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    steps: u64,
    done: u64,
}

impl Progress {
    /// Of so many steps; `quiet`: nothing at all.
    #[must_use]
    pub fn new(steps: u64, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::new(steps);
            let style = "{elapsed_precise} [{wide_bar}] {pos}/{len} {msg:<40}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, lines: !terminal && !quiet, steps, done: 0 }
    }

    /// Of a number of steps that is not known.
    #[must_use]
    pub fn open(quiet: bool) -> Self {
        let mut progress = Self::new(0, quiet);
        if let Some(bar) = progress.bar.take() {
            bar.finish_and_clear();
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            progress.bar = Some(bar);
        }
        progress
    }

    /// A step begins.
    pub fn step(&mut self, what: &str) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done - 1);
            bar.set_message(what.to_owned());
        }
        if self.lines {
            match self.steps {
                0 => eprintln!("[{}] {what}", self.done),
                steps => eprintln!("[{}/{steps}] {what}", self.done),
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
