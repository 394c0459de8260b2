//! The report as tables: for a terminal of 120 columns, and as Markdown for a README.
//!
//! Four tables, each with a title above and one line under it that says how to read it: rates and
//! latencies, where the time goes, cost and checks, yardsticks. Those without data are left out.

use super::Stage;
use super::caveats::caveats;
use super::explain::sentences;
use super::grid::{Align, EMPTY, Grid, bytes, count, counted, number, number_or_empty, rate};
use super::model::{Environment, Latency, Report, Run, Verified, Yardstick};
use Align::{Left, Right};

/// No line of the text is longer.
pub const COLUMNS_MAX: usize = 120;

/// What the names of yardsticks mean, said before the first of them is used.
pub(super) const YARDSTICKS: &str = "Yardsticks, the bare machine in the same run: D(4K,1) is one durable \
    write of 4 KiB at a time, E a TCP echo, ED an echo that answers after one such write.";

/// A grid with its title and the line that explains it.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) grid: Grid,
    pub(super) explanation: String,
}

/// The report as text without colour.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for line in facts(&report.environment) {
        text += &wrapped(" ", &line);
    }
    for caveat in caveats(report) {
        text += &wrapped(" ! ", &caveat);
    }
    if !report.yardsticks.is_empty() {
        text += &wrapped(" ", YARDSTICKS);
    }
    for section in sections(report) {
        text += &format!("\n{}\n{}", section.title, section.grid.text());
        text += &wrapped(" ", &section.explanation);
    }
    let sentences = sentences(report);
    if !sentences.is_empty() {
        text += "\nIn words\n";
        for sentence in sentences {
            text += &wrapped(" ", &sentence);
        }
    }
    let remarks = remarks(report);
    if !remarks.is_empty() {
        text += "\nNotes\n";
        for remark in remarks {
            text += &wrapped(" - ", &remark);
        }
    }
    text
}

/// The report as Markdown.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut text = format!("`{}`\n\n", report.command.replace('`', "'"));
    text += &facts(&report.environment).join("  \n");
    text.push('\n');
    for caveat in caveats(report) {
        text += &format!("\n> {caveat}\n");
    }
    if !report.yardsticks.is_empty() {
        text += &format!("\n{YARDSTICKS}\n");
    }
    for section in sections(report) {
        text += &format!(
            "\n**{}**\n\n{}\n{}\n",
            section.title,
            section.grid.markdown(),
            section.explanation
        );
    }
    let sentences = sentences(report);
    if !sentences.is_empty() {
        text += &format!("\n{}\n", sentences.join(" "));
    }
    for (n, remark) in remarks(report).iter().enumerate() {
        text += if n == 0 { "\n" } else { "" };
        text += &format!("- {remark}\n");
    }
    text
}

/// The tables that have data.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let mut sections = Vec::new();
    if !report.runs.is_empty() {
        sections.push(rates(&report.runs));
    }
    if report.runs.iter().any(|run| !run.stages.is_empty()) {
        sections.push(stages(&report.runs));
    }
    if report.runs.iter().any(|run| run.broker_cpu_s.is_some() || run.verified.is_some()) {
        sections.push(costs(&report.runs));
    }
    if !report.yardsticks.is_empty() {
        sections.push(yardsticks(&report.yardsticks));
    }
    sections
}

const LATENCY_HEADER: [(&str, Align); 6] = [
    ("p50", Right),
    ("p90", Right),
    ("p99", Right),
    ("p99.9", Right),
    ("p99.99", Right),
    ("max", Right),
];

fn latency_cells(latency: &Latency) -> [String; 6] {
    [
        number(latency.p50_us),
        number(latency.p90_us),
        number(latency.p99_us),
        number_or_empty(latency.p999_us),
        number_or_empty(latency.p9999_us),
        number(latency.max_us),
    ]
}

const RUN_HEADER: [(&str, Align); 3] = [("ack", Left), ("wait", Left), ("prod.", Right)];

fn run_cells(run: &Run) -> Vec<String> {
    vec![run.ack.to_string(), run.waiting.to_string(), run.producers.to_string()]
}

fn rates(runs: &[Run]) -> Section {
    let mut header = RUN_HEADER.to_vec();
    header.extend([
        ("size", Right),
        ("batch", Right),
        ("offered/s", Right),
        ("msg/s", Right),
        ("MB/s", Right),
    ]);
    header.extend(LATENCY_HEADER);
    header.push(("yardstick", Left));
    let mut grid = Grid::new(&header);
    for run in runs {
        let mut cells = run_cells(run);
        cells.push(bytes(u64::from(run.message_bytes)));
        cells.push(run.batch_messages.to_string());
        cells.push(run.target_per_s.map_or_else(|| EMPTY.to_owned(), rate));
        cells.push(rate(run.messages_per_s));
        cells.push(number(run.bytes_per_s / 1e6));
        cells.extend(latency_cells(&run.latency));
        cells.push(run.ratio.as_ref().map_or_else(
            || EMPTY.to_owned(),
            |ratio| format!("{:.2} x {} {}", ratio.value, ratio.yardstick, ratio.figure),
        ));
        grid.row(cells);
    }
    Section {
        title: "What a producer sees (latencies in us)",
        grid,
        explanation: latency_is(runs).to_owned(),
    }
}

