//! The log's device side: groups go to the device, and what landed is known.
//!
//! Reads top-down: [`Log::commit`] -> `write_next` -> [`Log::on_completion`] -> `advance`.
//! Invariant: after a failed or late write, or a failed flush of a group, nothing is written any more.
//! Absent: how a group is laid out (`writer`), which watermarks move when (`log::commit`).

use super::super::commit::{Next, Way};
use super::Log;
use crate::io::{BLOCK_BYTES, Completion, Disk, DiskOp, Errno, Nanos};
use crate::limits::{GATHER_BYTES, GATHER_NANOS, RECORDED_EVERY_BYTES};

impl Log {
    /// Cuts the open group if it is due and hands to the device what the pipeline has room for;
    /// then background work. Whether a group was handed over: its time is then to be told with
    /// [`Log::note_submitted`].
    pub fn commit<D: Disk>(&mut self, disk: &mut D, now: Nanos) -> bool {
        if self.poison.is_some() {
            return false;
        }
        let before = self.groups;
        self.check_deadline(now);
        if self.poison.is_some() {
            return false;
        }
        loop {
            if self.sealed.is_empty() && self.commit.has_room() && self.is_due(now) {
                self.seal(now);
            }
            match self.commit.next(!self.sealed.is_empty()) {
                Next::Wait => break,
                Next::Sync(file) => match disk.submit(DiskOp::Sync { file }) {
                    Ok(op) => self.commit.sync_submitted(op, file, now),
                    Err(_) => break,
                },
                Next::Write(way) => {
                    if !self.write_next(disk, way, now) {
                        break;
                    }
                }
            }
        }
        let grown = self.durable_end.0 - self.recorded_end.0 >= RECORDED_EVERY_BYTES;
        if grown || (self.closing && self.is_durable()) {
            self.superblock.want(None, self.commit.durable());
            self.recorded_end = self.durable_end;
        }
        self.superblock.step(disk, now);
        self.segments.settle(disk, self.durable_end);
        self.segments.step_trim(disk, now);
        // Where the device is the bottleneck, zeros would only take its time: the log goes on in
        // unwritten space.
        if self.sealed.is_empty() {
            self.segments.step(disk, self.end, now);
        } else {
            self.segments.step_successor(disk, self.end, now);
        }
        self.groups > before
    }

    /// The groups that the last [`Log::commit`] handed over were on their way by `now`.
    pub fn note_submitted(&mut self, now: Nanos) {
        let newest = self.commit.submitted_sequence();
        for sequence in (self.times_first..=newest).rev() {
            let at = (sequence - self.times_first) as usize;
            match self.times.get_mut(at) {
                Some(times) if times.submitted == Nanos::default() => times.submitted = now,
                _ => break,
            }
        }
    }

    /// Whether the open group goes now.
    fn is_due(&self, now: Nanos) -> bool {
        let Some(open) = &self.open else { return false };
        open.entries > 0
            && (open.urgent
                || self.closing
                || self.end.0 - open.start.0 >= u64::from(GATHER_BYTES)
                || now >= open.opened.plus(GATHER_NANOS))
    }

    fn write_next<D: Disk>(&mut self, disk: &mut D, way: Way, now: Nanos) -> bool {
        let Some(group) = self.sealed.front() else { return false };
        let Some((file, start)) = self.segments.locate(group.start) else { return false };
        let number = self.segments.geometry().number(group.start);
        let offset = start - start % u64::from(BLOCK_BYTES);
        let write_end = offset + group.data.len() as u64;
        if self.segments.blocks(number, write_end).is_some() {
            return false;
        }
        let unwritten = self.segments.is_unwritten(number, write_end);
        let op = DiskOp::Write {
            file,
            offset,
            data: group.data.clone(),
            durable: way == Way::Durable,
            unwritten,
        };
        let Ok(op) = disk.submit(op) else { return false };
        let Some(group) = self.sealed.pop_front() else { return false };
        let bytes = group.data.len() as u64;
        self.segments.note_append(number, write_end, bytes);
        self.commit.submitted(op, group.sequence, file, way, now);
        self.ends.push_back((group.sequence, group.end));
        self.groups += 1;
        self.group_bytes += group.data.len() as u64;
        true
    }

