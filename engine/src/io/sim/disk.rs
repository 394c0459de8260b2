//! The simulated disk: an operation's life from `submit` through the heap to `complete`.
//!
//! `submit` (check, count, decide fate and duration) -> heap ordered by due time and a seeded
//! tie-break -> `complete` (`finish` applies the effect). Every change of the disk's state is an
//! event; [`SimDisk::crash_at`] stops the machine at one of them.
//!
//! Invariants: an effect is applied at the moment its completion is handed out, so what the
//! caller knows and what a sync covers are the same; after the crash nothing changes any more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;

use super::cache::{Contents, PAGE_BYTES};
use super::crash::{CrashPolicy, Fate};
use super::faults::{EIO, ENODEV, ENOSPC, Fault, FaultPlan, OpKind};
use super::image::{CrashImage, ImageFile};
use super::namespace::{Change, Directory, Entry, Inode, Namespace};
use super::operation::{InFlight, Operation, Write, check_overlap, check_range, handle};
use super::random::{Random, mix};
use super::{Clock, Config};
use crate::io::block::{Block, Budget};
use crate::io::{Completion, Disk, DiskOp, Errno, FileId, FileName, Full, Nanos, OpId, Space};

/// One shard's directory on a simulated device.
#[derive(Debug)]
pub struct SimDisk {
    pub(super) config: Config,
    clock: Clock,
    budget: Budget,
    faults: FaultPlan,
    /// Pages of files that the medium does not give back, until they are written again.
    lost: BTreeSet<(Inode, u64)>,
    durations: Random,
    pub(super) chance: Random,
    pub(super) names: Namespace,
    pub(super) contents: BTreeMap<Inode, Contents>,
    pub(super) open: BTreeMap<FileId, Inode>,
    /// Files that are only read. Without an inode there was no file of the name when it was needed.
    pub(super) adopted: BTreeMap<FileId, (FileName, Option<Inode>)>,
    pub(super) in_flight: BTreeMap<OpId, InFlight>,
    due: BinaryHeap<Reverse<(Nanos, u64, OpId)>>,
    next_op: u64,
    pub(super) next_file: u32,
    next_inode: u32,
    pub(super) events: u64,
    crash_at: Option<u64>,
    crashed: bool,
    pub(super) flush_failure: Option<Errno>,
    /// After the crash: operations that nobody will carry out.
    orphans: Vec<OpId>,
    /// Orphans whose caller has asked to block for them.
    severed: Vec<OpId>,
    trace: u64,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self::from_image(&CrashImage::default(), config, seed)
    }

    /// A disk that holds what survived a crash; all of it is stable.
    #[must_use]
    pub fn from_image(image: &CrashImage, config: Config, seed: u64) -> Self {
        let mut seeds = Random::new(seed);
        let mut directory = Directory::default();
        let mut contents = BTreeMap::new();
        for (inode, (name, image)) in (0..).map(Inode).zip(&image.files) {
            directory.0.insert(*name, Entry { file: inode, len: image.len });
            contents.insert(inode, Contents::new(image.len, Rc::clone(&image.pages)));
        }
        Self {
            config,
            clock: Clock::default(),
            budget: Budget::new(config.block_bytes_max),
            faults: FaultPlan::default(),
            lost: BTreeSet::new(),
            durations: Random::new(seeds.draw()),
            chance: Random::new(seeds.draw()),
            names: Namespace::new(directory),
            next_inode: contents.len() as u32,
            contents,
            open: BTreeMap::new(),
            adopted: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            due: BinaryHeap::new(),
            next_op: 0,
            next_file: 0,
            events: 0,
            crash_at: None,
            crashed: false,
            flush_failure: None,
            orphans: Vec::new(),
            severed: Vec::new(),
            trace: 0,
        }
    }

    /// Runs on `clock`, shared with other parts of the simulation. Call it before anything else.
    pub fn set_clock(&mut self, clock: Clock) {
        assert!(self.next_op == 0, "the clock of a disk in use cannot be replaced");
        self.clock = clock;
    }

    /// Virtual time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Memory for blocks, to look at how much is in use.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// From now on all files together may have so many bytes: others use the device, too.
    pub fn limit_capacity(&mut self, capacity_bytes_max: u64) {
        self.config.capacity_bytes_max = capacity_bytes_max;
    }

    /// The process that used the disk is gone, and with it its handles. Nothing may be in flight.
    pub fn close_all(&mut self) {
        self.open.clear();
        self.adopted.clear();
        self.forget_unreachable();
    }

    /// What goes wrong; may be changed at any time, for operations submitted later.
    pub fn faults(&mut self) -> &mut FaultPlan {
        &mut self.faults
    }

    /// Somebody takes a file out of the directory, under the node's feet: what has adopted it finds
    /// it no more.
    ///
    /// # Panics
    /// If there is no such file, or its names are not durable.
    pub fn take_away(&mut self, name: FileName) {
        let Some(inode) = self.names.take_away(name) else { panic!("there is no {name}") };
        let adopted = self.adopted.values_mut();
        adopted.filter(|(_, file)| *file == Some(inode)).for_each(|(_, file)| *file = None);
        self.forget_unreachable();
    }

    /// Flips bit `bit` (0-7) of a byte of a file, in the cache and on the medium.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn flip_bit(&mut self, name: FileName, offset: u64, bit: u32) {
        let entry = self.names.get(name).filter(|entry| offset < entry.len);
        let contents = entry.and_then(|entry| self.contents.get_mut(&entry.file));
        let Some(contents) = contents else { panic!("{name} has no byte {offset}") };
        contents.flip_bit(offset, bit);
    }

    /// From now on no read of the block that holds this byte of a file succeeds (`EIO`), until it is
    /// written again.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn lose_block(&mut self, name: FileName, offset: u64) {
        let entry = self.names.get(name).filter(|entry| offset < entry.len);
        let Some(entry) = entry else { panic!("{name} has no byte {offset}") };
        self.lost.insert((entry.file, offset / PAGE_BYTES as u64));
    }

    /// Why a read or write cannot succeed, or what it makes good.
    fn meet_lost(&mut self, operation: &Operation) -> Option<Errno> {
        match operation {
            Operation::Read { file, offset, block } => {
                let len = block.as_ref().map_or(0, |block| u64::from(block.len()));
                let mut pages = page_of(*offset)..page_of(*offset + len);
                pages.any(|page| self.lost.contains(&(*file, page))).then_some(EIO)
            }
            Operation::Write(write) => {
                let pages = page_of(write.bytes.start)..page_of(write.bytes.end);
                self.lost.retain(|(file, page)| *file != write.file || !pages.contains(page));
                None
            }
            _ => None,
        }
    }

    /// State changes so far: submits of writes; completions of writes, syncs and namespace
    /// changes.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Crashes the machine right after event `event` (0: now). Its completion, if it is one, is
    /// still handed out: what its caller then acknowledges must survive. Afterwards nothing
    /// completes, except that [`Disk::wait`] answers [`ENODEV`] so that a blocked boot ends.
    pub fn crash_at(&mut self, event: u64) {
        self.crash_at = Some(event);
        if self.events >= event {
            self.cut();
        }
    }

    /// Whether the event of [`SimDisk::crash_at`] has come.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.crashed
    }

    /// Operations in flight, stuck ones included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// When the next completion is due; `None` if nothing will ever complete.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        self.due.peek().filter(|_| !self.crashed).map(|Reverse((due, ..))| *due)
    }

    /// Lets time pass until the next completion is due; `false` if nothing will ever complete.
    pub fn advance_to_next(&mut self) -> bool {
        self.next_due().inspect(|due| self.clock.advance_to(*due)).is_some()
    }

    /// A hash of everything that happened: what was submitted, what completed, how and when.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.trace
    }

    /// What would be on the medium if the machine crashed now. The disk itself goes on.
    #[must_use]
    pub fn crash(&self, policy: CrashPolicy<'_>) -> CrashImage {
        let mut fate = Fate::new(policy);
        let in_flight: Vec<Change> = self.in_flight.values().filter_map(InFlight::change).collect();
        let kept = fate.namespace(self.names.pending(), in_flight.len());
        let mut image = CrashImage::default();
        for (name, entry) in self.names.surviving(kept, &in_flight).0 {
            let contents = self.contents.get(&entry.file);
            let mut pages =
                contents.map(|file| file.surviving(name, &mut fate)).unwrap_or_default();
            // A lost growth takes along what was written beyond the old end.
            let end = entry.len.div_ceil(PAGE_BYTES as u64);
            if pages.last_key_value().is_some_and(|(last, _)| *last >= end) {
                drop(Rc::make_mut(&mut pages).split_off(&end));
            }
            image.files.insert(name, ImageFile { len: entry.len, pages });
        }
        image
    }

    fn cut(&mut self) {
        if !self.crashed {
            self.crashed = true;
            self.orphans.extend(self.in_flight.keys());
        }
    }

    fn event(&mut self) {
        self.events += 1;
        if self.crash_at == Some(self.events) {
            self.cut();
        }
    }

    fn record(&mut self, what: u64, op: OpId) {
        let moment = mix(self.clock.now().0 ^ mix(op.0));
        self.trace = mix(self.trace ^ mix(what ^ moment)).wrapping_add(1);
    }

    /// Checks an operation and turns it into what is kept in flight.
    fn admit(&mut self, op: DiskOp) -> Operation {
        match op {
            DiskOp::Open { name, create } => {
                let file = Inode(self.next_inode);
                self.next_inode += 1;
                Operation::Open { name, create, file }
            }
            DiskOp::Write { file, offset, data, durable, .. } => {
                let address = data.as_ptr() as usize;
                assert!(address.is_multiple_of(PAGE_BYTES), "unaligned memory in a write");
                let len = data.len() as u64;
                let copy = Rc::from(&*data);
                self.admit_write(file, offset, len, durable, Some((data, copy)))
            }
            DiskOp::Zero { file, offset, len } => {
                self.admit_write(file, offset, u64::from(len), false, None)
            }
            DiskOp::Read { file, offset, len } => {
                check_range("read", offset, u64::from(len), u64::MAX);
                match self.readable(file) {
                    Some(file) => Operation::Read { file, offset, block: self.budget.block(len) },
                    None => Operation::Missing,
                }
            }
            DiskOp::Sync { file } => {
                self.readable(file).map_or(Operation::Missing, |file| Operation::Sync { file })
            }
            DiskOp::Rename { from, to } => Operation::Change(Change::Rename { from, to }),
            DiskOp::Remove { name } => Operation::Change(Change::Remove { name }),
            DiskOp::SyncDir => Operation::SyncDir,
            DiskOp::Close { file } => {
                if self.adopted.remove(&file).is_none() {
                    handle(&self.open, file);
                    self.open.remove(&file);
                }
                Operation::Close
            }
        }
    }

    /// What a handle stands for that may only be read; `None`: there is no such file.
    fn readable(&mut self, file: FileId) -> Option<Inode> {
        match self.adopted.get_mut(&file) {
            Some((name, inode)) => {
                *inode = inode.or_else(|| Some(self.names.get(*name)?.file));
                *inode
            }
            None => Some(handle(&self.open, file)),
        }
    }

    fn admit_write(
        &mut self,
        file: FileId,
        offset: u64,
        len: u64,
        durable: bool,
        data: Option<(crate::io::block::Slice, Rc<[u8]>)>,
    ) -> Operation {
        assert!(!self.adopted.contains_key(&file), "write to {file:?}, which was adopted");
        let file = handle(&self.open, file);
        let file_len = self.contents.get(&file).map_or(0, |contents| contents.len);
        check_range("write", offset, len, file_len);
        let write = Write { file, bytes: offset..offset + len, durable, data };
        check_overlap(&self.in_flight, &write);
        Operation::Write(write)
    }

    fn duration(&mut self, operation: &Operation, fault: Option<Fault>) -> Option<u64> {
        let latency = self.config.latency;
        let span = match operation {
            Operation::Write(write) if write.durable => latency.durable,
            Operation::Write(_) => latency.write,
            Operation::Read { .. } => latency.read,
            Operation::Sync { .. } => latency.sync,
            _ => latency.namespace,
        };
        let usual = latency.draw(span, &mut self.durations);
        match fault {
            Some(Fault::Stuck) => None,
            Some(Fault::LateNs(late)) => Some(usual.saturating_add(late)),
            Some(Fault::Fail(_)) | None => Some(usual),
        }
    }

    /// Bytes of files still held in memory; for tests of the simulator itself.
    #[cfg(test)]
    pub(super) fn files_held(&self) -> (usize, usize) {
        (self.contents.len(), self.contents.values().map(Contents::unstable_pages).sum())
    }
}

