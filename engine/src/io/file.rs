//! A shard's directory for those who only look: nothing is created, nothing is changed.
//!
//! For tools that work on a stopped node's files, on machines without io_uring too. Reads go
//! past the page cache where the file system lets them; a thread of the disk's own does them, so
//! that its caller works on one piece while the next is read.
//!
//! Invariants: files are open for reading only; every operation that would change something is
//! answered with `EROFS`.
//! Absent: retries; more than one read at a time.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use nix::libc;
use nix::sys::statvfs::statvfs;

use super::block::{Block, Budget};
use super::{
    BLOCK_BYTES, Completion, Disk, DiskOp, Errno, FileId, FileName, Full, OpId, Output, Space,
};

/// Reads that may wait for the thread.
const READS_MAX: usize = 8;
/// Descriptors held at a time: a large log has more files than a process may have.
const DESCRIPTORS_MAX: usize = 64;

/// Memory that a direct read may fill: as many bytes as asked for, at an address of its own.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// Room for `len` bytes.
    fn fit(&mut self, len: usize) {
        if self.bytes.len() < len + BLOCK_BYTES as usize {
            self.bytes.resize(len + BLOCK_BYTES as usize, 0);
        }
        self.start = self.bytes.as_ptr().align_offset(BLOCK_BYTES as usize);
        self.len = len;
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.len).unwrap_or_default()
    }

    fn get_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Job {
    op: OpId,
    file: Arc<File>,
    offset: u64,
    buffer: Buffer,
    result: Result<(), Errno>,
}

/// The [`Disk`] of one directory, for reading.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    budget: Budget,
    names: BTreeMap<FileId, FileName>,
    /// Those of them that have a descriptor, the newest last.
    files: VecDeque<(FileId, Arc<File>)>,
    /// `None` only while it is dropped.
    jobs: Option<Sender<Job>>,
    done: Receiver<Job>,
    thread: Option<JoinHandle<()>>,
    reading: usize,
    finished: Vec<Completion>,
    spare: Vec<Buffer>,
    next_op: u64,
    next_file: u32,
}