    /// Takes the end of an operation of this log; gives back any other.
    pub fn on_completion<D: Disk>(
        &mut self,
        disk: &mut D,
        completion: Completion,
        now: Nanos,
    ) -> Option<Completion> {
        let op = completion.op;
        let (end, sequence) = (self.end, self.sequence_next);
        let completion = self.segments.on_completion(disk, completion, end, sequence, now)?;
        if self.superblock.owns(op) {
            self.superblock.on_completion(&completion.result, now);
            return None;
        }
        if !self.commit.owns(op) {
            return Some(completion);
        }
        match completion.result {
            Ok(_) => {
                if !self.commit.completed(op) {
                    self.commit.synced(op);
                }
                self.advance();
            }
            Err(errno) => self.fail(errno),
        }
        None
    }

    /// A flush of the device failed: that of a group, or of whatever else the shard has written.
    /// If groups are in its cache nothing makes them durable any more.
    pub fn on_flush_failed(&mut self, errno: Errno) {
        if self.commit.flush_failed() {
            self.fail(errno);
        }
    }

    fn advance(&mut self) {
        for &(sequence, end) in &self.ends {
            if sequence <= self.commit.written() {
                self.written_end = self.written_end.max(end);
            }
            if sequence <= self.commit.durable() {
                self.durable_end = self.durable_end.max(end);
            }
        }
        // The newest written group stays: it may become durable later.
        while self.ends.get(1).is_some_and(|&(sequence, _)| sequence <= self.commit.written()) {
            self.ends.pop_front();
        }
    }

    fn check_deadline(&mut self, now: Nanos) {
        const ETIMEDOUT: i32 = 110;
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.fail(Errno(ETIMEDOUT));
        }
    }

    /// When the device will have taken too long over what somebody waits for: a group's write, a
    /// sync, a fill in a group's way, or the next segment if a batch was refused for want of it.
    fn deadline(&self) -> Option<Nanos> {
        let blocked = self.sealed.front().and_then(|group| {
            let number = self.segments.geometry().number(group.start);
            let (_, start) = self.segments.locate(group.start)?;
            self.segments.blocks(number, start + group.data.len() as u64)
        });
        let nanos = u64::from(self.options.flush_deadline_ms) * 1_000_000;
        let stopping = self.superblock.busy_since().filter(|_| self.closing);
        let awaited = blocked.into_iter().chain(self.segments.awaited_since()).chain(stopping);
        let oldest = awaited.chain(self.commit.oldest()).min();
        oldest.map(|oldest| oldest.plus(nanos))
    }

    /// After a failed write nothing is guessed: no more writes until the log is reopened.
    pub(super) fn fail(&mut self, errno: Errno) {
        self.segments.halt();
        if self.poison.is_none() {
            let (shard, position) = (self.segments.geometry().shard, self.written_end.0);
            tracing::error!(
                shard,
                position,
                errno = errno.0,
                "a device write failed or took too long: the shard takes no more writes; mend the \
                 device, then restart the node"
            );
            self.poison = Some((self.written_end, errno));
        }
    }

    /// When [`Log::commit`] must be called again though nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Nanos> {
        if self.poison.is_some() {
            return None;
        }
        // With groups sealed or the pipeline full, a completion comes first.
        let may_seal = self.sealed.is_empty() && self.commit.has_room();
        let gather = self.open.as_ref().filter(|open| open.entries > 0 && may_seal);
        let gather = gather.map(|open| open.opened.plus(GATHER_NANOS));
        let background = self.segments.wake_at().into_iter().chain(self.superblock.wake_at());
        gather.into_iter().chain(self.deadline()).chain(background).min()
    }
}
