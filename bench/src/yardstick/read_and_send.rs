//! The plainest catch-up there is: files read from their beginning past the page cache, each piece
//! sent to a socket whose other end throws it away. No index, no checks, nobody to answer.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::YardstickError;
use super::cold::{ColdReads, drain};
use super::probe::on_measuring_thread;
use super::process::thread_cpu;
use super::space::Aligned;

/// Reads and sends `paths` in pieces of `piece_bytes` (a multiple of 4 KiB), in their order, until
/// they or the time are over. The reader runs on `cpu`.
///
/// # Errors
/// When a file cannot be read past the page cache, the socket fails, or there is nothing to read.
pub fn read_and_send(
    paths: &[PathBuf],
    piece_bytes: usize,
    cpu: Option<usize>,
    time: Duration,
) -> Result<ColdReads, YardstickError> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |source| YardstickError::file("opening", path, source);
        let direct = OFlag::O_DIRECT.bits();
        let file = OpenOptions::new().read(true).custom_flags(direct).open(path).map_err(failed)?;
        let pieces = file.metadata().map_err(failed)?.len() / piece_bytes.max(1) as u64;
        files.push((file, pieces));
    }
    let (socket, receiver) = drain()?;
    let sent = on_measuring_thread(cpu, || send(&files, piece_bytes, socket, time))?;
    let received = receiver.join().map_err(|_| YardstickError::Panicked)?;
    if received.map_err(YardstickError::socket("receiving"))? != sent.bytes || sent.bytes == 0 {
        return Err(YardstickError::BadProbe("nothing to read, or not every byte arrived"));
    }
    Ok(sent)
}

/// The socket is closed at the end.
fn send(
    files: &[(File, u64)],
    piece_bytes: usize,
    mut socket: impl Write,
    time: Duration,
) -> Result<ColdReads, YardstickError> {
    let mut piece = Aligned::random(piece_bytes);
    let (begun, cpu) = (Instant::now(), thread_cpu());
    let mut bytes = 0;
    'all: for (file, pieces) in files {
        for at in 0..*pieces {
            if begun.elapsed() >= time {
                break 'all;
            }
            file.read_exact_at(piece.bytes_mut(), at * piece_bytes as u64)
                .map_err(|source| YardstickError::Device { action: "read", source })?;
            socket.write_all(piece.bytes()).map_err(YardstickError::socket("sending"))?;
            bytes += piece_bytes as u64;
        }
    }
    let cpu = thread_cpu().saturating_sub(cpu);
    Ok(ColdReads { bytes, elapsed: begun.elapsed(), cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pieces_of_all_files_are_sent() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let paths: Vec<PathBuf> = ["a", "b"].map(|name| dir.path().join(name)).into();
        for (path, bytes) in paths.iter().zip([3 << 12, 5 << 12]) {
            std::fs::write(path, vec![1; bytes]).unwrap();
        }
        let sent = read_and_send(&paths, 8192, None, Duration::from_secs(60)).unwrap();
        assert_eq!(sent.bytes, 3 * 8192, "half a piece is left of each");
        let nothing = read_and_send(&[], 8192, None, Duration::from_secs(1));
        assert!(matches!(nothing, Err(YardstickError::BadProbe(_))));
    }
}
