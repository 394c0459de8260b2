//! The device under a data directory: what `uringmq tune` measured of it and what a node is to do.
//!
//! ```text
//!   DIR/device.toml   version, [choices], [place], [evidence]: see `file`
//! ```
//!
//! Reading order: [`place`] (which device and file system this is), [`evidence`] (figures),
//! [`mod@file`] (format, reading, writing). Absent: measuring and choosing (the harness's); what a
//! node does with a choice.

pub mod evidence;
pub mod file;
pub mod place;

pub use evidence::{Blocks, ColdFigure, ColdWay, Evidence, SpinFigure, WriteFigure};
pub use file::{Choices, DeviceFile, FILE_NAME, FileError, Found, look};
pub use place::{Mount, Place};
