//! Consumer groups and idempotent producers: offsets committed and asked for, ids given out.

use engine::broker::groups::{CommitAnswer, GroupOffset, TopicOffset};
use engine::io::Env;
use engine::level::AckLevel;

use super::Desk;
use super::caller::{Caller, Out};
use super::calls::Call;
use super::refusal::Refusal;
use crate::wire::{
    CommittedReply, ErrorCode, GroupSummary, NewOffset, OffsetCommit, OffsetFetch, ProducerId,
    Reply, RequestHeader, Timings, encode_reply,
};

impl<E: Env> Desk<E> {
    pub(super) fn commit_offsets(
        &mut self,
        caller: Caller,
        header: RequestHeader,
        commit: &OffsetCommit<'_>,
    ) {
        let token = self.wait(caller, header);
        let offsets: Vec<_> = commit.offsets.iter().map(topic_offset).collect();
        let ack = commit.ack.unwrap_or(AckLevel::Durable);
        let asked = (token, self.gathered);
        self.broker.commit_offsets(commit.group, &offsets, ack, asked, &mut self.answers);
    }

    /// Replies to every commit that is answered.
    pub(super) fn reply_commits(&mut self, out: &mut Out<'_>) {
        for CommitAnswer { token, results } in std::mem::take(&mut self.answers.commits) {
            let Some(Call { caller, header, .. }) = self.answered(token) else { continue };
            let code = |error| Refusal::from(&error).code;
            let results = results.into_iter().map(|result| result.err().map(code)).collect();
            let header = header.reply(Timings::default());
            let reply = Reply::OffsetCommit(results);
            out.reply(caller, |bytes| encode_reply(bytes, &header, &reply));
        }
    }

    pub(super) fn committed(&self, fetch: &OffsetFetch<'_>) -> Vec<CommittedReply<'_>> {
        if fetch.places.count() == 0 {
            return self.broker.all_committed(fetch.group).iter().map(found).collect();
        }
        let one = |place: (u32, u16)| match self.broker.committed(fetch.group, place) {
            Ok(offset) => found(&offset),
            Err(missing) => unknown(place, Refusal::from(missing).code),
        };
        fetch.places.iter().map(one).collect()
    }

    pub(super) fn groups(&self) -> Vec<GroupSummary<'_>> {
        let groups = self.broker.groups().into_iter();
        groups.map(|(name, queues)| GroupSummary { queues: queues as u32, name }).collect()
    }

    pub(super) fn new_producer(&mut self) -> Result<ProducerId, Refusal> {
        let id = self.broker.new_producer();
        let refused = || Refusal::new(ErrorCode::Internal, "no producer ids are left in this life");
        id.map(|id| ProducerId { id, epoch: 0 }).ok_or_else(refused)
    }
}

fn topic_offset(new: NewOffset<'_>) -> TopicOffset<'_> {
    let NewOffset { topic, queue, offset, epoch, metadata } = new;
    TopicOffset { topic, queue, offset, epoch, metadata }
}

fn found<'a>(offset: &GroupOffset<'a>) -> CommittedReply<'a> {
    CommittedReply {
        error: None,
        topic: offset.topic,
        queue: offset.queue,
        offset: offset.committed.map(|committed| committed.offset),
        epoch: offset.committed.map_or(0, |committed| committed.epoch),
        commit_time_ms: offset.committed.map_or(0, |committed| committed.commit_time_ms),
        start: offset.range.start_offset,
        visible: offset.range.visible_offset,
        metadata: offset.committed.map_or("", |committed| &committed.metadata),
    }
}

fn unknown((topic, queue): (u32, u16), error: ErrorCode) -> CommittedReply<'static> {
    CommittedReply {
        error: Some(error),
        topic,
        queue,
        offset: None,
        epoch: 0,
        commit_time_ms: 0,
        start: 0,
        visible: 0,
        metadata: "",
    }
}
