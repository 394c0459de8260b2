//! Reading the directories of index files at boot, many at a time.
//!
//! Every file goes `Opening -> End (the footer, and as a rule the directory) -> Directory (the rest
//! of a long one, piece by piece) -> Closing`, and none waits for another: as one is through, the
//! next begins. Files that are intact are adopted: no descriptor stays.
//! Absent: what becomes of a file that is missing or not intact (it is made again).

use std::collections::BTreeMap;
use std::ops::Range;

use super::file_format::{Directory, Footer};
use crate::io::{BLOCK_BYTES, Completion, Disk, DiskOp, Errno, FileId, FileName, OpId, Output};
use crate::log::segments::Geometry;

/// Read of every file at first: the footer, and with up to some 250 queues the directory, too.
const END_BYTES: u64 = 16 << 10;
/// One read of a long directory.
const PIECE_BYTES: u64 = 256 << 10;
/// Files that are read at a time: deep enough for any device. Their blocks are memory: 8 MiB if
/// all of them have long directories.
const FILES_MAX: usize = 32;

/// An index file whose footer and directory are intact.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) file: FileId,
    pub(crate) footer: Footer,
    pub(crate) directory: Directory,
}

#[derive(Debug)]
enum State {
    Opening,
    End { file: FileId, len: u64 },
    Directory { file: FileId, footer: Footer, read: Vec<u8> },
    Closing,
}

/// One file on its way.
#[derive(Debug)]
struct Reading {
    number: u64,
    state: State,
    op: OpId,
}

/// Reads the indexes of the segments in `numbers`, as far as they are there and intact. Nothing else
/// may be in flight.
pub(crate) fn load<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    numbers: Range<u64>,
    names: &[FileName],
) -> BTreeMap<u64, Loaded> {
    let mut there = numbers.filter(|number| names.binary_search(&FileName::Index(*number)).is_ok());
    let mut loaded = BTreeMap::new();
    let mut readings: Vec<Reading> = Vec::with_capacity(FILES_MAX);
    let mut out = Vec::new();
    loop {
        while readings.len() < FILES_MAX
            && let Some(number) = there.next()
        {
            let open = DiskOp::Open { name: FileName::Index(number), create: None };
            // One that is refused is made again: nothing else is in flight, so none is.
            if let Ok(op) = disk.submit(open) {
                readings.push(Reading { number, state: State::Opening, op });
            }
        }
        if readings.is_empty() {
            return loaded;
        }
        disk.flush();
        if disk.complete(&mut out) == 0 {
            disk.wait();
        }
        for Completion { op, result } in out.drain(..) {
            let Some(at) = readings.iter().position(|reading| reading.op == op) else { continue };
            let reading = readings.swap_remove(at);
            readings.extend(reading.go_on(disk, geometry, result, &mut loaded));
        }
    }
}

impl Reading {
    /// Its operation ended; `None` when nothing is left to do.
    fn go_on<D: Disk>(
        self,
        disk: &mut D,
        geometry: &Geometry,
        result: Result<Output, Errno>,
        loaded: &mut BTreeMap<u64, Loaded>,
    ) -> Option<Self> {
        let number = self.number;
        let file = match (self.state, result) {
            (State::Opening, Ok(Output::Opened { file, len })) => {
                let offset = end_offset(len);
                let read = DiskOp::Read { file, offset, len: (len - offset) as u32 };
                // A length that no index has: there is nothing to read, or it cannot be read.
                if len > 0 && len.is_multiple_of(u64::from(BLOCK_BYTES)) {
                    return submit(disk, number, State::End { file, len }, read);
                }
                file
            }
            (State::End { file, len }, Ok(Output::Read(block))) => {
                let end = block.slice(0..block.published());
                let footer_at = end.len().saturating_sub(BLOCK_BYTES as usize);
                let footer = end.get(footer_at..);
                let footer = footer.and_then(|at| Footer::decode(at, geometry, number, len));
                if let Some(footer) = footer {
                    // What of the directory was read with it, behind what was not.
                    let have = end_offset(len).max(footer.directory_offset()) - end_offset(len);
                    let have = end.get(have as usize..footer_at).unwrap_or_default();
                    if have.len() as u64 >= footer.directory_bytes() {
                        take(disk, number, &footer, have, loaded);
                    } else {
                        drop(end);
                        let state = State::Directory { file, footer, read: Vec::new() };
                        return next_piece(disk, number, state);
                    }
                }
                file
            }
            (State::Directory { file, footer, mut read }, Ok(Output::Read(block))) => {
                read.extend_from_slice(&block.slice(0..block.published()));
                if (read.len() as u64) < footer.directory_bytes() {
                    drop(block);
                    return next_piece(disk, number, State::Directory { file, footer, read });
                }
                take(disk, number, &footer, &read, loaded);
                file
            }
            (State::End { file, .. } | State::Directory { file, .. }, _) => file,
            (State::Opening | State::Closing, _) => return None,
        };
        submit(disk, number, State::Closing, DiskOp::Close { file })
    }
}

fn submit<D: Disk>(disk: &mut D, number: u64, state: State, op: DiskOp) -> Option<Reading> {
    let op = disk.submit(op).ok()?;
    Some(Reading { number, state, op })
}

fn next_piece<D: Disk>(disk: &mut D, number: u64, state: State) -> Option<Reading> {
    let State::Directory { file, footer, read } = &state else { return None };
    let (file, done) = (*file, read.len() as u64);
    let left = (footer.directory_bytes() - done).next_multiple_of(BLOCK_BYTES.into());
    let (offset, len) = (footer.directory_offset() + done, left.min(PIECE_BYTES) as u32);
    submit(disk, number, state, DiskOp::Read { file, offset, len })
}

/// The directory was read.
fn take<D: Disk>(
    disk: &mut D,
    number: u64,
    footer: &Footer,
    bytes: &[u8],
    loaded: &mut BTreeMap<u64, Loaded>,
) {
    if let Some(directory) = footer.directory(bytes) {
        let file = disk.adopt(FileName::Index(number));
        loaded.insert(number, Loaded { file, footer: *footer, directory });
    }
}

fn end_offset(len: u64) -> u64 {
    len - len.min(END_BYTES)
}
