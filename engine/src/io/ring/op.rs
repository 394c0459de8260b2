//! Disk operations as state machines: `entry` builds the next SQE, `step` takes its result.
//!
//! Most operations are one SQE. Creating takes up to three (descriptor, length, allocation), zeroing
//! one per MiB, and short transfers are continued. What needs an adopted file that has no descriptor
//! is preceded by one that opens it ([`Locate`]). A durable write is one with RWF_DSYNC: a second
//! descriptor with O_DSYNC would do the same, and a log has many files.
//!
//! Invariants: an operation owns all memory its entry points to (paths, blocks), at a stable
//! address, until `step` said [`Step::Done`]; descriptors are shared with
//! the file table, so a closed file's number is not reused under an operation in flight.
//! Absent: the queue and the file table (`disk`).
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

use io_uring::squeue::Flags;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};
use nix::libc;
use nix::sys::stat::fstat;

use super::super::block::{Block, Slice};
use super::super::{BLOCK_BYTES, DiskOp, Errno, FileId, FileName};
use super::uring::raw;

/// `fallocate` mode: write zeros, on the device itself where it can (Linux 6.17). Not in `libc`.
const FALLOC_FL_WRITE_ZEROES: i32 = 0x80;
const RENAME_NOREPLACE: u32 = 1;
/// One zero write: large enough to keep the device busy, small enough not to block a neighbour.
const ZERO_CHUNK_BYTES: u32 = 1 << 20;

/// Zeros to write from; in `.bss` (atomics keep it there), so it costs neither file nor memory.
#[repr(align(4096))]
struct Zeros([AtomicU64; ZERO_CHUNK_BYTES as usize / 8]);
static ZEROS: Zeros = Zeros([const { AtomicU64::new(0) }; ZERO_CHUNK_BYTES as usize / 8]);

/// What all operations of one disk share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The shard's directory.
    pub(super) dir: OwnedFd,
    /// Whether FALLOC_FL_WRITE_ZEROES is worth trying (until it was refused once).
    pub(super) write_zeroes: Cell<bool>,
}

/// A transfer of `len` bytes at `offset`, of which `done` are through.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) file: Rc<OwnedFd>,
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) done: u32,
}

#[derive(Debug)]
pub(super) struct Opening {
    path: CString,
    create: Option<u64>,
    stage: OpenStage,
    file: Option<OwnedFd>,
    length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenStage {
    Open,
    Shrink,
    Allocate,
}

/// The opening of an adopted file, for reading, on behalf of the operation that comes then.
#[derive(Debug)]
pub(super) struct Locate {
    pub(super) file: FileId,
    pub(super) name: FileName,
    pub(super) path: CString,
    pub(super) then: DiskOp,
}

#[derive(Debug)]
pub(super) enum Op {
    Locate(Box<Locate>),
    Open(Opening),
    Write { transfer: Transfer, data: Slice, durable: bool, unwritten: bool },
    Read { transfer: Transfer, block: Block },
    Sync { file: Rc<OwnedFd> },
    Zero { transfer: Transfer, by_device: bool },
    Rename { names: (FileName, FileName), from: CString, to: CString },
    Remove { name: FileName, path: CString },
    SyncDir,
    Close { fd: Option<OwnedFd> },
}

/// What an operation produced.
#[derive(Debug)]
pub(super) enum Product {
    Located(OwnedFd),
    Opened(OwnedFd, u64),
    Written,
    Read(Block),
    Synced,
    Done,
}

pub(super) enum Step {
    /// Submit the next entry.
    Again,
    Done(Result<Product, Errno>),
}

impl Transfer {
    pub(super) fn new(file: Rc<OwnedFd>, offset: u64, len: u32) -> Self {
        Self { file, offset, len, done: 0 }
    }

    fn at(&self) -> u64 {
        self.offset + u64::from(self.done)
    }

    fn left(&self) -> u32 {
        self.len - self.done
    }

