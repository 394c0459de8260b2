//! The report as one page that opens offline: HTML with its style and figures in it, no script, by
//! day and by night, from a telephone to a wall.
//!
//! Reading order: this file (what stands on the page, top-down), `charts` and `sweep` (the figures),
//! `figure` (axes and lines), `style.css`.
//!
//! Invariants: everything is derived from the report; nothing on the page is fetched from anywhere;
//! what comes from outside (names, paths, the command) is escaped.

mod charts;
mod figure;
pub(crate) mod sweep;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

pub(crate) use figure::escape;

use super::Ack;
use super::caveats::caveats;
use super::explain::{self, sentences};
use super::grid::{bytes, number, rate};
use super::json::ReportError;
use super::model::{Environment, Report, Run};
use super::table::{YARDSTICKS, remarks, sections};

/// Writes the page to a file.
///
/// # Errors
/// [`ReportError::File`] names it.
pub fn write(report: &Report, path: &Path) -> Result<(), ReportError> {
    fs::write(path, html(report))
        .map_err(|source| ReportError::File { path: path.to_path_buf(), source })
}

/// The page.
#[must_use]
pub fn html(report: &Report) -> String {
    let mut body = String::new();
    body += &heading(report);
    body += &banner(&caveats(report));
    body += &summary(report);
    body += &percentiles(report);
    body += &stages(report);
    body += &over_time(report);
    body += &tables(report);
    body += &notes(report);
    body += &method(report);
    body += &machine(&report.environment);
    body += &command(&report.command);
    page("uringmq: what durability costs on this disk", &charts::colours(report), &body)
}

/// A whole page around `body`.
pub(crate) fn page(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <meta name=generator content=\"uringmq {}\">\n<title>{}</title>\n\
         <style>\n{}{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        escape(title),
        include_str!("style.css"),
    )
}

/// What a line or an area stands for.
struct Entry {
    /// Classes of the line, as in the figure; or of a stage, whose area it is.
    class: String,
    label: String,
}

fn legend(entries: &[Entry]) -> String {
    let mut text = String::from("<ul class=legend>");
    for Entry { class, label } in entries {
        let mark = match class.strip_prefix("s-") {
            Some(_) => format!("<rect y=1 width=10 height=10 style='fill:var(--{class})'/>"),
            None => format!("<path class='{class}' d='M0 6H26'/>"),
        };
        let wide = if class.starts_with("s-") { 12 } else { 28 };
        let label = escape(label);
        let _ =
            write!(text, "<li><svg viewBox='0 0 {wide} 12' width={wide}>{mark}</svg>{label}</li>");
    }
    text + "</ul>\n"
}

fn heading(report: &Report) -> String {
    let env = &report.environment;
    format!(
        "<h1>What durability costs on this disk</h1>\n<p class=sub>{} · {} CPUs, {} on {}, Linux \
         {}</p>\n",
        when(env, report.started_unix_s),
        env.cpus,
        escape(&env.file_system),
        escape(&env.device),
        escape(&env.kernel)
    )
}

/// What was measured, and when.
pub(crate) fn when(env: &Environment, started_unix_s: u64) -> String {
    let started = UNIX_EPOCH + Duration::from_secs(started_unix_s);
    escape(&format!("{}, {}", env.build, humantime::format_rfc3339_seconds(started)))
}

/// What must be known before any figure is looked at.
pub(crate) fn banner(caveats: &[String]) -> String {
    if caveats.is_empty() {
        return String::new();
    }
    let lines: String =
        caveats.iter().map(|caveat| format!("<li>{}</li>", escape(&micro(caveat)))).collect();
    format!("<ul class=banner role=note>{lines}</ul>\n")
}

