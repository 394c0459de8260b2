//! How many connections a node takes, in all and from one address.
//!
//! Kept by the reactor that accepts; it hears of the end of those it has handed over. Whoever is
//! refused gets a frame that says why, and is listened to for a while without being read, because
//! closing a socket with unread input would destroy that frame on its way; no more than
//! [`REFUSED_MAX`] at a time, and an eighth of those it takes; the others are just closed.
//! Absent: authentication; rates.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Limits;

/// Refused connections that are still there.
const REFUSED_MAX: u32 = 256;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The node has as many connections as it may.
    Node {
        /// That many.
        connections_max: u32,
    },
    /// The peer's address has.
    Address {
        /// The address.
        address: IpAddr,
        /// That many.
        connections_max: u32,
    },
}

/// Connections accepted and not closed.
#[derive(Debug)]
pub(super) struct Admission {
    connections: u32,
    /// Only counted if there is a limit.
    by_address: HashMap<IpAddr, u32>,
    connections_max: u32,
    per_address_max: u32,
    /// Refused connections that are still there.
    refused: u32,
    refused_max: u32,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            connections: 0,
            by_address: HashMap::new(),
            connections_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
            refused: 0,
            refused_max: REFUSED_MAX.min(limits.connections_max / 8).max(1),
        }
    }

    /// Whether a connection's address is needed.
    pub(super) fn counts_addresses(&self) -> bool {
        self.per_address_max > 0
    }

    pub(super) fn connections(&self) -> u32 {
        self.connections
    }

    /// Counts a new connection in, or says why not.
    pub(super) fn admit(&mut self, from: Option<IpAddr>) -> Result<(), Refused> {
        let connections_max = self.connections_max;
        if self.connections >= connections_max {
            return Err(Refused::Node { connections_max });
        }
        if let Some(address) = from {
            let connections_max = self.per_address_max;
            let count = self.by_address.entry(address).or_default();
            if *count >= connections_max {
                return Err(Refused::Address { address, connections_max });
            }
            *count += 1;
        }
        self.connections += 1;
        Ok(())
    }

    /// Counts a refused connection that is told why, if there may be one more.
    pub(super) fn keep_refused(&mut self) -> bool {
        let may = self.refused < self.refused_max;
        self.refused += u32::from(may);
        may
    }

    /// A refused connection is closed.
    pub(super) fn leave_refused(&mut self) {
        self.refused = self.refused.saturating_sub(1);
    }

    /// A connection that was admitted is closed.
    pub(super) fn leave(&mut self, from: Option<IpAddr>) {
        self.connections = self.connections.saturating_sub(1);
        if let Some(address) = from
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_and_an_address_have_limits() {
        let limits =
            Limits { connections_max: 3, connections_per_address_max: 2, ..Limits::default() };
        let mut admission = Admission::new(&limits);
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert!(admission.counts_addresses());
        assert_eq!(admission.admit(Some(a)), Ok(()));
        assert_eq!(admission.admit(Some(a)), Ok(()));
        let full = Refused::Address { address: a, connections_max: 2 };
        assert_eq!(admission.admit(Some(a)), Err(full));
        assert_eq!(admission.admit(Some(b)), Ok(()));
        assert_eq!(admission.admit(Some(b)), Err(Refused::Node { connections_max: 3 }));
        admission.leave(Some(a));
        assert_eq!(admission.admit(Some(a)), Ok(()));
        for address in [a, a, b] {
            admission.leave(Some(address));
        }
        assert!(admission.by_address.is_empty() && admission.connections() == 0);
        assert!(admission.keep_refused() && !admission.keep_refused(), "one of so few");
        admission.leave_refused();
        assert!(admission.keep_refused());
    }
}
