//! Reactors: pinned threads, each with one pump that serves a synchronous [`Service`].
//!
//! Reading order: `service` (the seam) -> `pump` (a turn) -> `receive`, `outbox` ->
//! `connections`, `socket` -> `executor` (waiting, glommio), `look` -> `reactor` (threads and
//! handle); several reactors: `mesh`, `passage` (connections that go to another one).
//!
//! Invariants: nothing on a reactor blocks; an idle connection owns no buffer; every bound is in
//! `config`.
//! Absent: protocols (they are [`Service`]s), TLS, more than one listener.

mod admission;
pub mod bare;
mod config;
mod connections;
mod deadlines;
mod executor;
mod listener;
mod look;
mod mesh;
mod outbox;
mod passage;
mod pump;
mod reactor;
mod receive;
mod service;
mod socket;
mod waker;

pub use admission::Refused;
pub use config::{Limits, ReactorConfig, WaitMode};
pub use listener::{bind, bind_within};
pub use mesh::Mesh;
pub use outbox::Outbox;
pub use passage::ACCEPTOR;
pub use reactor::{OtherFailed, Reactor, ReactorError, ReactorHandle};
pub use service::{ConnId, Flow, FrameLen, Service, Standing, Turn, TurnClock, Visits};
pub use waker::Waker;
