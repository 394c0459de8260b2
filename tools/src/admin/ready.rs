//! May clients be sent to this node? A pure function of what the node says.
//!
//! | | `/healthz` | `/readyz` |
//! |---|---|---|
//! | starting: the logs are read | 200 | 503 |
//! | answers | 200 | 200 |
//! | a shard takes no writes any more (poisoned) | 200: it serves reads | 503 |
//! | the data directory is lost, or takes no files | 200: it serves reads | 503 |
//! | the disk is at the mark from which produces are refused | 200 | 503 |
//! | draining | 200 | 503 |
//! | does not answer | 503 | 503 |

use engine::limits::DISK_FULL_PERCENT;
use net::client::NodeStats;

use super::state::Silence;

/// Why clients had better go elsewhere; empty: they are welcome.
pub(super) fn objections(
    draining: bool,
    answer: &Result<impl AsRef<NodeStats>, Silence>,
) -> Vec<String> {
    if draining {
        return vec!["draining: the node is about to stop".to_owned()];
    }
    let stats = match answer {
        Ok(stats) => stats.as_ref(),
        Err(Silence::Starting) => return vec!["starting: the logs are being read".to_owned()],
        Err(Silence::Mute(why)) => return vec![format!("the node does not answer: {why}")],
    };
    let mut objections = Vec::new();
    for counter in &stats.counters {
        let (shard, value) = (counter.shard, counter.value);
        match counter.name.as_str() {
            "poisoned" if value > 0 => objections.push(format!(
                "shard {shard} takes no writes: its device failed or stalled; mend it, then restart"
            )),
            "directory_lost" if value > 0 => objections.push(
                "the data directory was removed, renamed or replaced: stop the node, put it back"
                    .to_owned(),
            ),
            "directory_read_only" if value > 0 => {
                objections.push("no files can be made in the data directory".to_owned());
            }
            "disk_used_percent" if value >= u64::from(DISK_FULL_PERCENT) => objections
                .push(format!("the disk of shard {shard} is {value} % full: produces are refused")),
            _ => {}
        }
    }
    objections
}

/// Why the node should be restarted, if it should.
pub(super) fn is_dead<S>(draining: bool, answer: &Result<S, Silence>) -> Option<String> {
    match answer {
        Err(Silence::Mute(why)) if !draining => Some(format!("the node does not answer: {why}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use net::client::NodeCounter;

    use super::*;

    type Answer = Result<Arc<NodeStats>, Silence>;

    fn says(counters: &[(&str, u64)]) -> Answer {
        let counter = |(name, value): &(&str, u64)| NodeCounter {
            name: (*name).to_owned(),
            shard: 3,
            value: *value,
        };
        let counters = counters.iter().map(counter).collect();
        Ok(Arc::new(NodeStats { histograms: Vec::new(), counters }))
    }

    fn mute() -> Answer {
        Err(Silence::Mute("because".to_owned()))
    }

    #[test]
    fn the_table_above() {
        let healthy = says(&[("poisoned", 0), ("disk_used_percent", 94), ("segments", 99)]);
        for (draining, answer, objects, dead) in [
            (false, Err(Silence::Starting), Some("starting"), false),
            (false, healthy.clone(), None, false),
            (false, says(&[("poisoned", 1)]), Some("shard 3 takes no writes"), false),
            (false, says(&[("directory_lost", 1)]), Some("put it back"), false),
            (false, says(&[("directory_read_only", 1)]), Some("no files can be made"), false),
            (false, says(&[("disk_used_percent", 95)]), Some("95 % full"), false),
            (true, healthy, Some("draining"), false),
            (false, mute(), Some("does not answer: because"), true),
            (true, mute(), Some("draining"), false),
        ] {
            let objections = objections(draining, &answer);
            match objects {
                Some(says) => assert!(objections.len() == 1 && objections[0].contains(says)),
                None => assert_eq!(objections, Vec::<String>::new()),
            }
            assert_eq!(is_dead(draining, &answer).is_some(), dead, "{answer:?}");
        }
        assert_eq!(
            objections(false, &says(&[("poisoned", 1), ("disk_used_percent", 99)])).len(),
            2
        );
    }
}
