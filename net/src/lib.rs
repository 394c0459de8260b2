//! Network side.

pub mod server;
