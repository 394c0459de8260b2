//! A cold read that failed is made again block by block, so that what the device cannot give hides
//! only the entries it is in.
//!
//! Blocks that cannot be read are zeros in what is put together; the walk over them goes on with the
//! next entry that is intact. Whoever wants an entry that was lost is told the device's error.
//! Absent: why it failed; a second try of a block.

use super::Shard;
use super::cold::{ColdRead, Stretch, What, collect};
use super::fetch::{Waiting, refused};
use super::{Effect, FetchError};
use crate::io::block::Block;
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Env, Errno, Nanos, Output};
use crate::log::position::LogPos;

/// A stretch that is put together from its blocks.
#[derive(Debug)]
pub(super) struct Salvage {
    stretch: Stretch,
    /// The blocks so far.
    whole: Block,
    /// Why it could not be read at once.
    errno: Errno,
}

impl Salvage {
    pub(super) fn start(&self) -> LogPos {
        self.stretch.start
    }
}

impl<E: Env> Shard<E> {
    /// The read of `stretch` has failed.
    pub(super) fn salvage(
        &mut self,
        waiting: &Waiting,
        stretch: Stretch,
        errno: Errno,
        submitted: Nanos,
        effects: &mut Vec<Effect>,
    ) {
        let Some(whole) = self.env.disk().block(stretch.len) else {
            effects.push(refused(&waiting.fetch, FetchError::Busy));
            return;
        };
        self.read_next_block(waiting, Salvage { stretch, whole, errno }, submitted, effects);
    }

    fn read_next_block(
        &mut self,
        waiting: &Waiting,
        salvage: Salvage,
        submitted: Nanos,
        effects: &mut Vec<Effect>,
    ) {
        let at = salvage.start().plus(u64::from(salvage.whole.published()));
        let place = self.log.locate(at);
        let read = place.map(|(file, offset)| DiskOp::Read { file, offset, len: BLOCK_BYTES });
        match read.map(|read| self.env.disk().submit(read)) {
            Some(Ok(op)) => {
                let read = ColdRead { waiting: *waiting, submitted, what: What::Block(salvage) };
                self.cold.insert(op, read);
            }
            Some(Err(_)) | None => effects.push(refused(&waiting.fetch, FetchError::Busy)),
        }
    }

    /// A block was read, or cannot be.
    pub(super) fn on_block(
        &mut self,
        waiting: &Waiting,
        mut salvage: Salvage,
        times: (Nanos, Nanos),
        result: Result<Output, Errno>,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(Output::Read(block)) => {
                salvage.whole.append(&block.slice(0..block.published()));
            }
            Ok(_) => salvage.whole.append_zeros(BLOCK_BYTES),
            Err(errno) if FetchError::unread(salvage.start(), errno) == FetchError::Busy => {
                effects.push(refused(&waiting.fetch, FetchError::Busy));
                return;
            }
            Err(errno) => {
                salvage.errno = errno;
                salvage.whole.append_zeros(BLOCK_BYTES);
            }
        }
        if salvage.whole.published() < salvage.stretch.len {
            return self.read_next_block(waiting, salvage, times.0, effects);
        }
        let Salvage { stretch, whole, errno } = salvage;
        match collect(&waiting.fetch, &stretch, &whole.slice(0..stretch.len)) {
            Ok(extents) => self.answer_cold(waiting, times, extents, effects),
            Err(FetchError::Damaged { at }) => {
                effects.push(refused(&waiting.fetch, FetchError::Read { at, errno }));
            }
            Err(error) => effects.push(refused(&waiting.fetch, error)),
        }
    }
}
