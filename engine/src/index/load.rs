//! Reading the directories of index files at boot, many at a time.
//!
//! Reads top-down: [`load`] -> the files' ends -> `directory`.
//! Absent: what becomes of a file that is missing or not intact (it is made again).

use std::collections::BTreeMap;
use std::ops::Range;

use super::file_format::{Directory, Footer};
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, FileName, Output, run, run_all};
use crate::log::segments::Geometry;

/// Read of every file at first: the footer, and the directory too unless it is very long.
const END_BYTES: u64 = 64 << 10;
/// One read of a long directory.
const PIECE_BYTES: u64 = 1 << 20;

/// An index file whose footer and directory are intact.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) file: FileId,
    pub(crate) footer: Footer,
    pub(crate) directory: Directory,
}

/// Opens and reads the indexes of the segments in `numbers`, as far as they are there and intact.
pub(crate) fn load<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    numbers: Range<u64>,
    names: &[FileName],
) -> BTreeMap<u64, Loaded> {
    let there: Vec<u64> =
        numbers.filter(|number| names.binary_search(&FileName::Index(*number)).is_ok()).collect();
    let open = |&number: &u64| DiskOp::Open { name: FileName::Index(number), create: None };
    let opened = run_all(disk, there.iter().map(open));
    let mut files: Vec<(u64, FileId, u64)> = there
        .iter()
        .zip(opened)
        .filter_map(|(&number, result)| match result {
            Ok(Output::Opened { file, len }) => Some((number, file, len)),
            _ => None,
        })
        .collect();
    // A length that no index has: there is nothing to read, or it cannot be read.
    let possible = |len: u64| len > 0 && len.is_multiple_of(u64::from(BLOCK_BYTES));
    for (_, file, _) in files.extract_if(.., |(_, _, len)| !possible(*len)) {
        drop(run(disk, DiskOp::Close { file }));
    }
    let mut loaded = BTreeMap::new();
    // The ends of some files at a time: their blocks are memory.
    for files in files.chunks(32) {
        let read = |&(_, file, len): &(u64, FileId, u64)| {
            let offset = end_offset(len);
            DiskOp::Read { file, offset, len: (len - offset) as u32 }
        };
        let ends = run_all(disk, files.iter().map(read));
        for (&(number, file, len), end) in files.iter().zip(ends) {
            match directory(disk, geometry, (number, file, len), end) {
                Some(index) => drop(loaded.insert(number, index)),
                None => drop(run(disk, DiskOp::Close { file })),
            }
        }
    }
    loaded
}

fn end_offset(len: u64) -> u64 {
    len - len.min(END_BYTES)
}

fn directory<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    (number, file, len): (u64, FileId, u64),
    end: Result<Output, Errno>,
) -> Option<Loaded> {
    let Ok(Output::Read(block)) = end else { return None };
    let end = block.slice(0..block.published());
    let footer_at = end.len().checked_sub(BLOCK_BYTES as usize)?;
    let footer = Footer::decode(end.get(footer_at..)?, geometry, number, len)?;
    let (start, bytes) = (footer.directory_offset(), footer.directory_bytes());
    let directory = match start.checked_sub(end_offset(len)) {
        Some(at) => footer.directory(end.get(at as usize..)?)?,
        None => {
            drop(end);
            let mut read = Vec::with_capacity(bytes as usize);
            while (read.len() as u64) < bytes {
                let offset = start + read.len() as u64;
                let left = (bytes - read.len() as u64).next_multiple_of(BLOCK_BYTES.into());
                let len = left.min(PIECE_BYTES) as u32;
                let Ok(Output::Read(block)) = run(disk, DiskOp::Read { file, offset, len }) else {
                    return None;
                };
                read.extend_from_slice(&block.slice(0..block.published()));
            }
            footer.directory(&read)?
        }
    };
    Some(Loaded { file, footer, directory })
}
