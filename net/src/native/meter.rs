//! How busy a shard's device is: for how long something was asked of it, and how many bytes.
//!
//! [`Metered`] stands between a shard and its disk and passes everything on as it is. The clock is not
//! read for it: an operation counts from the end of the receive pass of the turn that submitted it
//! until the turn that found its completion, which is as long as the shard had to do without its
//! result. Must never know what is read or written, or why.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use engine::io::block::Block;
use engine::io::{
    Completion, Disk, DiskOp, Env, Errno, FileId, FileName, Full, Nanos, OpId, Space,
};

use crate::server::TurnClock;

/// What a shard's device was used for since the node was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DeviceUse {
    /// Nanoseconds in which at least one operation was in flight.
    pub(super) busy_nanos: u64,
    /// Nanoseconds in which at least one read was.
    pub(super) reading_nanos: u64,
    /// Nanoseconds in which at least one write or flush was.
    pub(super) writing_nanos: u64,
    /// Bytes read.
    pub(super) read_bytes: u64,
    /// Bytes written, space that was made written ahead of the log among them.
    pub(super) written_bytes: u64,
}

/// An operation that uses the device, and its bytes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Read(u64),
    Write(u64),
}

impl Kind {
    /// `None`: names and descriptors are the file system's affair.
    fn of(op: &DiskOp) -> Option<Self> {
        Some(match op {
            DiskOp::Read { len, .. } => Self::Read(u64::from(*len)),
            DiskOp::Write { data, .. } => Self::Write(data.len() as u64),
            DiskOp::Zero { len, .. } => Self::Write(u64::from(*len)),
            DiskOp::Sync { .. } | DiskOp::SyncDir => Self::Write(0),
            DiskOp::Open { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Remove { .. }
            | DiskOp::Close { .. } => return None,
        })
    }
}

/// Time in which there is something in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    nanos: u64,
    inflight: u32,
    since: Option<Nanos>,
}

impl Span {
    /// Whatever is in flight now was submitted by now.
    fn begin(&mut self, now: Nanos) {
        if self.inflight > 0 && self.since.is_none() {
            self.since = Some(now);
        }
    }

    /// What had completed by now is no longer in flight.
    fn end(&mut self, now: Nanos) {
        if let Some(since) = self.since {
            self.nanos += now.since(since);
            self.since = (self.inflight > 0).then_some(now);
        }
    }
}

#[derive(Debug, Default)]
struct Figures {
    inflight: BTreeMap<OpId, Kind>,
    any: Span,
    reads: Span,
    writes: Span,
    read_bytes: u64,
    written_bytes: u64,
}

impl Figures {
    fn submitted(&mut self, op: OpId, kind: Kind) {
        self.inflight.insert(op, kind);
        self.any.inflight += 1;
        self.span(kind).inflight += 1;
    }

    fn completed(&mut self, completion: &Completion) {
        let Some(kind) = self.inflight.remove(&completion.op) else { return };
        self.any.inflight -= 1;
        self.span(kind).inflight -= 1;
        match kind {
            _ if completion.result.is_err() => {}
            Kind::Read(bytes) => self.read_bytes += bytes,
            Kind::Write(bytes) => self.written_bytes += bytes,
        }
    }

    fn span(&mut self, kind: Kind) -> &mut Span {
        match kind {
            Kind::Read(_) => &mut self.reads,
            Kind::Write(_) => &mut self.writes,
        }
    }

    fn spans(&mut self) -> [&mut Span; 3] {
        [&mut self.any, &mut self.reads, &mut self.writes]
    }
}

/// The meter of one shard's device; clones are the same meter.
#[derive(Clone, Debug, Default)]
pub struct Meter(Rc<RefCell<Figures>>);

impl Meter {
    /// The shard has had its turn.
    pub(super) fn turned(&self, clock: TurnClock) {
        for span in self.0.borrow_mut().spans() {
            span.end(clock.gathered);
            span.begin(clock.received);
        }
    }

    pub(super) fn device_use(&self) -> DeviceUse {
        let figures = self.0.borrow();
        DeviceUse {
            busy_nanos: figures.any.nanos,
            reading_nanos: figures.reads.nanos,
            writing_nanos: figures.writes.nanos,
            read_bytes: figures.read_bytes,
            written_bytes: figures.written_bytes,
        }
    }
}

/// A shard's environment, with a meter at its disk.
#[derive(Debug)]
pub struct Metered<E> {
    disk: MeteredDisk<E>,
}

