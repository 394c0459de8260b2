//! Idempotent producers, by hand: one batch at a time, now and then the same one again, and after a
//! restart the last one that was acknowledged.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::time::Duration;

use engine::batch::{BatchBuilder, NewRecord};
use net::wire::{AckLevel, ErrorCode, Names, Produce, Reply, Request, decode_reply};
use rand::Rng;
use rand::rngs::StdRng;

use super::{ONCE, Witness};
use crate::harness::raw::{Raw, frame};

/// Before a batch is sent again that the node had no room for.
const PAUSE: Duration = Duration::from_millis(5);

/// Sends until the node is gone.
pub(super) fn run(address: &str, number: usize, random: StdRng, witness: &Witness) {
    match send_all(address, number, random, witness) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("sender {number}: no reply"),
        // A broken connection is the end that was waited for.
        Err(_) => {}
    }
}

fn send_all(
    address: &str,
    number: usize,
    mut random: StdRng,
    witness: &Witness,
) -> io::Result<Infallible> {
    let mut raw = Raw::try_greeted(address)?;
    let topic = topic(&mut raw)?;
    let known = witness.promises().senders[number].id;
    let id = match known {
        Some((_, id)) => id,
        None => {
            let id = new_id(&mut raw)?;
            witness.promised(|promises, at| {
                promises.senders[number].id = Some((at, id));
                promises.ids.push((at, id));
                promises.count += 1;
            });
            id
        }
    };
    let mut next = witness.promises().senders[number].acked.len();
    let mut again = next > 0;
    loop {
        let sequence = if again { next - 1 } else { next };
        let value = witness.once(number, sequence as u64);
        let mut builder = BatchBuilder::new(1 << 20);
        builder.set_producer(id, 0, i32::try_from(sequence).expect("not that many"));
        builder.append(&NewRecord { value: Some(&value), ..NewRecord::default() }).expect("fits");
        let level = [AckLevel::Written, AckLevel::Durable][random.random_range(0..2)];
        // A batch that is lost would leave a gap in its numbers.
        let level = level.max(witness.survives);
        if witness.now_at_most(level) != level {
            std::thread::sleep(PAUSE);
            continue;
        }
        let ack = Some(level);
        let batch = builder.finish().expect("a batch");
        let produce = Produce { topic, queue: number as u16, ack, batch };
        let reply = raw.call(&frame(1, &Request::Produce(produce)))?;
        match decode_reply(&reply).expect("a reply").1 {
            Reply::Produce(offset) => {
                assert_eq!(offset, sequence as u64, "sender {number}: the offset of its batch");
                if !again {
                    witness.promised(|promises, at| {
                        promises.senders[number].acked.push(at);
                        promises.count += 1;
                    });
                    next += 1;
                }
                again = random.random_ratio(1, 4);
            }
            Reply::Error { error, .. }
                if matches!(error.code, ErrorCode::Busy | ErrorCode::DiskFull) =>
            {
                std::thread::sleep(PAUSE);
            }
            other => panic!("sender {number}, sequence {sequence}, again {again}: {other:?}"),
        }
    }
}

fn topic(raw: &mut Raw) -> io::Result<u32> {
    let mut buffer = Vec::new();
    let names = Names::encode(&[ONCE], &mut buffer).expect("a name");
    let reply = raw.call(&frame(1, &Request::Metadata(names)))?;
    match decode_reply(&reply) {
        Ok((_, Reply::Metadata(topics))) if topics[0].error.is_none() => Ok(topics[0].topic),
        other => panic!("{other:?}"),
    }
}

/// An id for an idempotent producer.
pub(super) fn new_id(raw: &mut Raw) -> io::Result<i64> {
    let reply = raw.call(&frame(1, &Request::InitProducerId))?;
    match decode_reply(&reply) {
        Ok((_, Reply::InitProducerId(producer))) if producer.epoch == 0 => Ok(producer.id),
        other => panic!("{other:?}"),
    }
}
