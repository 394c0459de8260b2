//! The direct, non-blocking socket calls of the hot path.
//!
//! Measured: sending or receiving through the ring is no faster than these calls, and they need
//! no buffer to be parked with the kernel for an idle connection.
#![allow(unsafe_code)]

use std::io::IoSlice;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use engine::io::Errno;
use nix::libc;
use nix::sys::socket::{
    MsgFlags, SockFlag, SockaddrStorage, accept4, getpeername, recv, send, sendmsg, setsockopt,
    sockopt,
};

/// A peer that has vanished without a word is noticed by the kernel after two minutes: after so
/// much silence it is asked, so often, this far apart.
const KEEPALIVE_IDLE_S: u32 = 60;
const KEEPALIVE_INTERVAL_S: u32 = 10;
const KEEPALIVE_PROBES: u32 = 6;

/// What a non-blocking transfer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many bytes (zero when receiving: the peer has closed).
    Bytes(usize),
    /// Nothing now; readiness will tell.
    Blocked,
    /// The connection is broken.
    Failed(Errno),
}

fn moved(result: nix::Result<usize>) -> Moved {
    match result {
        Ok(bytes) => Moved::Bytes(bytes),
        Err(nix::Error::EAGAIN) => Moved::Blocked,
        Err(error) => Moved::Failed(Errno(error as i32)),
    }
}

fn uninterrupted(mut call: impl FnMut() -> nix::Result<usize>) -> Moved {
    loop {
        match call() {
            Err(nix::Error::EINTR) => {}
            result => return moved(result),
        }
    }
}

pub(super) fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> Moved {
    uninterrupted(|| recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT))
}

/// Receives at most `max` bytes behind `buffer`'s contents, within its spare capacity.
pub(super) fn receive_behind(fd: &OwnedFd, buffer: &mut Vec<u8>, max: usize) -> Moved {
    let spare = buffer.spare_capacity_mut();
    let room = spare.len().min(max);
    let to = spare.as_mut_ptr();
    let moved = uninterrupted(|| {
        // SAFETY: `to` has room for `room` bytes, and the kernel only writes to it.
        let received = unsafe { libc::recv(fd.as_raw_fd(), to.cast(), room, libc::MSG_DONTWAIT) };
        nix::errno::Errno::result(received).map(|bytes| bytes as usize)
    });
    if let Moved::Bytes(bytes) = moved {
        // SAFETY: the kernel has initialised this many bytes behind the contents.
        unsafe { buffer.set_len(buffer.len() + bytes.min(room)) };
    }
    moved
}

pub(super) fn send_bytes(fd: &OwnedFd, bytes: &[u8]) -> Moved {
    uninterrupted(|| send(fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL))
}

pub(super) fn send_pieces(fd: &OwnedFd, pieces: &[IoSlice<'_>]) -> Moved {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    uninterrupted(|| sendmsg::<()>(fd.as_raw_fd(), pieces, &[], flags, None))
}

/// Accepts one connection, non-blocking and without Nagle's delay.
pub(super) fn accept(listener: &impl AsFd) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = accept4(listener.as_fd().as_raw_fd(), flags)?;
    // SAFETY: accept4 has just made it, nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // Fail on sockets that are not TCP; those have no such delay, and no peers that vanish.
    let _ = setsockopt(&fd, sockopt::TcpNoDelay, &true);
    let _ = setsockopt(&fd, sockopt::KeepAlive, &true);
    let _ = setsockopt(&fd, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_S);
    let _ = setsockopt(&fd, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_S);
    let _ = setsockopt(&fd, sockopt::TcpKeepCount, &KEEPALIVE_PROBES);
    Ok(fd)
}

/// Where a connection's peer is; `None` if it has no address.
pub(super) fn peer_address(fd: &OwnedFd) -> Option<IpAddr> {
    let peer: SockaddrStorage = getpeername(fd.as_raw_fd()).ok()?;
    let v4 = peer.as_sockaddr_in().map(|peer| IpAddr::V4(peer.ip()));
    v4.or_else(|| peer.as_sockaddr_in6().map(|peer| peer.ip().to_canonical()))
}
