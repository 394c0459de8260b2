//! The direct, non-blocking socket calls of the hot path.
//!
//! Measured: sending or receiving through the ring is no faster than these calls, and they need
//! no buffer to be parked with the kernel for an idle connection.
#![allow(unsafe_code)]

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use engine::io::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, SockFlag, accept4, recv, send, sendmsg, setsockopt, sockopt};

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
    // Fails on sockets that are not TCP; those have no such delay.
    let _ = setsockopt(&fd, sockopt::TcpNoDelay, &true);
    Ok(fd)
}
