//! One shard's directory, through the reactor's ring.
//!
//! Reads top-down: [`RingDisk::open`] -> `submit` -> `advance` -> `complete`.
//!
//! Invariants: at most `ops_inflight_max` operations; each completes exactly once; dropping the
//! disk waits for what is in flight, because the kernel writes into memory we own.
//! Absent: retries, deadlines (a device write is never raced), more than one thread.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::libc;

use super::super::block::{Block, Budget};
use super::super::file;
use super::super::{Completion, Disk, DiskOp, Errno, FileId, FileName, Full, OpId, Output, Space};
use super::op::{Op, Opening, Product, Shared, Step, Transfer};
use super::token::Owner;
use super::uring::{Inbox, Ring, errno};

/// What one disk may use.
#[derive(Clone, Copy, Debug)]
pub struct DiskLimits {
    /// Operations in flight; beyond it `submit` answers [`Full`].
    pub ops_inflight_max: u32,
}

impl Default for DiskLimits {
    fn default() -> Self {
        Self { ops_inflight_max: 256 }
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
    budget: Budget,
    limits: DiskLimits,
    number: u16,
    inbox: Rc<Inbox>,
    slots: Vec<Option<Pending>>,
    free: Vec<u32>,
    files: BTreeMap<FileId, Rc<OwnedFd>>,
    finished: Vec<Completion>,
    next_op: u64,
    next_file: u32,
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
            files: BTreeMap::new(),
            finished: Vec::new(),
            next_op: 0,
            next_file: 0,
        })
    }

    /// Operations that have not completed yet.
    #[must_use]
    pub fn inflight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn file(&self, file: FileId) -> Result<Rc<OwnedFd>, Errno> {
        self.files.get(&file).cloned().ok_or(Errno(libc::EBADF))
    }

    /// Turns the request into its state machine; `Err` is an answer, not a refusal.
    fn plan(&mut self, op: DiskOp) -> Result<Op, Errno> {
        Ok(match op {
            DiskOp::Open { name, create } => Op::Open(Opening::new(path_of(name), create)),
            DiskOp::Write { file, offset, data, durable, unwritten } => {
                let len = u32::try_from(data.len()).map_err(|_| Errno(libc::EINVAL))?;
                let transfer = Transfer::new(self.file(file)?, offset, len);
                Op::Write { transfer, data, durable, unwritten }
            }
            DiskOp::Read { file, offset, len } => {
                let transfer = Transfer::new(self.file(file)?, offset, len);
                let block = self.budget.block(len).ok_or(Errno(libc::ENOMEM))?;
                Op::Read { transfer, block }
            }
            DiskOp::Sync { file } => Op::Sync { file: self.file(file)? },
            DiskOp::Zero { file, offset, len } => {
                let transfer = Transfer::new(self.file(file)?, offset, len);
                Op::Zero { transfer, by_device: false }
            }
            DiskOp::Rename { from, to } => Op::Rename { from: path_of(from), to: path_of(to) },
            DiskOp::Remove { name } => Op::Remove { path: path_of(name) },
            DiskOp::SyncDir => Op::SyncDir,
            DiskOp::Close { file } => {
                let descriptor = self.files.remove(&file).ok_or(Errno(libc::EBADF))?;
                // Operations in flight keep the file; the last of them closes it.
                Op::Close { fd: Rc::try_unwrap(descriptor).ok() }
            }
        })
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
            let Some(place) = self.slots.get_mut(slot as usize) else { continue };
            let Some(pending) = place else { continue };
            match pending.op.step(result, &self.shared) {
                Step::Again => self.issue(slot),
                Step::Done(result) => {
                    let op = pending.id;
                    *place = None;
                    self.free.push(slot);
                    let result = result.map(|product| self.output(product));
                    self.finished.push(Completion { op, result });
                }
            }
        }
    }

    fn output(&mut self, product: Product) -> Output {
        match product {
            Product::Opened(descriptor, len) => {
                let file = FileId(self.next_file);
                self.next_file += 1;
                self.files.insert(file, Rc::new(descriptor));
                Output::Opened { file, len }
            }
            Product::Written => Output::Written,
            Product::Read(block) => Output::Read(block),
            Product::Synced => Output::Synced,
            Product::Done => Output::Done,
        }
    }
}

fn path_of(name: FileName) -> CString {
    // A shard's file names hold no NUL.
    CString::new(name.to_string()).unwrap_or_default()
}

impl Disk for RingDisk {
    fn submit(&mut self, op: DiskOp) -> Result<OpId, Full> {
        if self.inflight() + self.finished.len() >= self.limits.ops_inflight_max as usize {
            return Err(Full(op));
        }
        let id = OpId(self.next_op);
        self.next_op += 1;
        match self.plan(op) {
            // Nothing to do: its file is closed by the operations that still use it.
            Ok(Op::Close { fd: None }) => {
                self.finished.push(Completion { op: id, result: Ok(Output::Done) });
            }
            Ok(op) => {
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    (self.slots.len() - 1) as u32
                });
                self.slots[slot as usize] = Some(Pending { id, op });
                self.issue(slot);
            }
            Err(errno) => self.finished.push(Completion { op: id, result: Err(errno) }),
        }
        Ok(id)
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
#[path = "disk_tests.rs"]
mod tests;
