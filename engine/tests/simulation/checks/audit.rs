//! Whatever a crash leaves, an audit of it finds no damage; and it counts what a restart finds.

use std::collections::BTreeSet;

use engine::audit::topics::Topics;
use engine::audit::{Damage, Expected, ShardReport, verify};
use engine::io::FileName;
use engine::io::sim::{Config, CrashImage, SimDisk};

use crate::node::options;
use crate::survey::Survey;

/// An audit of every shard's image.
pub(crate) fn audit(images: &[CrashImage], segment_bytes: u64) -> (Vec<ShardReport>, Topics) {
    let mut topics = Topics::default();
    let options = options(segment_bytes, 1);
    let reports = (0..).zip(images).map(|(shard, image)| {
        let expected = Expected { shard, node: options.node, segment_bytes };
        let mut disk = SimDisk::from_image(image, Config::default(), 1);
        let mut passed = 0;
        let (report, read) =
            verify(&mut disk, &expected, &mut topics, &mut |bytes| passed += bytes);
        read.unwrap_or_else(|error| panic!("shard {shard}: {error}"));
        assert!(report.walked.segments == 0 || report.walked.complete, "{report:?}");
        let walked = report.walked.segment_bytes;
        assert!(passed == walked || report.damages_total > 0, "{passed} of {walked} bytes");
        report
    });
    (reports.collect(), topics)
}

/// Index files that somebody has damaged.
pub(crate) type Harmed = BTreeSet<FileName>;

/// No damage.
pub(crate) fn clean(images: &[CrashImage], segment_bytes: u64) -> Result<(), String> {
    clean_but(images, segment_bytes, &Harmed::default())
}

/// No damage but to these files.
pub(crate) fn clean_but(
    images: &[CrashImage],
    segment_bytes: u64,
    harmed: &Harmed,
) -> Result<(), String> {
    for (shard, report) in audit(images, segment_bytes).0.iter().enumerate() {
        let is_news =
            |damage: &&Damage| !damage.is_derived() || !harmed.contains(&damage.place.file);
        if let Some(damage) = report.damages.iter().find(is_news) {
            return Err(format!(
                "an audit of shard {shard} finds damage where there is none: {damage}"
            ));
        }
    }
    Ok(())
}

/// No damage but to these files, and the same offsets as a restart has found.
pub(crate) fn check(
    images: &[CrashImage],
    segment_bytes: u64,
    harmed: &Harmed,
    survey: &Survey,
) -> Result<(), String> {
    clean_but(images, segment_bytes, harmed)?;
    let (reports, topics) = audit(images, segment_bytes);
    for ((topic, number), range, entries) in survey.queues() {
        let name = &survey.topics[&topic].name;
        let ids = topics.queues_of(name).filter(|(_, queue)| *queue == number);
        // A deleted topic may have had the same name: the newest has the highest ids.
        let id = ids.map(|(id, _)| id).max().ok_or(format!("{name} is unknown to the audit"))?;
        let mut queues = reports.iter().flat_map(|report| &report.queues);
        let queue = queues.find(|queue| queue.id == id);
        let found = queue.map_or((0, 0), |queue| (queue.end_offset, queue.batches));
        let expected = (range.end_offset, entries.len() as u64);
        if found != expected {
            return Err(format!(
                "an audit finds {found:?} of queue {number} of {name}: {expected:?}"
            ));
        }
    }
    Ok(())
}
