//! The shards of one reactor, by the numbers they have in the data directory.
//!
//! A reactor may own all of them or only some; the others are somebody else's, and nothing is
//! known of them here but that they exist.

use crate::io::Env;
use crate::shard::Shard;

/// Some or all shards of a directory.
#[derive(Debug)]
pub(super) struct Shards<E: Env> {
    /// In order of their numbers.
    own: Vec<Shard<E>>,
    numbers: Vec<u16>,
    /// By number: the place in `own`.
    places: Vec<Option<usize>>,
}

impl<E: Env> Shards<E> {
    /// `numbered` are the shards owned here, of `total` in the directory.
    pub(super) fn new(mut numbered: Vec<(u16, Shard<E>)>, total: u16) -> Self {
        numbered.sort_by_key(|(number, _)| *number);
        let (numbers, own): (Vec<u16>, Vec<_>) = numbered.into_iter().unzip();
        let place = |number| numbers.iter().position(|own| *own == number);
        let places = (0..total).map(place).collect();
        Self { own, numbers, places }
    }

    /// How many the directory has.
    pub(super) fn total(&self) -> u16 {
        self.places.len() as u16
    }

    /// Whether there are others than those owned here.
    pub(super) fn has_others(&self) -> bool {
        self.own.len() < self.places.len()
    }

    pub(super) fn get(&self, number: u16) -> Option<&Shard<E>> {
        let place = self.places.get(usize::from(number)).copied().flatten()?;
        self.own.get(place)
    }

    pub(super) fn get_mut(&mut self, number: u16) -> Option<&mut Shard<E>> {
        let place = self.places.get(usize::from(number)).copied().flatten()?;
        self.own.get_mut(place)
    }

    pub(super) fn own(&self) -> &[Shard<E>] {
        &self.own
    }

    pub(super) fn own_mut(&mut self) -> &mut [Shard<E>] {
        &mut self.own
    }

    /// The numbers of those owned here.
    pub(super) fn numbers(&self) -> &[u16] {
        &self.numbers
    }

    pub(super) fn numbered(&mut self) -> impl Iterator<Item = (u16, &mut Shard<E>)> {
        self.numbers.iter().copied().zip(&mut self.own)
    }
}
