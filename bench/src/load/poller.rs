//! How the generator waits: asleep in epoll until a socket or the next intended send is due, or
//! looking again and again, with the CPU yielded between looks.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::LoadError;
use crate::yardstick::Wait;
use crate::yardstick::probe::yield_now;

const EVENTS_MAX: usize = 512;
/// So few sockets are asked directly when spinning: one call instead of two.
const SWEEP_MAX: usize = 4;
const TIMER: u64 = u64::MAX;
/// Arming the timer and being woken by it takes longer than this: look again instead.
const ARMED_MIN: Duration = Duration::from_micros(20);
/// A sleeper looks up this often whether it should stop.
const LOOK_UP_MS: u8 = 100;

/// Waits for sockets, known by their number.
pub(super) struct Poller {
    epoll: Epoll,
    timer: TimerFd,
    wait: Wait,
    links: usize,
    events: Vec<EpollEvent>,
    /// When the timer expires.
    armed_for: Option<Instant>,
}

impl Poller {
    pub(super) fn new(wait: Wait) -> Result<Self, LoadError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        // Not the epoll timeout: it counts milliseconds.
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )
        .map_err(failed)?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER)).map_err(failed)?;
        Ok(Self {
            epoll,
            timer,
            wait,
            links: 0,
            events: vec![EpollEvent::empty(); EVENTS_MAX],
            armed_for: None,
        })
    }

    /// Watches a socket; numbers count up from zero.
    pub(super) fn add(&mut self, fd: BorrowedFd<'_>) -> Result<(), LoadError> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, self.links as u64);
        self.links += 1;
        self.epoll.add(fd, event).map_err(failed)
    }

    /// Whether to wait for room to send as well.
    pub(super) fn want_room(
        &mut self,
        fd: BorrowedFd<'_>,
        number: usize,
        wanted: bool,
    ) -> Result<(), LoadError> {
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, wanted);
        self.epoll.modify(fd, &mut EpollEvent::new(flags, number as u64)).map_err(failed)
    }

    /// Fills `ready` with sockets that may be ready, at the latest when `until` has come. A
    /// spinning wait returns after every look.
    pub(super) fn wait(&mut self, until: Instant, ready: &mut Vec<usize>) -> Result<(), LoadError> {
        ready.clear();
        let timeout = match self.wait {
            Wait::Spinning => {
                yield_now();
                if self.links <= SWEEP_MAX {
                    ready.extend(0..self.links);
                    return Ok(());
                }
                EpollTimeout::ZERO
            }
            Wait::Sleeping => {
                let left = until.saturating_duration_since(Instant::now());
                if left < ARMED_MIN {
                    EpollTimeout::ZERO
                } else {
                    self.arm(until, left)?;
                    EpollTimeout::from(LOOK_UP_MS)
                }
            }
        };
        let found = match self.epoll.wait(&mut self.events, timeout) {
            Err(Errno::EINTR) => 0,
            found => found.map_err(failed)?,
        };
        for event in &self.events[..found] {
            match event.data() {
                TIMER => {
                    // This also clears the expiry, which is not read.
                    self.timer.unset().map_err(failed)?;
                    self.armed_for = None;
                }
                number => ready.push(number as usize),
            }
        }
        Ok(())
    }

    fn arm(&mut self, until: Instant, left: Duration) -> Result<(), LoadError> {
        // A closed loop waits for the same end again and again: no call for that.
        if self.armed_for == Some(until) {
            return Ok(());
        }
        self.armed_for = Some(until);
        let after = Expiration::OneShot(TimeSpec::from_duration(left));
        self.timer.set(after, TimerSetTimeFlags::empty()).map_err(failed)
    }
}

fn failed(errno: Errno) -> LoadError {
    LoadError::Socket { action: "waiting for sockets", source: errno.into() }
}
