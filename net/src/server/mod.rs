//! Reactors: pinned threads, each with one pump that serves a synchronous [`Service`].
//!
//! Reading order: `service` (the seam) -> `pump` (a turn) -> `receive`, `outbox` ->
//! `connections`, `socket` -> `executor` (waiting, glommio), `look` -> `reactor` (thread and handle).
//!
//! Invariants: nothing on a reactor blocks; an idle connection owns no buffer; every bound is in
//! `config`.
//! Absent: protocols (they are [`Service`]s), TLS, more than one listener per reactor.

pub mod bare;
mod config;
mod connections;
mod executor;
mod listener;
mod look;
mod outbox;
mod pump;
mod reactor;
mod receive;
mod service;
mod socket;
mod waker;

pub use config::{Limits, ReactorConfig, WaitMode};
pub use listener::{bind, bind_within};
pub use outbox::Outbox;
pub use reactor::{Reactor, ReactorError, ReactorHandle};
pub use service::{ConnId, Flow, FrameLen, Service, Turn, TurnClock};
pub use waker::Waker;
