//! ED: the simplest durable server: one frame, one blocking durable write of 4 KiB, one reply.
//!
//! Percentiles of E and D do not add up; this measures their sum. The client is that of
//! [`super::echo`]. The spinning server spins on its socket only: while the write blocks it sleeps
//! in the kernel, as every server does that calls `pwrite`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::YardstickError;
use super::space::{Aligned, BLOCK_BYTES, Space};

/// Enough that neighbouring writes do not hit the same device block, small enough to prefill fast.
const SPACE_BYTES: u64 = 16 * 1024 * 1024;

/// Writes 4 KiB durably, one after the other, into written space of its own.
pub(super) struct DurableWriter {
    space: Space,
    file: File,
    block: Aligned,
    at: u64,
}

impl DurableWriter {
    /// Prefills a file in `dir`.
    pub(super) fn new(dir: &Path) -> Result<Self, YardstickError> {
        let space = Space::written(dir, SPACE_BYTES)?;
        let file = space.open(true)?;
        Ok(Self { space, file, block: Aligned::random(BLOCK_BYTES), at: 0 })
    }

    /// Returns when the first 4 KiB of `frame` are on stable media.
    pub(super) fn write(&mut self, frame: &[u8]) -> Result<(), YardstickError> {
        let len = frame.len().min(BLOCK_BYTES);
        self.block.bytes_mut()[..len].copy_from_slice(&frame[..len]);
        self.file
            .write_all_at(self.block.bytes(), self.at)
            .map_err(|source| YardstickError::Device { action: "durable write", source })?;
        self.at = (self.at + BLOCK_BYTES as u64) % self.space.bytes();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::yardstick::{InThread, Probe, ServerSpec, Wait, echo};

    #[test]
    fn frames_are_written_one_block_each_and_wrap() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = DurableWriter::new(dir.path()).unwrap();
        let last = SPACE_BYTES - BLOCK_BYTES as u64;
        writer.at = last;
        for frame in [b"first", b"again"] {
            writer.write(frame).unwrap();
        }
        writer.write(&vec![7; 2 * BLOCK_BYTES]).unwrap(); // longer than a block: its first 4 KiB
        let mut block = Aligned::random(BLOCK_BYTES);
        let file = writer.space.open(false).unwrap();
        for (at, start) in [(last, &b"first"[..]), (0, b"again"), (BLOCK_BYTES as u64, &[7; 9])] {
            file.read_exact_at(block.bytes_mut(), at).unwrap();
            assert!(block.bytes().starts_with(start), "block at {at}");
        }
    }

    #[test]
    fn every_frame_gets_its_reply_after_a_write() {
        let dir = tempfile::tempdir().unwrap();
        for wait in [Wait::Sleeping, Wait::Spinning] {
            let spec = ServerSpec::echo_durable(wait, None, dir.path());
            let server = InThread::start(&spec).unwrap();
            let probe = Probe {
                wait,
                warm_up: Duration::ZERO,
                measure: Duration::from_secs(10),
                ops_max: 10,
                ..Probe::default()
            };
            let measured = echo::round_trips(server.addr(), 64, &probe).unwrap();
            assert_eq!(measured.ops, 10);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a file is left behind");
    }

    #[test]
    fn a_server_without_a_directory_does_not_start() {
        let spec = ServerSpec::echo_durable(Wait::Sleeping, None, Path::new("/nonexistent"));
        assert!(matches!(InThread::start(&spec), Err(YardstickError::File { .. })));
    }
}
