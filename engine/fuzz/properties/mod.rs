//! What holds for any bytes at all: for the fuzz targets, and for `tests/any_bytes_are_survived.rs`
//! in every test run. No panic, nothing out of bounds, no memory beyond the limit.
#![allow(dead_code)]

pub(crate) mod allocation;
pub(crate) mod batch;
pub(crate) mod change;
pub(crate) mod headers;
pub(crate) mod image;
pub(crate) mod sealed;
pub(crate) mod state;
mod steps;
