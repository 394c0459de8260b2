//! What the kernel promises and what it does not: the facts the park protocol stands on.

use std::io::Write;
use std::os::unix::net::UnixStream;

use super::super::env::monotonic;
use super::*;

fn eventfd_signalled(ring: &Ring) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(ring.eventfd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

/// `count` polled pairs, armed, nothing readable.
fn polled_pairs(ring: &Ring, count: usize) -> Vec<(UnixStream, UnixStream)> {
    let pairs: Vec<_> = (0..count).map(|_| UnixStream::pair().unwrap()).collect();
    for (token, (near, _)) in pairs.iter().enumerate() {
        near.set_nonblocking(true).unwrap();
        ring.poll_add(near.as_fd(), PollEvents::IN, token as u64);
    }
    ring.submit();
    assert_eq!(ring.reap(), 0);
    pairs
}

/// The cause of stalls: of 256 sockets that become readable one enter reports 20. The eventfd is
/// signalled by the completions this enter has *posted*, not for those it left behind: a sleeper
/// that consumes the signal after the enter is never woken for them. Only TASKRUN tells.
#[test]
fn one_enter_does_not_report_everything() {
    let ring = Ring::new(RingConfig::default()).unwrap();
    if !ring.is_deferred() {
        return;
    }
    let mut pairs = polled_pairs(&ring, 256);
    assert!(ring.arm_sleep());
    for (_, far) in &mut pairs {
        far.write_all(b"x").unwrap();
    }
    ring.eventfd.read().unwrap();
    ring.enter(0, EnterFlags::GETEVENTS);
    let first = ring.drain();
    let posted = eventfd_signalled(&ring);
    if posted {
        ring.eventfd.read().unwrap();
    }
    println!("one enter reports {first} of 256; eventfd signalled by its own posts: {posted}");
    // Kernels before 6.13 report all of them at once; then there is nothing left to tell of.
    if first < 256 {
        assert!(!eventfd_signalled(&ring), "no signal is left for the others");
        assert!(ring.has_completions(), "the flag is the only witness");
    }
    assert_eq!(first + ring.reap(), 256, "reap leaves nothing behind");
    assert!(!ring.has_completions());
}

/// Between `disarm_sleep` and `arm_sleep` nothing signals; `arm_sleep` itself finds what came.
#[test]
fn arming_finds_what_arrived_while_awake() {
    let ring = Ring::new(RingConfig::default()).unwrap();
    let mut pairs = polled_pairs(&ring, 64);
    for (_, far) in &mut pairs {
        far.write_all(b"x").unwrap();
    }
    assert!(!eventfd_signalled(&ring), "awake: silent");
    assert!(!ring.arm_sleep(), "something came: no sleep");
    let mut ready = Vec::new();
    ring.take_ready(&mut ready);
    assert_eq!(ready.len(), 64);
    assert!(ready.iter().all(|r| r.more && r.result.is_ok_and(PollEvents::is_readable)));
    assert!(ring.arm_sleep() || ring.arm_sleep(), "nothing more");
}

#[test]
fn completions_beyond_the_queue_are_not_lost() {
    let ring = Ring::new(RingConfig { submission_entries: 8, completion_entries: 16 }).unwrap();
    let mut pairs = polled_pairs(&ring, 300);
    let mut ready = Vec::new();
    for round in 1..=3 {
        for (_, far) in &mut pairs {
            far.write_all(b"x").unwrap();
        }
        while ring.reap() > 0 {}
        ring.take_ready(&mut ready);
        let mut tokens: Vec<_> = ready.iter().map(|r| r.token).collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), 300, "round {round}: every socket is reported");
        // A multishot poll ends when its report overflows: the caller arms it again.
        for ended in ready.drain(..).filter(|r| !r.more) {
            let fd = pairs[ended.token as usize].0.as_fd();
            ring.poll_add(fd, PollEvents::IN, ended.token);
        }
        for (near, _) in &mut pairs {
            let _ = std::io::Read::read(near, &mut [0; 8]).unwrap();
        }
        while ring.reap() > 0 {}
        ring.submit();
        ring.take_ready(&mut ready);
        ready.clear();
    }
}

#[test]
fn the_timer_wakes_and_can_be_moved_forward() {
    let ring = Ring::new(RingConfig::default()).unwrap();
    let start = monotonic();
    ring.wake_at(start.plus(60_000_000_000));
    ring.wake_at(start.plus(2_000_000));
    while ring.timer_at.get().is_some() {
        ring.wait();
    }
    let slept = monotonic().since(start);
    assert!((2_000_000..30_000_000_000).contains(&slept), "{slept} ns");
}

#[test]
fn a_cancelled_poll_releases_its_socket() {
    let ring = Ring::new(RingConfig::default()).unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    ring.poll_add(near.as_fd(), PollEvents::IN, 1);
    ring.submit();
    ring.poll_cancel(1);
    drop(near);
    ring.submit();
    ring.reap();
    assert_eq!(std::io::Read::read(&mut far, &mut [0; 1]).unwrap(), 0, "the peer sees the end");
    let mut ready = Vec::new();
    ring.take_ready(&mut ready);
    assert!(ready.iter().all(|r| !r.more));
}
