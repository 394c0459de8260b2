//! A configuration file: TOML, one key an option, no tables.
//!
//! Invariants: everything that is wrong is said at once, each with its line; a value that is in a
//! [`File`] is one that the option's flag would take. Absent: defaults, other sources, files that
//! include files.

use std::error::Error as _;
use std::fmt::{self, Display};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Args, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Options;

/// No file of options is longer.
const BYTES_MAX: u64 = 1 << 20;
/// Names as like as this are taken for what was meant.
const LIKENESS_MIN: f64 = 0.75;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be read.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in it is wrong.
    Problems {
        /// The file.
        path: PathBuf,
        /// At least one, by line.
        problems: Vec<Problem>,
    },
}

impl Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "reading {}: {source}", path.display()),
            Self::Problems { path, problems } => {
                for (at, problem) in problems.iter().enumerate() {
                    let end = if at + 1 < problems.len() { "\n" } else { "" };
                    write!(f, "{}:{problem}{end}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for FileError {}

/// An option that a file sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value, as its flag would take it.
    pub value: String,
    /// Where it stands, from 1.
    pub line: usize,
}

/// A file without problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it was read from.
    pub path: PathBuf,
    /// What it sets, by line.
    pub entries: Vec<Entry>,
}

impl File {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, or something in it is wrong.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Io { path: path.to_owned(), source };
        let bytes = read_at_most(path, BYTES_MAX).map_err(failed)?;
        let entries = parse(&bytes);
        let path = path.to_owned();
        match entries {
            Ok(entries) => Ok(Self { path, entries }),
            Err(problems) => Err(FileError::Problems { path, problems }),
        }
    }

    /// What it sets an option to.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let why = format!("longer than {bytes_max} bytes: this is no file of options");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(bytes)
}

/// Understands a file's bytes.
///
/// # Errors
/// Everything that is wrong with it, by line.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, Vec<Problem>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or(&[]));
            return Err(vec![problem(&valid, valid.len(), "not UTF-8".to_owned())]);
        }
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = (errors.iter())
        .map(|error| problem(text, start(error.span()), error.message().to_owned()))
        .collect();
    let command = Options::augment_args(Command::new("file"));
    let mut entries = Vec::new();
    // What was recovered from a file that is not TOML may not be what was meant.
    let table = if problems.is_empty() { table.into_inner() } else { DeTable::new() };
    for (key, value) in &table {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        match check(&command, name, value) {
            Ok(value) => {
                entries.push(Entry { key: name.to_owned(), value, line: line(text, at).0 })
            }
            Err(Wrong::Key(message)) => problems.push(problem(text, at, message)),
            Err(Wrong::Value(message)) => {
                problems.push(problem(text, value.span().start, message));
            }
        }
    }
    if problems.is_empty() {
        entries.sort_by_key(|entry| entry.line);
        Ok(entries)
    } else {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Err(problems)
    }
}

fn start(span: Option<Range<usize>>) -> usize {
    span.map_or(0, |span| span.start)
}

/// Line and column of a byte.
fn line(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let begun = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before.get(begun..).map_or(0, |rest| rest.chars().count()) + 1)
}

fn problem(text: &str, at: usize, message: String) -> Problem {
    let (line, column) = line(text, at);
    Problem { line, column, message }
}

enum Wrong {
    Key(String),
    Value(String),
}

/// Checks one option of a file; returns its value as text.
fn check(command: &Command, key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    let Some(arg) = command.get_arguments().find(|arg| arg.get_id() == key) else {
        return Err(Wrong::Key(unknown(command, key)));
    };
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.to_string(),
            Err(_) => return Err(Wrong::Value(format!("{key}: {number} is too large"))),
        },
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Float(_) => {
            return Err(Wrong::Value(format!("{key}: write this number as text, in quotes")));
        }
        _ => return Err(Wrong::Value(format!("{key} takes one value, in quotes"))),
    };
    // As it is written there.
    let shown = match value.get_ref() {
        DeValue::String(text) => format!("{text:?}"),
        _ => text.clone(),
    };
    match refusal(arg, &text) {
        Some(why) => Err(Wrong::Value(format!("{key} = {shown}: {why}"))),
        None => Ok(text),
    }
}

