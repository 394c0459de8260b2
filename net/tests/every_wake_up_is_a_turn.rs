//! A reactor that is woken from another thread takes a turn, asleep or not, the first time and
//! every time after it, and goes on serving its sockets.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use common::valve::Node;
use common::{MODES, PATIENCE, ask};
use net::server::Limits;

#[test]
fn also_when_it_sleeps() {
    for mode in MODES {
        let node = Node::start(mode, Limits::default());
        let mut stream = node.connect();
        for n in 0..40 {
            // 0 to 10 ms: busy, looking around, asleep.
            std::thread::sleep(Duration::from_millis(n % 5 * n % 11));
            let before = node.valve.turns.load(SeqCst);
            node.reactor.waker().wake();
            let begun = Instant::now();
            while node.valve.turns.load(SeqCst) == before {
                assert!(begun.elapsed() < PATIENCE, "{mode:?}: wake-up {n} is lost");
                std::thread::yield_now();
            }
            if n % 8 == 7 {
                ask(&mut stream, n, 100);
            }
        }
        node.reactor.stop().unwrap();
    }
}

/// Wake-ups that nobody has noticed yet are one.
#[test]
fn any_number_of_wake_ups_is_one() {
    for mode in MODES {
        let node = Node::start(mode, Limits::default());
        let mut stream = node.connect();
        for round in 0..3 {
            for _ in 0..100_000 {
                node.reactor.waker().wake();
            }
            ask(&mut stream, round, 100);
            node.a_few_turns();
        }
        node.reactor.stop().unwrap();
    }
}