    /// Accounts for `moved` bytes; a transfer that stops, or stops off the block grid, is EIO.
    fn advance(&mut self, moved: u32) -> Result<bool, Errno> {
        if moved == 0 || moved > self.left() {
            return Err(Errno(libc::EIO));
        }
        self.done += moved;
        if self.left() == 0 {
            return Ok(true);
        }
        if moved.is_multiple_of(BLOCK_BYTES) { Ok(false) } else { Err(Errno(libc::EIO)) }
    }
}

impl Opening {
    pub(super) fn new(path: CString, create: Option<u64>) -> Self {
        Self { path, create, stage: OpenStage::Open, file: None, length: 0 }
    }

    fn entry(&mut self, dir: &OwnedFd) -> squeue::Entry {
        let flags = libc::O_RDWR | libc::O_DIRECT | libc::O_CLOEXEC;
        let open = |path: &CString, flags: i32| {
            opcode::OpenAt::new(Fd(raw(dir)), path.as_ptr()).flags(flags).mode(0o644).build()
        };
        let file = Fd(self.file.as_ref().map_or(-1, raw));
        let length = self.create.unwrap_or(0);
        match self.stage {
            OpenStage::Open if self.create.is_some() => open(&self.path, flags | libc::O_CREAT),
            OpenStage::Open => open(&self.path, flags),
            OpenStage::Shrink => opcode::Ftruncate::new(file, length).build(),
            OpenStage::Allocate => opcode::Fallocate::new(file, length).build(),
        }
    }

    fn step(&mut self, value: i32) -> Step {
        self.stage = match (self.stage, self.create) {
            (OpenStage::Open, create) => {
                let file = self.file.insert(adopt(value));
                // Of an open file, from memory: the ring would wake a worker for it.
                let stat = match fstat(&*file) {
                    Ok(stat) => stat,
                    Err(errno) => return Step::Done(Err(Errno(errno as i32))),
                };
                self.length = u64::try_from(stat.st_size).unwrap_or(0);
                match create {
                    Some(length) if self.length > length => OpenStage::Shrink,
                    Some(length) if length > 0 => OpenStage::Allocate,
                    _ => return self.opened(),
                }
            }
            (OpenStage::Shrink, Some(length)) if length > 0 => OpenStage::Allocate,
            (OpenStage::Shrink | OpenStage::Allocate, _) => return self.opened(),
        };
        Step::Again
    }

    fn opened(&mut self) -> Step {
        let length = self.create.unwrap_or(self.length);
        let file = self.file.take().ok_or(Errno(libc::EBADF));
        Step::Done(file.map(|file| Product::Opened(file, length)))
    }
}

impl Op {
    /// Whether this, failing with `errno`, is a flush that failed: see
    /// [`Disk::take_flush_failure`](super::super::Disk::take_flush_failure).
    pub(super) fn is_flush(&self, errno: Errno) -> bool {
        match self {
            Self::Sync { .. } | Self::SyncDir => true,
            Self::Write { durable, .. } => *durable && errno.0 != libc::ENOSPC,
            _ => false,
        }
    }

