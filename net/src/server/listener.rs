//! The listening socket: one per port, without SO_REUSEPORT, so that a port in use is an error.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::loopback::do_not_pace;

/// Connections the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
/// Between two attempts while the port is in use.
const BIND_PAUSE: Duration = Duration::from_millis(10);

/// Binds and listens, non-blocking. Port 0 takes a free one: ask the result's `local_addr`.
///
/// # Errors
/// `AddrInUse` when somebody listens there already, and whatever else the kernel says.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier life in TIME_WAIT do not keep the port; a listener does.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    do_not_pace(&socket, address);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Like [`bind`], but while the port is in use tries again for this long: a node that was killed
/// leaves its listener to its io_uring, which the kernel takes down behind the process's end.
/// Blocks meanwhile, so not for reactors.
///
/// # Errors
/// As [`bind`]; `AddrInUse` when that is still so in the end.
pub fn bind_within(address: SocketAddr, patience: Duration) -> io::Result<TcpListener> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        match bind(address) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < patience =>
            {
                if !told {
                    tracing::warn!(
                        %address,
                        patience_ms = patience.as_millis(),
                        "the port is in use, perhaps by a node that has just ended: trying again"
                    );
                    told = true;
                }
                std::thread::sleep(BIND_PAUSE);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_waited_for_but_not_for_ever() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let patience = Duration::from_millis(50);
        let begun = Instant::now();
        let refused = bind_within(address, patience).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        assert!(begun.elapsed() >= patience, "it gave up after {:?}", begun.elapsed());
        let waiting = std::thread::spawn(move || bind_within(address, Duration::from_secs(60)));
        std::thread::sleep(3 * BIND_PAUSE);
        drop(first);
        assert_eq!(waiting.join().unwrap().unwrap().local_addr().unwrap(), address);
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = bind(first.local_addr().unwrap());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
