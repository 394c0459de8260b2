//! What is sent: half random bytes, the lines of real files, or given payloads in turn.
//!
//! A message is known by its number, so that a verifying consumer can tell what it should be
//! without anything being remembered: the n-th message of producer p of P is number `n * P + p`.
//! With lines, one producer sends them in order, and P producers share them out one by one; after
//! the last line the first one follows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use super::LoadError;

const POOL_BYTES: usize = 1 << 20;
/// Every other stripe of the pool is random: a device that compresses gains half, as with text.
const STRIPE_BYTES: usize = 16;
/// Start of a message in the pool: a multiple of this; odd, so that neighbours differ.
const STEP_BYTES: u64 = 104_729;
/// Lines are kept in memory; more than this is left out, and said.
const INPUT_BYTES_MAX: u64 = 1 << 30;
const SEED: u64 = 0x756d_7121;

/// Messages, by number.
#[derive(Debug)]
pub struct Messages {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Generated { pool: Vec<u8>, bytes: usize },
    Lines { text: Vec<u8>, spans: Vec<(u32, u32)>, skipped_bytes: u64 },
    Payloads(Vec<Vec<u8>>),
}

impl Messages {
    /// Messages of `bytes`, half of it random, the same in every run.
    #[must_use]
    pub fn generated(bytes: u32) -> Self {
        let bytes = bytes as usize;
        let mut pool = vec![b'.'; POOL_BYTES + bytes];
        let mut random = SmallRng::seed_from_u64(SEED);
        for stripe in pool.chunks_mut(STRIPE_BYTES).step_by(2) {
            random.fill_bytes(stripe);
        }
        Self { kind: Kind::Generated { pool, bytes } }
    }

    /// These, in turn; without any, empty ones.
    #[must_use]
    pub fn payloads(mut payloads: Vec<Vec<u8>>) -> Self {
        if payloads.is_empty() {
            payloads.push(Vec::new());
        }
        Self { kind: Kind::Payloads(payloads) }
    }

    /// The lines of a file, or of all files below a directory in the order of their names. A line
    /// ends before its line feed; files need not be text.
    ///
    /// # Errors
    /// [`LoadError::Input`] names the file, [`LoadError::NoLines`] says that there is nothing.
    pub fn lines(path: &Path) -> Result<Self, LoadError> {
        let mut text = Vec::new();
        let mut spans = Vec::new();
        let mut skipped_bytes = 0;
        for file in files(path)? {
            let failed = |source| LoadError::Input { path: file.clone(), source };
            let bytes = fs::metadata(&file).map_err(failed)?.len();
            if text.len() as u64 + bytes > INPUT_BYTES_MAX {
                skipped_bytes += bytes;
                continue;
            }
            let begin = text.len();
            text.extend_from_slice(&fs::read(&file).map_err(failed)?);
            add_lines(&text, begin, &mut spans);
        }
        if spans.is_empty() {
            return Err(LoadError::NoLines { path: path.to_path_buf() });
        }
        Ok(Self { kind: Kind::Lines { text, spans, skipped_bytes } })
    }

    /// The message of this number.
    #[must_use]
    pub fn get(&self, number: u64) -> &[u8] {
        match &self.kind {
            Kind::Generated { pool, bytes } => {
                let at = (number.wrapping_mul(STEP_BYTES) % POOL_BYTES as u64) as usize;
                &pool[at..at + bytes]
            }
            Kind::Lines { text, spans, .. } => {
                let (from, to) = spans[(number % spans.len() as u64) as usize];
                &text[from as usize..to as usize]
            }
            Kind::Payloads(payloads) => &payloads[(number % payloads.len() as u64) as usize],
        }
    }

    /// Length of the longest message.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        match &self.kind {
            Kind::Generated { bytes, .. } => *bytes,
            Kind::Lines { spans, .. } => {
                spans.iter().map(|(from, to)| (to - from) as usize).max().unwrap_or(0)
            }
            Kind::Payloads(payloads) => payloads.iter().map(Vec::len).max().unwrap_or(0),
        }
    }

    /// Mean length of a message.
    #[must_use]
    pub fn bytes_mean(&self) -> u32 {
        match &self.kind {
            Kind::Generated { bytes, .. } => *bytes as u32,
            Kind::Lines { spans, .. } => {
                let all: u64 = spans.iter().map(|(from, to)| u64::from(to - from)).sum();
                (all / spans.len() as u64) as u32
            }
            Kind::Payloads(payloads) => {
                (payloads.iter().map(Vec::len).sum::<usize>() / payloads.len()) as u32
            }
        }
    }

    /// Whether the same bytes may be sent again and again: nobody can tell generated messages
    /// apart that carry no number.
    #[must_use]
    pub fn are_generated(&self) -> bool {
        matches!(self.kind, Kind::Generated { .. })
    }

    /// How many lines there are, and how many bytes of files were left out.
    #[must_use]
    pub fn input(&self) -> Option<(usize, u64)> {
        match &self.kind {
            Kind::Generated { .. } | Kind::Payloads(_) => None,
            Kind::Lines { spans, skipped_bytes, .. } => Some((spans.len(), *skipped_bytes)),
        }
    }
}

fn add_lines(text: &[u8], begin: usize, spans: &mut Vec<(u32, u32)>) {
    let mut from = begin;
    while from < text.len() {
        let rest = &text[from..];
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        // Both fit: the input is bounded by INPUT_BYTES_MAX.
        spans.push((from as u32, (from + line) as u32));
        from += line + 1;
    }
}

const _: () = assert!(INPUT_BYTES_MAX <= u32::MAX as u64);

/// The file, or every regular file below the directory, sorted. Links are not followed.
fn files(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let failed = |source: io::Error| LoadError::Input { path: path.to_path_buf(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(path).and_then(Iterator::collect).map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_bytes_between_line_feeds_in_the_order_of_file_names() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        fs::write(dir.path().join("c"), "last").unwrap();
        fs::write(dir.path().join("a"), b"one\n\n\xff\r\n").unwrap();
        fs::write(dir.path().join("b/x"), "deep\n").unwrap();
        fs::write(dir.path().join("empty"), "").unwrap();
        let messages = Messages::lines(dir.path()).unwrap();
        assert_eq!(messages.input(), Some((5, 0)));
        let lines: Vec<&[u8]> = (0..6).map(|n| messages.get(n)).collect();
        assert_eq!(lines, [&b"one"[..], b"", b"\xff\r", b"deep", b"last", b"one"]);
        assert_eq!((messages.bytes_max(), messages.bytes_mean()), (4, 2));
    }

    #[test]
    fn an_input_without_lines_or_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Messages::lines(dir.path()), Err(LoadError::NoLines { .. })));
        let absent = dir.path().join("absent");
        assert!(matches!(Messages::lines(&absent), Err(LoadError::Input { .. })));
    }

    #[test]
    fn generated_messages_are_half_random_and_differ() {
        let messages = Messages::generated(1024);
        let (first, second) = (messages.get(0), messages.get(1));
        assert_eq!((first.len(), second.len()), (1024, 1024));
        assert_ne!(first, second);
        let plain = first.iter().filter(|byte| **byte == b'.').count();
        assert!((500..560).contains(&plain), "{plain} of 1024 bytes are not random");
        assert_eq!(messages.get(u64::MAX).len(), 1024);
    }
}
