//! Written space: a file whose every block was written and flushed before anything is measured.
//!
//! An overwrite of such a block changes no file-system metadata, so a durable write is one data
//! write and one flush. Into fallocated (unwritten) space each sync commits the journal too: what
//! that costs is measured in a space that is used up instead of overwritten.
//!
//! Invariant: the file has no name from the moment it is open; the kernel removes it with its last
//! descriptor, even when a server is killed. The name's absence does not show in the figures.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use super::YardstickError;

/// The block all direct I/O is aligned to: what both 512-byte and 4-KiB-sector devices accept.
pub(super) const BLOCK_BYTES: usize = 4096;
const PREFILL_CHUNK_BYTES: usize = 1024 * 1024;
/// Not in nix yet.
const FALLOC_FL_WRITE_ZEROES: i32 = 0x80;

/// Distinguishes the probe files of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file of written blocks in the directory under test.
#[derive(Debug)]
pub struct Space {
    plain: File,
    dsync: File,
    bytes: u64,
    written: bool,
}

impl Space {
    /// Writes and flushes a file of `bytes` (rounded up to 1 MiB) in `dir`.
    ///
    /// # Errors
    /// [`YardstickError::NoDirectIo`] when the file system has no O_DIRECT, and
    /// [`YardstickError::File`] for everything else (no such directory, disk full...).
    pub fn written(dir: &Path, bytes: u64) -> Result<Self, YardstickError> {
        Self::new(dir, bytes, |space, _| space.prefill())
    }

    /// Allocates a file of `bytes` (rounded up to 1 MiB) in `dir` that was never written.
    ///
    /// # Errors
    /// As [`Space::written`].
    pub fn unwritten(dir: &Path, bytes: u64) -> Result<Self, YardstickError> {
        let mode = FallocateFlags::empty();
        Self::new(dir, bytes, move |space, len| Ok(fallocate(&space.plain, mode, 0, len)?))
    }

    /// The first `bytes` of a file that is there already, to be read: part of a log, for example.
    ///
    /// # Errors
    /// When it cannot be opened for direct reads.
    pub fn existing(path: &Path, bytes: u64) -> Result<Self, YardstickError> {
        let open = || {
            let direct = OFlag::O_DIRECT.bits();
            let plain = OpenOptions::new().read(true).custom_flags(direct).open(path)?;
            let (dsync, bytes) = (plain.try_clone()?, plain.metadata()?.len().min(bytes));
            Ok(Self { plain, dsync, bytes, written: true })
        };
        open().map_err(|source| YardstickError::file("opening", path, source))
    }

    fn new(
        dir: &Path,
        bytes: u64,
        make: impl FnOnce(&mut Self, i64) -> io::Result<()>,
    ) -> Result<Self, YardstickError> {
        let name = format!(
            ".uringmq-yardstick-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = dir.join(name);
        let chunk_bytes = PREFILL_CHUNK_BYTES as u64;
        let bytes = bytes.div_ceil(chunk_bytes).max(1) * chunk_bytes;
        let space = Self::open_at(&path, bytes);
        // Linux creates the file before it finds that O_DIRECT is not possible on it.
        let removed = fs::remove_file(&path);
        let mut space = space.map_err(|source| write_error(dir, &path, source))?;
        removed.map_err(|source| YardstickError::file("removing", &path, source))?;
        let len = i64::try_from(bytes).unwrap_or(i64::MAX);
        make(&mut space, len).map_err(|source| write_error(dir, &path, source))?;
        Ok(space)
    }

    fn open_at(path: &Path, bytes: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlag::O_DIRECT.bits());
        let plain = options.clone().create_new(true).open(path)?;
        let dsync = options.custom_flags((OFlag::O_DIRECT | OFlag::O_DSYNC).bits()).open(path)?;
        Ok(Self { plain, dsync, bytes, written: false })
    }

    fn prefill(&mut self) -> io::Result<()> {
        let chunk = Aligned::random(PREFILL_CHUNK_BYTES);
        for at in (0..self.bytes).step_by(PREFILL_CHUNK_BYTES) {
            self.plain.write_all_at(chunk.bytes(), at)?;
        }
        self.plain.sync_all()?;
        self.written = true;
        Ok(())
    }

