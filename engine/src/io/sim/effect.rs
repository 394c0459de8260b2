//! The end of an operation: what it does to the disk, and what its caller is told.
//!
//! One function per kind, called from `complete` at the event after those counted so far.
//! Absent: when this happens (`disk`), and what a crash makes of it (`crash`).

use std::rc::Rc;

use super::SimDisk;
use super::cache::{Contents, PAGE_BYTES};
use super::faults::{EIO, ENOENT, ENOMEM, ENOSPC};
use super::namespace::{Change, Inode};
use super::operation::{InFlight, Operation, Write};
use crate::io::block::Block;
use crate::io::{Errno, FileId, FileName, OpId, Output};

impl SimDisk {
    /// The end of an operation: its effect on the disk, and its result.
    pub(super) fn finish(&mut self, id: OpId, done: InFlight) -> Result<Output, Errno> {
        // The event under way is the one after those counted.
        let at = self.events + 1;
        let InFlight { operation, cutoff, failure } = done;
        if let Some(errno) = failure.filter(|errno| operation.is_flush(*errno)) {
            self.fail_flush(&operation, cutoff, errno);
        }
        if let Operation::Write(write) = operation {
            return self.finish_write(id, &write, cutoff, failure);
        }
        if let Some(errno) = failure {
            return Err(errno);
        }
        match operation {
            Operation::Open { name, create, file } => self.finish_open(name, create, file, at),
            Operation::Read { file, offset, block } => self.finish_read(file, offset, block),
            Operation::Sync { file } => {
                let contents = self.contents.get_mut(&file).ok_or(EIO)?;
                contents.stabilise_done(cutoff);
                Ok(Output::Synced)
            }
            Operation::Missing => Err(ENOENT),
            Operation::Change(change) => self.names.change(change, at).map(|()| Output::Done),
            Operation::SyncDir => {
                self.names.sync(cutoff);
                self.forget_unreachable();
                Ok(Output::Done)
            }
            Operation::Close => {
                self.forget_unreachable();
                Ok(Output::Done)
            }
            Operation::Write(_) => unreachable!("finished above"),
        }
    }

    fn finish_write(
        &mut self,
        id: OpId,
        write: &Write,
        cutoff: u64,
        failure: Option<Errno>,
    ) -> Result<Output, Errno> {
        write.check_memory();
        let at = self.events + 1;
        let Some(contents) = self.contents.get_mut(&write.file) else { return Err(EIO) };
        if let Some(errno) = failure {
            if errno != ENOSPC {
                contents.fail(id, write.pages(), at, &mut self.chance);
            }
            return Err(errno);
        }
        contents.finish(id, write.pages(), at);
        if write.durable {
            contents.stabilise_write(id, write.pages());
            if !self.config.fua {
                self.contents.values_mut().for_each(|contents| contents.stabilise_done(cutoff));
            }
        }
        Ok(Output::Written)
    }

    /// The device could not empty its cache: nothing that was in it is sure to get to the medium.
    /// A durable write that needs no flush fails for itself, but its caller cannot know.
    fn fail_flush(&mut self, operation: &Operation, cutoff: u64, errno: Errno) {
        self.flush_failure.get_or_insert(errno);
        if !(self.config.fua && matches!(operation, Operation::Write(_))) {
            self.contents.values_mut().for_each(|contents| contents.doubt(cutoff));
        }
    }

    fn finish_open(
        &mut self,
        name: FileName,
        create: Option<u64>,
        new: Inode,
        at: u64,
    ) -> Result<Output, Errno> {
        let (inode, len) = match (self.names.get(name), create) {
            (None, None) => return Err(ENOENT),
            (None, Some(len)) => {
                self.reserve(len)?;
                self.names.change(Change::Create { name, file: new, len }, at)?;
                self.contents.insert(new, Contents::new(len, Rc::default()));
                (new, len)
            }
            (Some(entry), Some(len)) if len > entry.len => {
                self.reserve(len - entry.len)?;
                self.names.change(Change::Grow { name, len }, at)?;
                if let Some(contents) = self.contents.get_mut(&entry.file) {
                    contents.len = len;
                }
                (entry.file, len)
            }
            // As fallocate does: a longer file stays as long as it is.
            (Some(entry), _) => (entry.file, entry.len),
        };
        let file = FileId(self.next_file);
        self.next_file += 1;
        self.open.insert(file, inode);
        Ok(Output::Opened { file, len })
    }

    /// Whether `more` bytes fit besides all files that have a name or are open.
    fn reserve(&self, more: u64) -> Result<(), Errno> {
        if self.used().saturating_add(more) > self.config.capacity_bytes_max {
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// Bytes of all files that have a name or are open.
    pub(super) fn used(&self) -> u64 {
        let named = self.names.visible().0.values().map(|entry| entry.file);
        let mut files: Vec<Inode> = named.chain(self.handles()).collect();
        files.sort_unstable();
        files.dedup();
        let lens = files.iter().filter_map(|file| self.contents.get(file));
        lens.map(|contents| contents.len).sum()
    }

    /// The files of all handles.
    fn handles(&self) -> impl Iterator<Item = Inode> {
        let adopted = self.adopted.values().filter_map(|(_, inode)| *inode);
        self.open.values().copied().chain(adopted)
    }

    fn finish_read(
        &mut self,
        file: Inode,
        offset: u64,
        block: Option<Block>,
    ) -> Result<Output, Errno> {
        let mut block = block.ok_or(ENOMEM)?;
        let contents = self.contents.get(&file).ok_or(EIO)?;
        if offset.checked_add(u64::from(block.len())).is_none_or(|end| end > contents.len) {
            return Err(EIO);
        }
        let mut number = offset / PAGE_BYTES as u64;
        while block.room() > 0 {
            contents.read(number, &mut self.chance, &mut block);
            number += 1;
        }
        Ok(Output::Read(block))
    }

    /// Drops contents that no name, no handle and no operation can reach, not even after a crash.
    pub(super) fn forget_unreachable(&mut self) {
        let mut reachable = self.names.reachable();
        reachable.extend(self.handles());
        reachable.extend(self.in_flight.values().filter_map(|other| match &other.operation {
            Operation::Write(write) => Some(write.file),
            Operation::Read { file, .. } | Operation::Sync { file } => Some(*file),
            _ => None,
        }));
        self.contents.retain(|inode, _| reachable.contains(inode));
    }
}
