//! The pipeline step by step; `model` has every interleaving.

use super::*;

const FILE: FileId = FileId(0);
const T: Nanos = Nanos(0);

#[test]
fn durable_moves_over_a_contiguous_prefix_only() {
    let mut commit = Commit::new(0, 4, Flush::Dsync);
    for n in 1..=3 {
        commit.want_durable(n);
        assert_eq!(commit.next(true), Next::Write(Way::Durable));
        commit.submitted(OpId(n), n, FILE, Way::Durable, T);
    }
    assert!(commit.completed(OpId(3)) && commit.completed(OpId(2)));
    assert_eq!((commit.written(), commit.durable()), (0, 0));
    assert!(commit.completed(OpId(1)));
    assert_eq!((commit.written(), commit.durable()), (3, 3));
    assert!(!commit.completed(OpId(1)), "an operation completes once");
}

#[test]
fn durable_after_plain_waits_and_syncs() {
    let mut commit = Commit::new(0, 4, Flush::Dsync);
    assert_eq!(commit.next(true), Next::Write(Way::Plain));
    commit.submitted(OpId(1), 1, FILE, Way::Plain, T);
    commit.want_durable(2);
    assert_eq!(commit.next(true), Next::Wait, "the plain group is in flight");
    commit.completed(OpId(1));
    assert_eq!((commit.written(), commit.durable()), (1, 0));
    assert_eq!(commit.next(true), Next::Sync(FILE));
    commit.sync_submitted(OpId(9), FILE, T);
    assert_eq!(commit.next(true), Next::Write(Way::Durable));
    commit.submitted(OpId(2), 2, FILE, Way::Durable, T);
    commit.completed(OpId(2));
    assert_eq!(commit.durable(), 0, "its prefix is not durable yet");
    assert!(commit.synced(OpId(9)));
    assert_eq!(commit.durable(), 2);
}

#[test]
fn a_sync_covers_what_had_landed_when_it_was_issued() {
    let mut commit = Commit::new(0, 3, Flush::Fdatasync);
    for n in 1..=2 {
        commit.want_durable(n);
        assert_eq!(commit.next(true), Next::Write(Way::Plain));
        commit.submitted(OpId(n), n, FILE, Way::Plain, T);
    }
    commit.completed(OpId(2));
    assert_eq!(commit.next(false), Next::Wait, "the first has not landed");
    commit.completed(OpId(1));
    assert_eq!(commit.next(true), Next::Sync(FILE), "who has waited longer goes first");
    commit.sync_submitted(OpId(8), FILE, T);
    commit.want_durable(3);
    assert_eq!(commit.next(true), Next::Write(Way::Plain));
    commit.submitted(OpId(3), 3, FILE, Way::Plain, T);
    commit.completed(OpId(3));
    assert_eq!(commit.next(true), Next::Sync(FILE), "the one in flight came before");
    commit.sync_submitted(OpId(9), FILE, T);
    assert_eq!(commit.next(true), Next::Write(Way::Plain), "one place is left");
    assert_eq!((commit.written(), commit.durable()), (3, 0));
    assert!(commit.synced(OpId(8)));
    assert_eq!(commit.durable(), 2);
    assert!(commit.synced(OpId(9)));
    assert_eq!(commit.durable(), 3);
}

#[test]
fn a_later_sync_does_not_make_a_failed_one_good() {
    let mut commit = Commit::new(0, 4, Flush::Fdatasync);
    for n in 1..=2 {
        commit.want_durable(n);
        commit.submitted(OpId(n), n, FILE, Way::Plain, T);
        commit.completed(OpId(n));
        commit.sync_submitted(OpId(10 + n), FILE, T);
    }
    assert!(commit.flush_failed());
    assert!(commit.synced(OpId(12)));
    assert_eq!((commit.written(), commit.durable()), (2, 0));
}

#[test]
fn a_flush_that_fails_for_somebody_else_counts_for_what_is_not_durable() {
    let mut commit = Commit::new(0, 4, Flush::Dsync);
    commit.submitted(OpId(1), 1, FILE, Way::Durable, T);
    assert!(!commit.flush_failed(), "it is its own flush");
    commit.completed(OpId(1));
    commit.submitted(OpId(2), 2, FILE, Way::Plain, T);
    commit.completed(OpId(2));
    assert_eq!((commit.written(), commit.durable()), (2, 1));
    assert!(commit.flush_failed());
    commit.want_durable(2);
    commit.sync_submitted(OpId(9), FILE, T);
    assert!(commit.synced(OpId(9)));
    assert_eq!(commit.durable(), 1, "no later flush makes it good");
}

#[test]
fn syncs_take_places_in_the_pipeline_where_they_make_groups_durable() {
    let mut commit = Commit::new(0, 1, Flush::Fdatasync);
    commit.want_durable(1);
    commit.submitted(OpId(1), 1, FILE, Way::Plain, T);
    assert_eq!(commit.next(true), Next::Wait);
    commit.completed(OpId(1));
    assert_eq!(commit.next(true), Next::Sync(FILE));
    commit.sync_submitted(OpId(9), FILE, T);
    assert!(!commit.has_room() && commit.next(true) == Next::Wait);
    commit.synced(OpId(9));
    assert_eq!((commit.durable(), commit.next(true)), (1, Next::Write(Way::Plain)));
}

#[test]
fn two_segments_need_two_syncs() {
    let mut commit = Commit::new(0, 4, Flush::Dsync);
    let next = FileId(1);
    commit.submitted(OpId(1), 1, FILE, Way::Plain, T);
    commit.submitted(OpId(2), 2, next, Way::Plain, T);
    commit.completed(OpId(1));
    commit.completed(OpId(2));
    commit.want_durable(2);
    assert_eq!(commit.next(false), Next::Sync(FILE));
    commit.sync_submitted(OpId(3), FILE, T);
    assert_eq!(commit.next(false), Next::Sync(next));
    commit.sync_submitted(OpId(4), next, T);
    assert_eq!(commit.next(false), Next::Wait);
    commit.synced(OpId(4));
    assert_eq!(commit.durable(), 0);
    commit.synced(OpId(3));
    assert_eq!(commit.durable(), 2);
}

#[test]
fn the_pipeline_is_bounded() {
    let mut commit = Commit::new(0, 2, Flush::Dsync);
    commit.submitted(OpId(1), 1, FILE, Way::Plain, T);
    assert!(commit.has_room());
    commit.submitted(OpId(2), 2, FILE, Way::Plain, T);
    assert!(!commit.has_room());
    for n in 3..=4 {
        assert_eq!(commit.next(true), Next::Write(Way::Plain), "what is cut may go");
        commit.submitted(OpId(n), n, FILE, Way::Plain, T);
    }
    assert_eq!(commit.next(true), Next::Wait);
    commit.completed(OpId(2));
    assert_eq!(commit.next(true), Next::Write(Way::Plain));
    assert!(!commit.has_room());
}

#[test]
fn long_plain_runs_take_no_memory() {
    let mut commit = Commit::new(0, 4, Flush::Dsync);
    for n in 1..=1000 {
        commit.submitted(OpId(n), n, FILE, Way::Plain, T);
        commit.completed(OpId(n));
    }
    assert_eq!(commit.landed.len(), 1);
    commit.want_durable(1000);
    assert_eq!(commit.next(false), Next::Sync(FILE));
    commit.sync_submitted(OpId(5000), FILE, T);
    commit.synced(OpId(5000));
    assert_eq!(commit.durable(), 1000);
}