    /// Whether its blocks were written before.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.written
    }

    /// Whether the file system and the device make written space by themselves
    /// (`FALLOC_FL_WRITE_ZEROES`, Linux 6.17).
    #[must_use]
    pub fn takes_write_zeroes(&self) -> bool {
        let mode = FallocateFlags::from_bits_retain(FALLOC_FL_WRITE_ZEROES);
        let len = i64::try_from(PREFILL_CHUNK_BYTES).unwrap_or(i64::MAX);
        fallocate(&self.plain, mode, 0, len).is_ok()
    }

    /// A descriptor through the page cache.
    pub(super) fn open_cached(&self) -> Result<File, YardstickError> {
        // The file has no name: the descriptor's own is one.
        let path = format!("/proc/self/fd/{}", self.plain.as_raw_fd());
        File::open(&path).map_err(|source| YardstickError::file("opening", path.as_ref(), source))
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A descriptor for direct reads and writes; with `dsync` each write is durable when it ends.
    pub(super) fn open(&self, dsync: bool) -> Result<File, YardstickError> {
        let file = if dsync { &self.dsync } else { &self.plain };
        file.try_clone().map_err(|source| YardstickError::Device { action: "opening", source })
    }
}

/// EINVAL is how a file system says that it has no O_DIRECT, at open or at the first write.
fn write_error(dir: &Path, path: &Path, source: io::Error) -> YardstickError {
    if source.raw_os_error() == Some(Errno::EINVAL as i32) {
        return YardstickError::NoDirectIo { dir: dir.to_path_buf() };
    }
    YardstickError::file("writing", path, source)
}

/// Memory aligned for direct I/O, half of it random so that no device compresses it away.
pub(super) struct Aligned {
    memory: Vec<u8>,
    at: usize,
    len: usize,
}

impl Aligned {
    pub(super) fn random(len: usize) -> Self {
        let mut memory = vec![0; len + BLOCK_BYTES];
        // A Vec that is never resized never moves, so the offset stays right.
        let at = memory.as_ptr().align_offset(BLOCK_BYTES);
        SmallRng::seed_from_u64(0x7961_7264).fill_bytes(&mut memory[at..at + len / 2]);
        Self { memory, at, len }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.at..self.at + self.len]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.at..self.at + self.len]
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn every_block_is_written_and_the_file_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::written(dir.path(), 1024 * 1024 + 1).unwrap();
        assert_eq!(space.bytes(), 2 * 1024 * 1024);
        let metadata = space.plain.metadata().unwrap();
        assert_eq!(metadata.len(), space.bytes());
        assert!(metadata.blocks() * 512 >= space.bytes(), "holes: {}", metadata.blocks());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn unwritten_space_is_allocated_and_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::unwritten(dir.path(), 1024 * 1024).unwrap();
        assert!(!space.is_written());
        let metadata = space.plain.metadata().unwrap();
        assert_eq!(metadata.len(), space.bytes());
        assert!(metadata.blocks() * 512 >= space.bytes(), "holes: {}", metadata.blocks());
        let mut block = [1; BLOCK_BYTES];
        space.open_cached().unwrap().read_exact_at(&mut block, 4096).unwrap();
        assert_eq!(block, [0; BLOCK_BYTES]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_direct_io_is_an_error_that_says_so() {
        let dir = Path::new("/data");
        let einval = io::Error::from_raw_os_error(Errno::EINVAL as i32);
        let error = write_error(dir, &dir.join("probe"), einval);
        assert!(matches!(&error, YardstickError::NoDirectIo { dir } if dir == Path::new("/data")));
        assert!(error.to_string().contains("O_DIRECT"), "{error}");
        let enospc = io::Error::from_raw_os_error(Errno::ENOSPC as i32);
        let error = write_error(dir, &dir.join("probe"), enospc);
        assert!(matches!(error, YardstickError::File { .. }), "{error}");
    }

    #[test]
    fn a_missing_directory_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let error = Space::written(&dir.path().join("absent"), 1).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
    }

    #[test]
    fn buffers_are_aligned() {
        for len in [BLOCK_BYTES, 3 * BLOCK_BYTES] {
            let buffer = Aligned::random(len);
            assert_eq!(buffer.bytes().as_ptr() as usize % BLOCK_BYTES, 0);
            assert_eq!(buffer.bytes().len(), len);
        }
    }
}
