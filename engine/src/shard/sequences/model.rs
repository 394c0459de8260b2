//! The table against a model that remembers everything.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const QUEUE: u32 = 3;

/// What the rules say, with everything remembered: all batches of the newest epoch.
#[derive(Default)]
struct Model(BTreeMap<i64, (i16, Vec<(Numbered, u64)>)>);

impl Model {
    fn expect(&self, batch: &Numbered) -> Result<Option<u64>, ()> {
        let Some((epoch, batches)) = self.0.get(&batch.producer) else {
            return if batch.first == 0 { Ok(None) } else { Err(()) };
        };
        if batch.epoch != *epoch {
            return if batch.epoch > *epoch && batch.first == 0 { Ok(None) } else { Err(()) };
        }
        let mut recent = batches.iter().rev().take(PRODUCER_BATCHES_MAX);
        if let Some((_, offset)) = recent.find(|(known, _)| known == batch) {
            return Ok(Some(*offset));
        }
        let next = batches.last().map_or(0, |(last, _)| last.next());
        if batch.first == next { Ok(None) } else { Err(()) }
    }
}

proptest! {
    #[test]
    fn verdicts_are_those_of_the_model(
        steps in proptest::collection::vec((0..2i64, 0..3i16, 0..14u8, 1..3u32), 1..200),
    ) {
        let (mut table, mut model, mut end) = (Sequences::default(), Model::default(), 0);
        for (producer, epoch, back, records) in steps {
            // Mostly what comes next, otherwise one of the last ones, otherwise anything.
            let known = model.0.get(&producer);
            let batches = known.map(|(_, batches)| &batches[..]).unwrap_or_default();
            let next = batches.last().map_or(0, |(last, _)| last.next());
            let epoch = if back % 7 == 0 { epoch } else { known.map_or(0, |(now, _)| *now) };
            let batch = match back {
                0..=5 => Numbered { producer, epoch, first: next, records },
                6 => Numbered { producer, epoch, first: 0, records },
                7..=12 => batches.iter().rev().nth(usize::from(back) - 7).map_or(
                    Numbered { producer, epoch, first: 0, records },
                    |(batch, _)| *batch,
                ),
                _ => Numbered { producer, epoch, first: next + 1, records },
            };
            let expected = model.expect(&batch);
            match table.check(QUEUE, &batch) {
                Ok(Verdict::Next) => {
                    prop_assert_eq!(expected, Ok(None));
                    table.appended(QUEUE, &batch, end, 1);
                    let (newest, batches) = model.0.entry(producer).or_default();
                    if *newest != batch.epoch {
                        (*newest, *batches) = (batch.epoch, Vec::new());
                    }
                    batches.push((batch, end));
                    end += u64::from(records);
                }
                Ok(Verdict::Repeated(stored)) => {
                    prop_assert_eq!(expected, Ok(Some(stored.base_offset)));
                }
                Err(_) => prop_assert_eq!(expected, Err(())),
            }
        }
    }
}
