//! The mesh: one bounded channel from each reactor of a node to each other one.
//!
//! Whoever has something for another reactor collects it during its turn and sends it as one
//! parcel at the turn's end ([`Mesh::send`]); a receiver looks at all its channels in each turn
//! ([`Mesh::receive`]). The channels are the standard library's bounded ones, which take no lock
//! and do not block as long as both ends only try.
//!
//! Invariants: nothing here blocks; parcels of one sender arrive in order; a parcel that finds its
//! channel full waits here, and the next turn tries again; a reactor is woken by at most one
//! write between two of its turns.
//! Absent: bounds on what waits (whoever sends has a budget), serialization.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

use super::waker::{Signal, Waker};

/// Parcels on their way from one reactor to another.
const PARCELS_MAX: usize = 64;

#[derive(Debug)]
struct Link<T> {
    to: SyncSender<T>,
    from: Receiver<T>,
    signal: Arc<Signal>,
    waiting: VecDeque<T>,
    gone: bool,
}

/// One reactor's ends of the channels to all others.
#[derive(Debug)]
pub struct Mesh<T> {
    me: usize,
    /// By reactor; `None` for this one.
    links: Vec<Option<Link<T>>>,
}

impl<T> Mesh<T> {
    /// The ends of a mesh of reactors, one for each.
    #[must_use]
    pub fn new(wakers: &[Waker]) -> Vec<Self> {
        let signals: Vec<_> = wakers.iter().flat_map(Waker::signals).cloned().collect();
        Self::among(&signals)
    }

    /// The mesh of a reactor that has no others.
    #[must_use]
    pub fn alone() -> Self {
        Self { me: 0, links: vec![None] }
    }

    pub(super) fn among(signals: &[Arc<Signal>]) -> Vec<Self> {
        let reactors = signals.len();
        let mut senders: Vec<Vec<_>> = Vec::new();
        let mut receivers: Vec<Vec<_>> = (0..reactors).map(|_| Vec::new()).collect();
        for _ in 0..reactors {
            let mut row = Vec::new();
            for column in &mut receivers {
                let (to, from) = sync_channel(PARCELS_MAX);
                row.push(to);
                column.push(from);
            }
            senders.push(row);
        }
        let ends = senders.into_iter().zip(receivers).enumerate();
        let mesh = |(me, (to, from)): (usize, (Vec<_>, Vec<_>))| {
            let links = to.into_iter().zip(from).zip(signals).enumerate();
            let link = |(other, ((to, from), signal)): (usize, ((_, _), &Arc<Signal>))| {
                let signal = Arc::clone(signal);
                let link = Link { to, from, signal, waiting: VecDeque::new(), gone: false };
                (other != me).then_some(link)
            };
            Self { me, links: links.map(link).collect() }
        };
        ends.map(mesh).collect()
    }

    /// This reactor's number.
    #[must_use]
    pub fn me(&self) -> usize {
        self.me
    }

    /// How many reactors there are.
    #[must_use]
    pub fn reactors(&self) -> usize {
        self.links.len()
    }

    /// The numbers of the others.
    pub fn others(&self) -> impl Iterator<Item = usize> + use<T> {
        let me = self.me;
        (0..self.links.len()).filter(move |reactor| *reactor != me)
    }

    /// Sends a parcel to another reactor; false: that one has ended.
    pub fn send(&mut self, to: usize, parcel: T) -> bool {
        let Some(Some(link)) = self.links.get_mut(to) else { return false };
        link.waiting.push_back(parcel);
        link.flush();
        !link.gone
    }

    /// Tries again what found its channel full.
    pub fn flush(&mut self) {
        for link in self.links.iter_mut().flatten() {
            link.flush();
        }
    }

    /// Whether every parcel was handed over.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.links.iter().flatten().all(|link| link.waiting.is_empty())
    }

    /// Whether a reactor has ended.
    #[must_use]
    pub fn is_gone(&self, reactor: usize) -> bool {
        self.links.get(reactor).is_some_and(|link| link.as_ref().is_some_and(|link| link.gone))
    }

    /// The next parcel of another reactor, if there is one.
    pub fn receive(&mut self, from: usize) -> Option<T> {
        let link = self.links.get_mut(from)?.as_mut()?;
        match link.from.try_recv() {
            Ok(parcel) => Some(parcel),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                link.gone = true;
                None
            }
        }
    }
}

impl<T> Link<T> {
    fn flush(&mut self) {
        let mut sent = false;
        while let Some(parcel) = self.waiting.pop_front() {
            match self.to.try_send(parcel) {
                Ok(()) => sent = true,
                Err(TrySendError::Full(parcel)) => {
                    self.waiting.push_front(parcel);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.gone = true;
                    self.waiting.clear();
                }
            }
        }
        if sent {
            self.signal.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(reactors: usize) -> Vec<Mesh<usize>> {
        let signals: Vec<_> = (0..reactors).map(|_| Signal::new().unwrap()).collect();
        Mesh::among(&signals)
    }

    #[test]
    fn parcels_arrive_in_order_also_beyond_a_full_channel() {
        let mut ends = mesh(3);
        let all = PARCELS_MAX + 10;
        for n in 0..all {
            assert!(ends[2].send(0, n));
        }
        assert!(!ends[2].is_idle());
        let mut arrived = Vec::new();
        while let Some(parcel) = ends[0].receive(2) {
            arrived.push(parcel);
        }
        ends[2].flush();
        assert!(ends[2].is_idle());
        while let Some(parcel) = ends[0].receive(2) {
            arrived.push(parcel);
        }
        assert_eq!(arrived, (0..all).collect::<Vec<_>>());
        assert_eq!(
            (ends[0].receive(1), ends[0].receive(0), ends[1].receive(2)),
            (None, None, None)
        );
        assert_eq!(ends[1].others().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn an_ended_reactor_is_noticed_by_those_who_send_and_who_wait() {
        let mut ends = mesh(3);
        ends.pop();
        assert!(!ends[0].send(2, 1));
        assert!(ends[0].is_gone(2) && ends[0].is_idle());
        assert_eq!(ends[1].receive(2), None);
        assert!(ends[1].is_gone(2) && !ends[1].is_gone(0));
        assert!(!ends[0].send(0, 1), "not to itself");
    }
}