fn unknown(command: &Command, key: &str) -> String {
    let names = command.get_arguments().map(|arg| arg.get_id().as_str());
    match nearest(names, &key.replace('-', "_").to_lowercase()) {
        Some(name) => format!("there is no option {key:?}; did you mean {name:?}?"),
        None => {
            format!("there is no option {key:?}; `uringmq config print` shows all that there are")
        }
    }
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(names: impl Iterator<Item = &'a str>, said: &str) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(name, said);
    let alike = names.map(|name| (likeness(name), name)).filter(|(like, _)| *like >= LIKENESS_MIN);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// Why an option's flag would not take this value.
fn refusal(arg: &Arg, value: &str) -> Option<String> {
    if value.is_empty() {
        return Some("a value is missing".to_owned());
    }
    let flag = format!("--{}={value}", arg.get_long()?);
    let parser: ValueParser = arg.get_value_parser().clone();
    let alone = Arg::new("value").long(arg.get_long()?.to_owned()).value_parser(parser);
    let command = Command::new("file").no_binary_name(true).disable_help_flag(true).arg(alone);
    let error = command.try_get_matches_from([flag]).err()?;
    if let Some(source) = error.source() {
        return Some(source.to_string());
    }
    Some(match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => format!("one of {}", valid.join(", ")),
        _ => "not a valid value".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse(text.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_of_all_kinds_become_text() {
        let text = "# a comment\nretention = \"48h\"\nshards = 0x4\nallow_remote = true\n\
                    segment_size = 16_777_216\nwait='poll'\n";
        let entries = parse(text.as_bytes()).unwrap();
        let shown: Vec<_> =
            entries.iter().map(|e| (e.line, e.key.as_str(), e.value.as_str())).collect();
        assert_eq!(
            shown,
            [
                (2, "retention", "48h"),
                (3, "shards", "4"),
                (4, "allow_remote", "true"),
                (5, "segment_size", "16777216"),
                (6, "wait", "poll"),
            ]
        );
        assert_eq!(parse(b""), Ok(Vec::new()));
    }

    #[test]
    fn every_problem_is_said_with_its_place() {
        let said = problems("retension = \"48h\"\nwait = \"pol\"\n\n  shards = 300\ncpu = 1.5\n");
        let expected = [
            "1:1: there is no option \"retension\"; did you mean \"retention\"?",
            "2:8: wait = \"pol\": one of sleep, hybrid, poll",
            "4:12: shards = 300: from 1 to 255",
            "5:7: cpu: write this number as text, in quotes",
        ];
        assert_eq!(said, expected);
        let said = problems("[retention]\nsize = 1\n");
        assert_eq!(said, ["1:1: retention takes one value, in quotes"]);
        assert!(problems("zebra = 1")[0].contains("uringmq config print"));
        assert!(problems("Segment-Size = 1")[0].contains("did you mean \"segment_size\""));
        assert!(problems("retention = \"72\"")[0].contains("such as 500ms"));
        assert!(problems("data = \"\"")[0].contains("missing"));
    }

    #[test]
    fn what_is_not_toml_is_said_with_its_place() {
        assert!(problems("shards = 1\nwait = \n")[0].starts_with("2:"));
        let twice = problems("shards = 1\nshards = 2\n");
        assert!(twice.len() == 1 && twice[0].starts_with("2:1: duplicate"), "{twice:?}");
        let bytes = parse(b"shards = 1\nw\xff").unwrap_err();
        assert_eq!((bytes[0].line, bytes[0].column), (2, 2));
    }
}
