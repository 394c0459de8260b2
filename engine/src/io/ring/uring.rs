//! One io_uring, shared within a reactor's thread: socket readiness, disk operations, one timer.
//!
//! Reads top-down: [`Ring::new`] -> [`Ring::poll_add`] -> [`Ring::submit`] -> [`Ring::reap`] ->
//! [`Ring::arm_sleep`].
//!
//! Invariants: an SQE is never lost (what the queue cannot take waits in `backlog`, in order);
//! `reap` leaves nothing behind (the kernel runs at most about 20 deferred completions per
//! `enter` and says only in the TASKRUN flag that there are more: see `tests`); the eventfd is
//! silent except between [`Ring::arm_sleep`] and [`Ring::disarm_sleep`].
//! Absent: any thread but one; SQPOLL; registered files and buffers (no gain was measured yet).
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::{Ordering, fence};

use io_uring::types::{Fd, TimeoutFlags, Timespec};
use io_uring::{Builder, EnterFlags, IoUring, cqueue, opcode, squeue};
use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::super::{Errno, Nanos};
use super::token::{Owner, POLL_TOKEN_MAX};

/// Enters without a completion after which the TASKRUN flag is taken for a leftover: the kernel
/// sets it *after* it has queued the work, so when that work is run in between, the flag stays set
/// over an empty list and no enter clears it (a reactor that waited for it stood still until its
/// next timer). Each enter that finds work runs about 20 items, which as a rule complete
/// something.
const FRUITLESS_ENTERS_MAX: u32 = 16;

/// Completions one `reap` hands out at most, so that a turn has an end under any load.
const REAP_MAX: usize = 8192;

/// Sizes of the ring.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Submission queue entries: how many operations one `enter` can take.
    pub submission_entries: u32,
    /// Completion queue entries: a burst beyond it costs an extra `enter`, nothing is lost.
    pub completion_entries: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { submission_entries: 1024, completion_entries: 8192 }
    }
}

/// Why there is no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The operator must allow io_uring (container profile, `kernel.io_uring_disabled`).
    #[error("io_uring is not allowed here ({0}): check kernel.io_uring_disabled, seccomp profile")]
    Forbidden(Errno),
    /// The operator must raise the limit of locked memory or the process' memory limit.
    #[error("no memory for io_uring's queues: raise RLIMIT_MEMLOCK")]
    Memory,
    /// Anything else; the node cannot start.
    #[error("io_uring setup: {0}")]
    Setup(Errno),
}

/// What a poll saw: `poll(2)` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollEvents(pub u32);

impl PollEvents {
    /// Readable, writable or closed by the peer: everything a stream connection is asked for.
    /// One multishot poll is enough for both directions: a socket wakes for space only after a
    /// send has failed for lack of it.
    pub const STREAM: Self =
        Self((libc::POLLIN as u32) | (libc::POLLOUT as u32) | (libc::POLLRDHUP as u32));
    /// Readable.
    pub const IN: Self = Self(libc::POLLIN as u32);

    /// Bytes, an end of stream or an error can be received.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        const BITS: i16 = libc::POLLIN | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
        self.0 & (BITS as u32) != 0
    }

    /// The peer has closed its side, or the connection is broken: read to the end.
    #[must_use]
    pub const fn is_hung_up(self) -> bool {
        self.0 & ((libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32) != 0
    }

    /// Bytes can be sent (or sending reports an error).
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.0 & ((libc::POLLOUT | libc::POLLHUP | libc::POLLERR) as u32) != 0
    }
}

/// One readiness report of a multishot poll.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The caller's token.
    pub token: u64,
    /// What is ready, or why the poll failed.
    pub result: Result<PollEvents, Errno>,
    /// Whether the poll is still armed. If not, and the caller still cares: arm it again.
    pub more: bool,
}

/// Results of one disk's operations, filled by [`Ring::reap`], drained by the disk.
#[derive(Debug, Default)]
pub(super) struct Inbox(pub(super) RefCell<VecDeque<(u32, i32)>>);

