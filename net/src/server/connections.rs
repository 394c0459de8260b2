//! The table of connections: slots with generations, small when idle.
//!
//! Invariant: an id names at most one connection, ever (until a slot has had 2^32 guests).

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use engine::io::Nanos;

use super::ConnId;
use super::deadlines::Blocked;

/// Slots a ring token has room for; the two last are the listener and the waker.
pub(super) const SLOTS_MAX: u32 = (1 << 30) - 2;
pub(super) const LISTENER: ConnId = ConnId { slot: SLOTS_MAX, generation: 0 };
pub(super) const WAKER: ConnId = ConnId { slot: SLOTS_MAX + 1, generation: 0 };

/// How an id travels through the ring.
pub(super) fn token_of(id: ConnId) -> u64 {
    u64::from(id.slot) << 32 | u64::from(id.generation)
}

pub(super) fn id_of(token: u64) -> ConnId {
    ConnId { slot: (token >> 32) as u32, generation: token as u32 }
}

/// Where a connection is in its life. `Lingering -> Open` is absent: a close is not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Frames are read and answered.
    Open,
    /// No more frames; queued output leaves, then `Lingering`, or the end if `peer_gone`.
    Closing,
    /// Our side is shut; input is thrown away until the peer closes too (closing with unread
    /// input would reset the connection and destroy the last reply on its way).
    Lingering,
}

/// One connection. Nothing here is allocated while it is idle.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) fd: OwnedFd,
    /// Where its peer is, if connections are counted by address.
    pub(super) from: Option<IpAddr>,
    pub(super) state: State,
    /// The front of a frame that has not arrived in full.
    pub(super) partial: Vec<u8>,
    /// Its full length once known, else 0.
    pub(super) frame_bytes: usize,
    /// When it last grew, or lingering began.
    pub(super) progress_at: Nanos,
    /// It is in the receive queue.
    pub(super) queued: bool,
    /// The entry among the deadlines that counts.
    pub(super) deadline_at: Option<Nanos>,
    /// Output waits for the peer.
    pub(super) blocked: Option<Blocked>,
    /// When it was accepted, or came from the reactor that accepts.
    pub(super) opened_at: Nanos,
    /// When output was last given to its socket.
    pub(super) sent_at: Nanos,
    /// It was refused: the service has never seen it.
    pub(super) refused: bool,
    /// Not read from: too much unsent output, or no memory for its next frame.
    pub(super) paused: bool,
    /// The peer has closed its side: read to the end, then close.
    pub(super) peer_gone: bool,
}

impl Connection {
    pub(super) fn new(fd: OwnedFd, from: Option<IpAddr>, now: Nanos) -> Self {
        Self {
            fd,
            from,
            state: State::Open,
            partial: Vec::new(),
            frame_bytes: 0,
            progress_at: now,
            queued: false,
            deadline_at: None,
            blocked: None,
            opened_at: now,
            sent_at: now,
            refused: false,
            paused: false,
            peer_gone: false,
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// All connections of a reactor.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, connection: Connection) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let mut generation = 0;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.connection = Some(connection);
            generation = place.generation;
        }
        ConnId { slot, generation }
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        let place = self.slots.get_mut(id.slot as usize)?;
        if place.generation == id.generation { place.connection.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        let place = self.slots.get_mut(id.slot as usize)?;
        if place.generation != id.generation {
            return None;
        }
        let connection = place.connection.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(connection)
    }

    /// Every connection there is.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        let ids = self.slots.iter().enumerate().filter(|(_, place)| place.connection.is_some());
        ids.map(|(slot, place)| ConnId { slot: slot as u32, generation: place.generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::new(std::fs::File::open("/dev/null").unwrap().into(), None, Nanos(0))
    }

    #[test]
    fn a_stale_id_finds_nobody() {
        let mut table = Connections::default();
        let first = table.insert(connection());
        assert!(table.remove(first).is_some());
        let second = table.insert(connection());
        assert_eq!(first.slot, second.slot);
        assert!(table.get_mut(first).is_none());
        assert!(table.remove(first).is_none());
        assert!(table.get_mut(second).is_some());
        assert_eq!((table.len(), table.ids()), (1, vec![second]));
    }

    #[test]
    fn ids_travel_as_tokens() {
        for id in [LISTENER, WAKER, ConnId { slot: 3, generation: u32::MAX }] {
            assert_eq!(id_of(token_of(id)), id);
            assert!(token_of(id) <= engine::io::ring::POLL_TOKEN_MAX);
        }
    }
}
