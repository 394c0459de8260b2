//! What `uringmq tune` does: measures the device under a directory and chooses what a node does
//! there.
//!
//! Reading order: `plan` (what is measured) and `site` (where) -> [`measure`] (measuring it) ->
//! `choose` (figures to choices: a pure function) -> `explain` (the same in words), [`table`] (all of
//! it). The file that a node reads is [`engine::device`].
//!
//! Invariants: what is compared is measured in turn, in rounds, so that a slow minute of the machine
//! falls on all of it; a doubtful difference changes nothing: then it is the default that is chosen.
//! Absent: what the node does with the choices; anything about the network but loopback.

mod choose;
mod explain;
mod measure;
mod plan;
mod site;
#[cfg(test)]
mod synthetic;
pub mod table;

pub use explain::sentences;
pub use measure::{FREE_BYTES_MIN, Findings, Settings, TuneError, measure};
