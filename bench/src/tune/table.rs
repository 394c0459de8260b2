//! The figures as tables, and everything that was found as one text.

use engine::device::{Blocks, ColdWay, Evidence, Place};
use engine::log::writer::Flush;

use super::choose::gb_per_s;
use super::explain::sentences;
use super::measure::Findings;
use crate::report::grid::{Align, Grid, number, rate};
use crate::report::table::wrapped;

/// All of it, for a terminal.
#[must_use]
pub fn text(findings: &Findings, place: &Place) -> String {
    let evidence = &findings.evidence;
    let mut text = format!("{place}, mounted {}\n", evidence.mount_options);
    let fua = match evidence.fua {
        Some(true) => "with FUA",
        Some(false) => "without FUA",
        None => "which does not say whether it has FUA",
    };
    let cache = evidence.write_cache.as_deref().unwrap_or("unknown");
    text += &format!("device cache: {cache}, {fua}\n");
    text += &format!("\nDurable writes (latencies in us)\n{}", writes(evidence).text());
    if !evidence.spins.is_empty() {
        text += &format!("\nPolling for a durable write of 4 KiB\n{}", spins(evidence).text());
    }
    if !evidence.cold_reads.is_empty() {
        text += &format!("\nCold extents, sent to a socket\n{}", cold(evidence).text());
    }
    text += "\nIn words\n";
    for sentence in sentences(findings) {
        text += &wrapped(" ", &sentence);
    }
    if !evidence.notes.is_empty() {
        text += "\nNotes\n";
        for note in &evidence.notes {
            text += &wrapped(" - ", note);
        }
    }
    text
}

fn writes(evidence: &Evidence) -> Grid {
    let mut grid = Grid::new(&[
        ("size", Align::Right),
        ("in flight", Align::Right),
        ("how", Align::Left),
        ("space", Align::Left),
        ("pace", Align::Left),
        ("writes/s", Align::Right),
        ("GB/s", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
    ]);
    for figure in &evidence.writes {
        let pace = figure.every_us.map(|us| format!("every {} ms", f64::from(us) / 1e3));
        grid.row(vec![
            format!("{} KiB", figure.block_kib),
            figure.depth.to_string(),
            if figure.flush == Flush::Dsync { "O_DSYNC" } else { "fdatasync" }.to_owned(),
            if figure.blocks == Blocks::Written { "written" } else { "unwritten" }.to_owned(),
            pace.unwrap_or_else(|| "back to back".to_owned()),
            rate(figure.per_s),
            number(gb_per_s(figure)),
            number(figure.p50_us),
            number(figure.p99_us),
        ]);
    }
    grid
}

fn spins(evidence: &Evidence) -> Grid {
    let mut grid = Grid::new(&[
        ("CPU", Align::Right),
        ("between looks", Align::Left),
        ("writes/s", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
    ]);
    for spin in &evidence.spins {
        grid.row(vec![
            spin.cpu.to_string(),
            if spin.yields { "yields" } else { "does not yield" }.to_owned(),
            rate(spin.per_s),
            number(spin.p50_us),
            number(spin.p99_us),
        ]);
    }
    grid
}

fn cold(evidence: &Evidence) -> Grid {
    let mut grid = Grid::new(&[
        ("extent", Align::Right),
        ("how", Align::Left),
        ("GB/s", Align::Right),
        ("CPU s per GB", Align::Right),
    ]);
    for cold in &evidence.cold_reads {
        let how = match cold.way {
            ColdWay::Direct => "O_DIRECT read, send",
            ColdWay::Sendfile => "sendfile",
        };
        grid.row(vec![
            format!("{} KiB", cold.extent_kib),
            how.to_owned(),
            number(cold.gb_per_s),
            number(cold.cpu_s_per_gb),
        ]);
    }
    grid
}
