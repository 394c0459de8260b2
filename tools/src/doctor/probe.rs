//! Asks the machine. Nothing is left behind: what is written to try O_DIRECT has no name.
//!
//! Absent: judgement (`checks`).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use config::Options;
use config::options::Wait;
use engine::device::{Found, Mount, look};
use engine::io::Space;
use io_uring::{IoUring, Probe, opcode};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use nix::sys::uio::pwrite;
use nix::unistd::Pid;

use super::clock;
use super::facts::{Clock, Direct, Disk, Facts, Ring, Tuned, Wanted};

/// Entries of the ring that is only looked at.
const ENTRIES: u32 = 8;
const BLOCK_BYTES: usize = 4096;

/// What glommio and the engine's own ring ask for.
const NEEDED: [(u8, &str); 26] = [
    (opcode::Nop::CODE, "NOP"),
    (opcode::Readv::CODE, "READV"),
    (opcode::Writev::CODE, "WRITEV"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::ReadFixed::CODE, "READ_FIXED"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::PollRemove::CODE, "POLL_REMOVE"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::RecvMsg::CODE, "RECVMSG"),
    (opcode::Timeout::CODE, "TIMEOUT"),
    (opcode::TimeoutRemove::CODE, "TIMEOUT_REMOVE"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::LinkTimeout::CODE, "LINK_TIMEOUT"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Fallocate::CODE, "FALLOCATE"),
    (opcode::OpenAt::CODE, "OPENAT"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Statx::CODE, "STATX"),
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::RenameAt::CODE, "RENAMEAT"),
    (opcode::UnlinkAt::CODE, "UNLINKAT"),
];
/// What only shortens a file that is longer than it should be, after a crash.
const RARE: [(u8, &str); 1] = [(opcode::Ftruncate::CODE, "FTRUNCATE")];

/// Finds everything out.
pub(super) fn facts(options: &Options) -> Facts {
    Facts {
        wanted: wanted(options),
        kernel: kernel(),
        ring: ring(),
        io_uring_disabled: number("/proc/sys/kernel/io_uring_disabled"),
        seccomp: has_seccomp_filter(),
        memlock: limit(Resource::RLIMIT_MEMLOCK),
        nofile: limit(Resource::RLIMIT_NOFILE),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cpus: cpus(),
        disk: disk(&options.data),
        congestion_control: text("/proc/sys/net/ipv4/tcp_congestion_control"),
        huge_pages: text("/sys/kernel/mm/transparent_hugepage/enabled"),
        tuned: tuned(&options.data),
        clock: Clock {
            unix_seconds: std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
            source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            synchronized: clock::is_synchronized(),
        },
    }
}

fn wanted(options: &Options) -> Wanted {
    Wanted {
        data: options.data.clone(),
        reactors: usize::from(options.reactors),
        poll: options.wait == Wait::Poll,
        cpus: options.cpu.0.clone(),
        first_bytes: options
            .segment_size
            .bytes
            .saturating_mul(options.shards.0.unwrap_or(options.reactors).into()),
        disk_percent: options.retention_disk.0.map(|share| share.0),
    }
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<u8> {
    text(path)?.parse().ok()
}

fn kernel() -> String {
    let name = nix::sys::utsname::uname();
    name.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

fn has_seccomp_filter() -> bool {
    let status = text("/proc/self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

fn limit(resource: Resource) -> (u64, u64) {
    getrlimit(resource).unwrap_or((u64::MAX, u64::MAX))
}

fn cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect()
}

fn ring() -> Ring {
    let ring: IoUring = match IoUring::builder().setup_clamp().build(ENTRIES) {
        Ok(ring) => ring,
        Err(error) => return Ring::Refused(error.raw_os_error().unwrap_or(0)),
    };
    let mut probe = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut probe) {
        return Ring::Refused(error.raw_os_error().unwrap_or(0));
    }
    let lacks = |ops: &[(u8, &'static str)]| {
        ops.iter().filter(|(code, _)| !probe.is_supported(*code)).map(|(_, name)| *name).collect()
    };
    let mut builder = IoUring::builder();
    builder.setup_clamp().setup_single_issuer().setup_defer_taskrun();
    let deferred: io::Result<IoUring> = builder.build(ENTRIES);
    Ring::Works { missing: lacks(&NEEDED), rare_missing: lacks(&RARE), deferred: deferred.is_ok() }
}

fn disk(data: &Path) -> Disk {
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let there = absolute.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    let space = nix::sys::statvfs::statvfs(there).ok();
    Disk {
        formatted: data.join("FORMAT").exists(),
        file_system: Mount::of(there).map(|mount| mount.file_system).unwrap_or_default(),
        direct: direct(there),
        space: space.map(|space| {
            let bytes = |blocks: u64| blocks.saturating_mul(space.fragment_size());
            Space {
                used: bytes(space.blocks().saturating_sub(space.blocks_free())),
                available: bytes(space.blocks_available()),
            }
        }),
        dir: there.to_owned(),
    }
}

#[repr(align(4096))]
struct Block([u8; BLOCK_BYTES]);

fn direct(dir: &Path) -> Direct {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_DIRECT;
    let file = match open(dir, flags | OFlag::O_TMPFILE, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(file) => file,
        Err(Errno::EINVAL) => return Direct::Refused,
        // A file system that has no files without names.
        Err(Errno::EOPNOTSUPP | Errno::EISDIR) => match named(dir, flags) {
            Ok(file) => file,
            Err(Errno::EINVAL) => return Direct::Refused,
            Err(errno) => return Direct::Untried(errno as i32),
        },
        Err(errno) => return Direct::Untried(errno as i32),
    };
    match pwrite(file.as_fd(), &Block([0; BLOCK_BYTES]).0, 0) {
        Ok(_) => Direct::Works,
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Direct::Refused,
        Err(errno) => Direct::Untried(errno as i32),
    }
}

/// A file that loses its name as soon as it is open.
fn named(dir: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let path = dir.join(format!(".uringmq-probe-{}", std::process::id()));
    let make = flags | OFlag::O_CREAT | OFlag::O_EXCL;
    let file = open(&path, make, Mode::S_IRUSR | Mode::S_IWUSR);
    // Some file systems make the file and then refuse the flag.
    let _ = fs::remove_file(&path);
    file
}

fn tuned(data: &Path) -> Tuned {
    match look(data) {
        Ok(Found::Fits(_)) => Tuned::Yes,
        Ok(Found::Missing) => Tuned::No,
        Ok(Found::Elsewhere { measured, here }) => {
            let here = here.map_or_else(|| "unknown".to_owned(), |here| here.to_string());
            Tuned::Elsewhere(format!("it was measured on {measured}, this is {here}"))
        }
        Err(error) => Tuned::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_leaves_nothing_behind() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        assert_eq!(direct(dir.path()), Direct::Works);
        drop(named(dir.path(), OFlag::O_RDWR).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(direct(&dir.path().join("none")), Direct::Untried(Errno::ENOENT as i32));
        assert!(matches!(direct(Path::new("/proc")), Direct::Untried(_) | Direct::Refused));
    }

    #[test]
    fn this_machine_runs_tests_and_so_a_node() {
        assert!(matches!(ring(), Ring::Works { missing, .. } if missing.is_empty()));
        assert!(!cpus().is_empty() && !kernel().is_empty());
        let missing = disk(Path::new("/no/such/place"));
        assert_eq!(missing.dir, Path::new("/"));
        assert!(!missing.formatted && missing.space.is_some());
    }
}
