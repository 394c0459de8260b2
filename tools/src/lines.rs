//! Lines of files or of standard input, in chunks, read by a thread of its own.
//!
//! A chunk is what one read brought: a slow pipe gives its lines at once, a file gives them by
//! the thousand, and no timer has to choose between the two.
//! Invariants: a line is everything up to a newline, byte for byte, without it; the last one of
//! an input may lack it. Absent: any opinion on encodings.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::failure::Failure;

/// A pipe gives 64 KiB at most; of a file more at once saves system calls.
const READ_BYTES: usize = 256 * 1024;
/// Read ahead of the sender.
const CHUNKS_AHEAD: usize = 8;

/// Whole lines, in order.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    lines: Vec<Range<usize>>,
}

impl Chunk {
    /// The lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(|range| self.bytes.get(range.clone()).unwrap_or_default())
    }
}

/// Reads these files one after the other (`-` is standard input) in a thread of its own.
pub(crate) fn read(files: Vec<PathBuf>, line_bytes_max: usize) -> Chunks {
    let (sender, receiver) = channel(CHUNKS_AHEAD);
    std::thread::spawn(move || {
        for file in files {
            match read_file(&file, line_bytes_max, &sender) {
                Ok(true) => {}
                Ok(false) => return,
                Err(failure) => {
                    // Nobody to tell: the command has ended already.
                    let _ = sender.blocking_send(Err(failure));
                    return;
                }
            }
        }
    });
    receiver
}

/// Chunks as they are read.
pub(crate) type Chunks = Receiver<Result<Chunk, Failure>>;
type Out = Sender<Result<Chunk, Failure>>;

/// Returns false when nobody takes lines any more.
fn read_file(path: &Path, line_bytes_max: usize, chunks: &Out) -> Result<bool, Failure> {
    let name = path.display();
    if path == Path::new("-") {
        return cut(&mut io::stdin().lock(), "standard input", line_bytes_max, chunks);
    }
    let mut file = File::open(path).map_err(Failure::io(format!("opening {name}")))?;
    cut(&mut file, &format!("reading {name}"), line_bytes_max, chunks)
}

fn cut(
    input: &mut impl Read,
    what: &str,
    line_bytes_max: usize,
    chunks: &Out,
) -> Result<bool, Failure> {
    let mut bytes = Vec::new();
    loop {
        // What stands there already is the front of a line, and holds no newline.
        let begun = bytes.len();
        bytes.resize(begun + READ_BYTES, 0);
        let room = bytes.get_mut(begun..).unwrap_or_default();
        let received = match input.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(Failure::io(what)(error)),
            Ok(0) => {
                bytes.truncate(begun);
                let lines = std::iter::once(0..begun).filter(|last| !last.is_empty()).collect();
                let last = Chunk { bytes, lines };
                return Ok(last.lines.is_empty() || chunks.blocking_send(Ok(last)).is_ok());
            }
            Ok(received) => received,
        };
        bytes.truncate(begun + received);
        let (lines, end) = lines_of(&bytes, begun);
        let rest = bytes.split_off(end);
        if rest.len() > line_bytes_max {
            let limit = format!("a line is longer than the node takes ({line_bytes_max} bytes)");
            return Err(Failure::io(what)(io::Error::new(io::ErrorKind::InvalidData, limit)));
        }
        let whole = Chunk { bytes, lines };
        bytes = rest;
        if !whole.lines.is_empty() && chunks.blocking_send(Ok(whole)).is_err() {
            return Ok(false);
        }
    }
}

/// The whole lines, and where the last of them ends; the first `begun` bytes hold no newline.
fn lines_of(bytes: &[u8], begun: usize) -> (Vec<Range<usize>>, usize) {
    let mut lines = Vec::new();
    let mut start = 0;
    for found in memchr::memchr_iter(b'\n', bytes.get(begun..).unwrap_or_default()) {
        let at = begun + found;
        lines.push(start..at);
        start = at + 1;
    }
    (lines, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its input in pieces of these sizes.
    struct Drip<'a>(&'a [u8], Vec<usize>);

    impl Read for Drip<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let piece = self.1.pop().unwrap_or(usize::MAX).min(self.0.len()).min(room.len());
            let (head, rest) = self.0.split_at(piece);
            room[..piece].copy_from_slice(head);
            self.0 = rest;
            Ok(piece)
        }
    }

    fn lines(input: &[u8], pieces: &[usize]) -> Vec<Vec<u8>> {
        let (sender, mut receiver) = channel(100);
        let drip = &mut Drip(input, pieces.iter().rev().copied().collect());
        assert!(cut(drip, "test", 100_000, &sender).unwrap());
        drop(sender);
        let mut all = Vec::new();
        while let Some(chunk) = receiver.blocking_recv() {
            all.extend(chunk.unwrap().lines().map(<[u8]>::to_vec));
        }
        all
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let input = b"one\n\nthree\r\n\xff\x00\nlast";
        let expected: [&[u8]; 5] = [b"one", b"", b"three\r", b"\xff\x00", b"last"];
        for pieces in [&[][..], &[1, 1, 1, 1, 1, 1], &[3, 1, 1], &[4, 7], &[5, 11]] {
            assert_eq!(lines(input, pieces), expected, "{pieces:?}");
        }
        assert_eq!(lines(b"", &[]), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"\n", &[]), [b""]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let (sender, _receiver) = channel(100);
        let endless = &mut io::repeat(b'x');
        assert!(matches!(cut(endless, "test", 100_000, &sender), Err(Failure::Io { .. })));
    }
}
