//! T: a TCP stream on loopback: one thread sends blocks as fast as it can, another throws them away.
//! What moving bytes costs at least, in time and in CPU time of the sender (which does the kernel's
//! work for it, too).

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use net::loopback::connect;

use super::YardstickError;
use super::cold::ColdReads;
use super::probe::on_measuring_thread;
use super::process::thread_cpu;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RECEIVE_BYTES: usize = 256 << 10;
const BLOCK_BYTES_MAX: usize = 1 << 20;

/// Sends blocks of `block_bytes` for as long as told, on `cpu`.
///
/// # Errors
/// When the block is empty or larger than 1 MiB, or the socket fails.
pub fn stream(
    block_bytes: usize,
    cpu: Option<usize>,
    measure: Duration,
) -> Result<ColdReads, YardstickError> {
    if block_bytes == 0 || block_bytes > BLOCK_BYTES_MAX {
        return Err(YardstickError::BadProbe("a block must have 1 byte to 1 MiB"));
    }
    let failed = || YardstickError::socket("streaming over loopback");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
    let address = listener.local_addr().map_err(failed())?;
    let receiver = thread::spawn(move || swallow(&listener));
    let sent = on_measuring_thread(cpu, || {
        let mut stream = connect(address, CONNECT_TIMEOUT).map_err(failed())?;
        let block = vec![b'.'; block_bytes];
        let (began, cpu) = (Instant::now(), thread_cpu());
        let mut bytes = 0;
        while began.elapsed() < measure {
            stream.write_all(&block).map_err(failed())?;
            bytes += block_bytes as u64;
        }
        let cpu = thread_cpu().saturating_sub(cpu);
        Ok(ColdReads { bytes, elapsed: began.elapsed(), cpu })
    })?;
    receiver.join().map_err(|_| YardstickError::Panicked)?.map_err(failed())?;
    Ok(sent)
}

fn swallow(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut into = vec![0; RECEIVE_BYTES];
    while stream.read(&mut into)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_and_cost_time() {
        let sent = stream(16 << 10, None, Duration::from_millis(20)).unwrap();
        assert!(sent.bytes > 0 && sent.bytes.is_multiple_of(16 << 10));
        assert!(sent.elapsed >= Duration::from_millis(20) && !sent.cpu.is_zero());
        assert!(stream(0, None, Duration::ZERO).is_err());
    }
}
