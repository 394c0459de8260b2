//! Network side.
pub mod client;
pub mod wire;