    /// The next entry to submit.
    pub(super) fn entry(&mut self, shared: &Shared) -> squeue::Entry {
        let dir = Fd(raw(&shared.dir));
        match self {
            Self::Locate(locate) => opcode::OpenAt::new(dir, locate.path.as_ptr())
                .flags(libc::O_RDONLY | libc::O_DIRECT | libc::O_CLOEXEC)
                .build(),
            Self::Open(opening) => opening.entry(&shared.dir),
            Self::Write { transfer, data, durable, unwritten } => {
                let from = data.as_ptr().wrapping_add(transfer.done as usize);
                opcode::Write::new(Fd(raw(&transfer.file)), from, transfer.left())
                    .offset(transfer.at())
                    .rw_flags(if *durable { libc::RWF_DSYNC } else { 0 })
                    .build()
                    .flags(if *unwritten { Flags::ASYNC } else { Flags::empty() })
            }
            Self::Read { transfer, block } => {
                let to = block.as_mut_ptr().wrapping_add(transfer.done as usize);
                opcode::Read::new(Fd(raw(&transfer.file)), to, transfer.left())
                    .offset(transfer.at())
                    .build()
            }
            Self::Sync { file } => {
                opcode::Fsync::new(Fd(raw(file))).flags(FsyncFlags::DATASYNC).build()
            }
            Self::Zero { transfer, by_device } => {
                let file = Fd(raw(&transfer.file));
                *by_device = transfer.done == 0 && shared.write_zeroes.get();
                if *by_device {
                    return opcode::Fallocate::new(file, u64::from(transfer.len))
                        .offset(transfer.offset)
                        .mode(FALLOC_FL_WRITE_ZEROES)
                        .build();
                }
                let zeros = ZEROS.0.as_ptr().cast();
                // On a worker: ext4 starts a journal transaction for unwritten space, and that can
                // wait for a commit in progress, in whatever thread issues the write.
                opcode::Write::new(file, zeros, transfer.left().min(ZERO_CHUNK_BYTES))
                    .offset(transfer.at())
                    .build()
                    .flags(Flags::ASYNC)
            }
            Self::Rename { from, to, .. } => {
                opcode::RenameAt::new(dir, from.as_ptr(), dir, to.as_ptr())
                    .flags(RENAME_NOREPLACE)
                    .build()
            }
            Self::Remove { path, .. } => opcode::UnlinkAt::new(dir, path.as_ptr()).build(),
            Self::SyncDir => opcode::Fsync::new(dir).build(),
            // The descriptor is given away: the kernel closes it whatever the result.
            Self::Close { fd } => opcode::Close::new(Fd(take_raw(fd))).build(),
        }
    }

    /// Takes the result of the entry last submitted.
    pub(super) fn step(&mut self, result: i32, shared: &Shared) -> Step {
        if result < 0 {
            return self.failed(Errno(-result), shared);
        }
        match self {
            Self::Locate(_) => Step::Done(Ok(Product::Located(adopt(result)))),
            Self::Open(opening) => opening.step(result),
            Self::Write { transfer, .. } => moved(transfer, result, || Product::Written),
            Self::Read { transfer, .. } => match transfer.advance(result as u32) {
                Ok(false) => Step::Again,
                Ok(true) => Step::Done(self.take_block()),
                Err(errno) => Step::Done(Err(errno)),
            },
            Self::Zero { by_device: true, .. } => Step::Done(Ok(Product::Written)),
            Self::Zero { transfer, .. } => moved(transfer, result, || Product::Written),
            Self::Sync { .. } => Step::Done(Ok(Product::Synced)),
            Self::Rename { .. } | Self::Remove { .. } | Self::SyncDir | Self::Close { .. } => {
                Step::Done(Ok(Product::Done))
            }
        }
    }

    fn failed(&mut self, errno: Errno, shared: &Shared) -> Step {
        match self {
            // Interrupted before anything happened.
            _ if errno.0 == libc::EINTR || errno.0 == libc::EAGAIN => Step::Again,
            Self::Zero { by_device: true, .. }
                if matches!(errno.0, libc::EOPNOTSUPP | libc::EINVAL) =>
            {
                shared.write_zeroes.set(false);
                Step::Again
            }
            _ => Step::Done(Err(errno)),
        }
    }

    fn take_block(&mut self) -> Result<Product, Errno> {
        match std::mem::replace(self, Self::SyncDir) {
            Self::Read { transfer, mut block } => {
                block.assume_filled(transfer.len);
                Ok(Product::Read(block))
            }
            _ => Err(Errno(libc::EIO)),
        }
    }
}

fn moved(transfer: &mut Transfer, result: i32, product: impl FnOnce() -> Product) -> Step {
    match transfer.advance(result as u32) {
        Ok(false) => Step::Again,
        Ok(true) => Step::Done(Ok(product())),
        Err(errno) => Step::Done(Err(errno)),
    }
}

/// A descriptor the kernel has just opened for us.
fn adopt(fd: i32) -> OwnedFd {
    // SAFETY: the result of a successful OPENAT: open, and owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn take_raw(fd: &mut Option<OwnedFd>) -> i32 {
    use std::os::fd::IntoRawFd;
    fd.take().map_or(-1, IntoRawFd::into_raw_fd)
}

#[cfg(test)]
#[path = "op_tests.rs"]
mod tests;