/// The disk of an environment. It owns that, because only the environment can lend it.
#[derive(Debug)]
pub struct MeteredDisk<E> {
    env: E,
    meter: Meter,
}

impl<E: Env> Metered<E> {
    /// Counts from now on; nothing may be in flight.
    #[must_use]
    pub fn new(env: E, meter: Meter) -> Self {
        Self { disk: MeteredDisk { env, meter } }
    }
}

impl<E: Env> Env for Metered<E> {
    type Disk = MeteredDisk<E>;

    fn disk(&mut self) -> &mut Self::Disk {
        &mut self.disk
    }

    fn now(&self) -> Nanos {
        self.disk.env.now()
    }

    fn wall_ms(&self) -> u64 {
        self.disk.env.wall_ms()
    }

    fn random(&mut self) -> u64 {
        self.disk.env.random()
    }
}

impl<E: Env> Disk for MeteredDisk<E> {
    fn submit(&mut self, op: DiskOp) -> Result<OpId, Full> {
        let kind = Kind::of(&op);
        let id = self.env.disk().submit(op)?;
        if let Some(kind) = kind {
            self.meter.0.borrow_mut().submitted(id, kind);
        }
        Ok(id)
    }

    fn adopt(&mut self, name: FileName) -> FileId {
        self.env.disk().adopt(name)
    }

    fn flush(&mut self) {
        self.env.disk().flush();
    }

    fn complete(&mut self, out: &mut Vec<Completion>) -> usize {
        let known = out.len();
        let count = self.env.disk().complete(out);
        let mut figures = self.meter.0.borrow_mut();
        out.iter().skip(known).for_each(|completion| figures.completed(completion));
        count
    }

    fn take_flush_failure(&mut self) -> Option<Errno> {
        self.env.disk().take_flush_failure()
    }

    fn wait(&mut self) {
        self.env.disk().wait();
    }

    fn list(&mut self) -> Result<Vec<FileName>, Errno> {
        self.env.disk().list()
    }

    fn space(&mut self) -> Result<Space, Errno> {
        self.env.disk().space()
    }

    fn block(&mut self, len: u32) -> Option<Block> {
        self.env.disk().block(len)
    }
}

#[cfg(test)]
mod tests {
    use engine::io::FileName;
    use engine::io::sim::{Config, SimEnv};

    use super::*;

    fn turn(env: &mut Metered<SimEnv>, gathered: u64) -> Vec<Completion> {
        let mut completions = Vec::new();
        env.disk().complete(&mut completions);
        let (gathered, received) = (Nanos(gathered), Nanos(gathered + 10));
        env.disk.meter.turned(TurnClock { gathered, received });
        completions
    }

    fn busy(env: &Metered<SimEnv>) -> (u64, u64, u64) {
        let DeviceUse { busy_nanos, reading_nanos, writing_nanos, .. } =
            env.disk.meter.device_use();
        (busy_nanos, reading_nanos, writing_nanos)
    }

    #[test]
    fn a_device_is_busy_while_anything_is_in_flight() {
        let mut env = Metered::new(SimEnv::new(Config::default(), 1), Meter::default());
        let name = FileName::Segment(0);
        let opened = engine::io::run(env.disk(), DiskOp::Open { name, create: Some(1 << 20) });
        let Ok(engine::io::Output::Opened { file, .. }) = opened else { panic!("{opened:?}") };
        turn(&mut env, 1_000);
        assert_eq!(busy(&env), (0, 0, 0), "opening a file is no use of the device");
        let zero = |offset| DiskOp::Zero { file, offset, len: 8192 };
        env.disk().submit(zero(0)).expect("room");
        turn(&mut env, 2_000);
        env.disk().submit(zero(8192)).expect("room");
        turn(&mut env, 3_000);
        assert_eq!(busy(&env), (990, 0, 990), "from the end of the receive pass on");
        env.disk().submit(DiskOp::Read { file, offset: 0, len: 4096 }).expect("room");
        turn(&mut env, 4_000);
        let mut left = 3;
        while left > 0 {
            env.disk().env.advance_to_next();
            left -= turn(&mut env, 10_000).len();
        }
        assert_eq!(busy(&env), (7_990, 5_990, 7_990), "overlapping operations count once");
        turn(&mut env, 90_000);
        assert_eq!(busy(&env), (7_990, 5_990, 7_990), "an idle device is not busy");
        let used = env.disk.meter.device_use();
        assert_eq!((used.read_bytes, used.written_bytes), (4_096, 16_384));
    }
}
