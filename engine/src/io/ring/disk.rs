//! One shard's directory, through the reactor's ring.
//!
//! Reads top-down: [`RingDisk::open`] -> `submit` -> `plan` -> `advance` -> `complete`; `files`
//! has the descriptors.
//!
//! Invariants: at most `ops_inflight_max` operations; each completes exactly once; dropping the
//! disk waits for what is in flight, because the kernel writes into memory we own.
//! Absent: retries, deadlines (a device write is never raced), more than one thread.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use io_uring::opcode;
use io_uring::types::Fd;
use nix::libc;

use super::super::block::{Block, Budget};
use super::super::file;
use super::super::{Completion, Disk, DiskOp, Errno, FileId, FileName, Full, OpId, Output, Space};
use super::files::Files;
use super::op::{Op, Product, Shared, Step};
use super::plan::changing;
use super::token::Owner;
use super::uring::{Inbox, Ring, errno};
use crate::limits::READ_FILES_MAX;

/// What one disk may use.
#[derive(Clone, Copy, Debug)]
pub struct DiskLimits {
    /// Operations in flight; beyond it `submit` answers [`Full`].
    pub ops_inflight_max: u32,
    /// Descriptors of adopted files that are kept open, beside those in use.
    pub descriptors_max: u32,
}

impl Default for DiskLimits {
    fn default() -> Self {
        Self { ops_inflight_max: 256, descriptors_max: READ_FILES_MAX }
    }
}

#[derive(Debug)]
struct Pending {
    id: OpId,
    op: Op,
}

/// The [`Disk`] of one shard on a shared [`Ring`].
#[derive(Debug)]
pub struct RingDisk {
    ring: Rc<Ring>,
    path: PathBuf,
    shared: Shared,
    pub(super) budget: Budget,
    limits: DiskLimits,
    number: u16,
    inbox: Rc<Inbox>,
    slots: Vec<Option<Pending>>,
    free: Vec<u32>,
    pub(super) files: Files,
    finished: Vec<Completion>,
    flush_failure: Option<Errno>,
    next_op: u64,
}

impl RingDisk {
    /// Opens the directory `path` (it must exist); blocks come out of `budget`.
    ///
    /// # Errors
    /// The errno of opening the directory; `EMFILE` when the ring has 65,536 disks already.
    pub fn open(
        ring: &Rc<Ring>,
        path: &Path,
        budget: Budget,
        limits: DiskLimits,
    ) -> Result<Self, Errno> {
        let dir = File::open(path).map_err(|e| errno(&e))?;
        let (number, inbox) = ring.add_disk().ok_or(Errno(libc::EMFILE))?;
        Ok(Self {
            ring: Rc::clone(ring),
            path: path.to_path_buf(),
            shared: Shared { dir: dir.into(), write_zeroes: true.into() },
            budget,
            limits,
            number,
            inbox,
            slots: Vec::new(),
            free: Vec::new(),
            files: Files::new(limits.descriptors_max),
            finished: Vec::new(),
            flush_failure: None,
            next_op: 0,
        })
    }

    /// Operations that have not completed yet.
    #[must_use]
    pub fn inflight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Closes a descriptor for which nobody waits.
    pub(super) fn close_aside(&self, descriptor: OwnedFd) {
        let close = opcode::Close::new(Fd(descriptor.into_raw_fd())).build();
        // SAFETY: the entry points to no memory; the descriptor is given away.
        unsafe { self.ring.push(close.user_data(Owner::Nobody.encode())) };
    }

    fn issue(&mut self, slot: u32) {
        let Some(Some(pending)) = self.slots.get_mut(slot as usize) else { return };
        let owner = Owner::Disk { disk: self.number, slot };
        let entry = pending.op.entry(&self.shared).user_data(owner.encode());
        // SAFETY: the operation owns what its entry points to, at stable addresses, and stays in
        // its slot until its last completion was reaped; `Drop` waits for that.
        unsafe { self.ring.push(entry) };
    }

