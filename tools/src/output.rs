//! Standard output: lines, JSON documents, tables. A reader that has gone is not an error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde::Serialize;

use crate::failure::Failure;

/// Whether standard error is read by a program.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on what is said is said in JSON, as the log is.
pub(crate) fn speak_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Says something on standard error. Nobody listening, or no room in the file it goes to, must not
/// keep the program from its work (`eprintln!` would panic).
pub(crate) fn say(text: impl Display) {
    speak("INFO", text);
}

/// The same, of something that is wrong.
pub(crate) fn complain(text: impl Display) {
    speak("ERROR", text);
}

fn speak(level: &str, text: impl Display) {
    let _ = if JSON.load(Ordering::Relaxed) {
        let now = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        // As the log's own lines are.
        let line = serde_json::json!({
            "timestamp": now, "level": level, "message": text.to_string(), "target": "uringmq",
        });
        writeln!(io::stderr(), "{line}")
    } else {
        writeln!(io::stderr(), "{text}")
    };
}

/// So many of something: `1 message`, `2 messages`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

/// Turns the result of writing to standard output into one that ends the command: well if the
/// reader has gone (`| head`), badly otherwise.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Failure::io("writing to standard output")),
    }
}

/// Prints lines.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Prints lines that need not be text.
pub(crate) fn print_bytes(lines: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(lines).and_then(|()| out.flush()))
}

/// Prints one JSON document, for people who pipe it and for those who look at it.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document);
    let text = text.map_err(|error| Failure::io("writing JSON")(error.into()))?;
    print(&format!("{text}\n"))
}

/// Rows under a heading: the first column to the left, all others to the right.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let heading: Vec<String> = heading.iter().map(|&cell| cell.to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A count with its thousands apart: 1_234_567 as "1 234 567".
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let shown = [0, 7, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "7", "999", "1 000", "12 345", "1 234 567"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["x", "value"], &rows), "x     value\na         1\nlong     22\n");
    }
}
