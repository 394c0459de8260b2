//! A raw 4 KiB read at a random place of the files under test, one after the other: what a look
//! into a long log costs at least. A blocking `pread` past the page cache, the shortest way there is.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Instant;

use nix::fcntl::OFlag;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::YardstickError;
use super::probe::{Measured, Probe, Start, Tally, on_measuring_thread};
use super::space::{Aligned, BLOCK_BYTES};

/// Reads blocks all over `paths`, back to back, for as long as the probe says.
///
/// # Errors
/// When a file cannot be opened or read past the page cache, or none has a whole block.
pub fn random_reads(paths: &[PathBuf], probe: &Probe) -> Result<Measured, YardstickError> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |source| YardstickError::file("opening", path, source);
        let direct = OFlag::O_DIRECT.bits();
        let file = OpenOptions::new().read(true).custom_flags(direct).open(path).map_err(failed)?;
        let blocks = file.metadata().map_err(failed)?.len() / BLOCK_BYTES as u64;
        if blocks > 0 {
            files.push((file, blocks));
        }
    }
    if files.is_empty() {
        return Err(YardstickError::BadProbe("there is no file to read from"));
    }
    on_measuring_thread(probe.cpu, || drive(&files, probe))
}

fn drive(files: &[(File, u64)], probe: &Probe) -> Result<Measured, YardstickError> {
    let mut random = SmallRng::seed_from_u64(0x7265_6164);
    let mut block = Aligned::random(BLOCK_BYTES);
    let mut tally = Tally::new(Instant::now(), probe, BLOCK_BYTES as u64);
    loop {
        let now = Instant::now();
        if tally.over(now) {
            return Ok(tally.finish());
        }
        let which = random.random_range(0..files.len());
        if let Some((file, blocks)) = files.get(which) {
            let at = random.random_range(0..*blocks) * BLOCK_BYTES as u64;
            file.read_exact_at(block.bytes_mut(), at)
                .map_err(|source| YardstickError::Device { action: "read", source })?;
            tally.record(Start { intended: now, real: now }, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn blocks_all_over_the_files_are_read() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let paths: Vec<PathBuf> = ["a", "b", "empty"].map(|name| dir.path().join(name)).into();
        for (path, bytes) in paths.iter().zip([8 * BLOCK_BYTES, BLOCK_BYTES, 0]) {
            std::fs::write(path, vec![1; bytes]).unwrap();
        }
        let probe = Probe {
            warm_up: Duration::ZERO,
            measure: Duration::from_secs(10),
            ops_max: 50,
            ..Probe::default()
        };
        let measured = random_reads(&paths, &probe).unwrap();
        assert_eq!((measured.ops, measured.op_bytes), (50, 4096));
        assert!(matches!(random_reads(&paths[2..], &probe), Err(YardstickError::BadProbe(_))));
        let absent = [dir.path().join("absent")];
        assert!(matches!(random_reads(&absent, &probe), Err(YardstickError::File { .. })));
    }
}
