//! The storage engine and the messaging semantics of uringmq: knows no socket and no protocol.
pub mod batch;
pub mod io;