/// Terminals get `us`, pages `µs`.
pub(crate) fn micro(text: &str) -> String {
    let word = |word: &str| match word.strip_prefix("us") {
        Some(rest) if rest.chars().all(|c| c.is_ascii_punctuation()) => format!("µs{rest}"),
        _ => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn tile(figure: &str, unit: &str, what: &str) -> String {
    let (figure, unit, what) = (escape(figure), escape(unit), escape(what));
    format!(
        "<div class=tile><b>{figure} <small class=unit>{unit}</small></b><span>{what}</span></div>"
    )
}

fn summary(report: &Report) -> String {
    let mut text = String::new();
    if !report.yardsticks.is_empty() {
        let _ = writeln!(text, "<p class=how>{}</p>", escape(YARDSTICKS));
    }
    text += "<div class=tiles>";
    let few = |ack| explain::run(report, ack, false);
    if let Some(d) = report.yardsticks.iter().find(|yardstick| yardstick.name == "D(4K,1)") {
        let what = "one durable write of 4 KiB on this disk, median";
        text += &tile(&number(d.latency.p50_us), "µs", what);
    }
    if let Some(durable) = few(Ack::Durable) {
        text += &tile(&number(durable.latency.p50_us), "µs", &median_of(durable));
    }
    if let Some(memory) = few(Ack::Memory) {
        text += &tile(&number(memory.latency.p50_us), "µs", &median_of(memory));
    }
    if let Some(most) = explain::run(report, Ack::Durable, true) {
        let what = format!("durable messages/s with {}", super::table::producers(most.producers));
        text += &tile(&rate(most.messages_per_s), "/s", &what);
    }
    text += "</div>\n";
    for sentence in sentences(report) {
        let _ = writeln!(text, "<p>{}</p>", escape(&micro(&sentence)));
    }
    if report.runs.iter().filter_map(|run| run.verified).any(|verified| !verified.is_clean()) {
        text += "<p class=bad>Verification failed: see the table of costs.</p>\n";
    }
    text
}

fn median_of(run: &Run) -> String {
    let producers = super::table::producers(run.producers);
    let beside = run.ratio.as_ref().map_or_else(String::new, |ratio| {
        format!(", {:.2} x {} {}", ratio.value, ratio.yardstick, ratio.figure)
    });
    format!("{} acknowledgement, {producers}, median{beside}", run.ack)
}

fn percentiles(report: &Report) -> String {
    let figure = charts::percentiles(report);
    if figure.is_empty() {
        return figure;
    }
    format!(
        "<h2>Latency by percentile</h2>\n<p class=how>The further right, the rarer the case; every \
         further nine takes the same room. A curve ends where its samples do. Yardsticks of the bare \
         machine are dashed.</p>\n<figure>{figure}</figure>\n"
    )
}

fn stages(report: &Report) -> String {
    let figure = charts::stages(report);
    if figure.is_empty() {
        return figure;
    }
    format!(
        "<h2>Where the time goes</h2>\n<p class=how>Medians of each stage, stacked; the mark and the \
         figure are the measured median of the whole, to which they nearly add up. Flush wait: until the group's write starts. Net+client: what \
         happens outside the broker. Each panel has its own scale.</p>\n<figure>{figure}</figure>\n"
    )
}

fn over_time(report: &Report) -> String {
    let figure = charts::over_time(report);
    if figure.is_empty() {
        return figure;
    }
    format!(
        "<h2>Over time</h2>\n<p class=how>Rate and p99 in pieces of the recorded time; upright lines \
         part the rounds, between which the other modes ran. Dots: a canary saw that the machine itself \
         was slow.</p>\n{figure}\n"
    )
}

fn tables(report: &Report) -> String {
    let mut text = String::from("<h2>All figures</h2>\n");
    for section in sections(report) {
        let _ = write!(
            text,
            "<h3>{}</h3>\n<div class=scroll>{}</div>\n<p class=how>{}</p>\n",
            escape(&micro(section.title)),
            section.grid.html(escape),
            escape(&micro(&section.explanation))
        );
    }
    text
}

fn notes(report: &Report) -> String {
    let remarks = remarks(report);
    if remarks.is_empty() {
        return String::new();
    }
    let mut text = String::from("<h2>Notes of this run</h2>\n<ul>");
    for remark in remarks {
        let _ = write!(text, "<li>{}</li>", escape(&micro(&remark)));
    }
    text + "</ul>\n"
}

fn method(report: &Report) -> String {
    let open = report.runs.iter().any(|run| run.target_per_s.is_some());
    let omission = if open {
        "Open loop: requests are due at fixed times, and a latency counts from when its request was \
         due, however late it was sent. The generator records how late it was itself; where that \
         spoils a percentile, a note says so."
    } else {
        "Closed loop: every producer waits for its answer before it sends again. While the broker \
         stalls nothing is sent, so the tail is rarer here than for clients that come at their own \
         pace. For the latency at a given rate use --rate, which counts from the intended time."
    };
    format!(
        "<h2>Method</h2>\n<ul><li>The broker is a child process with a fresh data directory; what \
         is compared is interleaved in rounds, every other one backwards, and the yardsticks are \
         measured in the same rounds.</li><li>{omission}</li><li>Percentiles are read from merged \
         HdrHistograms with three significant digits, never averaged. A ratio is formed within a \
         round; the median of the rounds is quoted.</li><li>Beside this page: report.json (all \
         data), latency.hlog and a .hgrm for each line (for HdrHistogram's own tools), \
         report.md, latency.svg.</li></ul>\n"
    )
}

/// What the machine is.
pub(crate) fn machine(env: &Environment) -> String {
    let mut rows = vec![
        ("build", env.build.clone()),
        ("CPU", format!("{} ({} usable)", env.cpu, env.cpus)),
        ("memory", bytes(env.memory_bytes >> 20 << 20)),
        ("kernel", format!("Linux {}", env.kernel)),
        ("data in", env.data_dir.clone()),
        ("file system", format!("{} ({})", env.file_system, env.mount_options)),
        ("device", env.device.clone()),
    ];
    let told = |name, value: &Option<String>| value.clone().map(|value| (name, value));
    rows.extend(told("node", &env.node));
    rows.extend(told("write cache", &env.write_cache));
    rows.extend(env.fua.map(|fua| ("FUA", if fua { "yes" } else { "no" }.to_owned())));
    rows.extend(told("I/O scheduler", &env.scheduler));
    rows.extend(
        env.rotational.map(|yes| ("rotational", if yes { "yes" } else { "no" }.to_owned())),
    );
    rows.extend(told("CPU governor", &env.governor));
    let mut text = String::from("<h2>The machine</h2>\n<table class=facts>");
    for (name, value) in rows {
        let _ = write!(text, "<tr><td>{name}</td><td>{}</td></tr>", escape(&value));
    }
    text + "</table>\n"
}

/// The command that makes the page again.
pub(crate) fn command(command: &str) -> String {
    format!("<h2>The exact command</h2>\n<pre>{}</pre>\n", escape(command))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::sample::report;

    #[test]
    fn the_page_stands_alone_and_shows_everything() {
        let report = report();
        let page = html(&report);
        for part in [
            "<h2>Latency by percentile</h2>",
            "<h2>Where the time goes</h2>",
            "<h2>Over time</h2>",
            "<h2>Notes of this run</h2>",
            "<h2>The machine</h2>",
            "<pre>uringmq bench --verify</pre>",
            "durable, 256 producers",
            "ED sleeping at 500/s",
            "device: median 126 µs, p99 378 µs",
            "canary: the machine itself was slow 1 time",
        ] {
            assert!(page.contains(part), "no {part:?}");
        }
        // Nothing is fetched, nothing runs.
        for fetched in ["<script", "<link", "src=", "@import", "url(", "href="] {
            assert!(!page.contains(fetched), "{fetched}");
        }
        let hosts = page.matches("http").count();
        for other in [" us ", " us)", " us,", " us;", " us<", "(us)"] {
            assert!(!page.contains(other), "two names of one unit: {other:?}");
        }
        assert_eq!(hosts, page.matches("http://www.w3.org/2000/svg").count(), "an address");
        for (open, close) in [("<svg", "</svg>"), ("<div", "</div>"), ("<table", "</table>")] {
            assert_eq!(page.matches(open).count(), page.matches(close).count(), "{open}");
        }
    }

    #[test]
    fn every_curve_has_a_colour_by_day_and_by_night() {
        let page = html(&report());
        for n in 0..6 {
            assert_eq!(page.matches(&format!(".c{n}{{--c:#")).count(), 2, "curve {n}");
        }
    }

    #[test]
    fn what_comes_from_outside_is_no_markup() {
        let mut report = report();
        report.command = "uringmq bench --input '<b>&'".into();
        report.notes.push("<i>".into());
        report.environment.device = "<device>".into();
        let page = html(&report);
        assert!(page.contains("&lt;b&gt;&amp;"), "{page}");
        assert!(!page.contains("<device>") && !page.contains("<i>") && !page.contains("<b>&"));
    }

    #[test]
    fn an_empty_report_is_still_a_page() {
        let mut empty = report();
        (empty.runs, empty.yardsticks) = (Vec::new(), Vec::new());
        let page = html(&empty);
        assert!(page.contains("The exact command") && !page.contains("<svg"), "{page}");
    }
}
