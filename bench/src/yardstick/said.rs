//! What a child says on standard error, kept instead of being shown among a run's progress.
//!
//! A thread reads it until the child is gone, so that a child never blocks on a full pipe. A node is
//! asked for JSON lines; what is not one (a panic, a yardstick's complaint) is kept as it is.
//! Absent: whose child it is; where what was said is shown.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Lines kept of one child, and bytes of a line: a child that talks for ever is not remembered for
/// ever.
const LINES_MAX: usize = 64;
const LINE_BYTES_MAX: u64 = 4096;

/// What one child has said so far.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    /// Listens to a child until it closes its standard error; the thread that does ends then.
    #[must_use]
    pub fn listen(stderr: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let said = Self::default();
        let lines = said.clone();
        let listener = thread::spawn(move || {
            let mut from = BufReader::new(stderr);
            let mut line = Vec::new();
            while matches!(from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line), Ok(1..))
            {
                lines.add(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        });
        (said, listener)
    }

    fn add(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let remark = remark(line);
        if !remark.is_empty() && !lines.contains(&remark) {
            if lines.len() == LINES_MAX {
                lines.remove(0);
            }
            lines.push(remark);
        }
    }

    /// Each thing once, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The message of a JSON line of a node's log with what belongs to it, or the line.
fn remark(line: &str) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let Some(serde_json::Value::String(mut text)) = fields.remove("message") else {
        return line.to_owned();
    };
    for name in ["timestamp", "level", "target"] {
        fields.remove(name);
    }
    for (name, value) in fields {
        match value {
            serde_json::Value::String(value) => text += &format!(" {name}={value}"),
            value => text += &format!(" {name}={value}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_become_remarks_and_others_stay() {
        let line = r#"{"timestamp":"2026-01-01","level":"WARN","message":"slow disk","shard":3,"target":"x"}"#;
        assert_eq!(remark(line), "slow disk shard=3");
        assert_eq!(remark("thread 'main' panicked"), "thread 'main' panicked");
        assert_eq!(remark("{\"level\":\"WARN\"}"), "{\"level\":\"WARN\"}");
    }

    #[test]
    fn each_thing_is_kept_once_and_not_for_ever() {
        let said = Said::default();
        for n in 0..=LINES_MAX {
            said.add(&format!("line {n}"));
            said.add(&format!("line {n}"));
            said.add("");
        }
        let lines = said.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (LINES_MAX, "line 1"));
    }
}
