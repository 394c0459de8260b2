//! What was found, in words: each choice with the figures it was made from, and what is a finding
//! only, because no node does anything about it yet.

use engine::device::{Blocks, Choices, ColdWay, Evidence};
use engine::log::writer::Flush;

use super::choose::{block_kib, cold_winners, flush_ratios, gb_per_s, sharing, spins, write};
use super::measure::Findings;
use super::plan::{DEPTHS, EVERY_US, FLUSHES};
use crate::report::grid::{number, rate};

/// The sentences. One whose figures are missing is left out.
#[must_use]
pub fn sentences(findings: &Findings) -> Vec<String> {
    let Findings { evidence, rounds, choices } = findings;
    [
        flush(evidence, choices),
        unwritten(evidence, choices),
        depth(evidence, choices),
        block(evidence, choices),
        prefill(evidence, choices),
        polling(evidence, choices),
        cold(rounds),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn flush(evidence: &Evidence, choices: &Choices) -> Option<String> {
    let lone = FLUSHES.map(|flush| write(evidence, flush, (4, 1), None).map(|w| w.p50_us));
    let paced =
        FLUSHES.map(|flush| write(evidence, flush, (4, 1), Some(EVERY_US)).map(|w| w.p50_us));
    let ([Some(a), Some(b)], [Some(c), Some(d)]) = (lone, paced) else { return None };
    let [_, _, shared] = flush_ratios(evidence)?;
    let chosen = match choices.flush {
        Flush::Dsync => "Groups are written by O_DSYNC",
        Flush::Fdatasync => "Groups are written plainly and flushed by fdatasync",
    };
    Some(format!(
        "A durable write of 4 KiB takes {} us (p50) by O_DSYNC and {} us by write and fdatasync; one \
         every {} ms takes {} and {} us. With many producers who share groups fdatasync gets {} of \
         the rate of O_DSYNC. {chosen}.",
        number(a),
        number(b),
        EVERY_US / 1000,
        number(c),
        number(d),
        number(1.0 / shared),
    ))
}

fn unwritten(evidence: &Evidence, choices: &Choices) -> Option<String> {
    let unwritten = evidence.writes.iter().find(|figure| {
        figure.blocks == Blocks::Unwritten
            && figure.flush == choices.flush
            && figure.every_us.is_none()
    })?;
    let written = write(evidence, choices.flush, (4, 1), None)?;
    let zeroes = match evidence.write_zeroes {
        true => "the device makes the zeros itself",
        false => "zeros are written, the device does not make them itself",
    };
    let ratio = unwritten.p50_us / written.p50_us.max(0.1);
    let so = match ratio > 1.1 {
        true => format!("{} times as long: segments are filled ahead", number(ratio)),
        false => "no longer than into written space; segments are filled ahead anyway".to_owned(),
    };
    Some(format!(
        "Into space that was never written the same write takes {} us, {so}. For that \
         {zeroes}.",
        number(unwritten.p50_us),
    ))
}

fn depth(evidence: &Evidence, choices: &Choices) -> Option<String> {
    let chosen = choices.groups_inflight_max;
    let rates = DEPTHS.map(|depth| {
        let figure = write(evidence, choices.flush, (4, depth), None)?;
        let shared = sharing(evidence, choices.flush, depth)?;
        Some(format!("{depth}: {} ({})", rate(figure.per_s), rate(shared)))
    });
    let rates: Option<Vec<String>> = rates.into_iter().collect();
    let full = |depth| write(evidence, choices.flush, (256, depth), None).map_or(0.0, gb_per_s);
    let most = DEPTHS.into_iter().map(full).fold(0.0, f64::max);
    Some(format!(
        "Durable writes of 4 KiB a second by writes in flight, and in brackets requests a second of \
         each of many producers who share groups: {}. Writes of 256 KiB carry {} GB/s at best and \
         {} GB/s with {chosen} in flight. {chosen} groups may be in flight.",
        rates?.join(", "),
        number(most),
        number(full(chosen)),
    ))
}

fn block(evidence: &Evidence, choices: &Choices) -> Option<String> {
    let best = block_kib(evidence, choices.flush, choices.groups_inflight_max)?;
    Some(format!(
        "{} KiB is the smallest write with nearly all of the bandwidth ({} GB/s, p99 {} us). Groups \
         grow to {} KiB under load.",
        best.block_kib,
        number(gb_per_s(best)),
        number(best.p99_us),
        choices.group_kib,
    ))
}

fn prefill(evidence: &Evidence, choices: &Choices) -> Option<String> {
    let full = write(evidence, choices.flush, (256, choices.groups_inflight_max), None)?;
    let bytes = f64::from(choices.prefill_step_kib) * 1024.0;
    Some(format!(
        "Space is filled ahead in steps of {} KiB, {} us each at that rate, so that a message that \
         comes behind one does not wait long.",
        choices.prefill_step_kib,
        number(bytes / (gb_per_s(full) * 1e3).max(1e-3)),
    ))
}

fn polling(evidence: &Evidence, choices: &Choices) -> Option<String> {
    let by_cpu: Vec<String> = spins(evidence)
        .map(|(yielding, not)| {
            format!(
                "on CPU {} {} us (p99 {}) if it yields and {} us (p99 {}) if not",
                yielding.cpu,
                number(yielding.p50_us),
                number(yielding.p99_us),
                number(not.p50_us),
                number(not.p99_us),
            )
        })
        .collect();
    let chosen = match choices.yield_in_flight {
        true => "A reactor that polls gives the CPU away while a durable write is in flight",
        false => "A reactor that polls keeps the CPU",
    };
    (!by_cpu.is_empty()).then(|| {
        format!("A thread that polls sees its durable write end {}. {chosen}.", by_cpu.join("; "))
    })
}

fn cold(rounds: &[Evidence]) -> Option<String> {
    let winners = cold_winners(rounds);
    let sizes = |way| {
        let of = winners.iter().filter(|(_, winner)| *winner == Some(way));
        of.map(|(kib, _)| kib.to_string()).collect::<Vec<_>>().join(", ")
    };
    let (sendfile, direct) = (sizes(ColdWay::Sendfile), sizes(ColdWay::Direct));
    if winners.is_empty() {
        return None;
    }
    let today = "a node reads them all past the page cache and sends them";
    Some(match (sendfile.is_empty(), direct.is_empty()) {
        (true, true) => format!(
            "For cold records neither sendfile nor reading past the page cache is clearly better; \
             {today}."
        ),
        (true, false) => format!(
            "Cold records of {direct} KiB are clearly better read past the page cache and sent than \
             by sendfile, none the other way round; {today}."
        ),
        (false, none) => {
            let direct = if none { String::new() } else { format!(", and worse for {direct} KiB") };
            format!(
                "A finding: sendfile is clearly better for cold records of {sendfile} \
                 KiB{direct}. Today {today}."
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use engine::device::{ColdFigure, WriteFigure};

    use super::super::choose::choose;
    use super::super::synthetic::Device;
    use super::*;

    fn findings(evidence: Evidence) -> Findings {
        let rounds = vec![evidence.clone()];
        let (choices, _) = choose(&rounds);
        Findings { evidence, rounds, choices }
    }

    fn words(device: &Device, sendfile: Option<(f64, f64)>) -> String {
        let mut evidence = device.evidence();
        if let Some(sendfile) = sendfile {
            for (way, (gb_per_s, cpu_s_per_gb)) in
                [(ColdWay::Direct, (1.0, 0.5)), (ColdWay::Sendfile, sendfile)]
            {
                let extent_kib = 64;
                evidence.cold_reads.push(ColdFigure { extent_kib, way, gb_per_s, cpu_s_per_gb });
            }
        }
        sentences(&findings(evidence)).join("\n")
    }

    #[test]
    fn choices_are_told_with_their_figures() {
        let text = words(&Device::default(), Some((2.0, 0.4)));
        for said in [
            "110 us (p50) by O_DSYNC and 180 us by write and fdatasync",
            "Groups are written by O_DSYNC.",
            "1: 9,000 (4,500), 2: 15,000 (5,000)",
            "2 groups may be in flight",
            "4,000 us (p99 4,800) if not; on CPU 1",
            "gives the CPU away",
            "A finding: sendfile is clearly better for cold records of 64 KiB. Today",
        ] {
            assert!(text.contains(said), "{said:?} is not in:\n{text}");
        }
    }

    #[test]
    fn the_other_choices_are_told_too() {
        let device =
            Device { lone_us: [900.0, 400.0], spin_us: [100.0, 80.0], ..Device::default() };
        let text = words(&device, Some((0.5, 0.9)));
        for said in ["flushed by fdatasync", "keeps the CPU", "better read past the page cache"] {
            assert!(text.contains(said), "{said:?} is not in:\n{text}");
        }
        assert!(words(&device, Some((1.0, 0.5))).contains("neither sendfile nor"));
    }

    #[test]
    fn unwritten_space_is_told_as_it_is() {
        let mut evidence = Device::default().evidence();
        let mut slow = write(&evidence, Flush::Dsync, (4, 1), None).unwrap().clone();
        slow.blocks = Blocks::Unwritten;
        for (p50_us, said) in [(880.0, "880 us, 8.00 times as long"), (100.0, "no longer than")] {
            let mut with = evidence.clone();
            with.writes.push(WriteFigure { p50_us, ..slow.clone() });
            let text = sentences(&findings(with)).join("\n");
            assert!(text.contains(said), "{said:?} is not in:\n{text}");
        }
        evidence.write_zeroes = true;
        evidence.writes.push(slow);
        let text = sentences(&findings(evidence)).join("\n");
        assert!(text.contains("the device makes the zeros itself"), "{text}");
    }

    #[test]
    fn without_figures_nothing_is_said() {
        assert_eq!(sentences(&findings(Evidence::default())), Vec::<String>::new());
    }
}
