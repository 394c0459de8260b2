//! HdrHistogram's own files, which its tools (in Java, Go, JavaScript and Python) read.
//!
//! * `latency.hlog`: an interval log, format 1.2: every piece of every round of every line, tagged
//!   with the line. Values are nanoseconds, histograms are compressed V2, times count from
//!   `BaseTime`; the column of maxima is in milliseconds, as its tools expect.
//! * `NAME.hgrm`: the percentile distribution of one line, five ticks to each half of the distance
//!   to 100 %, values in milliseconds: what `HistogramLogProcessor` prints for the same samples.
//!
//! Invariant: both are derived from the report.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::json::ReportError;
use super::model::{Report, Run};
use super::timeline::Piece;

const TICKS_PER_HALF: u32 = 5;
const NS_PER_MS: f64 = 1e6;

/// A piece, when it was, and of which line.
struct Logged<'a> {
    tag: String,
    began_unix_s: f64,
    piece: &'a Piece,
}

/// Writes `latency.hlog`, and a `.hgrm` for each line, into `dir`; says which.
///
/// # Errors
/// [`ReportError::File`] names what cannot be written.
pub fn write(report: &Report, dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let mut written = Vec::new();
    let mut put = |path: PathBuf, bytes: &[u8]| {
        fs::write(&path, bytes)
            .map_err(|source| ReportError::File { path: path.clone(), source })
            .map(|()| written.push(path))
    };
    let log = dir.join("latency.hlog");
    let bytes =
        interval_log(report).map_err(|source| ReportError::File { path: log.clone(), source })?;
    put(log, &bytes)?;
    for run in &report.runs {
        let name = format!("{}.hgrm", tag(run));
        put(dir.join(name), percentiles(&run.latency.histogram_ns).as_bytes())?;
    }
    Ok(written)
}

/// A line's name without what a tag or a file name may not hold: `durable-16-producers`.
#[must_use]
pub fn tag(run: &Run) -> String {
    let mut tag = String::new();
    for c in run.name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '.' => tag.push(c),
            _ if tag.is_empty() || tag.ends_with('-') => {}
            _ => tag.push('-'),
        }
    }
    tag.trim_end_matches('-').to_owned()
}

/// The interval log.
///
/// # Errors
/// Only if a histogram cannot be encoded: memory does not fail.
pub fn interval_log(report: &Report) -> io::Result<Vec<u8>> {
    let mut pieces = Vec::new();
    for run in &report.runs {
        for round in &run.rounds {
            for piece in round.pieces.iter().filter(|piece| piece.samples > 0) {
                let began_unix_s = round.began_unix_s + piece.from_s;
                pieces.push(Logged { tag: tag(run), began_unix_s, piece });
            }
        }
    }
    // Readers expect intervals in the order of their starts.
    pieces.sort_by(|a, b| a.began_unix_s.total_cmp(&b.began_unix_s));
    let base_s = pieces.first().map_or(report.started_unix_s as f64, |piece| piece.began_unix_s);
    // Whole milliseconds: that is what the header shows.
    let base_s = (base_s * 1e3).floor() / 1e3;
    let base = UNIX_EPOCH + Duration::from_secs_f64(base_s.max(0.0));
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Logged with uringmq bench; values are nanoseconds]")
        .add_comment(&format!("[{}]", report.command.replace('\n', " ")))
        .with_start_time(base)
        .with_base_time(base)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(&mut bytes, &mut serializer)?;
    for Logged { tag, began_unix_s, piece } in &pieces {
        let since = Duration::from_secs_f64((began_unix_s - base_s).max(0.0));
        let length = Duration::from_secs_f64(piece.length_s.max(0.0));
        log.write_histogram(&piece.histogram_ns, since, length, Tag::new(tag))
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
    }
    drop(log);
    bytes.flush()?;
    Ok(bytes)
}

/// A percentile distribution as HdrHistogram prints it, in milliseconds.
#[must_use]
pub fn percentiles(histogram_ns: &Histogram<u64>) -> String {
    let digits = usize::from(histogram_ns.sigfig());
    let ms = |ns: f64| ns / NS_PER_MS;
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for value in histogram_ns.iter_quantiles(TICKS_PER_HALF) {
        total += value.count_since_last_iteration();
        let (reached, quantile) =
            (ms(value.value_iterated_to() as f64), value.quantile_iterated_to());
        let _ = write!(text, "{reached:12.digits$} {quantile:2.12} {total:10}");
        let _ = match quantile < 1.0 {
            true => writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)),
            false => writeln!(text),
        };
    }
    let (mean, deviation) = (ms(histogram_ns.mean()), ms(histogram_ns.stdev()));
    let (max, count) = (ms(histogram_ns.max() as f64), histogram_ns.len());
    let (buckets, sub_buckets) = (histogram_ns.buckets(), 2 * 10_u64.pow(digits as u32));
    let _ = write!(
        text,
        "#[Mean    = {mean:12.digits$}, StdDeviation   = {deviation:12.digits$}]\n\
         #[Max     = {max:12.digits$}, Total count    = {count:12}]\n\
         #[Buckets = {buckets:12}, SubBuckets     = {:12}]\n",
        sub_buckets.next_power_of_two()
    );
    text
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::report::model::sample::report;
    use crate::yardstick::probe::histogram;

    #[test]
    fn an_interval_log_read_back_holds_every_sample_under_its_line() {
        let report = report();
        let log = interval_log(&report).unwrap();
        let mut sums = std::collections::BTreeMap::<String, u64>::new();
        let mut last = Duration::ZERO;
        for entry in IntervalLogIterator::new(&log) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            assert!(interval.start_timestamp() >= last, "not in order");
            last = interval.start_timestamp();
            let encoded = interval.encoded_histogram();
            let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            *sums.entry(interval.tag().unwrap().as_str().to_owned()).or_default() +=
                histogram.len();
        }
        assert_eq!(sums.len(), report.runs.len());
        assert!(sums.values().all(|sum| *sum == 20_000), "{sums:?}");
        assert!(sums.contains_key("durable-256-producers"), "{sums:?}");
        assert!(String::from_utf8(log).unwrap().starts_with("#[Logged with uringmq bench"));
    }

    #[test]
    fn a_percentile_distribution_is_the_one_that_the_java_tools_print() {
        let mut histogram = histogram();
        for us in 1..=4_u64 {
            histogram.saturating_record(us * 1_000_000);
        }
        let text = percentiles(&histogram);
        let expected = [
            "       Value     Percentile TotalCount 1/(1-Percentile)",
            "",
            "       1.000 0.000000000000          1           1.00",
            "       1.000 0.100000000000          1           1.11",
            "       1.000 0.200000000000          1           1.25",
            "       2.001 0.300000000000          2           1.43",
        ];
        assert_eq!(text.lines().take(6).collect::<Vec<_>>(), expected);
        assert!(text.contains("       4.002 1.000000000000          4\n#[Mean"), "{text}");
        assert!(
            text.contains("\n#[Max     =        4.002, Total count    =            4]\n"),
            "{text}"
        );
    }
}