impl FileDisk {
    /// The directory `path`, which must exist; blocks come out of `budget`.
    ///
    /// # Errors
    /// The errno of reading the directory or of starting a thread.
    pub fn open(path: &Path, budget: Budget) -> Result<Self, Errno> {
        fs::read_dir(path).map_err(|error| errno(&error))?;
        let (jobs, taken) = channel::<Job>();
        let (finished, done) = channel();
        let thread = thread::Builder::new().name("read".to_owned()).spawn(move || {
            for mut job in taken {
                job.result =
                    job.file.read_exact_at(job.buffer.get_mut(), job.offset).map_err(|e| errno(&e));
                if finished.send(job).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            path: path.to_path_buf(),
            budget,
            names: BTreeMap::new(),
            files: VecDeque::new(),
            jobs: Some(jobs),
            done,
            thread: Some(thread.map_err(|error| errno(&error))?),
            reading: 0,
            finished: Vec::new(),
            spare: Vec::new(),
            next_op: 0,
            next_file: 0,
        })
    }

    fn open_file(&mut self, name: FileName) -> Result<Output, Errno> {
        let id = self.adopt(name);
        let opened = self.descriptor(id);
        let len = opened.and_then(|file| file.metadata().map_err(|error| errno(&error)));
        match len {
            Ok(metadata) => Ok(Output::Opened { file: id, len: metadata.len() }),
            Err(errno) => {
                self.close(id);
                Err(errno)
            }
        }
    }

    /// The descriptor of an open file, which gets one if it has none at the moment.
    fn descriptor(&mut self, id: FileId) -> Result<Arc<File>, Errno> {
        if let Some((_, file)) = self.files.iter().find(|(file, _)| *file == id) {
            return Ok(Arc::clone(file));
        }
        let name = self.names.get(&id).ok_or(Errno(libc::EBADF))?;
        let path = self.path.join(name.to_string());
        let open = |flags| OpenOptions::new().read(true).custom_flags(flags).open(&path);
        let file = match open(libc::O_DIRECT) {
            // Not on this file system.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(0),
            other => other,
        };
        let file = Arc::new(file.map_err(|error| errno(&error))?);
        if self.files.len() >= DESCRIPTORS_MAX {
            self.files.pop_front();
        }
        self.files.push_back((id, Arc::clone(&file)));
        Ok(file)
    }

    fn close(&mut self, id: FileId) -> bool {
        self.files.retain(|(file, _)| *file != id);
        self.names.remove(&id).is_some()
    }

    /// Gives a read to the thread.
    fn read(&mut self, op: OpId, file: FileId, offset: u64, len: u32) -> Result<(), Errno> {
        let file = self.descriptor(file)?;
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.fit(len as usize);
        let job = Job { op, file, offset, buffer, result: Ok(()) };
        let jobs = self.jobs.as_ref().ok_or(Errno(libc::EIO))?;
        jobs.send(job).map_err(|_| Errno(libc::EIO))?;
        self.reading += 1;
        Ok(())
    }

    fn take(&mut self, job: Job) {
        self.reading -= 1;
        let result = job.result.and_then(|()| {
            let bytes = job.buffer.get();
            let block = self.budget.block(bytes.len() as u32);
            let mut block = block.ok_or(Errno(libc::ENOMEM))?;
            block.append(bytes);
            Ok(Output::Read(block))
        });
        self.spare.push(job.buffer);
        self.finished.push(Completion { op: job.op, result });
    }
}

impl Disk for FileDisk {
    fn submit(&mut self, op: DiskOp) -> Result<OpId, Full> {
        if self.reading + self.finished.len() >= READS_MAX {
            return Err(Full(op));
        }
        let id = OpId(self.next_op);
        self.next_op += 1;
        let result = match op {
            DiskOp::Read { file, offset, len } => match self.read(id, file, offset, len) {
                Ok(()) => return Ok(id),
                Err(errno) => Err(errno),
            },
            DiskOp::Open { name, create: None } => self.open_file(name),
            DiskOp::Close { file } if self.close(file) => Ok(Output::Done),
            DiskOp::Close { .. } => Err(Errno(libc::EBADF)),
            DiskOp::Open { create: Some(_), .. }
            | DiskOp::Write { .. }
            | DiskOp::Sync { .. }
            | DiskOp::Zero { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Remove { .. }
            | DiskOp::SyncDir => Err(Errno(libc::EROFS)),
        };
        self.finished.push(Completion { op: id, result });
        Ok(id)
    }

    fn adopt(&mut self, name: FileName) -> FileId {
        let id = FileId(self.next_file);
        self.next_file += 1;
        self.names.insert(id, name);
        id
    }

    fn flush(&mut self) {}

    fn complete(&mut self, out: &mut Vec<Completion>) -> usize {
        while let Ok(job) = self.done.try_recv() {
            self.take(job);
        }
        let count = self.finished.len();
        out.append(&mut self.finished);
        count
    }

    /// Nothing is ever flushed.
    fn take_flush_failure(&mut self) -> Option<Errno> {
        None
    }

    fn wait(&mut self) {
        if self.finished.is_empty()
            && self.reading > 0
            && let Ok(job) = self.done.recv()
        {
            self.take(job);
        }
    }

    fn list(&mut self) -> Result<Vec<FileName>, Errno> {
        list(&self.path)
    }

    fn space(&mut self) -> Result<Space, Errno> {
        space(&self.path)
    }

    fn block(&mut self, len: u32) -> Option<Block> {
        self.budget.block(len)
    }
}

impl Drop for FileDisk {
    fn drop(&mut self) {
        // The thread ends when there is nothing more to come; its last read is of no use.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How full the file system of a directory is.
pub(super) fn space(path: &Path) -> Result<Space, Errno> {
    let stat = statvfs(path).map_err(|error| Errno(error as i32))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    let used = bytes(stat.blocks().saturating_sub(stat.blocks_free()));
    Ok(Space { used, available: bytes(stat.blocks_available()) })
}

/// The names of a shard's files in a directory, sorted.
pub(super) fn list(path: &Path) -> Result<Vec<FileName>, Errno> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| errno(&error))? {
        let name = entry.map_err(|error| errno(&error))?.file_name();
        names.extend(name.to_str().and_then(FileName::parse));
    }
    names.sort_unstable();
    Ok(names)
}

fn errno(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::super::run;
    use super::*;

    const NAME: FileName = FileName::Segment(3);

    fn disk() -> (tempfile::TempDir, FileDisk) {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..12288_u32).map(|at| (at / 512) as u8).collect();
        fs::write(dir.path().join(NAME.to_string()), bytes).unwrap();
        fs::write(dir.path().join("notes.txt"), "not ours").unwrap();
        let disk = FileDisk::open(dir.path(), Budget::new(1 << 20)).unwrap();
        (dir, disk)
    }