/// What a latency counts from, which the loop decides.
fn latency_is(runs: &[Run]) -> &'static str {
    if runs.iter().any(|run| run.target_per_s.is_some()) {
        "Latency: from when a request should have been sent (open loop) to its acknowledgement. \
         Yardstick: ours / the bare machine's."
    } else {
        "Latency: from when a request was sent (closed loop: after the last answer) to its \
         acknowledgement. Yardstick: ours / the bare machine's."
    }
}

fn stages(runs: &[Run]) -> Section {
    let mut header = RUN_HEADER.to_vec();
    header.extend(Stage::ALL.map(|stage| (stage.title(), Right)));
    let mut grid = Grid::new(&header);
    for run in runs {
        let mut cells = run_cells(run);
        cells.extend(Stage::ALL.map(|stage| {
            let time = run.stages.iter().find(|time| time.stage == stage);
            time.map_or_else(
                || EMPTY.to_owned(),
                |time| format!("{} / {}", number(time.p50_us), number(time.p99_us)),
            )
        }));
        grid.row(cells);
    }
    Section {
        title: "Where the time goes (median / p99 of each stage, us)",
        grid,
        explanation: "Medians nearly add up, p99s do not. Flush wait: until the group's write \
                      starts. Net+client: outside the broker."
            .to_owned(),
    }
}

fn costs(runs: &[Run]) -> Section {
    let mut header = RUN_HEADER.to_vec();
    header.extend([
        ("broker CPU s", Right),
        ("msg per CPU s", Right),
        ("kernel CPU s", Right),
        ("generator CPU s", Right),
        ("verified", Left),
    ]);
    let mut grid = Grid::new(&header);
    for run in runs {
        let mut cells = run_cells(run);
        cells.push(number_or_empty(run.broker_cpu_s));
        cells.push(run.messages_per_broker_cpu_s.map_or_else(|| EMPTY.to_owned(), rate));
        cells.push(number_or_empty(run.kernel_cpu_s));
        cells.push(number_or_empty(run.generator_cpu_s));
        cells.push(run.verified.as_ref().map_or_else(|| EMPTY.to_owned(), verdict));
        grid.row(cells);
    }
    let mut explanation = "Kernel: workers that finish disk writes.".to_owned();
    let is_verified = runs.iter().any(|run| run.verified.is_some());
    if is_verified {
        explanation +=
            " Verified: acknowledged messages that a consumer got, in order, byte for byte.";
    }
    let title = if is_verified { "What it cost, and whether it was right" } else { "What it cost" };
    Section { title, grid, explanation }
}

fn verdict(verified: &Verified) -> String {
    let acknowledged = count(verified.acknowledged);
    if verified.is_clean() {
        return format!("all of {acknowledged}");
    }
    let faults = [
        (verified.missing, "missing"),
        (verified.duplicated, "twice"),
        (verified.reordered, "reordered"),
        (verified.corrupt, "corrupt"),
    ];
    let faults: Vec<String> = faults
        .iter()
        .filter(|(found, _)| *found > 0)
        .map(|(found, fault)| format!("{} {fault}", count(*found)))
        .collect();
    format!("FAILED of {acknowledged}: {}", faults.join(", "))
}

fn yardsticks(yardsticks: &[Yardstick]) -> Section {
    let mut header = vec![
        ("yardstick", Left),
        ("wait", Left),
        ("pace", Left),
        ("ops/s", Right),
        ("MB/s", Right),
    ];
    header.extend(LATENCY_HEADER);
    let mut grid = Grid::new(&header);
    for yardstick in yardsticks {
        let pace = yardstick.pace_per_s;
        let mut cells = vec![
            yardstick.name.clone(),
            yardstick.wait.clone(),
            pace.map_or_else(|| "back to back".to_owned(), |pace| format!("{}/s", rate(pace))),
            rate(yardstick.ops_per_s),
            number(yardstick.bytes_per_s / 1e6),
        ];
        cells.extend(latency_cells(&yardstick.latency));
        grid.row(cells);
    }
    let has = |is: fn(&str) -> bool| yardsticks.iter().any(|yardstick| is(&yardstick.name));
    let mut explanation = "Pace: how many are begun a second.".to_owned();
    if has(|name| name.starts_with("D(") && name != "D(4K,1)") {
        explanation += " D(b,q): durable write of b, q in flight.";
    }
    if has(|name| matches!(name, "W" | "R")) {
        explanation += " W, R: sequential write, read.";
    }
    Section { title: "What the machine can do (latencies in us)", grid, explanation }
}