fn page_of(offset: u64) -> u64 {
    offset / PAGE_BYTES as u64
}

impl Disk for SimDisk {
    fn submit(&mut self, op: DiskOp) -> Result<OpId, Full> {
        let waiting = if self.crashed { self.orphans.len() } else { self.in_flight.len() };
        if waiting >= self.config.ops_inflight_max as usize {
            return Err(Full(op));
        }
        let id = OpId(self.next_op);
        self.next_op += 1;
        if self.crashed {
            self.orphans.push(id);
            return Ok(id);
        }
        let kind = OpKind::of(&op);
        let operation = self.admit(op);
        self.record(kind as u64, id);
        self.record(operation.fingerprint(), id);
        let fault = self.faults.meet(kind);
        if let Some(duration) = self.duration(&operation, fault) {
            let due = self.clock.now().plus(duration);
            self.due.push(Reverse((due, self.durations.draw(), id)));
        }
        let failure = match fault {
            Some(Fault::Fail(errno)) => Some(errno),
            _ => self.meet_lost(&operation),
        };
        let cutoff = self.events;
        let is_write = matches!(operation, Operation::Write(_));
        if let Operation::Write(write) = &operation
            && let Some(contents) = self.contents.get_mut(&write.file)
            && failure != Some(ENOSPC)
        {
            contents.begin(id, write.pages(), write.data.as_ref().map(|(_, copy)| copy));
        }
        self.in_flight.insert(id, InFlight { operation, cutoff, failure });
        if is_write {
            self.event();
        }
        Ok(id)
    }

