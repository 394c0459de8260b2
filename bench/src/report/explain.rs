//! The report in plain words: what durability costs on this disk, and where the time goes.
//!
//! At most five sentences, each from figures of the report; a sentence whose figures are missing is
//! left out. Only what was measured is said: nothing here judges.

use super::grid::{number, rate};
use super::model::{Report, Run, Yardstick};
use super::{Ack, Stage};

/// The sentences.
#[must_use]
pub(super) fn sentences(report: &Report) -> Vec<String> {
    [one_write(report), one_producer(report), where_it_goes(report), many(report), cpu(report)]
        .into_iter()
        .flatten()
        .collect()
}

fn yardstick<'a>(report: &'a Report, name: &str) -> Option<&'a Yardstick> {
    report.yardsticks.iter().find(|yardstick| yardstick.name == name)
}

/// The run of this level with the fewest (or most) producers.
pub(super) fn run(report: &Report, ack: Ack, most: bool) -> Option<&Run> {
    let runs = report.runs.iter().filter(|run| run.ack == ack);
    if most { runs.max_by_key(|run| run.producers) } else { runs.min_by_key(|run| run.producers) }
}

fn producers(run: &Run) -> String {
    super::table::producers(run.producers)
}

fn one_write(report: &Report) -> Option<String> {
    let d = yardstick(report, "D(4K,1)")?;
    let ed = yardstick(report, "ED")?;
    if ed.latency.p50_us < d.latency.p50_us {
        return Some(format!(
            "The yardsticks contradict each other: an echo with a durable write in it (ED, {} us) \
             took less than the write alone (D, {} us). This machine was too noisy: what stands \
             beside them means nothing.",
            number(ed.latency.p50_us),
            number(d.latency.p50_us)
        ));
    }
    Some(format!(
        "One durable write of 4 KiB takes this disk {} us (p50); the simplest server that does \
         one for each request answers in {} us.",
        number(d.latency.p50_us),
        number(ed.latency.p50_us)
    ))
}

fn one_producer(report: &Report) -> Option<String> {
    let durable = run(report, Ack::Durable, false)?;
    let memory = run(report, Ack::Memory, false)?;
    if durable.producers != memory.producers {
        return None;
    }
    let (d, m) = (durable.latency.p50_us, memory.latency.p50_us);
    if d < m {
        return Some(format!(
            "With {}, a durable acknowledgement took {} us and one from memory {} us: this machine \
             was too noisy to say what durability costs.",
            producers(durable),
            number(d),
            number(m)
        ));
    }
    Some(format!(
        "With {}, a durable acknowledgement takes {} us and one from memory {} us: the difference, \
         {} us, is the price of durability for someone who waits for every message.",
        producers(durable),
        number(d),
        number(m),
        number(d - m)
    ))
}

fn where_it_goes(report: &Report) -> Option<String> {
    let durable = run(report, Ack::Durable, false)?;
    let p50 = |stage| durable.stages.iter().find(|t| t.stage == stage).map(|t| t.p50_us);
    let (device, rest) = (p50(Stage::Device)?, p50(Stage::Rest)?);
    let broker: f64 = durable
        .stages
        .iter()
        .filter(|time| !matches!(time.stage, Stage::Device | Stage::Rest))
        .map(|time| time.p50_us)
        .sum();
    let of = match one_producer(report) {
        Some(_) => "Of the durable one".to_owned(),
        None => format!(
            "Of the {} us that a durable acknowledgement takes with {}",
            number(durable.latency.p50_us),
            producers(durable)
        ),
    };
    Some(format!(
        "{of}, {} us are the disk, {} us the network and the client, and {} us \
         everything the broker does itself.",
        number(device),
        number(rest),
        number(broker)
    ))
}

fn many(report: &Report) -> Option<String> {
    let (few, many) = (run(report, Ack::Durable, false)?, run(report, Ack::Durable, true)?);
    if few.producers == many.producers || many.target_per_s.is_some() {
        return None;
    }
    let shared = format!(
        "Writes are shared: {} get {} durable messages/s where {} gets {}",
        producers(many),
        rate(many.messages_per_s),
        producers(few),
        rate(few.messages_per_s)
    );
    let memory = run(report, Ack::Memory, true).filter(|run| run.producers == many.producers);
    Some(match memory {
        Some(memory) => format!(
            "{shared}; that is {:.0} % of what memory alone gives ({}).",
            100.0 * many.messages_per_s / memory.messages_per_s,
            rate(memory.messages_per_s)
        ),
        None => format!("{shared}."),
    })
}

fn cpu(report: &Report) -> Option<String> {
    let most = run(report, Ack::Durable, true)?;
    let figure = most.messages_per_broker_cpu_s?;
    Some(format!(
        "A second of the broker's CPU is worth {} durable messages with {}.",
        rate(figure),
        producers(most)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::sample::report;

    #[test]
    fn a_whole_report_has_five_sentences_with_its_own_figures() {
        let report = report();
        let sentences = sentences(&report);
        assert_eq!(sentences.len(), 5, "{sentences:#?}");
        let durable = run(&report, Ack::Durable, false).unwrap();
        assert!(sentences[1].contains(&number(durable.latency.p50_us)));
        assert!(sentences.iter().all(|sentence| sentence.ends_with('.')));
    }

    #[test]
    fn each_sentence_stands_for_itself() {
        let mut report = report();
        report.runs.retain(|run| run.ack == Ack::Durable);
        let text = sentences(&report).join(" ");
        assert!(
            text.contains("Of the 315 us that a durable acknowledgement takes with 1 producer")
        );
        assert!(!text.contains("Of the durable one"), "{text}");
    }

    #[test]
    fn a_machine_that_contradicts_itself_is_said_to_be_noisy() {
        let mut report = report();
        report.yardsticks[1].latency.p50_us = report.yardsticks[0].latency.p50_us / 2.0;
        let memory = report.runs[0].latency.p50_us;
        report.runs[2].latency.p50_us = memory / 2.0;
        let sentences = sentences(&report);
        assert!(sentences[0].starts_with("The yardsticks contradict each other"));
        assert!(sentences[1].contains("too noisy to say"), "{sentences:?}");
        assert!(!sentences.iter().any(|sentence| sentence.contains("the simplest server")));
    }

    #[test]
    fn what_was_not_measured_is_not_said() {
        let mut report = report();
        report.runs.retain(|run| run.ack == Ack::Memory);
        report.yardsticks.clear();
        assert!(sentences(&report).is_empty());
    }
}