/// An io_uring and what waits for it.
pub struct Ring {
    uring: RefCell<IoUring>,
    backlog: RefCell<VecDeque<squeue::Entry>>,
    eventfd: EventFd,
    ready: RefCell<Vec<Ready>>,
    disks: RefCell<Vec<Rc<Inbox>>>,
    timer_at: Cell<Option<Nanos>>,
    timer_spec: Cell<Timespec>,
    /// Reaped, but not yet taken by its owner.
    undelivered: Cell<usize>,
    failed: Cell<Option<Errno>>,
    enters: Cell<u64>,
    deferred: bool,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("deferred", &self.deferred).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring that belongs to the calling thread, with deferred task work where the kernel has it
    /// (6.1), cooperative from 5.19, plain before.
    ///
    /// # Errors
    /// [`RingError`] says what the operator can do.
    pub fn new(config: RingConfig) -> Result<Rc<Self>, RingError> {
        let (uring, deferred) = build(config)?;
        let setup = |e: nix::Error| RingError::Setup(Errno(e as i32));
        // Blocking on purpose: whoever sleeps does so by reading it (through another ring).
        let eventfd = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC).map_err(setup)?;
        uring
            .submitter()
            .register_eventfd(eventfd.as_fd().as_raw_fd())
            .map_err(|e| RingError::Setup(errno(&e)))?;
        let ring = Rc::new(Self {
            uring: RefCell::new(uring),
            backlog: RefCell::default(),
            eventfd,
            ready: RefCell::default(),
            disks: RefCell::default(),
            timer_at: Cell::new(None),
            timer_spec: Cell::new(Timespec::new()),
            undelivered: Cell::new(0),
            failed: Cell::new(None),
            enters: Cell::new(0),
            deferred,
        });
        ring.disarm_sleep();
        Ok(ring)
    }

    /// Whether completions are processed only when this thread asks (DEFER_TASKRUN).
    #[must_use]
    pub fn is_deferred(&self) -> bool {
        self.deferred
    }

    /// `io_uring_enter` calls so far.
    #[must_use]
    pub fn enters(&self) -> u64 {
        self.enters.get()
    }

    /// The errno after which this ring is useless, if there was one: the reactor must stop.
    #[must_use]
    pub fn failure(&self) -> Option<Errno> {
        self.failed.get()
    }

    /// Starts a multishot poll of `fd` (edge-like: a report per wake-up of the socket). The
    /// kernel holds the socket open until the poll has ended: see [`Ring::poll_cancel`].
    ///
    /// # Panics
    /// If `token` is above [`POLL_TOKEN_MAX`].
    pub fn poll_add(&self, fd: BorrowedFd<'_>, events: PollEvents, token: u64) {
        assert!(token <= POLL_TOKEN_MAX, "poll token {token:#x}");
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), events.0).multi(true).build();
        // SAFETY: a poll refers to no memory of ours.
        unsafe { self.push(entry.user_data(Owner::Poll(token).encode())) };
    }

    /// Ends the poll with this token; a last [`Ready`] with `ECANCELED` may still come.
    pub fn poll_cancel(&self, token: u64) {
        // Not POLL_REMOVE: that one gives up (EALREADY) on a poll whose wake-up is being handled.
        let entry = opcode::AsyncCancel::new(Owner::Poll(token).encode()).build();
        // SAFETY: a cancel refers to no memory of ours.
        unsafe { self.push(entry.user_data(Owner::Nobody.encode())) };
    }

    /// Makes sure that a sleeper is woken at `at` or earlier (`CLOCK_MONOTONIC`). A timer that
    /// was set earlier and is due before stays: it costs one needless wake-up.
    pub fn wake_at(&self, at: Nanos) {
        if self.timer_at.get().is_some_and(|armed| armed <= at) {
            return;
        }
        let spec = Timespec::new().sec(at.0 / 1_000_000_000).nsec((at.0 % 1_000_000_000) as u32);
        self.timer_spec.set(spec);
        let spec = self.timer_spec.as_ptr().cast_const();
        let entry = if self.timer_at.replace(Some(at)).is_none() {
            let timeout = opcode::Timeout::new(spec).flags(TimeoutFlags::ABS);
            timeout.build().user_data(Owner::Timer.encode())
        } else {
            let timer = Owner::Timer.encode();
            let update = opcode::TimeoutUpdate::new(timer, spec).flags(TimeoutFlags::ABS);
            update.build().user_data(Owner::Nobody.encode())
        };
        // SAFETY: the kernel copies the timespec when it takes the entry; it lies in this ring,
        // which lives in an `Rc` and outlives its own submission queue. Two entries not yet
        // submitted may share it: both then mean the later value, which is the earlier time.
        unsafe { self.push(entry) };
    }

    /// Registers a disk; its completions go to the inbox.
    pub(super) fn add_disk(&self) -> Option<(u16, Rc<Inbox>)> {
        let mut disks = self.disks.borrow_mut();
        let id = u16::try_from(disks.len()).ok()?;
        let inbox = Rc::new(Inbox::default());
        disks.push(Rc::clone(&inbox));
        Some((id, inbox))
    }

    /// Queues an entry. Never fails: what does not fit waits, in order, for the next submit.
    ///
    /// # Safety
    /// What the entry points to must stay valid until its last completion was reaped.
    pub(super) unsafe fn push(&self, entry: squeue::Entry) {
        if self.backlog.borrow().is_empty() {
            if self.try_push(&entry) {
                return;
            }
            self.submit();
            if self.backlog.borrow().is_empty() && self.try_push(&entry) {
                return;
            }
        }
        self.backlog.borrow_mut().push_back(entry);
    }

    fn try_push(&self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller of `push` vouches for the entry.
        unsafe { self.uring.borrow_mut().submission().push(entry).is_ok() }
    }

    /// Hands everything queued to the kernel; does nothing when nothing is queued.
    pub fn submit(&self) {
        loop {
            while let Some(entry) = self.backlog.borrow_mut().pop_front() {
                if !self.try_push(&entry) {
                    self.backlog.borrow_mut().push_front(entry);
                    break;
                }
            }
            if self.uring.borrow_mut().submission().is_empty() {
                return;
            }
            // EBUSY (completions overflowed) and EAGAIN leave the rest queued: make room first.
            if !self.enter(0, EnterFlags::empty()) && self.drain() == 0 {
                return;
            }
        }
    }

    /// Collects everything that has completed; returns how many completions there were. Costs no
    /// system call when nothing has happened.
    pub fn reap(&self) -> usize {
        let (mut seen, mut fruitless) = (0, 0);
        loop {
            let found = self.drain();
            seen += found;
            fruitless = if found > 0 { 0 } else { fruitless + 1 };
            let enough = seen >= REAP_MAX || fruitless > FRUITLESS_ENTERS_MAX;
            if enough || !self.kernel_has_more() || self.failed.get().is_some() {
                return seen;
            }
            // One enter is not enough: it runs a bounded number of deferred completions and
            // leaves the rest on a list of which only the flag tells.
            self.enter(0, EnterFlags::GETEVENTS);
        }
    }

    /// Whether anything waits to be reaped or, reaped on somebody else's behalf, to be taken: a
    /// few loads from shared memory.
    #[must_use]
    pub fn has_completions(&self) -> bool {
        self.undelivered.get() > 0
            || !self.uring.borrow_mut().completion().is_empty()
            || self.kernel_has_more()
    }

    fn kernel_has_more(&self) -> bool {
        let mut uring = self.uring.borrow_mut();
        let queue = uring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Submits, blocks until something has completed, and reaps. A signal ends the wait early.
    pub fn wait(&self) {
        self.submit();
        if self.drain() == 0 && self.failed.get().is_none() {
            self.enter(1, EnterFlags::GETEVENTS);
        }
        self.reap();
    }

    /// Moves the readiness reports reaped so far to `out`.
    pub fn take_ready(&self, out: &mut Vec<Ready>) {
        let mut ready = self.ready.borrow_mut();
        self.delivered(ready.len());
        out.append(&mut ready);
    }

    /// An owner has taken so many of its completions.
    pub(super) fn delivered(&self, count: usize) {
        self.undelivered.set(self.undelivered.get() - count);
    }

    /// The eventfd a sleeper reads (8 bytes, blocking).
    #[must_use]
    pub fn eventfd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Prepares to sleep: from now on completions signal the eventfd. Returns whether sleeping is
    /// allowed; if not, something has completed meanwhile and was reaped.
    ///
    /// Why nothing is lost: the kernel queues the completion, then looks at the flag; we set the
    /// flag, then (after the fence) enter the kernel, which looks at the queue. One of the two
    /// sees the other.
    #[must_use]
    pub fn arm_sleep(&self) -> bool {
        self.submit();
        self.uring.borrow_mut().completion().enable_eventfd();
        fence(Ordering::SeqCst);
        self.enter(0, EnterFlags::GETEVENTS);
        // Also what a disk has reaped for somebody who had his turn before it.
        let reaped = self.reap() > 0 || self.undelivered.get() > 0;
        let idle = !reaped && self.failed.get().is_none();
        if !idle {
            self.disarm_sleep();
        }
        idle
    }

    /// Awake again: completions stay silent, they are found by looking.
    pub fn disarm_sleep(&self) {
        self.uring.borrow_mut().completion().disable_eventfd();
    }

    /// One `io_uring_enter`; false if the kernel wants room or time first.
    fn enter(&self, wait_for: u32, flags: EnterFlags) -> bool {
        self.enters.set(self.enters.get() + 1);
        let mut uring = self.uring.borrow_mut();
        let queued = uring.submission().len() as u32;
        // SAFETY: no extended argument is passed; the entries were vouched for in `push`.
        let result = unsafe {
            uring.submitter().enter::<libc::sigset_t>(queued, wait_for, flags.bits(), None)
        };
        match result {
            Ok(_) => true,
            Err(e) => {
                let errno = errno(&e);
                if !matches!(errno.0, libc::EINTR | libc::EBUSY | libc::EAGAIN) {
                    self.failed.set(Some(errno));
                }
                false
            }
        }
    }

    fn drain(&self) -> usize {
        let mut uring = self.uring.borrow_mut();
        let mut seen = 0;
        for entry in uring.completion() {
            seen += 1;
            self.route(&entry);
        }
        seen
    }

    fn route(&self, entry: &cqueue::Entry) {
        let result = entry.result();
        match Owner::decode(entry.user_data()) {
            Owner::Poll(token) => {
                let result =
                    if result < 0 { Err(Errno(-result)) } else { Ok(PollEvents(result as u32)) };
                let more = cqueue::more(entry.flags());
                self.undelivered.set(self.undelivered.get() + 1);
                self.ready.borrow_mut().push(Ready { token, result, more });
            }
            Owner::Disk { disk, slot } => {
                if let Some(inbox) = self.disks.borrow().get(usize::from(disk)) {
                    self.undelivered.set(self.undelivered.get() + 1);
                    inbox.0.borrow_mut().push_back((slot, result));
                }
            }
            Owner::Timer => self.timer_at.set(None),
            Owner::Nobody => {}
        }
    }
}