    fn adopt(&mut self, name: FileName) -> FileId {
        let file = FileId(self.next_file);
        self.next_file += 1;
        self.adopted.insert(file, (name, self.names.get(name).map(|entry| entry.file)));
        file
    }

    fn flush(&mut self) {}

    fn complete(&mut self, out: &mut Vec<Completion>) -> usize {
        let before = out.len();
        out.extend(self.severed.drain(..).map(|op| Completion { op, result: Err(ENODEV) }));
        while self.next_due().is_some_and(|due| due <= self.clock.now()) {
            let Some(Reverse((_, _, id))) = self.due.pop() else { break };
            let Some(done) = self.in_flight.remove(&id) else { continue };
            let changes = done.operation.changes_state();
            let result = self.finish(id, done);
            let code = result.as_ref().map_or_else(|errno| errno.0 as u64, |_| 0);
            self.record(1 << 32 | code, id);
            out.push(Completion { op: id, result });
            if changes {
                self.event();
            }
        }
        out.len() - before
    }

    fn take_flush_failure(&mut self) -> Option<Errno> {
        self.flush_failure.take()
    }

    fn wait(&mut self) {
        if self.crashed {
            self.severed.append(&mut self.orphans);
        } else if !self.advance_to_next() {
            assert!(self.in_flight.is_empty(), "waiting for ever: all operations are stuck");
        }
    }

    fn list(&mut self) -> Result<Vec<FileName>, Errno> {
        if self.crashed {
            return Err(ENODEV);
        }
        Ok(self.names.visible().0.keys().copied().collect())
    }

    fn space(&mut self) -> Result<Space, Errno> {
        let used = self.used();
        Ok(Space { used, available: self.config.capacity_bytes_max.saturating_sub(used) })
    }

    fn block(&mut self, len: u32) -> Option<Block> {
        self.budget.block(len)
    }
}
