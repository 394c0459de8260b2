//! From a request to its state machine: what the operation needs of its file.
//!
//! Reads top-down: `plan` -> `plan_with` (what reads, and has a descriptor) or `locate` -> `located` (the
//! file was opened first; then as before).
//! Absent: the ring; what becomes of the operation (`disk`).

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::libc;

use super::super::{DiskOp, Errno, FileId, FileName};
use super::disk::RingDisk;
use super::files::Way;
use super::op::{Locate, Op, Opening, Product, Transfer};

impl RingDisk {
    /// Turns the request into its state machine; `Err` is an answer, not a refusal.
    pub(super) fn plan(&mut self, op: DiskOp) -> Result<Op, Errno> {
        Ok(match op {
            DiskOp::Open { name, create } => Op::Open(Opening::new(path_of(name), create)),
            DiskOp::Write { file, offset, data, durable, unwritten } => {
                let len = u32::try_from(data.len()).map_err(|_| Errno(libc::EINVAL))?;
                let transfer = Transfer::new(self.files.writable(file)?, offset, len);
                Op::Write { transfer, data, durable, unwritten }
            }
            DiskOp::Zero { file, offset, len } => {
                let transfer = Transfer::new(self.files.writable(file)?, offset, len);
                Op::Zero { transfer, by_device: false }
            }
            DiskOp::Read { file, .. } | DiskOp::Sync { file } => match self.files.way(file)? {
                Way::Descriptor(descriptor) => self.plan_with(op, descriptor)?,
                Way::Name(name) => locate(file, name, op),
            },
            DiskOp::Rename { from, .. } | DiskOp::Remove { name: from } => {
                match self.files.hold(from) {
                    Some(file) => locate(file, from, op),
                    None => renamed_or_removed(op)?,
                }
            }
            DiskOp::SyncDir => Op::SyncDir,
            DiskOp::Close { file } => Op::Close { fd: self.files.close(file)? },
        })
    }

    /// An operation that reads, now that its file has a descriptor.
    fn plan_with(&mut self, op: DiskOp, descriptor: Rc<OwnedFd>) -> Result<Op, Errno> {
        match op {
            DiskOp::Read { offset, len, .. } => {
                let transfer = Transfer::new(descriptor, offset, len);
                let block = self.budget.block(len).ok_or(Errno(libc::ENOMEM))?;
                Ok(Op::Read { transfer, block })
            }
            DiskOp::Sync { .. } => Ok(Op::Sync { file: descriptor }),
            _ => Err(Errno(libc::EINVAL)),
        }
    }

    /// An adopted file was opened, or not: what comes then.
    pub(super) fn located(
        &mut self,
        locate: Locate,
        result: Result<Product, Errno>,
    ) -> Result<Op, Errno> {
        let Locate { file, name, then, .. } = locate;
        let opened = match result {
            Ok(Product::Located(descriptor)) => Ok(descriptor),
            Ok(_) => Err(Errno(libc::EIO)),
            Err(errno) => Err(errno),
        };
        match self.files.way(file) {
            Ok(Way::Name(now)) if now == name => {
                let descriptor = self.files.locate(file, opened?);
                while let Some(evicted) = self.files.evict() {
                    self.close_aside(evicted);
                }
                match changing(&then) {
                    Some(_) => self.plan(then),
                    None => self.plan_with(then, descriptor),
                }
            }
            // Closed meanwhile: what reads still ends as it would have.
            Err(_) if changing(&then).is_none() => self.plan_with(then, Rc::new(opened?)),
            // Another operation was faster, or the file has another name by now.
            Ok(_) | Err(_) => {
                opened.into_iter().for_each(|surplus| self.close_aside(surplus));
                self.plan(then)
            }
        }
    }
}

/// The first half of an operation on an adopted file that has no descriptor.
fn locate(file: FileId, name: FileName, then: DiskOp) -> Op {
    Op::Locate(Box::new(Locate { file, name, path: path_of(name), then }))
}

/// The name that an operation changes.
pub(super) fn changing(op: &DiskOp) -> Option<FileName> {
    match op {
        DiskOp::Rename { from: name, .. } | DiskOp::Remove { name } => Some(*name),
        _ => None,
    }
}

/// A change of a name, when all handles of the file have descriptors.
fn renamed_or_removed(op: DiskOp) -> Result<Op, Errno> {
    match op {
        DiskOp::Rename { from, to } => {
            Ok(Op::Rename { names: (from, to), from: path_of(from), to: path_of(to) })
        }
        DiskOp::Remove { name } => Ok(Op::Remove { name, path: path_of(name) }),
        _ => Err(Errno(libc::EINVAL)),
    }
}

fn path_of(name: FileName) -> CString {
    // A shard's file names hold no NUL.
    CString::new(name.to_string()).unwrap_or_default()
}