fn facts(env: &Environment) -> Vec<String> {
    let mut machine = format!(
        "{} CPUs ({}), {}, Linux {}",
        env.cpus,
        env.cpu,
        bytes(env.memory_bytes >> 20 << 20),
        env.kernel
    );
    if let Some(governor) = &env.governor {
        machine += &format!(", governor {governor}");
    }
    let mut disk = format!("{} on {} ({})", env.file_system, env.device, env.mount_options);
    if let Some(cache) = &env.write_cache {
        disk += &format!(", {cache} cache");
    }
    if let Some(fua) = env.fua {
        disk += if fua { ", FUA" } else { ", no FUA" };
    }
    if let Some(scheduler) = &env.scheduler {
        disk += &format!(", scheduler {scheduler}");
    }
    let mut build = env.build.clone();
    if let Some(node) = &env.node {
        build += &format!("; node: {node}");
    }
    [build, machine, disk].into_iter().filter(|fact| !fact.is_empty()).collect()
}

/// `1 producer`, `16 producers`.
pub(crate) fn producers(count: u32) -> String {
    if count == 1 { "1 producer".to_owned() } else { format!("{count} producers") }
}

/// Everything that was remarked on, on the whole and on lines.
pub(super) fn remarks(report: &Report) -> Vec<String> {
    let mut remarks = report.notes.clone();
    for run in &report.runs {
        remarks.extend(run.notes.iter().map(|note| format!("{}: {note}", run.name)));
    }
    if let Some(canary) = &report.canary {
        let worst = canary.slow.iter().map(|slow| slow.worst_ms).fold(0.0, f64::max);
        remarks.push(match canary.slow.len() {
            0 => "canary: the machine was never slow".to_owned(),
            times => format!(
                "canary: the machine itself was slow {} (worst {} ms)",
                counted(times as u64, "time"),
                number(worst)
            ),
        });
    }
    remarks
}

/// `text` in lines of at most 120 columns, the first led by `lead` and the others by its width.
pub(crate) fn wrapped(lead: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = lead.to_owned();
    let mut filled = false;
    for word in text.split_whitespace() {
        if filled && line.chars().count() + 1 + word.chars().count() > COLUMNS_MAX {
            lines += &line;
            lines.push('\n');
            line = " ".repeat(lead.chars().count());
            filled = false;
        }
        if filled {
            line.push(' ');
        }
        line += word;
        filled = true;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::sample::report;
    use crate::report::{Ack, Verified, json};

    #[test]
    fn the_text_is_the_golden_one() {
        assert_eq!(text(&report()), include_str!("golden_table.txt"));
    }

    #[test]
    fn a_report_read_back_gives_the_same_tables() {
        let again = json::from_json(&json::to_json(&report()).unwrap()).unwrap();
        assert_eq!(text(&again), text(&report()));
        assert_eq!(markdown(&again), markdown(&report()));
    }

    #[test]
    fn the_widest_figures_fit_the_terminal() {
        let mut report = report();
        for run in &mut report.runs {
            run.ack = Ack::Durable;
            run.message_bytes = 1_048_576;
            run.messages_per_s = 12.3e6;
            run.target_per_s = Some(12.3e6);
            run.bytes_per_s = 9_999e6;
            run.notes = vec!["a long remark ".repeat(20)];
            let latency = &mut run.latency;
            (latency.p50_us, latency.p90_us, latency.p99_us) = (9_999.0, 99_999.0, 99_999.0);
            (latency.p999_us, latency.max_us) = (Some(999_999.0), 999_999.0);
        }
        for line in text(&report).lines() {
            assert!(line.chars().count() <= COLUMNS_MAX, "{}: {line}", line.chars().count());
            assert!(!line.contains('\u{1b}'), "colour: {line}");
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_explained() {
        let mut report = report();
        let closed = text(&report);
        assert!(closed.contains("closed loop") && !closed.contains("should have been sent"));
        assert!(closed.contains("Verified: acknowledged"), "{closed}");
        report.runs.iter_mut().for_each(|run| {
            (run.verified, run.target_per_s) = (None, Some(500.0));
        });
        let open = text(&report);
        assert!(open.contains("should have been sent") && !open.contains("erified"), "{open}");
    }

    #[test]
    fn caveats_stand_above_the_first_table() {
        let mut report = report();
        report.caveats = vec!["smoke size".into()];
        for (text, caveat) in
            [(text(&report), " ! smoke size"), (markdown(&report), "> smoke size")]
        {
            let at = text.find(caveat).unwrap();
            assert!(at < text.find("What a producer sees").unwrap(), "{text}");
        }
    }

    #[test]
    fn markdown_has_every_table() {
        let text = markdown(&report());
        assert_eq!(text.matches("\n|---").count(), 4, "{text}");
        assert!(text.contains("| durable | sleep | 256 |"), "{text}");
    }

    #[test]
    fn faults_are_told_apart() {
        let faults = Verified { acknowledged: 9, missing: 2, corrupt: 1, ..Default::default() };
        assert_eq!(verdict(&faults), "FAILED of 9: 2 missing, 1 corrupt");
    }

    #[test]
    fn an_empty_report_has_no_tables() {
        let mut empty = report();
        (empty.runs, empty.yardsticks, empty.canary) = (Vec::new(), Vec::new(), None);
        empty.notes.clear();
        assert_eq!(text(&empty).lines().count(), 3);
    }
}
