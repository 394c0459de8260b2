//! The admin server of a node: `/metrics` for Prometheus, `/healthz`, `/readyz`, over plain HTTP.
//!
//! Reading order: `http` (a thread of its own, connections, paths) -> `state` (asks the node) ->
//! `ready` (may clients be sent here?), `topics` (what topics hold) and `metrics` (names, labels, text).
//! Invariants: no reactor is ever waited for without a deadline, and none waits for this server: it
//! asks as any client does, over the node's own port, once in a while at most; what one connection
//! can cost is bounded. Absent: TLS, authentication (it listens on loopback unless told otherwise),
//! any way to change something.

mod http;
mod metrics;
mod process;
mod ready;
mod state;
mod topics;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use config::value::Admin as Where;

use self::state::State;

/// A running admin server.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    state: Arc<State>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for the admin server: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No thread or runtime for it.
    #[error("cannot start the admin server: {0}")]
    Start(#[from] io::Error),
}

impl Admin {
    /// Starts the server, of a node that does not listen yet; `None` if none is wanted, or if its
    /// default port is in use and nobody asked for it. So many topics have metrics of their own.
    pub(crate) fn start(place: Where, topics_max: usize) -> Result<Option<Self>, AdminError> {
        let Some(address) = place.address() else { return Ok(None) };
        let listener = match TcpListener::bind(address) {
            Ok(listener) => listener,
            Err(error) if place == Where::Auto && error.kind() == ErrorKind::AddrInUse => {
                return Ok(None);
            }
            Err(source) => return Err(AdminError::Bind { address, source }),
        };
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(topics_max));
        http::spawn(listener, Arc::clone(&state))?;
        Ok(Some(Self { address, state }))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node listens here now.
    pub(crate) fn node_is_at(&self, node: SocketAddr) {
        self.state.node_is_at(node);
    }

    /// The node is about to stop.
    pub(crate) fn drain(&self) {
        self.state.drain();
    }
}
