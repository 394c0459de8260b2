//! A disk for the unit tests of this folder: it notes what it is asked and does nothing. The test
//! says what becomes of each operation.

use super::segment_format::SegmentHeader;
use super::segments::Geometry;
use crate::io::block::{Block, Budget};
use crate::io::{
    BLOCK_BYTES, Completion, Disk, DiskOp, Errno, FileId, FileName, Full, OpId, Space,
};

pub(super) const EIO: Errno = Errno(5);

/// What the disk was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Open { name: FileName, create: Option<u64> },
    Head { file: FileId, header: SegmentHeader, unwritten: bool },
    Zero { file: FileId, offset: u64, len: u32 },
    Sync { file: FileId },
    Rename { from: FileName, to: FileName },
    Remove { name: FileName },
    SyncDir,
    Close { file: FileId },
    Read { file: FileId },
}

/// What the adopted files of a scripted disk are called: the first one.
pub(super) const ADOPTED: FileId = FileId(1000);

/// Takes everything, until it is told to be full or out of memory.
pub(super) struct Scripted {
    asked: Vec<(OpId, Asked)>,
    submitted: u64,
    adopted: Vec<FileName>,
    /// The queue is full.
    pub(super) is_full: bool,
    memory: Budget,
}

impl Scripted {
    pub(super) fn new() -> Self {
        let memory = Budget::new(1 << 20);
        Self { asked: Vec::new(), submitted: 0, adopted: Vec::new(), is_full: false, memory }
    }

    /// From now on there is no memory.
    pub(super) fn use_up_memory(&mut self) {
        self.memory = Budget::new(0);
    }

    /// What was asked since the last look.
    pub(super) fn take(&mut self) -> Vec<(OpId, Asked)> {
        std::mem::take(&mut self.asked)
    }

    /// Exactly this was asked since the last look.
    pub(super) fn expect(&mut self, expected: Asked) -> OpId {
        match &self.take()[..] {
            [(op, asked)] if *asked == expected => *op,
            other => panic!("{other:?} instead of {expected:?}"),
        }
    }

    /// The files that were adopted, in order.
    pub(super) fn adopted(&self) -> &[FileName] {
        &self.adopted
    }

    /// Nothing was asked since the last look.
    pub(super) fn expect_nothing(&mut self) {
        assert_eq!(self.take(), []);
    }
}

impl Disk for Scripted {
    fn submit(&mut self, op: DiskOp) -> Result<OpId, Full> {
        if self.is_full {
            return Err(Full(op));
        }
        let asked = match op {
            DiskOp::Open { name, create } => Asked::Open { name, create },
            DiskOp::Write { file, offset, data, durable, unwritten } => {
                assert!((offset, data.len(), durable) == (0, BLOCK_BYTES as usize, true));
                let header = SegmentHeader::decode(&data).expect("a header");
                Asked::Head { file, header, unwritten }
            }
            DiskOp::Zero { file, offset, len } => Asked::Zero { file, offset, len },
            DiskOp::Sync { file } => Asked::Sync { file },
            DiskOp::Rename { from, to } => Asked::Rename { from, to },
            DiskOp::Remove { name } => Asked::Remove { name },
            DiskOp::SyncDir => Asked::SyncDir,
            DiskOp::Close { file } => Asked::Close { file },
            DiskOp::Read { file, offset, len } => {
                assert_eq!((offset, len), (0, BLOCK_BYTES));
                Asked::Read { file }
            }
        };
        let op = OpId(self.submitted);
        self.submitted += 1;
        self.asked.push((op, asked));
        Ok(op)
    }

    fn adopt(&mut self, name: FileName) -> FileId {
        self.adopted.push(name);
        FileId(ADOPTED.0 + self.adopted.len() as u32 - 1)
    }

    fn flush(&mut self) {}

    fn complete(&mut self, _out: &mut Vec<Completion>) -> usize {
        0
    }

    fn take_flush_failure(&mut self) -> Option<Errno> {
        None
    }

    fn wait(&mut self) {}

    fn list(&mut self) -> Result<Vec<FileName>, Errno> {
        Ok(Vec::new())
    }

    fn space(&mut self) -> Result<Space, Errno> {
        Ok(Space { used: 0, available: u64::MAX })
    }

    fn block(&mut self, len: u32) -> Option<Block> {
        self.memory.block(len)
    }
}

/// Segments of this length in the third life of shard 1.
pub(super) fn geometry(segment_bytes: u64) -> Geometry {
    Geometry { segment_bytes, shard: 1, node: [9; 16], epoch: 3 }
}
