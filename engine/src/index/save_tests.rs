//! The way of an index into its file, on a device whose flushes fail.

use super::*;
use crate::index::file_format::Sealed;
use crate::index::image::Builder;
use crate::index::queue::Span;
use crate::io::sim::{Config, CrashPolicy, EIO, Fault, OpKind, SimDisk};
use crate::io::{Completion, run};
use crate::log::position::LogPos;
use crate::log::segments::Geometry;

const NUMBER: u64 = 3;
const OTHER: FileName = FileName::Segment(9);

fn image() -> Image {
    let geometry = Geometry { segment_bytes: 1 << 20, shard: 2, node: [7; 16], epoch: 9 };
    let mut builder = Builder::new(geometry, NUMBER);
    for n in 0..1000 {
        let span = Span {
            base_offset: n,
            pos: LogPos((NUMBER << 20) + 4096 + n * 512),
            store_timestamp_ms: 7000 + n,
            len: 500,
            batch_bytes: 400,
            alone: true,
        };
        builder.add(5, &span, n + 1);
    }
    let sealed = Sealed { first_sequence: 1, last_sequence: 1000, newest_ms: 8000 };
    builder.finish(sealed).0
}

/// A disk with another file, in which something was written.
fn disk() -> (SimDisk, FileId) {
    let mut disk = SimDisk::new(Config { fua: true, ..Config::default() }, 1);
    let open = DiskOp::Open { name: OTHER, create: Some(4096) };
    let Ok(Output::Opened { file, .. }) = run(&mut disk, open) else { panic!("no file") };
    run(&mut disk, DiskOp::SyncDir).unwrap();
    (disk, file)
}

/// Goes on until the index is saved; how often its body was begun. `disturb` sees what state each
/// operation leaves behind.
fn save(disk: &mut SimDisk, image: &Image, mut disturb: impl FnMut(&mut SimDisk, State)) -> u32 {
    let (mut save, mut begun, mut now) = (Save::new(NUMBER), 0, Nanos(0));
    loop {
        now = save.retry_at().unwrap_or(now);
        save.step(disk, image, now);
        let mut done = Vec::new();
        while !done.iter().any(|Completion { op, .. }| save.owns(*op)) {
            assert!(disk.advance_to_next());
            disk.complete(&mut done);
        }
        // A file that was closed, after a failure, ends beside it.
        let done = done.into_iter().find(|done| save.owns(done.op)).unwrap();
        if disk.take_flush_failure().is_some() {
            save.on_flush_failed();
        }
        if save.on_completion(disk, image, done.result, now).is_some() {
            return begun;
        }
        begun += u32::from(matches!(save.state, State::Writing { offset: 0, .. }));
        disturb(disk, save.state);
        if disk.take_flush_failure().is_some() {
            save.on_flush_failed();
        }
    }
}

/// What a power loss leaves is the index as it is in memory.
fn is_whole(disk: &SimDisk, image: &Image) -> bool {
    let kept = disk.crash(CrashPolicy::LoseAll);
    let mut body = Vec::new();
    image.body(0, image.body_bytes() as u32, |bytes| body.extend_from_slice(bytes));
    let read = |offset, len| kept.read(FileName::Index(NUMBER), offset, len);
    let footer = image.footer_block();
    read(0, body.len()).as_deref() == Some(&body)
        && read(image.body_bytes(), footer.len()).as_deref() == Some(footer)
}

#[test]
fn it_is_written_once() {
    let (image, (mut disk, _)) = (image(), disk());
    assert_eq!(save(&mut disk, &image, |_, _| ()), 1);
    assert!(is_whole(&disk, &image));
}

#[test]
fn it_is_written_again_after_its_flush_failed() {
    let (image, (mut disk, _)) = (image(), disk());
    disk.faults().next(OpKind::Sync, Fault::Fail(EIO));
    assert_eq!(save(&mut disk, &image, |_, _| ()), 2);
    assert!(is_whole(&disk, &image));
}

#[test]
fn it_is_written_again_if_another_flush_failed_meanwhile() {
    let (image, (mut disk, other)) = (image(), disk());
    let mut fails = true;
    let begun = save(&mut disk, &image, |disk, state| {
        if matches!(state, State::Syncing { .. }) && std::mem::take(&mut fails) {
            disk.faults().next(OpKind::Sync, Fault::Fail(EIO));
            assert!(run(disk, DiskOp::Sync { file: other }).is_err());
        }
    });
    assert!(!fails && begun == 2, "begun {begun} times");
    assert!(is_whole(&disk, &image));
}
