//! The device: a FUSE file system with one file in it. A write is answered when it is in memory; it
//! and the flushes are answered late and in any order, as devices do, by a thread of their own.
//!
//! Nothing here ever waits for anything that goes through the device.

use std::ffi::OsStr;
use std::io;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::record::Record;

/// The name of the one file.
pub(super) const FILE: &str = "disk";
const FILE_NODE: INodeNo = INodeNo(2);
/// Attributes never change.
const TTL: Duration = Duration::from_secs(3600);
/// As many requests as a loop device has on their way.
const BACKGROUND_MAX: u16 = 128;

/// What is on the device, and how it came there.
pub(super) struct State {
    pub(super) record: Record,
    contents: Vec<u8>,
}

pub(super) type Shared = Arc<Mutex<State>>;

pub(super) fn shared(image: Vec<u8>) -> Shared {
    Arc::new(Mutex::new(State { contents: image.clone(), record: Record::new(image) }))
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics with it")
}

/// What is still to be answered.
enum Pending {
    Write { event: usize, bytes: u32, reply: ReplyWrite },
    Flush { event: usize, reply: ReplyEmpty },
}

/// The file system.
pub(super) struct Device {
    state: Shared,
    bytes: u64,
    pending: Mutex<Sender<Pending>>,
}

impl Device {
    /// Also starts the thread that answers; it ends with the file system.
    pub(super) fn new(state: Shared, seed: u64) -> Self {
        let bytes = lock(&state).contents.len() as u64;
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = Arc::clone(&state);
        std::thread::spawn(move || answer_all(&receiver, &other, StdRng::seed_from_u64(seed)));
        Self { state, bytes, pending: Mutex::new(sender) }
    }

    fn attributes(&self, node: INodeNo) -> FileAttr {
        let is_file = node == FILE_NODE;
        FileAttr {
            ino: node,
            size: if is_file { self.bytes } else { 0 },
            blocks: if is_file { self.bytes / 512 } else { 0 },
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn answer_later(&self, pending: Pending) {
        let sender = self.pending.lock().expect("nobody panics with it");
        // The thread ends only with the file system.
        let _ = sender.send(pending);
    }
}

fn answer_all(receiver: &Receiver<Pending>, state: &Mutex<State>, mut random: StdRng) {
    let mut waiting = Vec::new();
    while let Ok(first) = receiver.recv() {
        waiting.push(first);
        while !waiting.is_empty() {
            // What comes meanwhile may overtake.
            let patience = Duration::from_micros(random.random_range(0..150));
            while let Ok(more) = receiver.recv_timeout(patience) {
                waiting.push(more);
                if random.random() {
                    break;
                }
            }
            let next = waiting.swap_remove(random.random_range(0..waiting.len()));
            // Remembered before it is told: nobody can have acted upon it.
            match next {
                Pending::Write { event, bytes, reply } => {
                    lock(state).record.written(event);
                    reply.written(bytes);
                }
                Pending::Flush { event, reply } => {
                    lock(state).record.flushed(event);
                    reply.ok();
                }
            }
        }
    }
}

impl Filesystem for Device {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without it one write at a time would be on its way.
        let missing = |_| io::Error::other("the kernel's FUSE has no asynchronous direct I/O");
        config.add_capabilities(InitFlags::FUSE_ASYNC_DIO).map_err(missing)?;
        let refused = |_| io::Error::other("the kernel's FUSE has no background requests");
        config.set_max_background(BACKGROUND_MAX).map_err(refused)?;
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == FILE {
            reply.entry(&TTL, &self.attributes(FILE_NODE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(node));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // No page cache of its own between the loop device and us.
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = lock(&self.state);
        let start = offset.min(self.bytes) as usize;
        let end = (offset + u64::from(size)).min(self.bytes) as usize;
        reply.data(&state.contents[start..end]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let end = offset + data.len() as u64;
        if end > self.bytes {
            return reply.error(Errno::ENOSPC);
        }
        let event = {
            let mut state = lock(&self.state);
            state.contents[offset as usize..end as usize].copy_from_slice(data);
            state.record.write(offset as usize, data)
        };
        self.answer_later(Pending::Write { event, bytes: data.len() as u32, reply });
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let event = lock(&self.state).record.flush();
        self.answer_later(Pending::Flush { event, reply });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // A descriptor is closed. Not a flush of the device, and says nothing about one.
        reply.ok();
    }
}