    fn open(disk: &mut FileDisk) -> FileId {
        match run(disk, DiskOp::Open { name: NAME, create: None }) {
            Ok(Output::Opened { file, len: 12288 }) => file,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_come_back_whole_and_with_their_names() {
        let (_dir, mut disk) = disk();
        assert_eq!(disk.list().unwrap(), [NAME]);
        let file = open(&mut disk);
        let read = |offset, len| DiskOp::Read { file, offset, len };
        let first = disk.submit(read(0, 8192)).unwrap();
        let second = disk.submit(read(4096, 4096)).unwrap();
        let mut out = Vec::new();
        while out.len() < 2 {
            disk.wait();
            disk.complete(&mut out);
        }
        for (op, block) in [(first, 0..16), (second, 8..16)] {
            let done = out.iter().find(|done| done.op == op).unwrap();
            let Ok(Output::Read(read)) = &done.result else { panic!("{done:?}") };
            let expected: Vec<u8> = block.flat_map(|sector| [sector; 512]).collect();
            assert_eq!(&*read.slice(0..read.published()), expected);
        }
        let beyond = run(&mut disk, read(8192, 8192));
        assert!(beyond.is_err(), "past the end: {beyond:?}");
    }

    #[test]
    fn nothing_can_be_changed() {
        let (dir, mut disk) = disk();
        let file = open(&mut disk);
        let data = {
            let mut block = disk.block(4096).unwrap();
            block.append_zeros(4096);
            block.device_slice(0..4096)
        };
        let spare = FileName::Spare(1);
        for op in [
            DiskOp::Open { name: spare, create: Some(4096) },
            DiskOp::Write { file, offset: 0, data, durable: false, unwritten: false },
            DiskOp::Zero { file, offset: 0, len: 4096 },
            DiskOp::Sync { file },
            DiskOp::Rename { from: NAME, to: spare },
            DiskOp::Remove { name: NAME },
            DiskOp::SyncDir,
        ] {
            assert_eq!(run(&mut disk, op).unwrap_err(), Errno(libc::EROFS));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(run(&mut disk, DiskOp::Close { file }).is_ok());
        let closed = run(&mut disk, DiskOp::Read { file, offset: 0, len: 4096 });
        assert_eq!(closed.unwrap_err(), Errno(libc::EBADF));
    }

    #[test]
    fn more_files_than_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let count = DESCRIPTORS_MAX as u64 + 10;
        for number in 0..count {
            let name = FileName::Segment(number).to_string();
            fs::write(dir.path().join(name), vec![number as u8; 4096]).unwrap();
        }
        let mut disk = FileDisk::open(dir.path(), Budget::new(1 << 20)).unwrap();
        let open = |disk: &mut FileDisk, number| match run(
            disk,
            DiskOp::Open { name: FileName::Segment(number), create: None },
        ) {
            Ok(Output::Opened { file, .. }) => file,
            other => panic!("{other:?}"),
        };
        let files: Vec<FileId> = (0..count).map(|number| open(&mut disk, number)).collect();
        for (number, &file) in files.iter().enumerate() {
            let read = run(&mut disk, DiskOp::Read { file, offset: 0, len: 4096 });
            let Ok(Output::Read(block)) = read else { panic!("{read:?}") };
            assert_eq!(block.slice(0..1)[0], number as u8);
        }
        assert_eq!(disk.files.len(), DESCRIPTORS_MAX);
    }

    #[test]
    fn memory_is_bounded() {
        let (_dir, mut disk) = disk();
        let file = open(&mut disk);
        let held = disk.block((1 << 20) - 4096).unwrap();
        let read = run(&mut disk, DiskOp::Read { file, offset: 0, len: 8192 });
        assert_eq!(read.unwrap_err(), Errno(libc::ENOMEM));
        drop(held);
        assert!(run(&mut disk, DiskOp::Read { file, offset: 0, len: 8192 }).is_ok());
    }
}
