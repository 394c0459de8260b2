//! Network side.
pub mod wire;
