//! What a benchmark found: the data, and the tables, figures and files made from it.
//!
//! Reading order: [`model`] (the data and its units; `words`, `seen` and `caveats` belong to it) and [`timeline`]
//! (the same over time), [`table`]
//! (for the terminal and for Markdown, through [`grid`] and, in words, `explain`), [`plot`] (latency
//! by percentile), [`html`] (all of it on one page), [`json`] (for machines, and to read back),
//! [`hdr`] (for HdrHistogram's own tools), [`diff`] (two reports compared).
//!
//! Invariants: everything shown is derived from the model, so a report read back from JSON gives
//! the same table and plot; histograms travel whole, percentiles beside them are for reading.

mod axis;
pub mod caveats;
pub mod diff;
mod explain;
pub mod grid;
pub mod hdr;
pub mod html;
pub mod json;
pub mod model;
pub mod plot;
mod seen;
pub mod table;
pub mod timeline;
mod words;

pub use json::ReportError;
pub use model::{Environment, Latency, Ratio, Report, Run, StageTime, Verified, Yardstick};
pub use seen::{CanarySummary, Slow};
pub use timeline::{Piece, Round, Schedule};
pub use words::{Ack, Stage, Waiting};
