//! What a benchmark found: the data, and the table, plot and JSON made from it.
//!
//! Reading order: [`model`] (the data and its units), [`table`] (for the terminal and for Markdown,
//! through [`grid`] and, in words, `explain`), [`plot`] (latency by percentile), [`json`] (for machines, and to read back).
//!
//! Invariants: everything shown is derived from the model, so a report read back from JSON gives
//! the same table and plot; histograms travel whole, percentiles beside them are for reading.

mod axis;
mod explain;
pub mod grid;
pub mod json;
pub mod model;
pub mod plot;
pub mod table;

pub use json::ReportError;
pub use model::{
    Ack, CanarySummary, Environment, Latency, Ratio, Report, Run, Slow, Stage, StageTime, Verified,
    Waiting, Yardstick,
};
