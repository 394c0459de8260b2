//! The smallest io_uring shell a device probe needs: fixed slots, each with its own buffer.
//!
//! The one module of this crate with unsafe code for I/O. Why it is sound: an operation points at
//! its slot's buffer and at the file, both owned by the [`Ring`]; a busy slot takes no second
//! operation and its buffer is not touched; the drop waits until nothing is in flight, and leaks
//! the buffers if it cannot.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, types};
use nix::errno::Errno;

use super::YardstickError;
use super::probe::yield_now;
use super::space::Aligned;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Read,
    Write,
    /// fdatasync of the file.
    Sync,
}

/// How one turn waits for completions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// In the kernel, until something completes.
    Enter,
    /// In the kernel, until something completes or that time comes.
    EnterUntil(Instant),
    /// Not at all; if there is nothing, yields the CPU or does not.
    Poll { yields: bool },
}

/// An operation that ended: its slot, and its bytes or the device's error.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) slot: usize,
    pub(super) result: io::Result<u32>,
}

pub(super) struct Ring {
    ring: IoUring,
    file: File,
    buffers: Vec<Aligned>,
    busy: Vec<bool>,
    inflight: usize,
}

impl Ring {
    /// A ring over `file` with `slots` buffers of `op_bytes` each.
    pub(super) fn new(file: File, slots: usize, op_bytes: usize) -> Result<Self, YardstickError> {
        let entries = u32::try_from(slots.next_power_of_two())
            .map_err(|_| YardstickError::BadProbe("the depth does not fit an io_uring"))?;
        // As the engine's own ring; kernels before 6.1 do not know these flags.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(entries)
            .or_else(|_| IoUring::new(entries))
            .map_err(|source| YardstickError::NoRing { source })?;
        let buffers = (0..slots).map(|_| Aligned::random(op_bytes)).collect();
        Ok(Self { ring, file, buffers, busy: vec![false; slots], inflight: 0 })
    }

    /// Queues an operation of the slot's whole buffer at byte `at` of the file (or a sync); the next turn
    /// submits it. Refused while the slot is busy.
    pub(super) fn start(&mut self, op: Op, slot: usize, at: u64) -> io::Result<()> {
        if mem::replace(&mut self.busy[slot], true) {
            return Err(Errno::EBUSY.into());
        }
        let buffer = self.buffers[slot].bytes_mut();
        let len = u32::try_from(buffer.len()).map_err(|_| io::Error::from(Errno::EINVAL))?;
        let fd = types::Fd(self.file.as_raw_fd());
        let entry = match op {
            Op::Read => opcode::Read::new(fd, buffer.as_mut_ptr(), len).offset(at).build(),
            Op::Write => opcode::Write::new(fd, buffer.as_ptr(), len).offset(at).build(),
            Op::Sync => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
        };
        // SAFETY: the buffer and the file live in `self` until the operation completed (the slot
        // stays busy until then, and the drop waits); the length is the buffer's.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(slot as u64)) };
        if pushed.is_err() {
            self.busy[slot] = false;
            return Err(Errno::EBUSY.into());
        }
        self.inflight += 1;
        Ok(())
    }

    /// Submits what was started, waits as told, and appends what completed to `done`.
    pub(super) fn turn(&mut self, how: Turn, done: &mut Vec<Done>) -> io::Result<()> {
        let result = match how {
            Turn::Enter => self.ring.submit_and_wait(1).map(drop),
            Turn::EnterUntil(due) => self.enter_until(due),
            Turn::Poll { .. } => self.poll(),
        };
        match result.as_ref().map_err(|e| e.raw_os_error()) {
            Err(Some(errno)) if errno == Errno::EINTR as i32 || errno == Errno::ETIME as i32 => {}
            _ => result?,
        }
        self.reap(done);
        match how {
            Turn::Poll { yields: true } if done.is_empty() => yield_now(),
            Turn::Poll { yields: false } if done.is_empty() => std::hint::spin_loop(),
            _ => {}
        }
        Ok(())
    }

    fn enter_until(&mut self, due: Instant) -> io::Result<()> {
        let left: Duration = due.saturating_duration_since(Instant::now());
        let timespec = types::Timespec::from(left);
        let args = types::SubmitArgs::new().timespec(&timespec);
        self.ring.submitter().submit_with_args(1, &args).map(drop)
    }

    /// With deferred task work a completion appears only after an enter, which is worth its price
    /// only when the kernel says that there is some.
    fn poll(&mut self) -> io::Result<()> {
        let submission = self.ring.submission();
        let idle = submission.is_empty() && !submission.taskrun();
        drop(submission);
        if idle { Ok(()) } else { self.ring.submit().map(drop) }
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        for entry in self.ring.completion() {
            let slot = entry.user_data() as usize;
            self.busy[slot] = false;
            self.inflight -= 1;
            let result = u32::try_from(entry.result())
                .map_err(|_| io::Error::from_raw_os_error(-entry.result()));
            done.push(Done { slot, result });
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut done = Vec::new();
        while self.inflight > 0 {
            if self.turn(Turn::Enter, &mut done).is_err() {
                // The kernel may still write into the buffers: they must outlive this process.
                mem::forget(mem::take(&mut self.buffers));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yardstick::Space;

    #[test]
    fn a_busy_slot_takes_no_second_operation_and_a_dropped_ring_waits() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::written(dir.path(), 1).unwrap();
        let mut ring = Ring::new(space.open(true).unwrap(), 1, 4096).unwrap();
        ring.start(Op::Write, 0, 0).unwrap();
        let refused = ring.start(Op::Write, 0, 4096).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::EBUSY as i32));
        assert_eq!(ring.inflight, 1);
        drop(ring);
    }

    #[test]
    fn every_way_to_wait_sees_the_completion_and_errors_arrive_as_results() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::written(dir.path(), 1).unwrap();
        let mut ring = Ring::new(space.open(false).unwrap(), 1, 4096).unwrap();
        let far = Instant::now() + Duration::from_secs(60);
        for how in [
            Turn::Enter,
            Turn::EnterUntil(far),
            Turn::Poll { yields: true },
            Turn::Poll { yields: false },
        ] {
            for op in [Op::Write, Op::Read] {
                ring.start(op, 0, 4096).unwrap();
                let mut done = Vec::new();
                while done.is_empty() {
                    ring.turn(how, &mut done).unwrap();
                }
                assert!(matches!(done[0], Done { slot: 0, result: Ok(4096) }), "{done:?}");
            }
        }
        ring.start(Op::Sync, 0, 0).unwrap();
        let mut done = Vec::new();
        ring.turn(Turn::Enter, &mut done).unwrap();
        assert!(matches!(done[0], Done { slot: 0, result: Ok(0) }), "{done:?}");
        ring.start(Op::Write, 0, 1).unwrap(); // not aligned
        let mut done = Vec::new();
        ring.turn(Turn::Enter, &mut done).unwrap();
        assert!(done[0].result.is_err(), "{done:?}");
        // Nothing in flight: the turn ends at its time.
        ring.turn(Turn::EnterUntil(Instant::now() + Duration::from_millis(1)), &mut done).unwrap();
    }
}
