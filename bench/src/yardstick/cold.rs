//! Cold reads: extents scattered over a file that is not in the page cache, sent to a socket one
//! after the other, in the two ways there are. A thread at the other end throws them away.
//!
//! What each costs the sender: time, and CPU time of its thread (which does the kernel's work for
//! it, too). One extent at a time: what a single catch-up reader gets, not what the device can do.
//!
//! Invariants: every byte arrives; before each pass over the file its pages are dropped, and none is
//! read ahead of the extent it belongs to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engine::device::ColdWay;
use net::loopback::connect;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::sendfile::sendfile;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::YardstickError;
use super::probe::on_measuring_thread;
use super::process::thread_cpu;
use super::space::{Aligned, Space};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What the receiver takes at once.
const RECEIVE_BYTES: usize = 256 << 10;

/// What was sent, and what it cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct ColdReads {
    /// Bytes sent.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// CPU time of the sending thread.
    pub cpu: Duration,
}

impl ColdReads {
    /// Bytes a second, in units of 1e9.
    #[must_use]
    pub fn gb_per_s(&self) -> f64 {
        self.bytes as f64 / 1e9 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// CPU seconds for 1e9 bytes.
    #[must_use]
    pub fn cpu_s_per_gb(&self) -> f64 {
        self.cpu.as_secs_f64() / (self.bytes as f64 / 1e9).max(1e-9)
    }

    /// Two measurements of the same thing.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            elapsed: self.elapsed + other.elapsed,
            cpu: self.cpu + other.cpu,
        }
    }
}

/// Sends extents of `extent_bytes` (a multiple of 4 KiB) of a written space for as long as told.
///
/// # Errors
/// When the disk or the socket fails.
pub fn cold_reads(
    space: &Space,
    way: ColdWay,
    extent_bytes: usize,
    measure: Duration,
) -> Result<ColdReads, YardstickError> {
    let count = space.bytes() / extent_bytes.max(1) as u64;
    let whole = extent_bytes > 0 && extent_bytes.is_multiple_of(super::space::BLOCK_BYTES);
    if count == 0 || !whole {
        return Err(YardstickError::BadProbe("an extent must be a multiple of 4096 bytes and fit"));
    }
    let mut order: Vec<u64> = (0..count).map(|n| n * extent_bytes as u64).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(0x636f_6c64));
    on_measuring_thread(None, || {
        let (socket, receiver) = drain()?;
        let sender = Sender::new(space, way, extent_bytes, socket)?;
        let sent = sender.send_for(&order, measure)?;
        let received = receiver.join().map_err(|_| YardstickError::Panicked)?;
        if received.map_err(YardstickError::socket("receiving"))? != sent.bytes {
            return Err(YardstickError::BadProbe("not every byte arrived"));
        }
        Ok(sent)
    })
}

/// A socket whose other end throws away what comes, and says how much it was.
pub(super) fn drain() -> Result<(TcpStream, JoinHandle<io::Result<u64>>), YardstickError> {
    let failed = YardstickError::socket;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("binding"))?;
    let addr = listener.local_addr().map_err(failed("binding"))?;
    let socket = connect(addr, CONNECT_TIMEOUT).map_err(failed("connecting"))?;
    let (mut peer, _) = listener.accept().map_err(failed("accepting"))?;
    let receiver = thread::spawn(move || {
        let (mut buffer, mut received) = (vec![0; RECEIVE_BYTES], 0);
        loop {
            match peer.read(&mut buffer)? {
                0 => return Ok(received),
                n => received += n as u64,
            }
        }
    });
    Ok((socket, receiver))
}

struct Sender {
    way: ColdWay,
    cached: File,
    direct: File,
    block: Aligned,
    socket: TcpStream,
}

impl Sender {
    fn new(
        space: &Space,
        way: ColdWay,
        extent_bytes: usize,
        socket: TcpStream,
    ) -> Result<Self, YardstickError> {
        let block = Aligned::random(extent_bytes);
        let (cached, direct) = (space.open_cached()?, space.open(false)?);
        Ok(Self { way, cached, direct, block, socket })
    }

    /// Ends when the time is over; the socket is closed then.
    fn send_for(mut self, order: &[u64], measure: Duration) -> Result<ColdReads, YardstickError> {
        let failed = |source| YardstickError::Device { action: "cold read", source };
        let mut all = ColdReads::default();
        while all.elapsed < measure {
            self.make_cold().map_err(failed)?;
            let (begun, cpu) = (Instant::now(), thread_cpu());
            let mut bytes = 0;
            for at in order {
                self.send(*at).map_err(failed)?;
                bytes += self.block.bytes().len() as u64;
                if all.elapsed + begun.elapsed() >= measure {
                    break;
                }
            }
            let cpu = thread_cpu().saturating_sub(cpu);
            all = all.with(&ColdReads { bytes, elapsed: begun.elapsed(), cpu });
        }
        Ok(all)
    }

    /// Drops the file's pages, and tells the kernel to guess nothing.
    fn make_cold(&self) -> io::Result<()> {
        posix_fadvise(&self.cached, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        posix_fadvise(&self.cached, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM)?;
        Ok(())
    }

    fn send(&mut self, at: u64) -> io::Result<()> {
        match self.way {
            ColdWay::Direct => {
                self.direct.read_exact_at(self.block.bytes_mut(), at)?;
                self.socket.write_all(self.block.bytes())
            }
            ColdWay::Sendfile => self.sendfile(at),
        }
    }

    fn sendfile(&mut self, at: u64) -> io::Result<()> {
        let out_of_range = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let len = self.block.bytes().len();
        let mut offset = i64::try_from(at).map_err(out_of_range)?;
        let end = offset + i64::try_from(len).map_err(out_of_range)?;
        // All of it is asked for at once; else the device sees 64 KiB at a time.
        let advice = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
        posix_fadvise(&self.cached, offset, end - offset, advice)?;
        while offset < end {
            let left = usize::try_from(end - offset).map_err(out_of_range)?;
            if sendfile(&self.socket, &self.cached, Some(&mut offset), left)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_send_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::written(dir.path(), 1 << 20).unwrap();
        for way in [ColdWay::Direct, ColdWay::Sendfile] {
            for extent in [4096, 256 << 10] {
                let sent = cold_reads(&space, way, extent, Duration::from_millis(20)).unwrap();
                assert!(sent.bytes > 0 && sent.bytes.is_multiple_of(extent as u64), "{sent:?}");
                assert!(sent.gb_per_s() > 0.0 && sent.cpu_s_per_gb() > 0.0, "{sent:?}");
                assert!(sent.elapsed >= Duration::from_millis(20));
            }
        }
    }

    #[test]
    fn extents_that_cannot_be_read_past_the_cache_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::written(dir.path(), 1 << 20).unwrap();
        for extent in [0, 100, 2 << 20] {
            let refused = cold_reads(&space, ColdWay::Direct, extent, Duration::ZERO);
            assert!(matches!(refused, Err(YardstickError::BadProbe(_))), "{extent}");
        }
    }
}
