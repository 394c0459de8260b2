//! Whether the kernel believes its wall clock: one system call.
#![allow(unsafe_code)]

use nix::libc;

/// `None` if the kernel does not say.
pub(super) fn is_synchronized() -> Option<bool> {
    // SAFETY: all zeros is a value of this plain structure; `modes` 0 asks and changes nothing.
    let mut request: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: a valid pointer, for the time of the call.
    let state = unsafe { libc::adjtimex(&raw mut request) };
    match state {
        -1 => None,
        state => Some(state != libc::TIME_ERROR && request.status & libc::STA_UNSYNC == 0),
    }
}
