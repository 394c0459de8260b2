//! What happened on a node between two looks at its statistics.
//!
//! Invariant: a node that was started anew in between (its counts are smaller) counts from its
//! start; nothing is ever negative.

use std::time::Duration;

use net::client::{NodeHistogram, NodeStats};

/// A counter: what it says, and how much of that came in the interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its name.
    pub(crate) name: String,
    /// Its shard; 0xFFFF: the node's.
    pub(crate) shard: u16,
    /// What it says now.
    pub(crate) value: u64,
    /// How much it grew.
    pub(crate) grown: u64,
}

/// Latencies and counters of an interval.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    /// How long it was.
    pub(crate) length: Duration,
    /// Of what happened in it.
    pub(crate) histograms: Vec<NodeHistogram>,
    /// All counters.
    pub(crate) counters: Vec<Change>,
}

impl Interval {
    /// What is in `now` and was not in `before`.
    pub(crate) fn between(before: &NodeStats, now: &NodeStats, length: Duration) -> Self {
        let same = |a: &NodeHistogram, b: &NodeHistogram| {
            (a.operation, a.stage, a.shard) == (b.operation, b.stage, b.shard)
        };
        let histogram = |now: &NodeHistogram| {
            let mut since = now.clone();
            let earlier = before.histograms.iter().find(|earlier| same(earlier, now));
            if let Some(earlier) = earlier
                && since.histogram.subtract(&earlier.histogram).is_err()
            {
                since = now.clone();
            }
            since
        };
        let counter = |now: &net::client::NodeCounter| {
            let mut all = before.counters.iter();
            let earlier = all.find(|one| (&one.name, one.shard) == (&now.name, now.shard));
            let earlier = earlier.map_or(0, |earlier| earlier.value);
            let grown = now.value.checked_sub(earlier).unwrap_or(now.value);
            Change { name: now.name.clone(), shard: now.shard, value: now.value, grown }
        };
        Self {
            length,
            histograms: now.histograms.iter().map(histogram).collect(),
            counters: now.counters.iter().map(counter).collect(),
        }
    }

    /// What a counter says, over all shards.
    pub(crate) fn value(&self, name: &str) -> u64 {
        self.counters.iter().filter(|counter| counter.name == name).map(|c| c.value).sum()
    }

    /// What came to a counter per second, over all shards.
    pub(crate) fn rate(&self, name: &str) -> f64 {
        let grown: u64 =
            self.counters.iter().filter(|counter| counter.name == name).map(|c| c.grown).sum();
        per_second(grown, self.length)
    }

    /// For how much of the interval, in percent, a counter of nanoseconds ran: by shard or reactor, in
    /// their order.
    pub(crate) fn shares(&self, name: &str) -> Vec<(u16, f64)> {
        let length = self.length.as_nanos().max(1) as f64;
        let of = self.counters.iter().filter(|counter| counter.name == name);
        let mut shares: Vec<_> =
            of.map(|change| (change.shard, 100.0 * change.grown as f64 / length)).collect();
        shares.sort_by_key(|(shard, _)| *shard);
        shares
    }
}

/// So many in so much time.
pub(crate) fn per_second(count: u64, length: Duration) -> f64 {
    count as f64 / length.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use net::client::NodeCounter;
    use net::wire::{Operation, SHARD_ANY, Stage};

    use super::*;

    fn stats(count: u64, latencies: &[u64]) -> NodeStats {
        let mut histogram = Histogram::new(2).unwrap();
        latencies.iter().for_each(|latency| histogram.record(*latency).unwrap());
        let (operation, stage) = (Some(Operation::Produce), Some(Stage::Device));
        NodeStats {
            histograms: vec![NodeHistogram { operation, stage, shard: SHARD_ANY, histogram }],
            counters: vec![NodeCounter { name: "n".to_owned(), shard: 0, value: count }],
        }
    }

    #[test]
    fn only_what_is_new_counts() {
        let second = Duration::from_secs(2);
        let interval =
            Interval::between(&stats(10, &[5, 900]), &stats(30, &[5, 900, 7, 7]), second);
        assert_eq!((interval.value("n"), interval.rate("n")), (30, 10.0));
        assert_eq!(interval.shares("n"), [(0, 100.0 * 20.0 / 2e9)]);
        let histogram = &interval.histograms[0].histogram;
        assert_eq!((histogram.len(), histogram.max()), (2, 7));
    }

    #[test]
    fn a_node_that_began_anew_counts_from_its_start() {
        let second = Duration::from_secs(1);
        let interval = Interval::between(&stats(10, &[5, 900]), &stats(3, &[7]), second);
        assert_eq!(interval.rate("n"), 3.0);
        assert_eq!(interval.histograms[0].histogram.len(), 1);
    }
}