fn build(config: RingConfig) -> Result<(IoUring, bool), RingError> {
    fn base(config: RingConfig) -> Builder {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(config.completion_entries).dontfork();
        builder
    }
    let entries = config.submission_entries;
    let mut deferred = base(config);
    deferred.setup_submit_all().setup_single_issuer();
    deferred.setup_defer_taskrun().setup_taskrun_flag();
    let mut cooperative = base(config);
    cooperative.setup_submit_all().setup_coop_taskrun().setup_taskrun_flag();
    let mut last = Errno(libc::EINVAL);
    for (builder, is_deferred) in [(deferred, true), (cooperative, false), (base(config), false)] {
        match builder.build(entries) {
            Ok(uring) => return Ok((uring, is_deferred)),
            Err(e) => last = errno(&e),
        }
        // EINVAL: a flag this kernel does not know; try with fewer.
        if last.0 != libc::EINVAL {
            break;
        }
    }
    Err(match last.0 {
        libc::EPERM | libc::ENOSYS | libc::EACCES => RingError::Forbidden(last),
        libc::ENOMEM => RingError::Memory,
        _ => RingError::Setup(last),
    })
}

pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

/// A descriptor as the ring wants it.
pub(super) fn raw(fd: &OwnedFd) -> RawFd {
    fd.as_raw_fd()
}

#[cfg(test)]
#[path = "uring_tests.rs"]
mod tests;
