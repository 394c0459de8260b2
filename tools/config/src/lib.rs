//! A node's options, from one source: [`Options`].
//!
//! Reading order: `options` (what there is) -> `value` (what is written behind the equals sign) ->
//! `file` (a TOML file, checked) -> `settings` (file, environment and flags together, and where
//! each value came from) -> `show` (the same for people and programs); `environment` (variables that are none).
//! Invariants: a flag wins over the environment, that over the file, that over the default; a file's
//! values are read by the very parsers of the flags; a key that is not known is an error, never
//! ignored; no input panics.
//! Absent: what the options mean to a node (`serve`), checks that need the machine (`doctor`).

pub mod environment;
pub mod file;
pub mod options;
pub mod settings;
pub mod show;
pub mod value;

pub use file::{File, FileError, Problem};
pub use options::{Arguments, Options};
pub use settings::{Resolved, Setting, Source, resolve};
