//! The verifier must catch every kind of fault: each is fed to it here.

use std::time::Duration;

use super::*;
use crate::load::Dialect;
use crate::report::Waiting;

const BATCH: u64 = 2;

fn load(producers: u32, queues: u16) -> Load {
    Load {
        addr: "127.0.0.1:1".parse().unwrap(),
        dialect: Dialect::Native,
        topics: vec![1],
        queues,
        ack: net::wire::AckLevel::Durable,
        producers,
        in_flight: 1,
        batch: BATCH as u32,
        messages: Arc::new(Messages::generated(40)),
        rate_per_s: None,
        consumers: 0,
        subscriptions: 1,
        stamps: false,
        verify: true,
        timings: true,
        waiting: Waiting::Sleep,
        cpu: None,
        warm_up: Duration::ZERO,
        measure: Duration::ZERO,
        broker_pid: None,
    }
}

/// A delivered record.
#[derive(Clone, Debug)]
struct Delivered {
    queue: u16,
    key: [u8; 16],
    value: Vec<u8>,
}

/// What a broker without faults delivers of so many messages of each producer, by queue.
fn deliveries(load: &Load, sent: u64) -> Vec<Delivered> {
    let lanes = Lanes::of(load);
    let mut all = Vec::new();
    for queue in 0..load.queues {
        for number in 0..sent {
            for producer in 0..load.producers {
                if lanes.queue(producer, number) == queue {
                    let which = number * u64::from(load.producers) + u64::from(producer);
                    let value = load.messages.get(which).to_vec();
                    let key = Tag { producer, number }.encode(&value);
                    all.push(Delivered { queue, key, value });
                }
            }
        }
    }
    all
}

fn verify(load: &Load, sent: u64, acknowledged: u64, delivered: &[Delivered]) -> Verified {
    let mut verifier = Verifier::new(load);
    verifier.acknowledged(acknowledged as u32);
    see_all(&mut verifier, load, delivered);
    verifier.finish(&vec![sent; load.producers as usize])
}

fn see_all(verifier: &mut Verifier, load: &Load, delivered: &[Delivered]) {
    let mut offsets = vec![0; usize::from(load.queues)];
    for record in delivered {
        let offset = &mut offsets[usize::from(record.queue)];
        verifier.see(record.queue, *offset, Some(&record.key), Some(&record.value));
        *offset += 1;
    }
}

#[test]
fn what_was_sent_is_clean_over_any_number_of_queues_and_producers() {
    for (producers, queues) in [(1, 1), (1, 3), (3, 1), (3, 2), (2, 5)] {
        let load = load(producers, queues);
        let all = deliveries(&load, 20);
        assert_eq!(all.len() as u64, 20 * u64::from(producers));
        let found = verify(&load, 20, all.len() as u64, &all);
        assert!(found.is_clean(), "{producers} producers, {queues} queues: {found:?}");
        assert_eq!(found.consumed, found.acknowledged);
    }
}

#[test]
fn a_lost_message_is_missing_wherever_it_was() {
    let load = load(2, 3);
    let all = deliveries(&load, 12);
    for lost in 0..all.len() {
        let mut rest = all.clone();
        rest.remove(lost);
        let found = verify(&load, 12, all.len() as u64, &rest);
        assert_eq!((found.missing, found.is_clean()), (1, false), "message {lost}: {found:?}");
        assert_eq!(found.consumed, all.len() as u64 - 1);
    }
    let nothing = verify(&load, 12, all.len() as u64, &[]);
    assert_eq!(nothing.missing, all.len() as u64);
}

#[test]
fn a_message_that_comes_twice_is_a_duplicate() {
    let load = load(2, 2);
    let all = deliveries(&load, 8);
    for twice in 0..all.len() {
        let mut more = all.clone();
        more.insert(twice, all[twice].clone());
        let found = verify(&load, 8, all.len() as u64, &more);
        assert_eq!((found.duplicated, found.missing), (1, 0), "message {twice}: {found:?}");
    }
}

#[test]
fn messages_of_one_producer_that_change_places_are_out_of_order() {
    let load = load(1, 1);
    let mut all = deliveries(&load, 8);
    all.swap(3, 5);
    let found = verify(&load, 8, 8, &all);
    assert!(found.reordered > 0 && found.missing == 0 && found.duplicated == 0, "{found:?}");
    assert_eq!(found.consumed, 8);
}

#[test]
fn producers_may_overtake_each_other() {
    let load = load(2, 1);
    let mut all = deliveries(&load, 4);
    all.sort_by_key(|record| record.key[3]);
    assert!(verify(&load, 4, 8, &all).is_clean());
}

#[test]
fn a_changed_byte_is_corrupt_and_its_message_missing() {
    let load = load(2, 2);
    let all = deliveries(&load, 4);
    for at in [0, 7, 39] {
        let mut damaged = all.clone();
        damaged[2].value[at] ^= 1;
        let found = verify(&load, 4, 8, &damaged);
        assert_eq!((found.corrupt, found.missing), (1, 1), "byte {at}: {found:?}");
    }
}

#[test]
fn a_message_of_another_run_with_a_right_checksum_is_corrupt() {
    let load = load(1, 1);
    let mut all = deliveries(&load, 4);
    all[1].value = b"another message that nobody sent in this run".to_vec();
    all[1].key = Tag { producer: 0, number: 1 }.encode(&all[1].value);
    assert_eq!(verify(&load, 4, 4, &all).corrupt, 1);
}

#[test]
fn a_message_in_the_wrong_queue_is_corrupt() {
    let load = load(1, 2);
    let mut all = deliveries(&load, 4);
    all[0].queue = 1;
    let found = verify(&load, 4, 4, &all);
    assert_eq!((found.corrupt, found.missing), (1, 1), "{found:?}");
}

#[test]
fn a_gap_in_the_offsets_is_a_fault() {
    let load = load(1, 1);
    let mut verifier = Verifier::new(&load);
    for (record, offset) in deliveries(&load, 4).iter().zip([0, 1, 5, 6]) {
        verifier.see(0, offset, Some(&record.key), Some(&record.value));
    }
    assert_eq!(verifier.finish(&[4]).reordered, 1);
}

#[test]
fn a_refused_request_may_be_absent_or_present() {
    let load = load(1, 1);
    let all = deliveries(&load, 8);
    for (refused_first, delivered) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut seen = all.clone();
        if !delivered {
            seen.drain(2..4);
        }
        let mut verifier = Verifier::new(&load);
        verifier.acknowledged(6);
        if refused_first {
            verifier.unacknowledged(0, 2, 2);
        }
        see_all(&mut verifier, &load, &seen);
        if !refused_first {
            verifier.unacknowledged(0, 2, 2);
        }
        let found = verifier.finish(&[8]);
        assert!(found.is_clean(), "refused first: {refused_first}: {found:?}");
    }
}

#[test]
fn a_refused_request_at_the_end_is_not_missing() {
    let load = load(1, 1);
    let all = deliveries(&load, 6);
    let mut verifier = Verifier::new(&load);
    verifier.acknowledged(6);
    see_all(&mut verifier, &load, &all);
    verifier.unacknowledged(0, 6, 2);
    assert!(verifier.finish(&[8]).is_clean());
}
