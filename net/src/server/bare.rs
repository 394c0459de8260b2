//! The yardstick service: a server of the same stack that only answers.
//!
//! Frame: u32 length (big-endian, of what follows), payload. Reply: 32 bytes, a frame whose
//! payload begins with the request's first bytes. With a disk, a reply leaves only after the
//! request lies on stable media: everything that arrived in a turn goes out in one O_DSYNC write,
//! up to [`GROUPS_INFLIGHT_MAX`] at once, into written space.
//! Absent: a log, recovery, anything one could read back: this measures, it does not store.

use std::collections::VecDeque;

use engine::io::block::Block;
use engine::io::ring::RingDisk;
use engine::io::{
    BLOCK_BYTES, Completion, Disk, DiskOp, Errno, FileId, FileName, Nanos, OpId, Output, run,
};

use nix::libc;

use super::{ConnId, Flow, FrameLen, Outbox, Service, Turn, TurnClock};

/// Bytes of a reply.
pub const REPLY_BYTES: usize = 32;
/// Largest payload.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Writes in flight.
pub const GROUPS_INFLIGHT_MAX: usize = 4;

const PREFIX_BYTES: usize = 4;
const GROUP_BYTES_MAX: u32 = 1 << 20;
const FILE_BYTES: u64 = 64 << 20;

/// Answers every request, at once or when it is durable.
#[derive(Debug, Default)]
pub struct Bare {
    durable: Option<Durable>,
    draining: bool,
}

#[derive(Debug)]
struct Durable {
    disk: RingDisk,
    file: FileId,
    offset: u64,
    open: Group,
    spare: Vec<Block>,
    inflight: VecDeque<(OpId, Group)>,
    completions: Vec<Completion>,
}

#[derive(Debug)]
struct Group {
    block: Block,
    replies: Vec<(ConnId, [u8; REPLY_BYTES])>,
}

impl Bare {
    /// Answers at once.
    #[must_use]
    pub fn echo() -> Self {
        Self::default()
    }

    /// Answers when the request is durable on `disk`; prefills a file first.
    ///
    /// # Errors
    /// The errno of making the file.
    pub fn durable(mut disk: RingDisk) -> Result<Self, Errno> {
        let name = FileName::Segment(0);
        let file = match run(&mut disk, DiskOp::Open { name, create: Some(FILE_BYTES) })? {
            Output::Opened { file, .. } => file,
            _ => return Err(Errno(libc::EIO)),
        };
        run(&mut disk, DiskOp::Zero { file, offset: 0, len: FILE_BYTES as u32 })?;
        run(&mut disk, DiskOp::Sync { file })?;
        let mut block = || disk.block(GROUP_BYTES_MAX).ok_or(Errno(libc::ENOMEM));
        let open = Group { block: block()?, replies: Vec::new() };
        let spare = (0..GROUPS_INFLIGHT_MAX).map(|_| block()).collect::<Result<_, _>>()?;
        let inflight = VecDeque::new();
        let completions = Vec::new();
        let durable = Durable { disk, file, offset: 0, open, spare, inflight, completions };
        Ok(Self { durable: Some(durable), draining: false })
    }
}

impl Durable {
    fn stage(&mut self, conn: ConnId, frame: &[u8]) -> Flow {
        if self.open.block.room() as usize <= frame.len() {
            // The yardstick has no back-pressure: its clients have one request outstanding.
            return Flow::Close;
        }
        self.open.block.append(frame);
        self.open.replies.push((conn, reply_to(frame)));
        Flow::Keep
    }

    /// Answers finished groups, in any order: nothing is read back.
    fn finish(&mut self, out: &mut Outbox) {
        let mut completions = std::mem::take(&mut self.completions);
        self.disk.complete(&mut completions);
        for completion in completions.drain(..) {
            let at = self.inflight.iter().position(|(op, _)| *op == completion.op);
            let Some((_, group)) = at.and_then(|at| self.inflight.remove(at)) else { continue };
            if completion.result.is_ok() {
                for (conn, reply) in group.replies {
                    answer(conn, &reply, out);
                }
            }
            let mut block = group.block;
            block.reset();
            self.spare.push(block);
        }
        self.completions = completions;
    }

    /// Whatever has arrived goes now, if the pipeline has room.
    fn cut(&mut self) {
        if self.open.replies.is_empty() {
            return;
        }
        let Some(block) = self.spare.pop() else { return };
        let next = Group { block, replies: Vec::new() };
        let mut group = std::mem::replace(&mut self.open, next);
        let end = group.block.published();
        group.block.zero_to_boundary();
        let data = group.block.device_slice(0..end);
        let len = u64::from(end.next_multiple_of(BLOCK_BYTES));
        if self.offset + len > FILE_BYTES {
            self.offset = 0;
        }
        let write = DiskOp::Write {
            file: self.file,
            offset: self.offset,
            data,
            durable: true,
            unwritten: false,
        };
        self.offset += len;
        // At most `GROUPS_INFLIGHT_MAX` writes in flight: the queue is never full.
        if let Ok(op) = self.disk.submit(write) {
            self.inflight.push_back((op, group));
        }
    }
}

fn reply_to(frame: &[u8]) -> [u8; REPLY_BYTES] {
    let mut reply = [0; REPLY_BYTES];
    let (prefix, payload) = reply.split_at_mut(PREFIX_BYTES);
    prefix.copy_from_slice(&((REPLY_BYTES - PREFIX_BYTES) as u32).to_be_bytes());
    for (to, from) in payload.iter_mut().zip(frame.iter().skip(PREFIX_BYTES)) {
        *to = *from;
    }
    reply
}

fn answer(conn: ConnId, reply: &[u8], out: &mut Outbox) {
    if let Some(buffer) = out.bytes(conn) {
        buffer.extend_from_slice(reply);
    }
}

impl Service for Bare {
    fn frame_len(&self, buffered: &[u8]) -> FrameLen {
        let Some((prefix, _)) = buffered.split_first_chunk::<PREFIX_BYTES>() else {
            return FrameLen::Need(PREFIX_BYTES);
        };
        let payload = u32::from_be_bytes(*prefix) as usize;
        if payload > PAYLOAD_BYTES_MAX {
            return FrameLen::Bad(b"frame too large".to_vec());
        }
        FrameLen::Frame(PREFIX_BYTES + payload)
    }

    fn on_open(&mut self, _conn: ConnId) {}

    fn on_frame(&mut self, conn: ConnId, frame: &[u8], out: &mut Outbox) -> Flow {
        match &mut self.durable {
            Some(durable) => durable.stage(conn, frame),
            None => {
                answer(conn, &reply_to(frame), out);
                Flow::Keep
            }
        }
    }

    fn on_close(&mut self, _conn: ConnId) {}

    fn on_turn(&mut self, _clock: TurnClock, out: &mut Outbox) -> Turn {
        let Some(durable) = &mut self.durable else { return Turn::default() };
        durable.finish(out);
        durable.cut();
        Turn { durable_in_flight: !durable.inflight.is_empty(), ..Turn::default() }
    }

    fn after_send(&mut self, _sent: Nanos) {}

    fn drain(&mut self) {
        self.draining = true;
    }

    fn is_drained(&self) -> bool {
        let idle = |d: &Durable| d.inflight.is_empty() && d.open.replies.is_empty();
        self.draining && self.durable.as_ref().is_none_or(idle)
    }
}
