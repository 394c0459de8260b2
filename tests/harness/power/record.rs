//! Every write and flush a device was told of, in order, and what a power cut may leave of them.
//!
//! A flush covers the writes whose end had been told when it began, and counts from the moment its
//! own end is told. Of all other writes every sector may have arrived or not, in any order, those
//! of the past included: a device's cache keeps no order.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// What a device writes whole.
const SECTOR_BYTES: usize = 512;
/// The file system's super block has a checksum in its second sector and no journal of its own:
/// ext4 needs its block to be written whole, whatever we put on top.
const WHOLE_BYTES: usize = 4096;

/// What happened; the place in the list is its time.
enum Event {
    /// A write came in.
    Write { offset: usize, bytes: Box<[u8]> },
    /// Its end is told: from here on a flush covers it.
    Written { write: usize },
    /// A flush came in.
    Flush,
    /// Its end is told.
    Flushed { flush: usize },
}

/// What a device has been through since it was switched on.
pub(crate) struct Record {
    /// What was on it.
    image: Vec<u8>,
    events: Vec<Event>,
}

/// What survives of the writes that no flush covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survivors {
    None,
    All,
    /// Each write or not, in any order.
    Writes,
    /// Each sector of each write or not, in any order.
    Sectors,
}

impl Survivors {
    pub(crate) fn any(random: &mut StdRng) -> Self {
        match random.random_range(0..8) {
            0 => Self::None,
            1 => Self::All,
            2..=4 => Self::Writes,
            _ => Self::Sectors,
        }
    }
}

/// What a device has been told, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) writes: usize,
    pub(crate) flushes: usize,
    pub(crate) bytes: usize,
    /// Most writes that were on their way at once.
    pub(crate) in_flight_max: usize,
}

impl Record {
    pub(super) fn new(image: Vec<u8>) -> Self {
        Self { image, events: Vec::new() }
    }

    fn push(&mut self, event: Event) -> usize {
        self.events.push(event);
        self.events.len() - 1
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) -> usize {
        self.push(Event::Write { offset, bytes: bytes.into() })
    }

    pub(super) fn written(&mut self, write: usize) {
        self.push(Event::Written { write });
    }

    pub(super) fn flush(&mut self) -> usize {
        self.push(Event::Flush)
    }

    pub(super) fn flushed(&mut self, flush: usize) {
        self.push(Event::Flushed { flush });
    }

    /// How many events there were.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// What may be on the device when its power is cut after `at` events.
    pub(crate) fn cut(&self, at: usize, survivors: Survivors, random: &mut StdRng) -> Vec<u8> {
        let events = &self.events[..at.min(self.events.len())];
        let covered = covered(events);
        let mut image = self.image.clone();
        let mut others = Vec::new();
        for (number, event) in events.iter().enumerate() {
            let Event::Write { offset, bytes } = event else { continue };
            if covered[number] {
                image[*offset..offset + bytes.len()].copy_from_slice(bytes);
            } else {
                others.push((*offset, bytes));
            }
        }
        if matches!(survivors, Survivors::Writes | Survivors::Sectors) {
            others.shuffle(random);
        }
        for (offset, bytes) in others {
            let whole = survivors != Survivors::Sectors || offset < WHOLE_BYTES;
            let grain = if whole { bytes.len() } else { SECTOR_BYTES };
            for (index, part) in bytes.chunks(grain).enumerate() {
                let arrived = match survivors {
                    Survivors::None => false,
                    Survivors::All => true,
                    Survivors::Writes | Survivors::Sectors => random.random(),
                };
                let start = offset + index * grain;
                if arrived {
                    image[start..start + part.len()].copy_from_slice(part);
                }
            }
        }
        image
    }

    /// How many writes no flush covers when the power is cut after `at` events.
    pub(crate) fn uncovered(&self, at: usize) -> usize {
        let events = &self.events[..at.min(self.events.len())];
        let covered = covered(events).into_iter().filter(|is| *is).count();
        events.iter().filter(|event| matches!(event, Event::Write { .. })).count() - covered
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let mut in_flight: usize = 0;
        for event in &self.events {
            match event {
                Event::Write { bytes, .. } => {
                    counts.writes += 1;
                    counts.bytes += bytes.len();
                    in_flight += 1;
                    counts.in_flight_max = counts.in_flight_max.max(in_flight);
                }
                Event::Written { .. } => in_flight -= 1,
                Event::Flush => counts.flushes += 1,
                Event::Flushed { .. } => {}
            }
        }
        counts
    }
}

/// Which of these events are writes that a completed flush covers.
fn covered(events: &[Event]) -> Vec<bool> {
    let flushes = events.iter().filter_map(|event| match event {
        Event::Flushed { flush } => Some(*flush),
        _ => None,
    });
    let last = flushes.max().unwrap_or(0);
    let mut covered = vec![false; events.len()];
    for event in &events[..last] {
        if let Event::Written { write } = event {
            covered[*write] = true;
        }
    }
    covered
}

/// A flush covers what had ended when it began, once it has ended itself; the rest is anybody's
/// guess, but for what was never written.
#[test]
fn flushes_cover_what_had_ended() {
    use rand::SeedableRng;

    let mut random = StdRng::seed_from_u64(1);
    let mut record = Record::new(vec![0; 16 << 10]);
    let at = |place: usize| WHOLE_BYTES + place * 1024;
    let first = record.write(at(0), &[1; 1024]);
    record.written(first);
    let flush = record.flush();
    let second = record.write(at(1), &[2; 1024]);
    record.written(second);
    record.flushed(flush);
    record.write(at(1), &[3; 1024]);
    let end = record.len();
    let sectors = |image: &[u8]| [0, 1, 2, 3].map(|sector| image[at(0) + sector * SECTOR_BYTES]);

    let lost = record.cut(end, Survivors::None, &mut random);
    assert_eq!(sectors(&lost), [1, 1, 0, 0], "ended behind the flush's beginning: not covered");
    let kept = record.cut(end, Survivors::All, &mut random);
    assert_eq!(sectors(&kept), [1, 1, 3, 3]);
    let early = record.cut(flush + 3, Survivors::None, &mut random);
    assert_eq!(sectors(&early), [0; 4], "the flush has not ended");
    let (mut whole, mut torn) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        whole.push(sectors(&record.cut(end, Survivors::Writes, &mut random)));
        torn.push(sectors(&record.cut(end, Survivors::Sectors, &mut random)));
    }
    for seen in [&mut whole, &mut torn] {
        seen.sort_unstable();
        seen.dedup();
    }
    assert_eq!(whole, [[1, 1, 0, 0], [1, 1, 2, 2], [1, 1, 3, 3]]);
    assert_eq!(torn.len(), 9, "every version of either sector: {torn:?}");
    let counts = Counts { writes: 3, flushes: 1, bytes: 3072, in_flight_max: 1 };
    assert_eq!(record.counts(), counts);
    assert_eq!((record.uncovered(end), record.uncovered(flush + 3)), (2, 2));
}
