//! Connections on their way from the reactor that accepts them to the one they belong to.
//!
//! The first reactor of a node has the listener. A connection says in its first frame where it
//! wants to be; the service of the first reactor answers [`Flow::HandOver`](super::Flow), and the
//! descriptor goes there with everything that was read of it.
//!
//! Invariant: a connection is counted where it was accepted until it is closed, wherever that is.
//! Absent: connections that move later in their lives.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::mesh::Mesh;

/// A connection for another reactor.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) fd: OwnedFd,
    /// Its first frame, and what was read behind it.
    pub(super) input: Vec<u8>,
    /// Where its peer is, if connections are counted by address.
    pub(super) from: Option<IpAddr>,
}

/// What one reactor tells another in a turn.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    pub(super) arrivals: Vec<Arrival>,
    /// Peers of connections that came from there and are closed.
    pub(super) left: Vec<Option<IpAddr>>,
}

/// The reactor that accepts connections.
pub const ACCEPTOR: usize = 0;

/// Collects the parcels of a turn.
#[derive(Debug)]
pub(super) struct Passages {
    mesh: Mesh<Parcel>,
    /// By reactor.
    parcels: Vec<Parcel>,
}

impl Passages {
    pub(super) fn new(mesh: Mesh<Parcel>) -> Self {
        let parcels = (0..mesh.reactors()).map(|_| Parcel::default()).collect();
        Self { mesh, parcels }
    }

    pub(super) fn is_acceptor(&self) -> bool {
        self.mesh.me() == ACCEPTOR
    }

    /// Sends a connection to another reactor at the end of the turn.
    pub(super) fn hand_over(&mut self, to: usize, arrival: Arrival) {
        if let Some(parcel) = self.parcels.get_mut(to) {
            parcel.arrivals.push(arrival);
        }
    }

    /// A connection that was accepted by the other reactor is closed.
    pub(super) fn note_left(&mut self, from: Option<IpAddr>) {
        if let Some(parcel) = self.parcels.get_mut(ACCEPTOR) {
            parcel.left.push(from);
        }
    }

    /// Everything that came since the last turn.
    pub(super) fn receive(&mut self) -> Parcel {
        let mut all = Parcel::default();
        for from in self.mesh.others() {
            while let Some(parcel) = self.mesh.receive(from) {
                all.arrivals.extend(parcel.arrivals);
                all.left.extend(parcel.left);
            }
        }
        all
    }

    /// Sends what the turn has collected.
    pub(super) fn send(&mut self) {
        self.mesh.flush();
        for (to, parcel) in self.parcels.iter_mut().enumerate() {
            if !(parcel.arrivals.is_empty() && parcel.left.is_empty()) {
                self.mesh.send(to, std::mem::take(parcel));
            }
        }
    }

    /// Whether nothing waits for room in a channel.
    pub(super) fn is_idle(&self) -> bool {
        self.mesh.is_idle()
    }
}
