//! SIGINT and SIGTERM for the client commands: the first one asks to finish, the second one kills.

use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use tokio::sync::Notify;

use crate::failure::Failure;

/// Resolves [`Notify::notified`] once a signal has come.
pub(crate) fn on_signal() -> Result<Arc<Notify>, Failure> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // Threads made from here on inherit the mask, so only the one below ever takes the signals.
    signals.thread_block().map_err(|errno| Failure::io("blocking signals")(errno.into()))?;
    let stop = Arc::new(Notify::new());
    let told = Arc::clone(&stop);
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            // Kept for whoever waits next, so it cannot be missed.
            told.notify_one();
        }
        // From here on a signal meets this thread unmasked, and its default action: a command
        // that hangs in a write to a stuck pipe can still be ended.
        let _ = signals.thread_unblock();
        loop {
            std::thread::park();
        }
    });
    Ok(stop)
}