    /// Feeds reaped results to their operations.
    fn advance(&mut self) {
        loop {
            let Some((slot, result)) = self.inbox.0.borrow_mut().pop_front() else { return };
            self.ring.delivered(1);
            let Some(Some(pending)) = self.slots.get_mut(slot as usize) else { continue };
            match pending.op.step(result, &self.shared) {
                Step::Again => self.issue(slot),
                Step::Done(result) => self.end(slot, result),
            }
        }
    }

    /// The end of an operation, or of its first half.
    fn end(&mut self, slot: u32, result: Result<Product, Errno>) {
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let Some(Pending { id, op }) = place.take() else { return };
        if let Err(errno) = result
            && op.is_flush(errno)
        {
            self.flush_failure.get_or_insert(errno);
        }
        let result = match op {
            Op::Locate(locate) => {
                let change = changing(&locate.then);
                match self.located(*locate, result) {
                    Ok(op) => return self.begin(slot, id, op),
                    Err(errno) => {
                        if let Some(name) = change {
                            self.files.changed(name, None, false);
                        }
                        Err(errno)
                    }
                }
            }
            Op::Rename { names: (from, to), .. } => {
                self.files.changed(from, Some(to), result.is_ok());
                result
            }
            Op::Remove { name, .. } => {
                self.files.changed(name, None, result.is_ok());
                result
            }
            _ => result,
        };
        self.free.push(slot);
        let result = result.and_then(|product| self.output(product));
        self.finished.push(Completion { op: id, result });
    }

    fn begin(&mut self, slot: u32, id: OpId, op: Op) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Pending { id, op });
        }
        self.issue(slot);
    }

    fn output(&mut self, product: Product) -> Result<Output, Errno> {
        Ok(match product {
            Product::Opened(descriptor, len) => {
                Output::Opened { file: self.files.opened(descriptor), len }
            }
            Product::Written => Output::Written,
            Product::Read(block) => Output::Read(block),
            Product::Synced => Output::Synced,
            Product::Done => Output::Done,
            // It has been taken by the operation that needed it.
            Product::Located(_) => return Err(Errno(libc::EIO)),
        })
    }
}

impl Disk for RingDisk {
    fn submit(&mut self, op: DiskOp) -> Result<OpId, Full> {
        if self.inflight() + self.finished.len() >= self.limits.ops_inflight_max as usize {
            return Err(Full(op));
        }
        let id = OpId(self.next_op);
        self.next_op += 1;
        match self.plan(op) {
            // Nothing to do: it has no descriptor, or the operations that use it close it.
            Ok(Op::Close { fd: None }) => {
                self.finished.push(Completion { op: id, result: Ok(Output::Done) });
            }
            Ok(op) => {
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    (self.slots.len() - 1) as u32
                });
                self.begin(slot, id, op);
            }
            Err(errno) => self.finished.push(Completion { op: id, result: Err(errno) }),
        }
        Ok(id)
    }

    fn adopt(&mut self, name: FileName) -> FileId {
        self.files.adopt(name)
    }

    fn flush(&mut self) {
        self.ring.submit();
    }

    fn complete(&mut self, out: &mut Vec<Completion>) -> usize {
        self.ring.reap();
        self.advance();
        let count = self.finished.len();
        out.append(&mut self.finished);
        count
    }

    fn take_flush_failure(&mut self) -> Option<Errno> {
        self.flush_failure.take()
    }

    fn wait(&mut self) {
        loop {
            self.advance();
            if !self.finished.is_empty() || self.inflight() == 0 || self.ring.failure().is_some() {
                return;
            }
            self.ring.wait();
        }
    }

    fn list(&mut self) -> Result<Vec<FileName>, Errno> {
        file::list(&self.path)
    }

    fn space(&mut self) -> Result<Space, Errno> {
        file::space(&self.path)
    }

    fn block(&mut self, len: u32) -> Option<Block> {
        self.budget.block(len)
    }
}

impl Drop for RingDisk {
    fn drop(&mut self) {
        while self.inflight() > 0 && self.ring.failure().is_none() {
            self.finished.clear();
            self.wait();
        }
        // A ring that failed with operations in flight: their memory is never given back.
        for pending in self.slots.drain(..).flatten() {
            std::mem::forget(pending);
        }
    }
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod adopt_tests;
#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
