//! Requests that wait for the engine: the engine knows them by a token.

use engine::io::Nanos;
use engine::shard::Token;

use super::caller::Caller;
use crate::wire::RequestHeader;

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) header: RequestHeader,
    /// Of a fetch; nobody looks at that of others.
    pub(super) topic: u32,
}

/// A cache line each.
#[derive(Debug)]
#[repr(align(64))]
enum Slot {
    Free { next: Option<u32> },
    Used { call: Call, gathered: Nanos },
}

const _: () = assert!(size_of::<Slot>() == 64);

/// A slab: the token is the slot's number, used again only after its answer was taken.
#[derive(Debug, Default)]
pub(super) struct Calls {
    slots: Vec<Slot>,
    free: Option<u32>,
    len: usize,
    /// When the turn began whose calls are inserted.
    gathered: Nanos,
}

impl Calls {
    /// The calls inserted from now on are those of the turn that began at `gathered`.
    pub(super) fn begin_turn(&mut self, gathered: Nanos) {
        self.gathered = gathered;
    }

    /// Whether a call was inserted in this turn.
    pub(super) fn is_new(&self, token: Token) -> bool {
        let slot = usize::try_from(token.0).ok().and_then(|number| self.slots.get(number));
        matches!(slot, Some(Slot::Used { gathered, .. }) if *gathered == self.gathered)
    }

    pub(super) fn insert(&mut self, call: Call) -> Token {
        self.len += 1;
        let used = Slot::Used { call, gathered: self.gathered };
        if let Some(number) = self.free
            && let Some(slot) = self.slots.get_mut(number as usize)
            && let Slot::Free { next } = *slot
        {
            self.free = next;
            *slot = used;
            return Token(u64::from(number));
        }
        self.slots.push(used);
        Token(self.slots.len() as u64 - 1)
    }

    /// Who waits for it.
    pub(super) fn caller(&self, token: Token) -> Option<Caller> {
        let slot = usize::try_from(token.0).ok().and_then(|number| self.slots.get(number))?;
        let Slot::Used { call, .. } = slot else { return None };
        Some(call.caller)
    }

    pub(super) fn take(&mut self, token: Token) -> Option<Call> {
        let number = u32::try_from(token.0).ok()?;
        let slot = self.slots.get_mut(number as usize)?;
        let Slot::Used { call, .. } = *slot else { return None };
        *slot = Slot::Free { next: self.free };
        self.free = Some(number);
        self.len -= 1;
        Some(call)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ConnId;

    const CALLER: Caller = Caller::Guest(ConnId { slot: 3, generation: 1 });

    #[test]
    fn a_call_is_taken_once_and_its_slot_used_again() {
        let mut calls = Calls::default();
        let call = |correlation| Call {
            caller: CALLER,
            header: RequestHeader { correlation, ..RequestHeader::default() },
            topic: 0,
        };
        let (a, b) = (calls.insert(call(1)), calls.insert(call(2)));
        assert_eq!(calls.take(a).unwrap().header.correlation, 1);
        assert!(calls.take(a).is_none());
        assert_eq!(calls.insert(call(3)), a);
        assert_eq!(calls.take(b).unwrap().header.correlation, 2);
        assert!(calls.take(Token(77)).is_none());
        assert!(calls.take(Token(u64::MAX)).is_none());
        assert!(!calls.is_empty());
    }

    #[test]
    fn a_call_is_new_in_its_own_turn_only() {
        let mut calls = Calls::default();
        calls.begin_turn(Nanos(10));
        let a = calls.insert(Call { caller: CALLER, header: RequestHeader::default(), topic: 0 });
        assert!(calls.is_new(a));
        calls.begin_turn(Nanos(20));
        let b = calls.insert(Call { caller: CALLER, header: RequestHeader::default(), topic: 0 });
        assert!(!calls.is_new(a) && calls.is_new(b));
        calls.take(b);
        for nobody in [b, Token(77), Token(u64::MAX)] {
            assert!(!calls.is_new(nobody));
        }
    }
}
