//! What a node that is started here does with its device: known before it starts, since it is given
//! no option of that kind and takes its directory's `device.toml`, if there is one.

use std::path::Path;

use engine::device::{Found, look};
use engine::log::writer::{Flush, WriterOptions};

use crate::report::Environment;
use crate::yardstick::machine;

/// Where a run takes place, with what its nodes do there. A node that runs already does not say.
#[must_use]
pub fn environment(place: &Path, is_ours: bool) -> Environment {
    let node = if is_ours {
        tuning(place)
    } else {
        "a running node, started by somebody else: its options are not known here".to_owned()
    };
    Environment { node: Some(node), ..machine::environment(place) }
}

fn tuning(place: &Path) -> String {
    let Ok(Found::Fits(file)) = look(place) else {
        let WriterOptions { flush, groups_inflight_max, .. } = WriterOptions::default();
        return format!(
            "not tuned: flush by {}, {groups_inflight_max} groups in flight",
            name(flush)
        );
    };
    let choices = &file.choices;
    format!(
        "tuned: flush by {}, {} groups in flight, prefill {} KiB, {} while polling",
        name(choices.flush),
        choices.groups_inflight_max,
        choices.prefill_step_kib,
        if choices.yield_in_flight { "yielding" } else { "not yielding" }
    )
}

fn name(flush: Flush) -> &'static str {
    match flush {
        Flush::Dsync => "dsync",
        Flush::Fdatasync => "fdatasync",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_device_file_does_what_the_engine_does_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let node = environment(dir.path(), true).node.unwrap();
        let groups = WriterOptions::default().groups_inflight_max;
        assert!(node.starts_with("not tuned: flush by "), "{node}");
        assert!(node.ends_with(&format!("{groups} groups in flight")), "{node}");
        assert!(environment(dir.path(), false).node.unwrap().contains("not known"));
    }
}
