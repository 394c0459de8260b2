//! Connections whose two ends are on one machine.
//!
//! There the kernel does a sender's work on the CPU on which its acknowledgements arrive: the receiver's. A
//! congestion control that paces what is sent (BBR, which hosts on the internet often choose for all their
//! connections) has a timer for each connection, which then fires there, too, and no congestion to control.
//! So a connection on loopback asks for one that does not. Any other keeps what the machine's owner has
//! chosen.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Those that do not pace: the kernel's default, and the one that is always there and allowed.
const UNPACED: [&str; 2] = ["cubic", "reno"];

/// If `address`, where `socket` is about to connect or to listen, is on loopback, its connections will not
/// pace what they send. Once a connection is there it is too late: what has begun to pace goes on. A kernel
/// that allows neither cubic nor reno leaves all as it is, which is slower, not wrong.
pub fn do_not_pace(socket: &impl AsFd, address: SocketAddr) {
    if address.ip().to_canonical().is_loopback() {
        let _ = UNPACED
            .iter()
            .find(|name| setsockopt(socket, sockopt::TcpCongestion, &(**name).into()).is_ok());
    }
}

/// Connects, for a thread that may block; small frames leave at once.
///
/// # Errors
/// When nobody listens there, or does not answer in time.
pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    do_not_pace(&socket, address);
    socket.connect_timeout(&address.into(), timeout)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;

    use super::*;
    use crate::server::bind;

    fn congestion_control(socket: &impl AsFd) -> String {
        let name = getsockopt(socket, sockopt::TcpCongestion).unwrap();
        name.to_string_lossy().trim_end_matches('\0').to_owned()
    }

    #[test]
    fn neither_end_of_a_connection_on_loopback_paces() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let ours = connect(listener.local_addr().unwrap(), Duration::from_secs(10)).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        for end in [&ours, &theirs] {
            let name = congestion_control(end);
            assert!(UNPACED.contains(&&*name), "{name}");
        }
    }

    #[test]
    fn only_loopback_is_touched() {
        for (address, is_local) in [
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("10.0.0.1:1", false),
            ("0.0.0.0:1", false),
            ("[2001:db8::1]:1", false),
        ] {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            // Always there, and nobody's first choice.
            setsockopt(&socket, sockopt::TcpCongestion, &"reno".into()).unwrap();
            do_not_pace(&socket, address.parse().unwrap());
            let is_touched = congestion_control(&socket) != "reno";
            let allows_cubic = setsockopt(&socket, sockopt::TcpCongestion, &"cubic".into()).is_ok();
            assert_eq!(is_touched, is_local && allows_cubic, "{address}");
        }
    }
}
